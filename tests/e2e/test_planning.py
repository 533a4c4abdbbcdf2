"""`lockstep plan` beside what a server really takes, and a server that refuses what cannot fit."""

import json
import re
import struct
import subprocess

import cluster
import random_checkpoint

LLAMA_70B = {
    "architectures": ["LlamaForCausalLM"], "hidden_act": "silu", "hidden_size": 8192,
    "intermediate_size": 28672, "max_position_embeddings": 131072, "num_attention_heads": 64,
    "num_hidden_layers": 80, "num_key_value_heads": 8, "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    "vocab_size": 128256, "bos_token_id": 1, "eos_token_id": 2}


def plan(*arguments):
    return subprocess.run([str(cluster.BINARY), "plan", *map(str, arguments)], text=True,
                          capture_output=True, timeout=30)


def write_config(folder):
    path = folder / "config.json"
    path.write_text(json.dumps(LLAMA_70B))
    return path


def write_huge_model(folder, layers):
    """A Llama with that many layers of the 70B, 1.6 GiB each: its file is a hole behind a header."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**LLAMA_70B, "num_hidden_layers": layers}))
    header, end = {}, 0

    def add(name, *shape):
        nonlocal end
        size = 2
        for dimension in shape:
            size *= dimension
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
        end += size

    add("model.embed_tokens.weight", 128256, 8192)
    add("lm_head.weight", 128256, 8192)
    add("model.norm.weight", 8192)
    for layer in range(layers):
        scope = f"model.layers.{layer}."
        add(scope + "input_layernorm.weight", 8192)
        add(scope + "post_attention_layernorm.weight", 8192)
        add(scope + "self_attn.q_proj.weight", 8192, 8192)
        add(scope + "self_attn.k_proj.weight", 1024, 8192)
        add(scope + "self_attn.v_proj.weight", 1024, 8192)
        add(scope + "self_attn.o_proj.weight", 8192, 8192)
        add(scope + "mlp.gate_proj.weight", 28672, 8192)
        add(scope + "mlp.up_proj.weight", 28672, 8192)
        add(scope + "mlp.down_proj.weight", 8192, 28672)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the data are aligned
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    random_checkpoint.write_byte_tokenizer(folder)


def test_a_server_refuses_a_cache_that_does_not_fit(tmp_path):
    done = subprocess.run(
        ["mpirun", "-np", "2", str(cluster.BINARY), "serve", cluster.find_model(), "--zmq",
         f"ipc://{tmp_path}/socket", "--threads", "1", "--kv-cache-memory", "100TiB",
         "--max-num-seqs", "4096", "--max-num-batched-tokens", "4096"],
        capture_output=True, text=True, timeout=60, env=cluster.environment())
    assert done.returncode == 1
    assert re.search(r"kv_cache_memory is 100\.0 TiB a rank, of which [\d.]+ .iB would be used: beside "
                     r"weights and activations, \S+ has room for [\d.]+ .iB", done.stderr)


def test_a_plan_tells_what_a_server_loads():
    told = json.loads(plan(cluster.find_model(), "--tp", "2", "--json").stdout)
    weights = told["plans"][0]["weight_bytes"]
    with cluster.Cluster(2) as server:
        loaded = re.findall(r"rank \d of 2 on .*: ([0-9.]+) MiB of weights", server.log_text())
    assert max(map(float, loaded)) == round(weights / 2**20, 1)


def test_the_exit_status_tells_whether_it_fits(tmp_path):
    config = write_config(tmp_path)
    assert plan(config, "--device", "h100", "--tp", "4").returncode == 0
    does_not = plan(config, "--device", "h100", "--tp", "1", "--max-model-len", 4096)
    assert does_not.returncode == 1
    assert "--tp 2 with these weights" in does_not.stdout
    assert "weights in fp8 at --tp 1" in does_not.stdout
    # One of several that fits is enough.
    assert plan(config, "--device-memory", "80GiB", "--tp", "1,2,4").returncode == 0
    assert plan(config, "--tp", "65").returncode == 2
    too_short = plan(config, "--max-model-len", 1)
    assert too_short.returncode == 2
    assert "max_model_len is 1" in too_short.stderr
    assert plan(tmp_path / "none.gguf").returncode == 2


def test_the_document_shows_what_the_command_prints(tmp_path):
    text = (cluster.ROOT / "docs/planning.md").read_text()
    (tmp_path / "Llama-3.1-70B").mkdir()
    write_config(tmp_path / "Llama-3.1-70B")
    for options, skipped in (("--device h100", 0), ("--device h100 --tp 2", 5)):
        command = f"lockstep plan Llama-3.1-70B/config.json {options}"
        shown = text.split(f"$ {command}\n")[1].split("```")[0].splitlines()
        printed = subprocess.run([str(cluster.BINARY), *command.split()[1:]], cwd=tmp_path, text=True,
                                 capture_output=True, timeout=30).stdout.splitlines()
        assert shown[1 if skipped else 0:] == printed[skipped:]


def test_fa3_is_planned_on_hopper_alone(tmp_path):
    config = write_config(tmp_path)
    assert plan(config, "--device", "h200", "--tp", "4", "--attention-backend", "fa3").returncode == 0
    other = plan(config, "--device", "a100-80", "--tp", "4", "--attention-backend", "fa3")
    assert other.returncode == 2
    assert "fa3 needs a Hopper GPU, which a100-80 is not" in other.stderr


def test_a_configuration_alone_tells_of_eight_bits(tmp_path):
    compressed = {"quant_method": "compressed-tensors", "format": "int-quantized", "config_groups": {}}

    def packed(bits, symmetric=True):
        return {"quant_method": "compressed-tensors", "format": "pack-quantized",
                "config_groups": {"group_0": {"weights": {"num_bits": bits, "strategy": "group",
                                                          "symmetric": symmetric}}}}
    for quantization, name, per_512 in (
            ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8_block", 512 + 8),
            (compressed, "int8", 512), (packed(4), "q4_0", 320),
            (packed(4, symmetric=False), "q4", 320), (packed(8), "q8", 544)):
        path = tmp_path / "config.json"
        path.write_text(json.dumps({**LLAMA_70B, "quantization_config": quantization}))
        told = json.loads(plan(path, "--device", "h100", "--tp", "1", "--json").stdout)
        assert told["weights"] == f"{name} (config.json)"
        # 80 layers of 855,638,016 values, two tables in bf16, 161 norms in f32; and for int8 a scale
        # for each of the 8192 + 2 * 1024 + 8192 + 2 * 28672 + 8192 rows of a layer.
        # On GPUs packed nibbles have a scale and a minimum, groups of bytes a scale.
        rows = 80 * (3 * 8192 + 2 * 1024 + 2 * 28672) if name == "int8" else 0
        assert told["plans"][0]["weight_bytes"] == (80 * 855638016 // 512 * per_512 + 4 * rows +
                                                    2 * 128256 * 8192 * 2 + 161 * 8192 * 4)


def test_layers_can_be_planned_in_any_format(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(LLAMA_70B))
    tables, norms = 2 * 128256 * 8192 * 2, 161 * 8192 * 4
    for device, name, per_512 in (("h100", "q8", 544), ("h100", "q4_0", 320), ("h100", "q4", 320),
                                  ("cpu", "q8", 544), ("cpu", "q4_0", 288), ("cpu", "q4", 320)):
        told = json.loads(plan(path, "--device", device, "--tp", "1", "--weights", name,
                               "--json").stdout)
        assert told["weights"] == f"{name} (as asked)"
        layers = told["plans"][0]["weight_bytes"] - tables - norms
        assert layers == 80 * 855638016 // 512 * per_512, (device, name)


def test_weights_stay_unread_and_their_format_is_the_files(tmp_path):
    write_huge_model(tmp_path / "huge", 2)
    told = json.loads(plan(tmp_path / "huge", "--device", "h100", "--tp", "1", "--json").stdout)
    assert told["weights"] == "bf16 (as stored)"
    # Two tables, two layers of 855,638,016 values, five norms in f32.
    assert told["plans"][0]["weight_bytes"] == 2 * (2 * 128256 * 8192 + 2 * 855638016) + 5 * 8192 * 4


def test_a_server_refuses_a_model_that_does_not_fit_before_it_loads(tmp_path):
    write_huge_model(tmp_path / "huge", 1024)  # 1.6 TiB
    done = subprocess.run(
        ["mpirun", "-np", "2", str(cluster.BINARY), "serve", str(tmp_path / "huge"),
         "--zmq", "ipc://" + str(tmp_path / "socket"), "--threads", "1"],
        capture_output=True, text=True, timeout=60, env=cluster.environment())
    assert done.returncode != 0
    assert "does not fit" in done.stderr
    # 2 x (2 x 128256 x 8192 + 1024 x 855,638,016) bytes and 2049 norms of 8192 x 4 on each rank.
    assert "weights take 1.6 TiB" in done.stderr
    # 131072 positions x 2 x 1024 layers x 1024 values x 2 bytes.
    assert "max_model_len 131072 takes 512.0 GiB" in done.stderr
    assert "hosts with as much memory, a rank on each" in done.stderr or "more memory" in done.stderr
    assert "of weights in" not in done.stderr  # what a rank says when it has loaded
