"""The sections of bench/run.sh: each returns the figures that report.py makes a table of."""

import gzip
import pathlib
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import h11

import load
import make_models
import programs
from servers import CACHE, System, is_available, started

PROMPT, ANSWER, LONG = 128, 128, 512
TEXT = "/usr/share/doc/debian/FAQ/debian-faq.en.txt.gz"  # Debian's package debian-faq
MODELS = CACHE / "models"
BF16_GGUF, BF16_FOLDER = str(MODELS / "smollm2-bf16.gguf"), str(MODELS / "smollm2-bf16")

Figures = dict[str, float]


@dataclass(frozen=True)
class Plan:
    """What one call of bench/run.sh measures."""
    model: str   # the demo model, SmolLM2 in Q4_1
    runs: int    # of every system; they take turns
    quick: bool  # only to see that everything works


Measure = Callable[[System, int], dict]  # of a system in a run, counted from 1


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def take_turns(systems: list[System], runs: int, measure: Measure) -> dict[str, list[dict]]:
    """The figures of every system, a list of `runs`. The systems alternate, so that a change of the
    machine's speed meets all. One that fails is named and left out."""
    results: dict[str, list[dict]] = {}
    for system in systems:
        if not is_available(system):
            say(f"{system.name}: not installed, left out")
    for run in range(1, runs + 1):
        for system in filter(is_available, systems):
            try:
                figures = measure(system, run)
            except (RuntimeError, OSError, TimeoutError, h11.ProtocolError) as error:
                say(f"run {run}: {system.name} failed: {error or type(error).__name__}")
                continue
            say(f"run {run}: {system.name}: {figures}")
            results.setdefault(system.name, []).append(figures)
    return results


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


def under_load(concurrencies: list[int], prompt: int, answer: int) -> Measure:
    """Starts a server and asks it `concurrencies` requests at once, one after the other."""
    def measure(system: System, run: int) -> dict[str, Figures]:
        with started(system, prompt + answer + 32, max(concurrencies)) as url:
            load.run_round(url, 1, prompt, 8, 99_000 + run)  # warm up
            return {str(c): load.run_round(url, c, prompt, answer, 10_000 * run + 100 * c)
                    for c in concurrencies}
    return measure


def decode1(plan: Plan) -> dict:
    """Decoding one sequence; what memory allows is bandwidth over the bytes of all weights."""
    make_models.smollm2(plan.model, MODELS)
    answer, rounds = (32, 1) if plan.quick else (ANSWER, 3)

    def measure(system: System, run: int) -> Figures:
        if system.engine == "llama-bench":
            return {"tok_s": programs.llama_decode(system, PROMPT, answer, rounds)}
        with started(system, PROMPT + ANSWER + 32, 1) as url:
            load.run_round(url, 1, PROMPT, 8, 99_000 + run)  # warm up
            speeds = [load.run_round(url, 1, PROMPT, answer, 1000 * run + i)["decode_tok_s"]
                      for i in range(rounds)]
        return {"tok_s": statistics.median(speeds)}

    systems = [*lockstep_systems(plan, two_ranks=True),
               System("llama-batched-bench Q4_1, 2 threads", "llama-bench", plan.model),
               System("llama-batched-bench bf16, 2 threads", "llama-bench", BF16_GGUF)]
    bandwidth = programs.own("read_bandwidth")
    say(f"read bandwidth, GB/s by threads: {bandwidth}")
    return {"bandwidth": bandwidth,
            "weight_bytes": {"Q4_1": make_models.weight_bytes(plan.model),
                             "bf16": make_models.weight_bytes(BF16_GGUF)},
            "systems": take_turns(systems, plan.runs, measure)}


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
            load.run_round(url, 1, LONG, 1, 99_000 + run)  # warm up
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
    concurrencies, answer = ([1], 8) if plan.quick else ([1, 8, 16], 64)
    return take_turns(systems, plan.runs, under_load(concurrencies, PROMPT, answer))


def products(plan: Plan) -> dict[str, list]:
    words = ["--quick"] if plan.quick else []
    results = {"lockstep": programs.own("products", *words)}
    if programs.is_built("onednn"):
        results["onednn"] = programs.own("onednn", *words)
    else:
        say("oneDNN: not installed, left out")
    return results


def ranks(plan: Plan) -> dict[str, list[dict]]:
    make_models.smollm2(plan.model, MODELS)
    concurrencies, answer = ([1, 8], 32) if plan.quick else ([1, 8, 32], ANSWER)
    return take_turns(lockstep_systems(plan, two_ranks=True), plan.runs,
                      under_load(concurrencies, PROMPT, answer))


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
    return programs.own("fixed_order", plan.model)


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
