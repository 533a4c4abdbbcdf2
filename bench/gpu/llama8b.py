"""A GGUF in the shape of Llama-3.1-8B: bf16, weights that repeat some random ones (the speed of
dense products does not depend on them), the tokens of another model's file, padded."""

import os

import gguf_file
from gguf_file import BF16, STRING, UINT32

HIDDEN, LAYERS, HEADS, KV_HEADS, INNER, VOCABULARY = 4096, 32, 32, 8, 14336, 128256
_F32, _FLOAT32, _PIECE = 0, 6, 16 << 20
BYTES = 2 * (2 * VOCABULARY * HIDDEN + LAYERS * (2 * HIDDEN * HIDDEN + 2 * HIDDEN * HIDDEN // 4 +
                                                 3 * HIDDEN * INNER))


def bytes_of_a_token(weights):
    """What one token reads of weights in "bf16", or in "fp8" but for the head: not the embedding."""
    head = 2 * VOCABULARY * HIDDEN
    layers = BYTES - 2 * head
    return head + (layers if weights == "bf16" else layers // 2)


def _pieces(size, random):
    while size > 0:
        yield random[:min(size, len(random))]
        size -= len(random)


def _random_bf16():
    """Numbers between 2^-9 and 2^-6 in magnitude, of either sign."""
    noise = bytearray(os.urandom(_PIECE))
    high = bytes(0x3b + (b & 1) | b & 0x80 for b in range(256))
    noise[1::2] = noise[1::2].translate(high)
    return memoryview(noise)


def make(source, path):
    """`source`: a GGUF with a byte-level BPE tokenizer."""
    tokenizer = {name: field for name, field in gguf_file.GgufFile(source).fields.items()
                 if name.startswith("tokenizer.")}
    for name, padding in (("tokens", lambda i: f"<|reserved_{i}|>"), ("token_type", lambda i: 1)):
        kind, (inner, values) = tokenizer[f"tokenizer.ggml.{name}"]
        values = values + [padding(i) for i in range(VOCABULARY - len(values))]
        tokenizer[f"tokenizer.ggml.{name}"] = (kind, (inner, values))
    fields = {"general.architecture": (STRING, "llama"), "llama.block_count": (UINT32, LAYERS),
              "llama.context_length": (UINT32, 131072), "llama.embedding_length": (UINT32, HIDDEN),
              "llama.feed_forward_length": (UINT32, INNER), "llama.attention.head_count": (UINT32, HEADS),
              "llama.attention.head_count_kv": (UINT32, KV_HEADS),
              "llama.rope.dimension_count": (UINT32, HIDDEN // HEADS),
              "llama.rope.freq_base": (_FLOAT32, 500000.0),
              "llama.attention.layer_norm_rms_epsilon": (_FLOAT32, 1e-5),
              "llama.vocab_size": (UINT32, VOCABULARY), **tokenizer}
    random = _random_bf16()
    ones = b"\0\0\x80\x3f" * HIDDEN
    kv = HIDDEN // HEADS * KV_HEADS
    tensors = {}

    def matrix(name, rows, columns):
        shape = [columns, rows]
        tensors[f"{name}.weight"] = (shape, BF16, _pieces(2 * rows * columns, random))

    def norm(name):
        tensors[f"{name}.weight"] = ([HIDDEN], _F32, [ones])
    matrix("token_embd", VOCABULARY, HIDDEN)
    matrix("output", VOCABULARY, HIDDEN)
    norm("output_norm")
    for i in range(LAYERS):
        for name, rows, columns in (("attn_q", HIDDEN, HIDDEN), ("attn_k", kv, HIDDEN),
                                    ("attn_v", kv, HIDDEN), ("attn_output", HIDDEN, HIDDEN),
                                    ("ffn_gate", INNER, HIDDEN), ("ffn_up", INNER, HIDDEN),
                                    ("ffn_down", HIDDEN, INNER)):
            matrix(f"blk.{i}.{name}", rows, columns)
        norm(f"blk.{i}.attn_norm")
        norm(f"blk.{i}.ffn_norm")
    gguf_file.write(path, fields, tensors)
