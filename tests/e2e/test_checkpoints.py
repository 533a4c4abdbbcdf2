"""Folders written here, of every family and quantizer: answers against float64, the same bits at 1, 2
and 3 ranks, and errors that name the tensor."""

import json
import re
import subprocess

import numpy
import pytest

import cluster
from random_checkpoint import SCHEMES, Checkpoint, Plain

# The largest error of a log-probability among the twenty best, and its root mean square: weights are
# exact, activations and cache have eight bits of mantissa (e4m3) or are bytes (int8).
BOUNDS = {"fp8": (0.08, 0.02), "fp8_block": (0.08, 0.02), "float_channel": (0.08, 0.02),
          "int_channel": (0.25, 0.07), "int4_group": (0.25, 0.07), "int4_zeros": (0.25, 0.07),
          "int8_group": (0.25, 0.07), "bf16": (0.08, 0.02)}
SCHEMES_AND_PLAIN = {**SCHEMES, "bf16": Plain()}
QWENS = [("bf16", "Qwen2ForCausalLM"), ("int4_group", "Qwen2ForCausalLM"),
         ("bf16", "Qwen3ForCausalLM"), ("fp8_block", "Qwen3ForCausalLM")]


def make_requests():
    random = numpy.random.default_rng(3)
    for length, options in ((1, {}), (17, {}), (40, {}), (90, {}),
                            (9, {"temperature": 1.0, "seed": 5}),
                            (33, {"temperature": 0.7, "seed": 6, "top_p": 0.9})):
        yield {"prompt": random.integers(0, 256, length).tolist(), "max_tokens": 12,
               "temperature": 0, "ignore_eos": True, "return_token_ids": True, "logprobs": 20,
               **options}


def answers(server):
    """(tokens, the twenty best of each) of every request."""
    model = server.get_model()
    replies = [server.post("/v1/completions", {"model": model, **body})["choices"][0]
               for body in make_requests()]
    return [(reply["token_ids"], reply["logprobs"]["top_logprobs"]) for reply in replies]


def errors_of(checkpoint, body, ids, tops):
    """The errors of log-probabilities of tokens that are told apart by their text."""
    expected = checkpoint.log_probabilities(body["prompt"] + ids)[len(body["prompt"]) - 1:-1]
    for token, top, row in zip(ids, tops, expected):
        if body["temperature"] == 0:  # the best, or one as good
            assert row[token] > row.max() - BOUNDS["int_channel"][0]
        for text, logprob in top.items():
            if len(text) == 1 and " " < text <= "~":
                yield logprob - row[ord(text)]


def near_float64_and_the_same(kind, checkpoint, splits):
    replies = []
    for ranks, *options in splits:
        with cluster.Cluster(ranks, *options, model=checkpoint.folder) as server:
            replies.append(answers(server))
    assert all(each == replies[0] for each in replies)
    errors = numpy.array([error for body, (ids, tops) in zip(make_requests(), replies[0])
                          for error in errors_of(checkpoint, body, ids, tops)])
    print(f"{kind}: {len(errors)} log-probabilities, rms {numpy.sqrt((errors**2).mean()):.4f}, "
          f"largest {abs(errors).max():.4f}")
    assert len(errors) > 300
    assert abs(errors).max() < BOUNDS[kind][0]
    assert numpy.sqrt((errors**2).mean()) < BOUNDS[kind][1]


@pytest.mark.parametrize("kind", SCHEMES)
def test_answers_are_near_float64_and_the_same_at_every_number_of_ranks(kind, tmp_path):
    checkpoint = Checkpoint(tmp_path / kind, SCHEMES[kind])
    near_float64_and_the_same(kind, checkpoint, [(1,), (2,), (3,)])


@pytest.mark.parametrize("kind,architecture", QWENS)
def test_so_are_those_of_other_families(kind, architecture, tmp_path):
    checkpoint = Checkpoint(tmp_path / kind, SCHEMES_AND_PLAIN[kind], architecture)
    near_float64_and_the_same(kind, checkpoint, [(1,), (2,), (3,), (2, "--pp", 2)])


@pytest.mark.parametrize("kind", SCHEMES)
def test_a_plan_tells_what_a_server_loads(kind, tmp_path):
    folder = Checkpoint(tmp_path / kind, SCHEMES[kind]).folder
    done = subprocess.run([str(cluster.BINARY), "plan", str(folder), "--tp", "2", "--json"],
                          capture_output=True, text=True, timeout=30, check=True)
    weights = json.loads(done.stdout)["plans"][0]["weight_bytes"]
    with cluster.Cluster(2, model=folder) as server:
        loaded = re.findall(r"rank \d of 2 on .*: ([0-9.]+) MiB of weights", server.log_text())
    assert max(map(float, loaded)) == round(weights / 2**20, 1)


def serve_log(folder, tmp_path):
    done = subprocess.run(
        ["mpirun", "-np", "2", str(cluster.BINARY), "serve", str(folder), "--threads", "1",
         "--zmq", f"ipc://{tmp_path}/socket"],
        capture_output=True, text=True, timeout=60, env=cluster.environment())
    assert done.returncode != 0
    return done.stderr


@pytest.mark.parametrize("bad,says", [(float("nan"), "nan"), (0.0, "0"), (-1.0, "-1")])
def test_a_scale_that_is_none_is_named(bad, says, tmp_path):
    scheme = SCHEMES["fp8_block"]
    checkpoint = Checkpoint(tmp_path / "bad", scheme)
    name = "model.layers.1.mlp.up_proj.weight_scale_inv"
    checkpoint.tensors[name][1][2, 1] = bad
    checkpoint.write(scheme)
    assert (f"tensor '{name}': number 7 is {says}; a scale of e4m3 is at least 1e-30 and at most "
            "1e+30") in serve_log(checkpoint.folder, tmp_path)


def test_a_weight_that_is_no_number_is_named(tmp_path):
    scheme = SCHEMES["float_channel"]
    checkpoint = Checkpoint(tmp_path / "bad", scheme)
    name = "model.layers.0.self_attn.k_proj.weight"
    checkpoint.tensors[name][1][95, 3] = 0x7F
    checkpoint.write(scheme)
    assert f"tensor '{name}': row 95 has a NaN" in serve_log(checkpoint.folder, tmp_path)

