"""Where the time goes: the timeline of `serve --trace`, and the parts of a step on /metrics."""

import json
import re
import subprocess
import sys

import pytest

import cluster

STEPS, SKIP = 10, 5
LAYER_PHASES = ("qkv product", "rope and kv store", "attention", "o product", "gate/up product",
                "down product")  # once a layer


def spans(path):
    """The file's spans by rank."""
    by_rank = {}
    for event in json.loads(path.read_text()):
        if event["ph"] == "X":
            by_rank.setdefault(event["pid"], []).append(event)
    return by_rank


def named(events, name):
    return [event for event in events if event["name"] == name]


def inside(events, outer):
    end = outer["ts"] + outer["dur"] + 0.002  # times are rounded to nanoseconds
    return [event for event in events
            if event["tid"] == outer["tid"] and event is not outer
            and event["ts"] >= outer["ts"] - 0.002 and event["ts"] + event["dur"] <= end]


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    """A server that has answered long enough to write its timeline, and the timeline's path."""
    path = tmp_path_factory.mktemp("timeline") / "trace.json"
    with cluster.Cluster(2, "--trace", path, "--trace-steps", STEPS,
                         "--trace-skip", SKIP) as server:
        server.generate("--prompt", "1 2 3", "--max-tokens", 40, "--ignore-eos")
        yield server, path


def test_the_timeline_holds_ten_steps_of_both_ranks(traced):
    server, path = traced
    by_rank = spans(path)
    assert sorted(by_rank) == [0, 1]
    numbers = [[step["args"]["number"] for step in named(by_rank[rank], "step")] for rank in (0, 1)]
    assert len(numbers[0]) == STEPS and numbers[0] == numbers[1]
    for rank, events in by_rank.items():
        assert named(events, "wait for the plan")
        for step in named(events, "step"):
            within = inside(events, step)
            layers = [event["args"]["number"] for event in named(within, "layer")]
            assert layers == list(range(30))
            for phase in LAYER_PHASES:
                assert len(named(within, phase)) == 30, phase
            assert len(named(within, "norm")) == 61 and len(named(within, "all-reduce")) == 60
            for phase in ("embedding", "head product", "sampling"):
                assert len(named(within, phase)) == 1, phase
        assert re.search(rf"rank {rank}: \d+ spans of {STEPS} steps are in the timeline {path}",
                         server.log_text())
    for name in ("waiting", "receive reports", "deliver", "schedule", "publish", "send replies"):
        assert named(by_rank[0], name), name


def test_metrics_tell_the_parts_of_every_ranks_steps(traced):
    server, _ = traced
    for part, ranks in [("coordinator", [0]), *((part, [0, 1]) for part in (
            "product", "attention", "all_reduce", "elementwise", "sampling"))]:
        for rank in ranks:
            name = f'lockstep_step_part_seconds_total{{part="{part}",rank="{rank}"}}'
            assert server.metric(name) > 0, name


def test_metrics_tell_how_the_replica_computes(traced):
    server, _ = traced
    (labels,) = re.findall(r"^lockstep_replica_info{(.*)} 1$", server.get("/metrics"), re.M)
    assert {'device="cpu"', 'tensor_parallel="2"', 'pipeline_parallel="1"'} <= {*labels.split(",")}
    assert re.search(r'sums="(in_place|copied)"', labels) and re.search(r'kernels="\w+"', labels)


def test_show_split_prints_every_part_of_both_ranks(traced):
    server, _ = traced
    done = subprocess.run(
        [sys.executable, cluster.ROOT / "bench/show_split.py", "--http", server.http,
         "--zmq", server.zmq, "--concurrency", "2", "--max-tokens", "6"],
        capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    title, heading, *rows = done.stdout.splitlines()
    assert title.startswith("12 tokens of 2 requests")
    assert heading.split() == ["us", "a", "token", "rank", "0", "rank", "1"]
    assert [row.split()[0] for row in rows] == [
        "product", "attention", "all_reduce", "elementwise", "sampling", "waiting", "rest", "all",
        "coordinator"]
