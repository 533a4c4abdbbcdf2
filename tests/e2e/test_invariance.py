"""The cluster is invisible in the answer: the same requests give the same tokens, bit for bit, at
any number of ranks, alone or in company, with any prefill chunk."""

import concurrent.futures
import itertools
import random

import pytest

import cluster

WORDS = ("the a rank token sees river of light 42 seven in Paris and def return C++ naïve "
         "语言 мир because under blue over").split()


def make_requests(count=64, seed=2024):
    """Mixed lengths, greedy and sampled in every way, each with its own seed."""
    print("seed", seed)
    pick = random.Random(seed)
    requests = []
    for i in range(count):
        length = pick.choice([1, 3, 17, 40, 90, 200])
        body = {"prompt": " ".join(pick.choices(WORDS, k=length)), "max_tokens": pick.randint(1, 16),
                "temperature": 0, "ignore_eos": True, "return_token_ids": True}
        if i % 2:
            body.update(temperature=pick.choice([0.5, 1.0, 1.7]), seed=pick.randrange(2**32))
        if i % 4 == 3:
            body.update(top_k=pick.choice([-1, 5, 50]), top_p=pick.choice([1.0, 0.9]),
                        min_p=pick.choice([0, 0.05]))
        if i % 8 == 5:
            body.update(presence_penalty=0.5, frequency_penalty=0.3, repetition_penalty=1.2)
        requests.append(body)
    return requests


def choices(server, requests, concurrency):
    """Tokens, their logprobs, and why they end."""
    model = server.get_model()
    with concurrent.futures.ThreadPoolExecutor(concurrency) as pool:
        replies = pool.map(lambda body: server.post("/v1/completions", {"model": model, **body}),
                           requests)
        return [reply["choices"][0] for reply in replies]


def answers(server, requests, concurrency):
    return [choice["token_ids"] for choice in choices(server, requests, concurrency)]


@pytest.fixture(scope="module")
def expected():
    """One rank, one at a time, whole prompts, no drafts."""
    with cluster.Cluster(1, "--max-num-batched-tokens", 512,
                         "--num-speculative-tokens", 0) as server:
        return answers(server, make_requests(), 1)


def test_the_requests_ask_for_different_things(expected):
    assert len({tuple(ids) for ids in expected}) > 48
    assert all(len(ids) == body["max_tokens"] for ids, body in zip(expected, make_requests()))


@pytest.mark.parametrize("ranks,chunk", list(itertools.product([1, 2, 3], [16, 512])))
def test_same_tokens(expected, ranks, chunk):
    # A plan holds a token of every running sequence: a chunk of 16 runs 16 at a time.
    with cluster.Cluster(ranks, "--max-num-batched-tokens", chunk,
                         "--max-num-seqs", min(chunk, 32)) as server:
        assert answers(server, make_requests(), 32) == expected
        assert answers(server, make_requests(), 1) == expected


@pytest.mark.parametrize("tp,pp", [(1, 2), (1, 3), (2, 2)])
def test_same_tokens_in_a_pipeline(expected, tp, pp):
    with cluster.Cluster(tp * pp, "--pp", pp, "--max-num-batched-tokens", 32,
                         "--max-num-seqs", 32) as server:
        assert f"stages={pp}" in server.ready_line
        assert answers(server, make_requests(), 32) == expected
        assert answers(server, make_requests()[:16], 1) == expected[:16]


@pytest.mark.parametrize("pp", [1, 2])
def test_same_tokens_after_preemption(expected, pp):
    """A cache too small for all: sequences are thrown out and computed again."""
    with cluster.Cluster(2, "--pp", pp, "--kv-cache-memory", "12MiB", "--max-model-len",
                         512) as server:
        # Who meets whom in the cache is a matter of timing: a round may do without a preemption.
        for _ in range(10):
            assert answers(server, make_requests(), 32) == expected
            if server.metric("lockstep_num_preemptions_total") > 0:
                return
        pytest.fail("ten rounds and no preemption")


def make_repeating_requests():
    """Answers that repeat themselves or their prompts, and some that would if they were let."""
    code = "def area(width, height):\n    return width * height\n"
    prompts = ["1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4, 1, 2,",
               f"Copy this twice.\n\n{code}\n{code}\ndef area(width",
               "The cat sat on the mat. The dog sat on the log. The cat sat on",
               '[{"name": "Ann", "age": 1}, {"name": "Bob", "age": 2}, {"name": "Cyd",']
    ways = [{"temperature": 0}, {"temperature": 0, "logprobs": 3},
            {"temperature": 0.7, "seed": 3}, {"temperature": 1.2, "top_p": 0.8, "seed": 4},
            {"temperature": 0, "repetition_penalty": 1.1, "presence_penalty": 0.2},
            {"temperature": 0, "min_tokens": 30, "ignore_eos": False}]
    return [{"prompt": prompt, "max_tokens": 48, "ignore_eos": True, "return_token_ids": True, **way}
            for prompt, way in itertools.product(prompts, ways)]


@pytest.fixture(scope="module")
def expected_repeating():
    with cluster.Cluster(1, "--num-speculative-tokens", 0) as server:
        found = choices(server, make_repeating_requests(), 8)
        assert server.metric("lockstep_spec_decode_num_draft_tokens_total") == 0
        return found


@pytest.mark.parametrize("tp,pp,drafts", [(1, 1, 7), (2, 1, 1), (3, 1, 40), (1, 2, 7),
                                          (2, 2, 3)])
def test_same_answers_with_drafts(expected_repeating, tp, pp, drafts):
    with cluster.Cluster(tp * pp, "--pp", pp, "--num-speculative-tokens", drafts) as server:
        for concurrency in (1, 3):
            assert choices(server, make_repeating_requests(), concurrency) == expected_repeating
        drafted = server.metric("lockstep_spec_decode_num_draft_tokens_total")
        accepted = server.metric("lockstep_spec_decode_num_accepted_tokens_total")
        tokens = server.metric("lockstep_generation_tokens_total")
        # Most of what is guessed is right, and there is a good deal of it.
        assert tokens / 8 < accepted < drafted < 2 * accepted, (tokens, drafted, accepted)


def test_drafts_do_not_outgrow_a_small_cache(expected_repeating):
    """Sequences that guess ahead, and are thrown out while their guesses are in flight."""
    with cluster.Cluster(2, "--kv-cache-memory", "3MiB", "--max-model-len", 160,
                         "--num-speculative-tokens", 40) as server:
        for _ in range(10):
            assert choices(server, make_repeating_requests(), 6) == expected_repeating
            if server.metric("lockstep_num_preemptions_total") > 0:
                break
        else:
            pytest.fail("ten rounds and no preemption")
        assert server.metric("lockstep_spec_decode_num_accepted_tokens_total") > 0


def test_drafts_leave_room_for_prompts(expected_repeating):
    """Sequences that guess ahead beside others that begin, with room for hardly more than they need."""
    with cluster.Cluster(1, "--max-num-seqs", 3, "--max-num-batched-tokens", 9) as server:
        assert choices(server, make_repeating_requests(), 5) == expected_repeating
        assert choices(server, make_repeating_requests()[:6], 2) == expected_repeating[:6]
        assert server.metric("lockstep_spec_decode_num_accepted_tokens_total") > 0
