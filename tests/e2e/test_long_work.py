"""Steps that take longer than a deadline, and texts that take long to tokenize, fail nobody."""

import concurrent.futures
import json
import random
import string
import time
import urllib.error
import urllib.request

import pytest

import cluster

DEADLINE_MS = 2000


@pytest.mark.parametrize("options", [(), ("--pp", 2)], ids=["tensor", "pipeline"])
def test_a_step_may_take_longer_than_the_deadline(options):
    with cluster.Cluster(2, "--deadline-ms", DEADLINE_MS, "--kernels", "scalar",
                         *options) as server:
        answer = server.generate("--token-ids", ",".join(["504"] * 128), "--max-tokens", 2,
                                 "--ignore-eos")
        assert answer["usage"]["completion_tokens"] == 2
        print("one step of", answer["timings"]["prefill_ms"], "ms")
        assert answer["timings"]["prefill_ms"] > 1.5 * DEADLINE_MS
        assert json.loads(server.get("/health"))["status"] == "healthy"


def open_stream(server, body):
    request = urllib.request.Request(server.http + "/v1/completions",
                                     json.dumps({**body, "stream": True}).encode(),
                                     {"Content-Type": "application/json"})
    return urllib.request.urlopen(request, timeout=60)


def test_streams_go_on_while_long_texts_are_tokenized():
    with cluster.Cluster(1, "--deadline-ms", DEADLINE_MS) as server:
        model = server.get_model()

        def ask(seed):
            letters = "".join(random.Random(seed).choices(string.ascii_letters, k=400_000))
            try:
                server.post("/v1/completions", {"model": model, "max_tokens": 1, "prompt": letters})
            except urllib.error.HTTPError as refused:
                return json.loads(refused.read())["error"]["code"]

        stream = {"model": model, "prompt": "Count: 1 2 3", "max_tokens": 8000, "ignore_eos": True}
        with open_stream(server, stream) as answer, \
                concurrent.futures.ThreadPoolExecutor(32) as pool:
            assert answer.readline().startswith(b"data:")
            begin = time.monotonic()
            texts = [pool.submit(ask, seed) for seed in range(32)]
            counts = []
            while not all(text.done() for text in texts):
                counts.append(server.metric("lockstep_generation_tokens_total"))
                time.sleep(0.2)
            print(f"texts took {time.monotonic() - begin:.1f} s; tokens meanwhile: {counts}")
            assert {text.result() for text in texts} == {"context_length_exceeded"}
        # Some in every part of that time, not before and after it.
        middle = counts[len(counts) // 2]
        assert counts[0] < middle < counts[-1]
