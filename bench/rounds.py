"""How systems are measured so that the machine's changes of pace meet all of them: by turns, in pairs,
and beside what memory gives in the same seconds."""

import statistics
import sys
from collections.abc import Callable

import h11

import load
import programs
from servers import System, is_available, started

Figures = dict[str, float]
Measure = Callable[[System, int], dict]  # of a system in a run, counted from 1
# What a system that does not start, or does not answer as it should, ends in.
FAILURES = (RuntimeError, OSError, TimeoutError, h11.ProtocolError)


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
            except FAILURES as error:
                say(f"run {run}: {system.name} failed: {error or type(error).__name__}")
                continue
            say(f"run {run}: {system.name}: {figures}")
            results.setdefault(system.name, []).append(figures)
    return results


def warm_up(url: str, prompt: int, run: int) -> None:
    load.run_round(url, 1, prompt, 8, 99_000 + run)


def rounds_of(url: str, concurrencies: list[int], prompt: int, answer: int,
              run: int) -> dict[str, Figures]:
    """A round of each number of requests at once."""
    return {str(c): load.run_round(url, c, prompt, answer, 10_000 * run + 100 * c)
            for c in concurrencies}


def under_load(concurrencies: list[int], prompt: int, answer: int) -> Measure:
    """Starts a server and asks it `concurrencies` requests at once, one after the other."""
    def measure(system: System, run: int) -> dict[str, Figures]:
        with started(system, prompt + answer + 32, max(concurrencies)) as url:
            warm_up(url, prompt, run)
            return rounds_of(url, concurrencies, prompt, answer, run)
    return measure


def read_bandwidth() -> float:
    """GB/s that this machine reads now, by one thread or two: what is more."""
    return max(programs.own("read_bandwidth").values())


def beside_memory(speed: Callable[[int], float], rounds: int, weight_bytes: int) -> Figures:
    """`speed(round)` are tokens per second of one sequence, measured `rounds` times between readings
    of the bandwidth: `tok_s`; `limit`, the tokens per second that reading all weights once a token
    allows; `share`, the first over the second in the same seconds. Medians."""
    gb_s, speeds = [read_bandwidth()], []
    for i in range(rounds):
        speeds.append(speed(i))
        gb_s.append(read_bandwidth())
    limits = [(before + after) / 2 * 1e9 / weight_bytes for before, after in zip(gb_s, gb_s[1:])]
    return {"tok_s": statistics.median(speeds), "limit": statistics.median(limits),
            "share": statistics.median(speed / limit for speed, limit in zip(speeds, limits))}


def one_beside_memory(url: str, prompt: int, answer: int, run: int, rounds: int,
                      weight_bytes: int) -> Figures:
    """The same of a server that decodes one sequence."""
    return beside_memory(
        lambda i: load.run_round(url, 1, prompt, answer, 1000 * run + i)["decode_tok_s"],
        rounds, weight_bytes)


def in_pairs(first: System, second: System, rounds: dict[int, int], prompt: int, answer: int,
             run: int) -> dict[str, dict]:
    """Both servers are up and asked the same by turns, seconds apart, each one first every other time:
    `rounds` says how often for so many requests at once. For each of these numbers and for
    "decode_tok_s" and "ttft_ms" the medians of either, and of the second's figure over the first's
    in a pair."""
    results = {}
    with (started(first, prompt + answer + 32, max(rounds)) as one,
          started(second, prompt + answer + 32, max(rounds)) as two):
        for url in (one, two):
            warm_up(url, prompt, run)
        for count, pairs in rounds.items():
            found = []
            for i in range(pairs):
                seed = 10_000 * run + 100 * count + count * i  # no prompt comes twice
                figures = {url: load.run_round(url, count, prompt, answer, seed)
                           for url in ((one, two) if i % 2 == 0 else (two, one))}
                found.append((figures[one], figures[two]))
            results[str(count)] = {key: {
                "first": statistics.median(a[key] for a, _ in found),
                "second": statistics.median(b[key] for _, b in found),
                "ratio": statistics.median(b[key] / a[key] for a, b in found),
            } for key in ("decode_tok_s", "ttft_ms")}
    return results
