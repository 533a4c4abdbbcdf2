"""The model files that the peers are compared on, made once from the demo model's GGUF:

smollm2-bf16.gguf, smollm2-bf16/ (a Hugging Face folder): the same weights, dequantized to bf16.
llama1b-bf16/, llama1b-bf16.gguf, llama1b-q4_0.gguf: random weights in the shape of Llama-3.2-1B."""

import json
import math
import pathlib
import struct

import gguf
import numpy as np

LAYER = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
         "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
         "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm",
         "ffn_norm": "post_attention_layernorm"}
OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def is_made(into: pathlib.Path, name: str, version: str) -> bool:
    """Whether mark_made was called for this version of `name`'s files."""
    stamp = into / f"{name}.made"
    return stamp.exists() and stamp.read_text() == version


def mark_made(into: pathlib.Path, name: str, version: str) -> None:
    (into / f"{name}.made").write_text(version)


def weight_bytes(path: str) -> int:
    """Bytes of a GGUF's weights that decoding a token reads: all, except an embedding table that is
    not the output layer too."""
    size = {t.name: int(t.n_bytes) for t in gguf.GGUFReader(path).tensors}
    if "output.weight" in size:
        del size["token_embd.weight"]
    return sum(size.values())


def to_bf16(values: np.ndarray) -> np.ndarray:
    """Rounded to the nearest even, as 16-bit words."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def hf_name(name: str) -> str:
    """A GGUF tensor's name in Hugging Face's words."""
    parts = name.split(".")
    if parts[0] == "blk":
        return f"model.layers.{parts[1]}.{LAYER[parts[2]]}.weight"
    return f"{OUTER[parts[0]]}.weight"


def hf_rope_order(values: np.ndarray, heads: int) -> np.ndarray:
    """GGUF stores Q and K with rotary pairs side by side, Hugging Face half a head apart."""
    rows, columns = values.shape
    return values.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def write_safetensors(path: pathlib.Path, tensors: dict[str, np.ndarray]) -> None:
    """`tensors`: bf16 words."""
    header, offset = {}, 0
    for name, words in tensors.items():
        header[name] = {"dtype": "BF16", "shape": list(words.shape),
                        "data_offsets": [offset, offset + words.nbytes]}
        offset += words.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the data begins aligned
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for words in tensors.values():
            file.write(np.ascontiguousarray(words).tobytes())


def byte_level_tokenizer(tokens: list[str], merges: list[str], special: list[str]) -> dict:
    """A tokenizer.json of byte-level BPE."""
    ids = {token: i for i, token in enumerate(tokens)}
    return {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None,
        "added_tokens": [{"id": ids[t], "content": t, "single_word": False, "lstrip": False,
                          "rstrip": False, "normalized": False, "special": True} for t in special],
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Digits", "individual_digits": True},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
             "use_regex": True}]},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True,
                    "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None,
                  "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": ids, "merges": merges}}


def write_folder(folder: pathlib.Path, config: dict, tokenizer: dict,
                 tensors: dict[str, np.ndarray]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    eos = tokenizer["added_tokens"][-1]["content"]
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": eos}))
    write_safetensors(folder / "model.safetensors", tensors)


def copy_fields(reader: gguf.GGUFReader, writer: gguf.GGUFWriter, skip: set[str]) -> None:
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in skip:
            continue
        kind = field.types[0]
        sub = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, sub)


def smollm2(source: str, into: pathlib.Path) -> None:
    """smollm2-bf16.gguf and smollm2-bf16/."""
    version = "1 " + source
    if is_made(into, "smollm2", version):
        return
    into.mkdir(parents=True, exist_ok=True)
    reader = gguf.GGUFReader(source)
    value = {name: field.contents() for name, field in reader.fields.items()}
    writer = gguf.GGUFWriter(into / "smollm2-bf16.gguf", "llama")
    copy_fields(reader, writer, {"general.architecture", "general.file_type",
                                 "general.quantization_version"})
    heads, kv_heads = value["llama.attention.head_count"], value["llama.attention.head_count_kv"]
    tensors = {}
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if values.ndim == 1:
            writer.add_tensor(tensor.name, values)
        else:
            writer.add_tensor(tensor.name, to_bf16(values).view(np.uint8),
                              raw_dtype=gguf.GGMLQuantizationType.BF16)
        if ".attn_q." in tensor.name or ".attn_k." in tensor.name:
            values = hf_rope_order(values, heads if ".attn_q." in tensor.name else kv_heads)
        tensors[hf_name(tensor.name)] = to_bf16(values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    tokens = value["tokenizer.ggml.tokens"]
    eos = value["tokenizer.ggml.eos_token_id"]
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
              "hidden_size": value["llama.embedding_length"],
              "intermediate_size": value["llama.feed_forward_length"],
              "num_hidden_layers": value["llama.block_count"], "num_attention_heads": heads,
              "num_key_value_heads": kv_heads, "vocab_size": len(tokens),
              "max_position_embeddings": value["llama.context_length"],
              "rms_norm_eps": value["llama.attention.layer_norm_rms_epsilon"],
              "rope_theta": value["llama.rope.freq_base"], "tie_word_embeddings": True,
              "torch_dtype": "bfloat16", "bos_token_id": eos, "eos_token_id": eos}
    special = [t for t, kind in zip(tokens, value["tokenizer.ggml.token_type"]) if kind == 3]
    special.sort(key=lambda t: t == tokens[eos])  # the end token last: write_folder's eos
    tokenizer = byte_level_tokenizer(tokens, value["tokenizer.ggml.merges"], special)
    write_folder(into / "smollm2-bf16", config, tokenizer, tensors)
    mark_made(into, "smollm2", version)


HIDDEN, LAYERS, HEADS, KV_HEADS, INNER, VOCABULARY = 2048, 16, 32, 8, 8192, 128256
HEAD_DIM, ROPE_THETA, RMS_EPS, POSITIONS = HIDDEN // HEADS, 500000.0, 1e-5, 131072
ROPE_SCALING = {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0,
                "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}


def llama1b_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"token_embd": (VOCABULARY, HIDDEN), "output_norm": (HIDDEN,)}
    kv = HEAD_DIM * KV_HEADS
    for i in range(LAYERS):
        shapes |= {f"blk.{i}.attn_q": (HIDDEN, HIDDEN), f"blk.{i}.attn_k": (kv, HIDDEN),
                   f"blk.{i}.attn_v": (kv, HIDDEN), f"blk.{i}.attn_output": (HIDDEN, HIDDEN),
                   f"blk.{i}.ffn_gate": (INNER, HIDDEN), f"blk.{i}.ffn_up": (INNER, HIDDEN),
                   f"blk.{i}.ffn_down": (HIDDEN, INNER), f"blk.{i}.attn_norm": (HIDDEN,),
                   f"blk.{i}.ffn_norm": (HIDDEN,)}
    return shapes


def rope_divisors() -> np.ndarray:
    """What ROPE_SCALING divides the rotary frequencies by, as GGUF stores it (rope_freqs.weight)."""
    frequency = ROPE_THETA ** -(np.arange(0, HEAD_DIM, 2) / HEAD_DIM)
    turns = ROPE_SCALING["original_max_position_embeddings"] * frequency / (2 * math.pi)
    low, high = ROPE_SCALING["low_freq_factor"], ROPE_SCALING["high_freq_factor"]
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    return (1 / ((1 - smooth) / ROPE_SCALING["factor"] + smooth)).astype(np.float32)


def llama1b_writer(path: pathlib.Path, tokenizer: dict) -> gguf.GGUFWriter:
    """A GGUF of that shape, without tensors yet. `tokenizer`: the fields of the demo model's."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(LAYERS)
    writer.add_context_length(POSITIONS)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_dimension_count(HEAD_DIM)
    writer.add_rope_freq_base(ROPE_THETA)
    writer.add_layer_norm_rms_eps(RMS_EPS)
    writer.add_vocab_size(VOCABULARY)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(tokenizer["pre"])
    writer.add_token_list(tokenizer["tokens"])
    writer.add_token_types(tokenizer["token_type"])
    writer.add_token_merges(tokenizer["merges"])
    writer.add_eos_token_id(tokenizer["eos_token_id"])
    writer.add_bos_token_id(tokenizer["bos_token_id"])
    writer.add_tensor("rope_freqs.weight", rope_divisors())
    return writer


def padded_tokenizer(source: str) -> dict:
    """The demo model's tokenizer fields, with further tokens up to VOCABULARY."""
    prefix = "tokenizer.ggml."
    fields = {name.removeprefix(prefix): field.contents()
              for name, field in gguf.GGUFReader(source).fields.items() if name.startswith(prefix)}
    missing = range(VOCABULARY - len(fields["tokens"]))
    fields["tokens"] += [f"<|reserved_{i}|>" for i in missing]
    fields["token_type"] += [gguf.TokenType.NORMAL for _ in missing]
    return fields


def llama1b(source: str, into: pathlib.Path) -> None:
    """Random weights; the demo model's tokens, padded: only token ids are ever sent."""
    version = "4 " + source
    if is_made(into, "llama1b", version):
        return
    into.mkdir(parents=True, exist_ok=True)
    fields = padded_tokenizer(source)
    bf16 = llama1b_writer(into / "llama1b-bf16.gguf", fields)
    q4_0 = llama1b_writer(into / "llama1b-q4_0.gguf", fields)
    random = np.random.default_rng(1)
    tensors = {}
    for name, shape in llama1b_shapes().items():
        if len(shape) == 1:
            values = np.ones(shape, np.float32)
            bf16.add_tensor(f"{name}.weight", values)
            q4_0.add_tensor(f"{name}.weight", values)
        else:
            values = random.standard_normal(shape, np.float32) * np.float32(shape[1] ** -0.5)
            bf16.add_tensor(f"{name}.weight", to_bf16(values).view(np.uint8),
                            raw_dtype=gguf.GGMLQuantizationType.BF16)
            q4_0.add_tensor(f"{name}.weight",
                            gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q4_0),
                            raw_dtype=gguf.GGMLQuantizationType.Q4_0)
        if name.endswith(("attn_q", "attn_k")):
            values = hf_rope_order(values, HEADS if name.endswith("attn_q") else KV_HEADS)
        tensors[hf_name(f"{name}.weight")] = to_bf16(values)
    for writer in (bf16, q4_0):
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    eos = fields["eos_token_id"]
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
              "hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": LAYERS,
              "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS,
              "head_dim": HEAD_DIM, "vocab_size": VOCABULARY,
              "max_position_embeddings": POSITIONS, "rms_norm_eps": RMS_EPS,
              "rope_theta": ROPE_THETA, "rope_scaling": ROPE_SCALING,
              "tie_word_embeddings": True, "torch_dtype": "bfloat16",
              "bos_token_id": eos, "eos_token_id": eos}
    tokenizer = byte_level_tokenizer(fields["tokens"], fields["merges"], [fields["tokens"][eos]])
    write_folder(into / "llama1b-bf16", config, tokenizer, tensors)
    mark_made(into, "llama1b", version)
