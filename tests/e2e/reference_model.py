"""A Llama in numpy, float32, from a GGUF file: about as plain as it can be."""

import mmap
import struct

import numpy

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


class _Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, fmt):
        value = struct.unpack_from("<" + fmt, self.data, self.at)
        self.at += struct.calcsize("<" + fmt)
        return value[0]

    def string(self):
        size = self.take("Q")
        self.at += size
        return self.data[self.at - size:self.at].decode("utf-8", "replace")

    def value(self, kind):
        if kind == 8:
            return self.string()
        if kind == 9:
            inner, count = self.take("I"), self.take("Q")
            return [self.value(inner) for _ in range(count)]
        return self.take(_SCALARS[kind])


def _dequantize(kind, raw, shape):
    if kind == 0:
        return raw.view("<f4").reshape(shape).astype(numpy.float32)
    if kind == 1:
        return raw.view("<f2").reshape(shape).astype(numpy.float32)
    if kind == 3:  # q4_1: scale, minimum, 16 bytes of nibbles
        blocks = raw.reshape(-1, 20)
        scale = blocks[:, 0:2].copy().view("<f2").astype(numpy.float32)
        low = blocks[:, 2:4].copy().view("<f2").astype(numpy.float32)
        nibbles = numpy.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], axis=1)
        return (nibbles.astype(numpy.float32) * scale + low).reshape(shape)
    if kind == 8:  # q8_0: scale, 32 bytes
        blocks = raw.reshape(-1, 34)
        scale = blocks[:, 0:2].copy().view("<f2").astype(numpy.float32)
        return (blocks[:, 2:].view("i1").astype(numpy.float32) * scale).reshape(shape)
    if kind == 30:  # bf16: the upper half of a float
        return (raw.view("<u2").astype(numpy.uint32) << 16).view("<f4").reshape(shape)
    raise ValueError(f"type {kind}")


_BLOCK = {0: (1, 4), 1: (1, 2), 3: (32, 20), 8: (32, 34), 30: (1, 2)}


class Model:
    def __init__(self, path):
        with open(path, "rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        reader = _Reader(data)
        magic, version, tensors, entries = (reader.take(f) for f in "IIQQ")
        assert magic == 0x46554747 and version == 3
        self.meta = {}
        for _ in range(entries):
            key = reader.string()
            self.meta[key] = reader.value(reader.take("I"))
        infos = []
        for _ in range(tensors):
            name, dims = reader.string(), reader.take("I")
            shape = [reader.take("Q") for _ in range(dims)][::-1]
            infos.append((name, shape, reader.take("I"), reader.take("Q")))
        align = self.meta.get("general.alignment", 32)
        start = (reader.at + align - 1) // align * align
        whole = numpy.frombuffer(data, numpy.uint8)
        self.tensors = {}
        for name, shape, kind, offset in infos:
            values, size = _BLOCK[kind]
            count = int(numpy.prod(shape)) // values * size
            self.tensors[name] = _dequantize(kind, whole[start + offset:start + offset + count], shape)

    def token_text(self, token):
        """The token's text, as JSON replies print it."""
        return bytes(_BYTES[c] for c in self.meta["tokenizer.ggml.tokens"][token]).decode(
            "utf-8", "replace")

    def log_probabilities(self, ids):
        """Of the token after `ids`: [vocab_size]."""
        arch = {k.split(".", 1)[1]: v for k, v in self.meta.items() if k.startswith("llama.")}
        heads, kv_heads = arch["attention.head_count"], arch["attention.head_count_kv"]
        eps, theta = arch["attention.layer_norm_rms_epsilon"], arch["rope.freq_base"]
        hidden = self.tensors["token_embd.weight"][ids]
        dim = hidden.shape[1] // heads
        angles = numpy.outer(numpy.arange(len(ids)), theta ** (-numpy.arange(0, dim, 2) / dim))
        cos, sin = numpy.cos(angles)[:, None], numpy.sin(angles)[:, None]

        def norm(x, weight):
            return x / numpy.sqrt((x * x).mean(-1, keepdims=True) + eps) * self.tensors[weight]

        def rotate(x):  # GGUF keeps the two numbers of a pair side by side
            even, odd = x[..., 0::2], x[..., 1::2]
            out = numpy.empty_like(x)
            out[..., 0::2], out[..., 1::2] = even * cos - odd * sin, odd * cos + even * sin
            return out

        mask = numpy.triu(numpy.full((len(ids), len(ids)), -numpy.inf), 1)
        for layer in range(arch["block_count"]):
            def weight(name):
                return self.tensors[f"blk.{layer}.{name}.weight"]
            x = norm(hidden, f"blk.{layer}.attn_norm.weight")
            q = rotate((x @ weight("attn_q").T).reshape(len(ids), heads, dim))
            k = rotate((x @ weight("attn_k").T).reshape(len(ids), kv_heads, dim))
            v = (x @ weight("attn_v").T).reshape(len(ids), kv_heads, dim)
            k, v = (numpy.repeat(t, heads // kv_heads, axis=1) for t in (k, v))
            scores = numpy.einsum("ihd,jhd->hij", q, k) / numpy.sqrt(dim) + mask
            scores = numpy.exp(scores - scores.max(-1, keepdims=True))
            scores /= scores.sum(-1, keepdims=True)
            hidden = hidden + numpy.einsum("hij,jhd->ihd", scores, v).reshape(
                len(ids), -1) @ weight("attn_output").T
            x = norm(hidden, f"blk.{layer}.ffn_norm.weight")
            gate = x @ weight("ffn_gate").T
            hidden = hidden + (gate / (1 + numpy.exp(-gate)) * (x @ weight("ffn_up").T)) @ weight(
                "ffn_down").T
        last = norm(hidden[-1], "output_norm.weight")
        logits = self.tensors.get("output.weight", self.tensors["token_embd.weight"]) @ last
        logits = logits.astype(numpy.float64)
        return logits - logits.max() - numpy.log(numpy.exp(logits - logits.max()).sum())


def _byte_alphabet():
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in plain]
    return {**{chr(b): b for b in plain}, **{chr(256 + i): b for i, b in enumerate(others)}}


_BYTES = _byte_alphabet()


def load(path):
    return Model(path)
