"""A small random Llama, Qwen2 or Qwen3 in a Hugging Face folder, with weights of sixteen bits, eight or
four, and its forward pass in float64."""

import json
import struct

import numpy

HIDDEN, INNER, LAYERS, HEADS, KV_HEADS, HEAD_DIM, VOCABULARY = 288, 608, 2, 9, 3, 32, 272
EPS, THETA, BLOCK = 1e-5, 10000.0, 128

# float8_e4m3fn: (-1)^s 2^(e - 7) 1.m, subnormal at e = 0; without the NaN, 0x7f.
POSITIVE = numpy.array([m * 2.0**-9 if e == 0 else (8 + m) * 2.0**(e - 10)
                        for e in range(16) for m in range(8)][:127])


def to_bf16(values):
    """Rounded to the nearest even: 16-bit words."""
    bits = numpy.ascontiguousarray(values, numpy.float32).view(numpy.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(numpy.uint16)


def from_bf16(words):
    return (words.astype(numpy.uint32) << 16).view(numpy.float32).astype(numpy.float64)


def e4m3_codes(values):
    middles = (POSITIVE[1:] + POSITIVE[:-1]) / 2
    return (numpy.searchsorted(middles, abs(values)) | (values < 0) * 128).astype(numpy.uint8)


def e4m3_values(codes):
    return numpy.where(codes & 128, -1, 1) * POSITIVE[codes & 127]


def blocks_of(size, block):
    return -(-size // block)


class Scheme:
    """How a quantizer stores a matrix; `block`: rows and columns that share a scale, 0 for all;
    `integers`: their bits, 0 for e4m3; `packed`: in words; `zeros`: with a zero point for each scale."""

    def __init__(self, quantization, block, scale_dtype, integers=0, scale=".weight_scale",
                 static=False, packed=False, zeros=False):
        self.quantization, self.block, self.scale_dtype = quantization, block, scale_dtype
        self.integers, self.scale, self.static, self.packed = integers, scale, static, packed
        self.zeros = zeros

    def store(self, module, values):
        """The tensors of a module, (dtype, array) by name, and the matrix that they stand for."""
        block = [wanted or size for wanted, size in zip(self.block, values.shape)]
        grid = [blocks_of(*each) for each in zip(values.shape, block)]
        scales, half = numpy.zeros(grid), 2**self.integers // 2
        zeros = numpy.zeros(grid)
        for i, j in numpy.ndindex(*grid):
            part = values[i * block[0]:(i + 1) * block[0], j * block[1]:(j + 1) * block[1]]
            scales[i, j] = abs(part).max() / (half - 1 if self.integers else 448)
            if self.zeros:
                scales[i, j] = (part.max() - part.min()) / (2 * half - 1)
                zeros[i, j] = numpy.clip(numpy.rint(-half - part.min() / scales[i, j]), -half, half - 1)
        if self.scale_dtype == "BF16":
            stored = to_bf16(scales)
            scales = from_bf16(stored)
        else:
            stored = scales.astype(numpy.float32)
            scales = stored.astype(numpy.float64)

        def spread_out(grid):
            return grid.repeat(block[0], 0)[:values.shape[0]].repeat(block[1], 1)[:, :values.shape[1]]

        spread, zero = spread_out(scales), spread_out(zeros)
        if self.integers:
            numbers = numpy.clip(numpy.rint(values / spread) + zero, -half, half - 1).astype(numpy.int8)
            meant = (numbers - zero) * spread
        else:
            numbers = e4m3_codes(values / spread)
            meant = e4m3_values(numbers) * spread
        tensors = {module + self.scale: (self.scale_dtype,
                                         stored.reshape(()) if self.block == (0, 0) else stored)}
        if self.packed:
            above = (numbers.astype(int) + half).astype(numpy.uint8)
            if self.integers == 4:
                above = above[:, ::2] | above[:, 1::2] << 4
            tensors[f"{module}.weight_packed"] = ("I32", above.view(numpy.int32))
            if self.zeros:
                tensors[f"{module}.weight_zero_point"] = ("I32", _in_words_of_rows(zeros + half))
            tensors[f"{module}.weight_shape"] = ("I64", numpy.array(values.shape, numpy.int64))
        else:
            tensors[f"{module}.weight"] = ("I8" if self.integers else "F8_E4M3", numbers)
        if self.static:
            tensors[module + ".input_scale"] = ("F32", numpy.float32(0.02).reshape(()))
        return tensors, meant


class Plain:
    """In bf16, as models are published."""

    quantization = None

    def store(self, module, values):
        words = to_bf16(values)
        return {module + ".weight": ("BF16", words)}, from_bf16(words)


def _in_words_of_rows(nibbles):
    """Eight rows in a word, the first in its lowest bits."""
    words = numpy.zeros((blocks_of(len(nibbles), 8), nibbles.shape[1]), numpy.uint32)
    for row, values in enumerate(nibbles.astype(numpy.uint32)):
        words[row // 8] |= values << 4 * (row % 8)
    return words.view(numpy.int32)


def _compressed(kind):
    weights = {"num_bits": 8, "type": kind, "strategy": "channel", "symmetric": True,
               "dynamic": False, "group_size": None, "block_structure": None}
    activations = {**weights, "strategy": "token", "dynamic": True}
    return {"quant_method": "compressed-tensors", "format": f"{kind}-quantized",
            "quantization_status": "compressed", "ignore": ["lm_head"], "kv_cache_scheme": None,
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights,
                                          "input_activations": activations,
                                          "output_activations": None}}}


def _packed(bits, symmetric=True):
    weights = {"num_bits": bits, "type": "int", "strategy": "group", "group_size": 32,
               "symmetric": symmetric, "dynamic": False, "actorder": None}
    return {"quant_method": "compressed-tensors", "format": "pack-quantized",
            "quantization_status": "compressed", "ignore": ["lm_head"], "kv_cache_scheme": None,
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights,
                                          "input_activations": None}}}


SCHEMES = {
    "fp8": Scheme({"quant_method": "fp8", "activation_scheme": "static"}, (0, 0), "F32", static=True),
    "fp8_block": Scheme({"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
                         "weight_block_size": [BLOCK, BLOCK]}, (BLOCK, BLOCK), "F32",
                        scale=".weight_scale_inv"),
    "float_channel": Scheme(_compressed("float"), (1, 0), "BF16"),
    "int_channel": Scheme(_compressed("int"), (1, 0), "BF16", integers=8),
    "int4_group": Scheme(_packed(4), (1, 32), "BF16", integers=4, packed=True),
    "int4_zeros": Scheme(_packed(4, symmetric=False), (1, 32), "BF16", integers=4, packed=True,
                         zeros=True),
    "int8_group": Scheme(_packed(8), (1, 32), "BF16", integers=8, packed=True)}


def _byte_alphabet():
    """The characters of byte-level BPE, in the order of their bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(b) if b in plain else chr(next(others)) for b in range(256)]


def write_byte_tokenizer(folder):
    """A tokenizer.json whose tokens are the bytes, and <end>, 256."""
    vocabulary = {c: b for b, c in enumerate(_byte_alphabet())}
    (folder / "tokenizer.json").write_text(json.dumps({
        "added_tokens": [{"id": 256, "content": "<end>", "special": True}],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": {**vocabulary, "<end>": 256}, "merges": []}}))


def _write_safetensors(path, tensors):
    header, offset = {}, 0
    ordered = sorted(tensors.items(), key=lambda item: -item[1][1].itemsize)  # so all are aligned
    for name, (dtype, array) in ordered:
        header[name] = {"dtype": dtype, "shape": list(array.shape),
                        "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, (_, array) in ordered:
            file.write(numpy.ascontiguousarray(array).tobytes())


class Checkpoint:
    """Writes the folder; token b is byte b, 256 ends a text, the others stand for nothing."""

    def __init__(self, folder, scheme, architecture="LlamaForCausalLM"):
        self.folder, self.values, self.tensors = folder, {}, {}
        self.architecture = architecture
        random = numpy.random.default_rng(7)
        q, kv = HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM

        def plain(name, *shape, spread):
            words = to_bf16(random.standard_normal(shape) * spread)
            self.tensors[name], self.values[name] = ("BF16", words), from_bf16(words)

        plain("model.embed_tokens.weight", VOCABULARY, HIDDEN, spread=1)
        plain("lm_head.weight", VOCABULARY, HIDDEN, spread=3 * HIDDEN**-0.5)
        plain("model.norm.weight", HIDDEN, spread=1)
        for layer in range(LAYERS):
            scope = f"model.layers.{layer}."
            plain(scope + "input_layernorm.weight", HIDDEN, spread=1)
            plain(scope + "post_attention_layernorm.weight", HIDDEN, spread=1)
            for module, rows, columns in (
                    ("self_attn.q_proj", q, HIDDEN), ("self_attn.k_proj", kv, HIDDEN),
                    ("self_attn.v_proj", kv, HIDDEN), ("self_attn.o_proj", HIDDEN, q),
                    ("mlp.gate_proj", INNER, HIDDEN), ("mlp.up_proj", INNER, HIDDEN),
                    ("mlp.down_proj", HIDDEN, INNER)):
                parts, meant = scheme.store(scope + module,
                                            random.standard_normal((rows, columns)) * columns**-0.5)
                self.tensors.update(parts)
                self.values[f"{scope}{module}.weight"] = meant
            if architecture == "Qwen2ForCausalLM":
                for each, rows in (("q", q), ("k", kv), ("v", kv)):
                    plain(f"{scope}self_attn.{each}_proj.bias", rows, spread=1)
            if architecture == "Qwen3ForCausalLM":
                for each in "qk":
                    plain(f"{scope}self_attn.{each}_norm.weight", HEAD_DIM, spread=1)
        self.write(scheme)

    def write(self, scheme):
        self.folder.mkdir(exist_ok=True)
        (self.folder / "config.json").write_text(json.dumps({
            "architectures": [self.architecture], "hidden_act": "silu", "hidden_size": HIDDEN,
            "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
            "num_key_value_heads": KV_HEADS, "head_dim": HEAD_DIM, "vocab_size": VOCABULARY,
            "max_position_embeddings": 256, "rms_norm_eps": EPS, "rope_theta": THETA,
            "tie_word_embeddings": False, "torch_dtype": "bfloat16", "eos_token_id": 256,
            **({"quantization_config": scheme.quantization} if scheme.quantization else {})}))
        write_byte_tokenizer(self.folder)
        _write_safetensors(self.folder / "model.safetensors", self.tensors)

    def log_probabilities(self, ids):
        """Of the token after every one of `ids`: [len(ids), VOCABULARY]."""
        def norm(x, name):
            return x / numpy.sqrt((x * x).mean(-1, keepdims=True) + EPS) * self.values[name]

        angles = numpy.outer(numpy.arange(len(ids)),
                             THETA**(-numpy.arange(0, HEAD_DIM, 2) / HEAD_DIM))[:, None]
        half = HEAD_DIM // 2

        def rotate(x):
            a, b = x[..., :half], x[..., half:]
            return numpy.concatenate([a * numpy.cos(angles) - b * numpy.sin(angles),
                                      b * numpy.cos(angles) + a * numpy.sin(angles)], -1)

        x = self.values["model.embed_tokens.weight"][ids]
        mask = numpy.triu(numpy.full((len(ids), len(ids)), -numpy.inf), 1)
        for layer in range(LAYERS):
            scope = f"model.layers.{layer}."

            def times(y, module):
                product = y @ self.values[f"{scope}{module}_proj.weight"].T
                return product + self.values.get(f"{scope}{module}_proj.bias", 0)
            y = norm(x, scope + "input_layernorm.weight")
            q, k, v = (times(y, f"self_attn.{each}").reshape(len(ids), -1, HEAD_DIM)
                       for each in "qkv")
            if scope + "self_attn.q_norm.weight" in self.values:
                q = norm(q, scope + "self_attn.q_norm.weight")
                k = norm(k, scope + "self_attn.k_norm.weight")
            q, k = rotate(q), rotate(k)
            k, v = (each.repeat(HEADS // KV_HEADS, 1) for each in (k, v))
            scores = numpy.exp(numpy.einsum("ihd,jhd->hij", q, k) / HEAD_DIM**0.5 + mask)
            scores /= scores.sum(-1, keepdims=True)
            x = x + times(numpy.einsum("hij,jhd->ihd", scores, v).reshape(len(ids), -1),
                          "self_attn.o")
            y = norm(x, scope + "post_attention_layernorm.weight")
            gate = times(y, "mlp.gate")
            x = x + times(gate / (1 + numpy.exp(-gate)) * times(y, "mlp.up"), "mlp.down")
        logits = norm(x, "model.norm.weight") @ self.values["lm_head.weight"].T
        top = logits.max(-1, keepdims=True)
        return logits - top - numpy.log(numpy.exp(logits - top).sum(-1, keepdims=True))
