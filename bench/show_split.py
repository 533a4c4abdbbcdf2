#!/usr/bin/env python3
"""Where the time of a running server goes: microseconds a token, and the share, of each part of a
step on each rank, while it answers requests that this program sends.

  bench/show_split.py [--http http://127.0.0.1:8000] [--zmq tcp://127.0.0.1:5555]
                      [--concurrency 1] [--prompt-tokens 32] [--max-tokens 128]

Shares are of the whole time from the first request to the last answer. "rest" is what no part
counts: the bookkeeping of steps, and the time in which no step ran. The coordinator works beside
the shards: its time is in none of the sums. Others' requests meanwhile spoil the figures."""

import argparse
import asyncio
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "clients/python"))

from lockstep_client import AsyncClient  # noqa: E402

from step_parts import PARTS, read_parts  # noqa: E402


async def load(options):
    """Answers `concurrency` requests at the same time; the number of their tokens."""
    async with AsyncClient(options.zmq) as client:
        answers = await asyncio.gather(*(
            client.generate(prompt_token_ids=[100 + i + j for j in range(options.prompt_tokens)],
                            max_tokens=options.max_tokens, temperature=0.0, ignore_eos=True)
            for i in range(options.concurrency)))
    return sum(len(answer.token_ids) for answer in answers)


def table(parts, seconds, tokens):
    """The lines of the table. `parts`: seconds spent meanwhile, by (part, rank)."""
    ranks = sorted({rank for _, rank in parts})
    rows = {part: [parts[part, rank] for rank in ranks] for part in PARTS}
    rows["rest"] = [seconds - sum(parts[part, rank] for part in PARTS) for rank in ranks]
    rows["all"] = [seconds] * len(ranks)
    rows["coordinator"] = [parts["coordinator", 0]]
    lines = ["us a token   " + "".join(f"{'rank ' + str(rank):>20}" for rank in ranks)]
    for name, values in rows.items():
        lines.append(f"{name:<13}" + "".join(
            f"{1e6 * value / tokens:>12,.1f}{100 * value / seconds:>6.1f} %" for value in values))
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--http", default="http://127.0.0.1:8000")
    parser.add_argument("--zmq", default="tcp://127.0.0.1:5555")
    parser.add_argument("--concurrency", type=int, default=1)
    parser.add_argument("--prompt-tokens", type=int, default=32)
    parser.add_argument("--max-tokens", type=int, default=128)
    options = parser.parse_args()
    asyncio.run(load(options))  # warm up
    before = read_parts(options.http)
    began = time.monotonic()
    tokens = asyncio.run(load(options))
    seconds = time.monotonic() - began
    after = read_parts(options.http)
    print(f"{tokens} tokens of {options.concurrency} requests in {seconds:.2f} s")
    print("\n".join(table({key: after[key] - before[key] for key in after}, seconds, tokens)))


if __name__ == "__main__":
    main()
