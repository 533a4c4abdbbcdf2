"""Turns the figures of bench/compare.py into docs/performance.md's tables and plot."""

import datetime
import json
import os
import pathlib
import statistics
import subprocess

from servers import ROOT

MEASURED = "<!-- measured: written by bench/run.sh --write -->"
END = "<!-- end of measured -->"


def machine() -> dict:
    """What the figures were measured on."""
    info = pathlib.Path("/proc/cpuinfo").read_text()
    field = {line.split(":")[0].strip(): line.split(":")[1].strip()
             for line in info.splitlines() if ":" in line}
    wanted = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
    flags = field.get("flags", "").split()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True,
                            text=True).stdout.strip()
    return {"date": datetime.date.today().isoformat(), "cpu": field.get("model name", "?"),
            "cores": os.cpu_count(), "instructions": [f for f in wanted if f in flags],
            "commit": commit}


def load(results: pathlib.Path, section: str) -> dict | list | None:
    path = results / f"{section}.json"
    return json.loads(path.read_text()) if path.exists() else None


def over_runs(runs: list[dict], *path: str) -> str:
    """Median of one figure over runs, with its range when there are several."""
    values = []
    for run in runs:
        value = run
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            values.append(value)
    if not values:
        return "-"
    middle = f"{statistics.median(values):,.0f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):,.0f}-{max(values):,.0f})"


def server_table(figures: dict[str, list[dict]]) -> list[str]:
    counts = sorted({int(k) for runs in figures.values() for run in runs for k in run if k.isdigit()})
    head = ["", "decode, 1 sequence, tok/s", "first token of 512, ms"]
    head += [f"{c} at once, tok/s (first token, ms)" for c in counts]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, runs in figures.items():
        cells = [name, over_runs(runs, "1", "decode_tok_s"), over_runs(runs, "ttft_512_ms")]
        cells += [f"{over_runs(runs, str(c), 'tok_s')} ({over_runs(runs, str(c), 'ttft_ms')})"
                  for c in counts]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def product_table(products: dict) -> list[str]:
    ours = {(p["format"], p["threads"], p["n"], p["k"], p["m"]): p["us"] for p in products["lockstep"]}
    theirs = {(p["threads"], p["n"], p["k"], p["m"]): p["us"] for p in products.get("onednn", [])}
    rows = sorted({key[4] for key in ours})
    lines = ["| threads, shape | format | " + " | ".join(f"M={m}" for m in rows) + " |",
             "|---|---|" + "---|" * len(rows)]
    for (form, threads, n, k) in dict.fromkeys(key[:4] for key in ours):
        cells = []
        for m in rows:
            us = ours[form, threads, n, k, m]
            cell = f"{m * n * k / us * 1e-3:,.0f}"
            if form == "bf16" and (threads, n, k, m) in theirs:
                cell += f" ({theirs[threads, n, k, m] / us:.2f}x)"
            cells.append(cell)
        lines.append(f"| {threads}, {n}x{k} | {form} | " + " | ".join(cells) + " |")
    return lines


def markdown(results: pathlib.Path, model: str) -> str:
    about = load(results, "machine")
    lines = [f"Measured {about['date']} at commit {about['commit']} on {about['cpu']}, "
             f"{about['cores']} cores, {', '.join(about['instructions'])}.", ""]
    bandwidth = load(results, "bandwidth")
    if bandwidth:
        size = os.path.getsize(model)
        limit = bandwidth["2"] * 1e9 / size
        lines += [f"Memory reads: {bandwidth['1']} GB/s on one core, {bandwidth['2']} GB/s on two. "
                  f"SmolLM2 Q4_1 is {size / 2**20:.0f} MiB on disk: {limit:,.0f} tok/s is what two "
                  "cores could decode if every weight came from memory once a token.", ""]
    for section, title in (("smollm2", "SmolLM2-135M: prompts of 128 tokens, 128 out"),
                           ("llama1b", "Random weights in Llama-3.2-1B's shape: prompts of 128, 64 out")):
        figures = load(results, section)
        if figures:
            lines += [f"### {title}", "", "One streaming HTTP client for all; output tokens per second "
                      "over the whole run, prefill counted.", "", *server_table(figures), ""]
            if section == "smollm2":
                lines += ["![Output tokens per second](performance.svg)", ""]
    engines = load(results, "engines")
    if engines:
        lines += ["llama.cpp without a server (llama-bench): " + "; ".join(
            f"{name}: decode {f['decode']:.0f} tok/s, prefill of 512 {f['prefill']:.0f} tok/s"
            for name, f in engines.items()) + ".", ""]
    quality = load(results, "quality")
    if quality:
        best = {q["weights"]: q["perplexity"] for q in quality if q["activations"] == "f32"}
        lines += ["### What rounding costs", "", f"Perplexity of {quality[0]['tokens']:,} tokens of the "
                  "Debian FAQ (windows of 256), and its rise over activations in f32. The bf16 weights "
                  "are the Q4_1 weights rounded once more.", "",
                  "| weights | activations | perplexity | rise |", "|---|---|---|---|"]
        lines += [f"| {q['weights']} | {q['activations']} | {q['perplexity']:.3f} | "
                  f"{100 * (q['perplexity'] / best[q['weights']] - 1):+.2f} % |" for q in quality]
        lines.append("")
    products = load(results, "products")
    if products:
        lines += ["### Products alone", "", "GMAC/s, weights from memory; in brackets oneDNN's time "
                  "over ours for the same product in bf16 (above 1: ours is faster).", "",
                  *product_table(products), ""]
    return "\n".join(lines)


def plot(results: pathlib.Path, to: pathlib.Path) -> None:
    """Output tokens per second over concurrency."""
    import matplotlib
    matplotlib.use("svg")
    from matplotlib import pyplot
    matplotlib.rcParams["svg.hashsalt"] = "lockstep"
    figures = load(results, "smollm2")
    if not figures:
        return
    _, axes = pyplot.subplots(figsize=(7, 4))
    for name, runs in figures.items():
        counts = sorted(int(k) for k in runs[0] if k.isdigit())
        values = [statistics.median(run[str(c)]["tok_s"] for run in runs) for c in counts]
        style = "-" if name.startswith("Lockstep") else "--"
        axes.plot(counts, values, style, marker="o", label=name)
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [str(c) for c in counts])
    axes.set_xlabel("concurrent requests (128 tokens in, 128 out)")
    axes.set_ylabel("output tokens per second")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    pyplot.tight_layout()
    pyplot.savefig(to, metadata={"Date": None})


def write(results: pathlib.Path, text: str) -> None:
    """Puts the tables between the marks of docs/performance.md, and the plot beside it."""
    path = ROOT / "docs/performance.md"
    old = path.read_text()
    before, after = old.split(MEASURED)[0], old.split(END)[1]
    path.write_text(before + MEASURED + "\n" + text + END + after)
    plot(results, ROOT / "docs/performance.svg")
