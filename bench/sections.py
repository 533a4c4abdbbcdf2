"""The sections of bench/run.sh: each returns the figures that report.py makes a table of."""

import contextlib
import gzip
import pathlib
import statistics
import time
from dataclasses import dataclass

import guessing
import load
import make_models
import programs
from rounds import (FAILURES, Figures, beside_memory, in_pairs, one_beside_memory, rounds_of, say,
                    take_turns, under_load, warm_up)
from servers import CACHE, System, is_available, started
from step_parts import us_a_token

PROMPT, ANSWER, LONG = 128, 128, 512
ORDINARY, AT_ONCE = 1024, 8  # positions of an ordinary request and its answer; such requests at once
TEXT = "/usr/share/doc/debian/FAQ/debian-faq.en.txt.gz"  # Debian's package debian-faq
MODELS = CACHE / "models"
BF16_GGUF, BF16_FOLDER = str(MODELS / "smollm2-bf16.gguf"), str(MODELS / "smollm2-bf16")
# Outputs by inputs: SmolLM2-135M's queries, keys and values, MLP (in, out) and output layer;
# Llama-3.2-1B's MLP.
SHAPES = ((960, 576), (1536, 576), (576, 1536), (49152, 576), (8192, 2048), (2048, 8192))
PRODUCT_ROWS = (1, 8, 32, 128, 512)


@dataclass(frozen=True)
class Plan:
    """What one call of bench/run.sh measures."""
    model: str   # the demo model, SmolLM2 in Q4_1
    runs: int    # of every system; they take turns
    quick: bool  # only to see that everything works


def lockstep_systems(plan: Plan, two_ranks: bool) -> list[System]:
    """Lockstep on SmolLM2 in both formats, on one rank and perhaps also on two."""
    systems = []
    for form, model in (("Q4_1", plan.model), ("bf16", BF16_FOLDER)):
        systems.append(System(f"Lockstep {form}, 1 rank x 2 threads", "lockstep", model))
        if two_ranks:
            systems.append(System(f"Lockstep {form}, 2 ranks x 1 thread", "lockstep", model, 2, 1))
    # Elsewhere that is what it does anyway.
    if "amx_bf16" in pathlib.Path("/proc/cpuinfo").read_text():
        systems.append(System("Lockstep Q4_1, int8 activations", "lockstep", plan.model,
                              activations="int8"))
    return systems


def decode1(plan: Plan) -> dict:
    """Decoding one sequence, beside what memory allows."""
    make_models.smollm2(plan.model, MODELS)
    answer, rounds = (32, 1) if plan.quick else (ANSWER, 5)

    def measure(system: System, run: int) -> Figures:
        size = make_models.weight_bytes(plan.model if system.model == plan.model else BF16_GGUF)
        if system.engine == "llama-bench":
            return beside_memory(lambda _: programs.llama_decode(system, PROMPT, answer, 1),
                                 rounds, size)
        with started(system, PROMPT + ANSWER + 32, 1) as url:
            warm_up(url, PROMPT, run)
            return one_beside_memory(url, PROMPT, answer, run, rounds, size)

    systems = [*lockstep_systems(plan, two_ranks=True),
               System("llama-batched-bench Q4_1, 2 threads", "llama-bench", plan.model),
               System("llama-batched-bench bf16, 2 threads", "llama-bench", BF16_GGUF)]
    return take_turns(systems, plan.runs, measure)


def serving(plan: Plan) -> dict[str, list[dict]]:
    make_models.smollm2(plan.model, MODELS)
    systems = [*lockstep_systems(plan, two_ranks=False),
               System("llama-server Q4_1", "llama.cpp", plan.model),
               System("llama-server bf16", "llama.cpp", BF16_GGUF),
               System("vLLM bf16", "vllm", BF16_FOLDER)]
    concurrencies, answer = ([1, 8], 32) if plan.quick else ([1, 8, 32, 64], ANSWER)
    return take_turns(systems, plan.runs, under_load(concurrencies, PROMPT, answer))


def prefill(plan: Plan) -> dict[str, list[dict]]:
    make_models.smollm2(plan.model, MODELS)
    rounds = 1 if plan.quick else 5

    def measure(system: System, run: int) -> Figures:
        if system.engine == "llama-bench":
            return {"ttft_ms": programs.llama_prefill_ms(system, LONG, rounds)}
        with started(system, LONG + 32, 1) as url:
            warm_up(url, LONG, run)
            return {"ttft_ms": statistics.median(
                load.run_round(url, 1, LONG, 1, 1000 * run + i)["ttft_ms"] for i in range(rounds))}

    systems = [*lockstep_systems(plan, two_ranks=False),
               System("llama-bench Q4_1", "llama-bench", plan.model),
               System("llama-bench bf16", "llama-bench", BF16_GGUF)]
    return take_turns(systems, plan.runs, measure)


def llama1b(plan: Plan) -> dict[str, list[dict]]:
    make_models.llama1b(plan.model, MODELS)
    q4, bf16, folder = (str(MODELS / name) for name in
                        ("llama1b-q4_0.gguf", "llama1b-bf16.gguf", "llama1b-bf16"))
    systems = [System("Lockstep Q4_0, 1 rank x 2 threads", "lockstep", q4),
               System("Lockstep bf16, 1 rank x 2 threads", "lockstep", folder),
               System("Lockstep bf16, 2 ranks x 1 thread", "lockstep", folder, 2, 1),
               System("llama-server Q4_0", "llama.cpp", q4),
               System("llama-server bf16", "llama.cpp", bf16),
               System("vLLM bf16", "vllm", folder)]
    concurrencies, answer, rounds = ([1], 8, 1) if plan.quick else ([1, 8, 16], 64, 3)

    def measure(system: System, run: int) -> dict[str, Figures]:
        size = make_models.weight_bytes(q4 if system.model == q4 else bf16)
        with started(system, PROMPT + answer + 32, max(concurrencies)) as url:
            warm_up(url, PROMPT, run)
            alone = one_beside_memory(url, PROMPT, answer, run, rounds, size)
            return {"alone": alone} | rounds_of(url, concurrencies, PROMPT, answer, run)

    return take_turns(systems, plan.runs, measure)


def products(plan: Plan) -> list[dict]:
    """A library's products of one shape right after the other's: where both have them, `times` is
    oneDNN's time over Lockstep's."""
    rows = PRODUCT_ROWS[:2] if plan.quick else PRODUCT_ROWS
    with_onednn = programs.is_built("onednn")
    if not with_onednn:
        say("oneDNN: not installed, left out")
    results = []
    for run in range(1, plan.runs + 1):
        for threads in (1, 2):
            for n, k in SHAPES:
                ours, theirs, quantized = (
                    programs.own(name, *map(str, (threads, n, k, form, *rows)))
                    if name == "products" or with_onednn else []
                    for name, form in (("products", "bf16"), ("onednn", "bf16"),
                                       ("products", "q4_1")))
                for one, other in zip(ours, theirs):
                    one["times"] = other["us"] / one["us"]
                results += [figures | {"run": run} for figures in (*ours, *quantized)]
        say(f"run {run}: done")
    return results


def ranks(plan: Plan) -> dict[str, list[dict]]:
    """One rank of two threads and two ranks of one, both up, asked by turns."""
    make_models.smollm2(plan.model, MODELS)
    rounds, answer = ({1: 1, 8: 1}, 32) if plan.quick else ({1: 9, 8: 5, 32: 3}, ANSWER)
    results: dict[str, list[dict]] = {}
    for run in range(1, plan.runs + 1):
        for form, model in (("Q4_1", plan.model), ("bf16", BF16_FOLDER)):
            one = System(f"{form}, 1 rank x 2 threads", "lockstep", model)
            two = System(f"{form}, 2 ranks x 1 thread", "lockstep", model, 2, 1)
            try:
                figures = in_pairs(one, two, rounds, PROMPT, answer, run)
            except FAILURES as error:
                say(f"run {run}: {form} failed: {error or type(error).__name__}")
                continue
            say(f"run {run}: {form}: {figures}")
            results.setdefault(form, []).append(figures)
    return results


def speculation(plan: Plan) -> list[dict]:
    """Ordinary requests with and without guessing ahead, and to llama-server, all up and asked by
    turns. Throws guessing.AnswersDiffer."""
    work = guessing.QUICK if plan.quick else guessing.ALL
    off, on = (System(f"Lockstep Q4_1, {name}", "lockstep", plan.model, guesses=guesses)
               for name, guesses in (("no guesses", 0), ("guessing ahead", None)))
    peer = System("llama-server Q4_1", "llama.cpp", plan.model)
    if not is_available(peer):
        say(f"{peer.name}: not installed, left out")
    results = []
    for run in range(1, plan.runs + 1):
        try:
            with contextlib.ExitStack() as up:
                urls = [up.enter_context(started(system, ORDINARY, most)) if is_available(system)
                        else None for system, most in ((off, AT_ONCE), (on, AT_ONCE), (peer, 1))]
                results.append(guessing.measure(guessing.Urls(*urls), work))
        except FAILURES as error:
            say(f"run {run}: failed: {error or type(error).__name__}")
            continue
        say(f"run {run}: {results[-1]}")
    return results


def split(plan: Plan) -> dict[str, list[dict]]:
    """Where the time of a token goes, prompts included."""
    make_models.smollm2(plan.model, MODELS)
    concurrencies, answer = ([1, 8], 32) if plan.quick else ([1, 8, 32], ANSWER)

    def measure(system: System, run: int) -> dict[str, dict]:
        with started(system, PROMPT + answer + 32, max(concurrencies)) as url:
            warm_up(url, PROMPT, run)
            return {str(count): us_a_token(
                url, count * answer, lambda count=count: load.run_round(
                    url, count, PROMPT, answer, 10_000 * run + 100 * count)["tok_s"])
                for count in concurrencies}

    return take_turns(lockstep_systems(plan, two_ranks=True), plan.runs, measure)


def quality(plan: Plan) -> list[dict]:
    """Perplexity of a fixed text for every kind of weights and activations."""
    if not pathlib.Path(TEXT).exists():
        say("Debian's debian-faq is not installed: no text to take the perplexity of")
        return []
    make_models.smollm2(plan.model, MODELS)
    text = CACHE / "bench/text"
    text.write_bytes(gzip.decompress(pathlib.Path(TEXT).read_bytes()))
    rows = [("Q4_1", plan.model, "f32", "bf16"), ("Q4_1", plan.model, "bf16", "bf16"),
            ("Q4_1", plan.model, "int8", "bf16"), ("Q4_1", plan.model, "int8", "int8"),
            ("bf16", BF16_FOLDER, "f32", "bf16"), ("bf16", BF16_FOLDER, "bf16", "bf16"),
            ("bf16", BF16_FOLDER, "bf16", "int8")]
    results = []
    for weights, path, activations, cache in rows:
        results.append({"weights": weights, "activations": activations, "cache": cache,
                        **programs.own("perplexity", path, str(text), activations, cache)})
        say(str(results[-1]))
    return results


def order(plan: Plan) -> list[dict]:
    """The row-parallel products and their all-reduces in the fixed order, and in a free one."""
    return [figures | {"run": run} for run in range(1, plan.runs + 1)
            for figures in programs.own("fixed_order", plan.model)]


def start(plan: Plan) -> dict[str, list[dict]]:
    """From the start of a server to its first token; the files are in the page cache."""
    make_models.llama1b(plan.model, MODELS)
    q4, folder = str(MODELS / "llama1b-q4_0.gguf"), str(MODELS / "llama1b-bf16")

    def measure(system: System, run: int) -> Figures:
        programs.read_whole(system.model)
        begin = time.monotonic()
        with started(system, 256, 1) as url:
            load.run_round(url, 1, 16, 1, run)
            return {"s": time.monotonic() - begin}

    systems = [System("Lockstep Q4_0, 1 rank x 2 threads", "lockstep", q4),
               System("Lockstep bf16, 1 rank x 2 threads", "lockstep", folder),
               System("llama-server Q4_0", "llama.cpp", q4),
               System("vLLM bf16", "vllm", folder)]
    return take_turns(systems, plan.runs, measure)
