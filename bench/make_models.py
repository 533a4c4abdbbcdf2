"""The model files that the peers are compared on, made once from the demo model's GGUF.

smollm2-bf16.gguf, smollm2-bf16/ (a Hugging Face folder): the same weights, dequantized to bf16.
llama1b-bf16/, llama1b-bf16.gguf, llama1b-q4_0.gguf: random weights in the shape of Llama-3.2-1B."""

import json
import pathlib
import struct

import gguf
import numpy as np

LAYER = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
         "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
         "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm",
         "ffn_norm": "post_attention_layernorm"}
OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


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


def make_smollm2(source: str, into: pathlib.Path) -> None:
    """smollm2-bf16.gguf and smollm2-bf16/."""
    if (into / "smollm2-bf16/model.safetensors").exists():
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


HIDDEN, LAYERS, HEADS, KV_HEADS, INNER, VOCABULARY = 2048, 16, 32, 8, 8192, 128256


def llama1b_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"token_embd": (VOCABULARY, HIDDEN), "output_norm": (HIDDEN,)}
    kv = HIDDEN // HEADS * KV_HEADS
    for i in range(LAYERS):
        shapes |= {f"blk.{i}.attn_q": (HIDDEN, HIDDEN), f"blk.{i}.attn_k": (kv, HIDDEN),
                   f"blk.{i}.attn_v": (kv, HIDDEN), f"blk.{i}.attn_output": (HIDDEN, HIDDEN),
                   f"blk.{i}.ffn_gate": (INNER, HIDDEN), f"blk.{i}.ffn_up": (INNER, HIDDEN),
                   f"blk.{i}.ffn_down": (HIDDEN, INNER), f"blk.{i}.attn_norm": (HIDDEN,),
                   f"blk.{i}.ffn_norm": (HIDDEN,)}
    return shapes


def make_llama1b(source: str, into: pathlib.Path) -> None:
    """Random weights; the demo model's tokens, padded: only token ids are ever sent."""
    if (into / "llama1b-bf16/model.safetensors").exists():
        return
    into.mkdir(parents=True, exist_ok=True)
    value = {name: field.contents() for name, field in gguf.GGUFReader(source).fields.items()}
    known = value["tokenizer.ggml.tokens"]
    tokens = known + [f"<|reserved_{i}|>" for i in range(VOCABULARY - len(known))]
    writers = {kind: gguf.GGUFWriter(into / f"llama1b-{name}.gguf", "llama")
               for kind, name in ((gguf.GGMLQuantizationType.BF16, "bf16"),
                                  (gguf.GGMLQuantizationType.Q4_0, "q4_0"))}
    for writer in writers.values():
        writer.add_block_count(LAYERS)
        writer.add_context_length(8192)
        writer.add_embedding_length(HIDDEN)
        writer.add_feed_forward_length(INNER)
        writer.add_head_count(HEADS)
        writer.add_head_count_kv(KV_HEADS)
        writer.add_rope_dimension_count(HIDDEN // HEADS)
        writer.add_rope_freq_base(500000.0)
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_vocab_size(VOCABULARY)
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(value["tokenizer.ggml.pre"])
        writer.add_token_list(tokens)
        writer.add_token_types(value["tokenizer.ggml.token_type"] + [4] * (len(tokens) - len(known)))
        writer.add_token_merges(value["tokenizer.ggml.merges"])
        writer.add_eos_token_id(value["tokenizer.ggml.eos_token_id"])
        writer.add_bos_token_id(value["tokenizer.ggml.bos_token_id"])
    random = np.random.default_rng(1)
    tensors = {}
    for name, shape in llama1b_shapes().items():
        if len(shape) == 1:
            values = np.ones(shape, np.float32)
        else:
            values = random.standard_normal(shape, np.float32) * np.float32(shape[1] ** -0.5)
        for kind, writer in writers.items():
            if len(shape) == 1:
                writer.add_tensor(f"{name}.weight", values)
            elif kind == gguf.GGMLQuantizationType.BF16:
                writer.add_tensor(f"{name}.weight", to_bf16(values).view(np.uint8), raw_dtype=kind)
            else:
                writer.add_tensor(f"{name}.weight", gguf.quants.quantize(values, kind),
                                  raw_dtype=kind)
        tensors[hf_name(f"{name}.weight")] = to_bf16(values)
    for writer in writers.values():
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    eos = known[value["tokenizer.ggml.eos_token_id"]]
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
              "hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": LAYERS,
              "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS,
              "head_dim": HIDDEN // HEADS, "vocab_size": VOCABULARY,
              "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
              "tie_word_embeddings": True, "torch_dtype": "bfloat16",
              "bos_token_id": known.index(eos), "eos_token_id": known.index(eos)}
    write_folder(into / "llama1b-bf16", config,
                 byte_level_tokenizer(tokens, value["tokenizer.ggml.merges"], [eos]), tensors)
