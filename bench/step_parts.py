"""The parts of a running server's steps, from its metrics."""

import re
import urllib.request
from collections.abc import Callable

PARTS = ("product", "attention", "all_reduce", "elementwise", "sampling", "waiting")
LINE = re.compile(r'^lockstep_step_part_seconds_total{part="(\w+)",rank="(\d+)"} (\S+)$', re.M)


def read_parts(http: str) -> dict[tuple[str, int], float]:
    """Seconds by (part, rank), as /metrics has them now."""
    with urllib.request.urlopen(http + "/metrics", timeout=10) as reply:
        text = reply.read().decode()
    return {(part, int(rank)): float(seconds) for part, rank, seconds in LINE.findall(text)}


def us_a_token(http: str, tokens: int, work: Callable[[], float]) -> dict[str, float]:
    """Microseconds a token of every part on every rank ("product rank 0") while `work()` answers
    requests of `tokens` tokens, and of "all": `work()` returns the tokens per second."""
    before = read_parts(http)
    speed = work()
    after = read_parts(http)
    return {f"{part} rank {rank}": 1e6 * (after[part, rank] - before[part, rank]) / tokens
            for part, rank in after} | {"all": 1e6 / speed}
