"""Steps that take longer than a deadline fail nobody."""

import json

import pytest

import cluster

DEADLINE_MS = 1000


@pytest.mark.parametrize("options", [(), ("--pp", 2)], ids=["tensor", "pipeline"])
def test_a_step_may_take_longer_than_the_deadline(options):
    with cluster.Cluster(2, "--deadline-ms", DEADLINE_MS, "--kernels", "scalar",
                         *options) as server:
        answer = server.generate("--token-ids", ",".join(["504"] * 64), "--max-tokens", 2,
                                 "--ignore-eos")
        assert answer["usage"]["completion_tokens"] == 2
        print("one step of", answer["timings"]["prefill_ms"], "ms")
        assert answer["timings"]["prefill_ms"] > 1.5 * DEADLINE_MS
        assert json.loads(server.get("/health"))["status"] == "healthy"
