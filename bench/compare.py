"""Measures Lockstep and its peers side by side. Called by bench/run.sh."""

import argparse
import gzip
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import load
import make_models
import report
from servers import CACHE, ROOT, System, is_available, llama_cpp_folder, started

PROMPT, ANSWER, LONG = 128, 128, 512
SECTIONS = ("bandwidth", "quality", "smollm2", "engines", "llama1b", "products")
TEXT = "/usr/share/doc/debian/FAQ/debian-faq.en.txt.gz"  # Debian's package debian-faq


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def smollm2_systems(model: str) -> list[System]:
    bf16 = str(CACHE / "models/smollm2-bf16.gguf")
    folder = str(CACHE / "models/smollm2-bf16")
    return [System("Lockstep Q4_1, 1 rank x 2 threads", "lockstep", model),
            System("Lockstep Q4_1, 2 ranks x 1 thread", "lockstep", model, ranks=2, threads=1),
            System("Lockstep bf16, 1 rank x 2 threads", "lockstep", folder),
            System("llama-server Q4_1", "llama.cpp", model),
            System("llama-server bf16", "llama.cpp", bf16),
            System("vLLM bf16", "vllm", folder)]


def llama1b_systems() -> list[System]:
    at = CACHE / "models"
    return [System("Lockstep Q4_0, 1 rank x 2 threads", "lockstep", str(at / "llama1b-q4_0.gguf")),
            System("Lockstep bf16, 1 rank x 2 threads", "lockstep", str(at / "llama1b-bf16")),
            System("Lockstep bf16, 2 ranks x 1 thread", "lockstep", str(at / "llama1b-bf16"), ranks=2,
                   threads=1),
            System("llama-server Q4_0", "llama.cpp", str(at / "llama1b-q4_0.gguf")),
            System("llama-server bf16", "llama.cpp", str(at / "llama1b-bf16.gguf")),
            System("vLLM bf16", "vllm", str(at / "llama1b-bf16"))]


def measure_server(system: System, concurrencies: list[int], answer: int, run: int) -> dict:
    """All figures of one server in one run; what failed is missing."""
    result: dict = {}
    begin = time.monotonic()
    with started(system, LONG + 128, max(concurrencies)) as url:
        result["ready_s"] = time.monotonic() - begin
        load.run_round(url, 1, PROMPT, 8, 99_000 + run)  # warm up
        ttft = [load.run_round(url, 1, LONG, 1, 1000 * run + i)["ttft_ms"] for i in range(3)]
        result["ttft_512_ms"] = statistics.median(ttft)
        for c in concurrencies:
            figures = load.run_round(url, c, PROMPT, answer, 10_000 * run + 100 * c)
            result[str(c)] = figures
            say(f"  {system.name}, {c} at once: {figures['tok_s']:.0f} tok/s, "
                f"first token {figures['ttft_ms']:.0f} ms, decode {figures['decode_tok_s']:.0f}")
    return result


def measure_servers(systems: list[System], concurrencies: list[int], answer: int,
                    runs: int) -> dict[str, list[dict]]:
    results: dict[str, list[dict]] = {}
    for run in range(1, runs + 1):
        for system in systems:
            if not is_available(system):
                say(f"{system.name}: not installed, skipped")
                continue
            say(f"run {run}: {system.name}")
            try:
                results.setdefault(system.name, []).append(
                    measure_server(system, concurrencies, answer, run))
            except RuntimeError as error:
                say(f"{system.name} failed: {error}")
    return results


def program(name: str, *words: str) -> dict:
    """Runs one of bench's own programs, which print JSON."""
    done = subprocess.run([ROOT / "build/cpu-release/bench" / name, *words], capture_output=True,
                          text=True, check=True)
    return json.loads(done.stdout)


def measure_engines(model: str, runs: int) -> dict:
    """llama.cpp without a server: llama-bench's decode and prefill."""
    folder = llama_cpp_folder()
    if folder is None:
        return {}
    files = {"llama-bench Q4_1": model,
             "llama-bench bf16": str(CACHE / "models/smollm2-bf16.gguf")}
    results = {}
    for name, file in files.items():
        done = subprocess.run([f"{folder}/llama-bench", "-m", file, "-p", str(LONG), "-n", "128",
                               "-t", "2", "-r", str(runs), "-fa", "1", "-o", "json"],
                              capture_output=True, text=True, check=True,
                              env=dict(os.environ, LD_LIBRARY_PATH=str(folder)))
        rows = json.loads(done.stdout)
        results[name] = {("prefill" if row["n_prompt"] else "decode"): row["avg_ts"] for row in rows}
        say(f"{name}: {results[name]}")
    return results


def measure_quality(model: str) -> list[dict]:
    """Perplexity of a fixed text for every kind of weights and activations."""
    if not pathlib.Path(TEXT).exists():
        say(f"no {TEXT} (Debian's debian-faq): no perplexities")
        return []
    text = CACHE / "bench/text"
    text.write_bytes(gzip.decompress(pathlib.Path(TEXT).read_bytes()))
    folder = str(CACHE / "models/smollm2-bf16")
    rows = [("Q4_1", model, "f32"), ("Q4_1", model, "bf16"), ("Q4_1", model, "int8"),
            ("bf16", folder, "f32"), ("bf16", folder, "bf16")]
    results = []
    for weights, path, activations in rows:
        results.append({"weights": weights, "activations": activations,
                        **program("bench_perplexity", path, str(text), activations)})
        say(str(results[-1]))
    return results


def measure_products() -> dict:
    results = {"lockstep": program("bench_products")}
    if (ROOT / "build/cpu-release/bench/bench_onednn").exists():
        results["onednn"] = program("bench_onednn")
    return results


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench/run.sh", description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--only", action="append", choices=SECTIONS, help="a section; may be repeated")
    parser.add_argument("--runs", type=int, default=1, help="of every system, taking turns [1]")
    parser.add_argument("--quick", action="store_true", help="1 and 8 at once, 32 tokens")
    parser.add_argument("--write", action="store_true", help="write docs/performance.md and its plot")
    options = parser.parse_args()
    sections = options.only or SECTIONS
    results_at = CACHE / "bench"
    results_at.mkdir(parents=True, exist_ok=True)
    concurrencies, answer = ([1, 8], 32) if options.quick else ([1, 8, 32, 64], ANSWER)

    def keep(section: str, figures: dict | list) -> None:
        (results_at / f"{section}.json").write_text(json.dumps(figures, indent=1))

    keep("machine", report.machine())
    make_models.make_smollm2(options.model, CACHE / "models")
    if "bandwidth" in sections:
        keep("bandwidth", program("bench_read_bandwidth"))
    if "quality" in sections:
        keep("quality", measure_quality(options.model))
    if "smollm2" in sections:
        keep("smollm2", measure_servers(smollm2_systems(options.model), concurrencies, answer,
                                        options.runs))
    if "engines" in sections:
        keep("engines", measure_engines(options.model, options.runs))
    if "llama1b" in sections:
        make_models.make_llama1b(options.model, CACHE / "models")
        keep("llama1b", measure_servers(llama1b_systems(), [1] if options.quick else [1, 8, 16],
                                        min(answer, 64), options.runs))
    if "products" in sections:
        keep("products", measure_products())
    text = report.markdown(results_at, options.model)
    print(text)
    if options.write:
        report.write(results_at, text)


if __name__ == "__main__":
    main()
