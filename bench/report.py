"""Turns .cache/bench/*.json into docs/performance.md's tables and plot."""

import datetime
import json
import os
import pathlib
import statistics
import subprocess
from collections.abc import Callable

from servers import CACHE, ROOT

MEASURED = "<!-- measured: written by bench/run.sh --write -->"
END = "<!-- end of measured -->"
INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")

Runs = list[dict]


def about_machine() -> dict:
    """What figures are measured on."""
    info = pathlib.Path("/proc/cpuinfo").read_text()
    field = {line.split(":")[0].strip(): line.split(":")[1].strip()
             for line in info.splitlines() if ":" in line}
    flags = field.get("flags", "").split()
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT,
                            capture_output=True, text=True).stdout.strip()
    return {"date": datetime.date.today().isoformat(), "cpu": field.get("model name", "unknown CPU"),
            "cores": os.cpu_count(), "instructions": [f for f in INSTRUCTIONS if f in flags],
            "commit": commit or "unknown"}


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """A Markdown table; all columns but the first are numbers."""
    rule = "|---|" + "---:|" * (len(head) - 1)
    return ["| " + " | ".join(cells) + " |" if cells else rule for cells in (head, [], *rows)]


def over_runs(runs: Runs, *path: str) -> str:
    """The median of one figure over runs, with its range when there are several."""
    values = figures_at(runs, *path)
    if not values:
        return "-"
    middle = number(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({number(min(values))}-{number(max(values))})"


def number(value: float) -> str:
    return f"{value:,.1f}" if value < 20 else f"{value:,.0f}"


def figures_at(runs: Runs, *path: str) -> list[float]:
    """The figure at `path` of every run that has it."""
    values = []
    for value in runs:
        for key in path:
            value = value.get(key, {})
        if value:
            values.append(value)
    return values


def concurrencies(figures: dict[str, Runs]) -> list[int]:
    return sorted({int(c) for runs in figures.values() for run in runs for c in run})


def limits(figures: dict) -> dict[str, float]:
    """Tokens per second, by format, that reading all weights from memory once a token allows."""
    fastest = max(figures["bandwidth"].values()) * 1e9
    return {form: fastest / size for form, size in figures["weight_bytes"].items()}


def decode1(figures: dict) -> list[str]:
    bandwidth, size = figures["bandwidth"], figures["weight_bytes"]
    limit = limits(figures)
    rows = []
    for name, runs in figures["systems"].items():
        form = "bf16" if "bf16" in name else "Q4_1"
        share = statistics.median(figures_at(runs, "tok_s")) / limit[form]
        rows.append([name, over_runs(runs, "tok_s"), f"{100 * share:.0f} %"])
    return ["### One sequence: SmolLM2-135M", "",
            "Tokens per second after the first, prompts of 128. Lockstep answers an HTTP client, "
            "llama-batched-bench is without a server. The limit is the bytes of all weights over what "
            f"this machine reads: {bandwidth['1']} GB/s on one core, {bandwidth['2']} on two; so "
            + ", ".join(f"{limit[form]:,.0f} tok/s in {form} ({size[form] / 2**20:.0f} MiB)"
                        for form in size) + ".", "",
            *table(["", "decode, tok/s", "of the limit"], rows), ""]


def under_load(figures: dict[str, Runs], figure: str = "tok_s") -> list[str]:
    counts = concurrencies(figures)
    rows = [[name, *(f"{over_runs(runs, str(c), figure)} · {over_runs(runs, str(c), 'ttft_ms')} ms"
                     for c in counts)] for name, runs in figures.items()]
    return table(["", *(f"{c} at once" for c in counts)], rows)


def serving(figures: dict[str, Runs]) -> list[str]:
    return ["### Serving: SmolLM2-135M", "",
            "One streaming HTTP client for all servers; prompts of 128 random tokens, 128 out. Output "
            "tokens per second over the whole run, prefill counted · median time to the first token.",
            "", *under_load(figures), "", "![Serving and decoding](performance.svg)", ""]


def prefill(figures: dict[str, Runs]) -> list[str]:
    return ["### The first token of a prompt of 512: SmolLM2-135M", "",
            "Lockstep from a request over HTTP to its first token, llama-bench without a server.", "",
            *table(["", "ms"], [[n, over_runs(r, "ttft_ms")] for n, r in figures.items()]), ""]


def llama1b(figures: dict[str, Runs]) -> list[str]:
    return ["### Random weights in Llama-3.2-1B's shape", "",
            "As serving, 64 tokens out; the same weights in every file.", "",
            *under_load(figures), "",
            "Tokens per second after the last first token: decoding alone.", "",
            *under_load(figures, "decode_tok_s"), ""]


def ranks(figures: dict[str, Runs]) -> list[str]:
    return ["### One rank or two", "",
            "Tokens per second after the last first token: decoding alone · median time to the first "
            "token.", "", *under_load(figures, "decode_tok_s"), ""]


def products(figures: dict[str, list]) -> list[str]:
    key = tuple[int, int, int, int]
    theirs: dict[key, float] = {(p["threads"], p["n"], p["k"], p["m"]): p["us"]
                                for p in figures.get("onednn", [])}
    ours = {(p["threads"], p["n"], p["k"], p["format"], p["m"]): p for p in figures["lockstep"]}
    counts = sorted({k[4] for k in ours})
    rows = []
    for threads, n, k, form in dict.fromkeys(key[:4] for key in ours):
        first = ours[threads, n, k, form, counts[0]]
        cells = [f"{first['bytes'] / first['us'] * 1e-3:,.1f}"]
        for m in counts:
            us = ours[threads, n, k, form, m]["us"]
            cell = f"{m * n * k / us * 1e-3:,.0f}"
            if form == "bf16" and (threads, n, k, m) in theirs:
                cell += f" ({theirs[threads, n, k, m] / us:.2f}x)"
            cells.append(cell)
        rows.append([f"{n:,} x {k:,}, {form}, {threads} thread{'s' * (threads > 1)}", *cells])
    return ["### Products alone", "",
            "Weights from memory. GB/s of weights for one row of activations; GMAC/s for M rows; in "
            "brackets oneDNN's time over ours for the same product in bf16: above 1, ours is faster.",
            "", *table(["outputs x inputs", "GB/s", *(f"M={m}" for m in counts)], rows), ""]


def order(figures: list[dict]) -> list[str]:
    rows = [[f"{f['ranks']} rank{'s' * (f['ranks'] > 1)}, {f['rows']} rows",
             f"{f['fixed_us']:,.0f}", f"{f['free_us']:,.0f}", f"{f['step_us']:,.0f}",
             f"{100 * (f['fixed_us'] - f['free_us']) / f['step_us']:+.1f} %"] for f in figures]
    return ["### What the fixed order of sums costs", "",
            "The products that are summed over ranks, and these sums, of one step of SmolLM2-135M in "
            "Q4_1, in microseconds: in the order that gives the same bits at any number of ranks, and "
            "in the freest, where each rank sums what it has. One thread a rank; up to 32 rows decode "
            "after 192 positions, 512 are a prefill.", "",
            *table(["", "fixed", "free", "whole step", "cost"], rows), ""]


def start(figures: dict[str, Runs]) -> list[str]:
    return ["### From start to first token: Llama-3.2-1B's shape", "",
            "From the command to the first token of a prompt of 16 over HTTP, files in the page cache.",
            "", *table(["", "seconds"], [[n, over_runs(r, "s")] for n, r in figures.items()]), ""]


def quality(figures: list[dict]) -> list[str]:
    best = {q["weights"]: q["perplexity"] for q in figures if q["activations"] == "f32"}
    rows = [[f"{q['weights']} weights, {q['activations']} activations, {q['cache']} cache",
             f"{q['perplexity']:.3f}",
             f"{100 * (q['perplexity'] / best[q['weights']] - 1):+.2f} %"] for q in figures]
    return ["### What rounding costs", "",
            f"Perplexity of {figures[0]['tokens']:,} tokens of the Debian FAQ (windows of 256), and its "
            "rise over activations in f32. The bf16 weights are the Q4_1 weights rounded once more.",
            "", *table(["", "perplexity", "rise"], rows), ""]


SECTIONS: tuple[Callable[..., list[str]], ...] = (decode1, serving, prefill, llama1b, start, ranks,
                                                  order, products, quality)


def load(results: pathlib.Path, section: str) -> dict | None:
    """What compare.py kept of a section; None if it was never measured or nothing came of it."""
    path = results / f"{section}.json"
    kept = json.loads(path.read_text()) if path.exists() else None
    return kept if kept and kept["figures"] else None


def measured_on(about: dict) -> str:
    runs = "1 run" if about["runs"] == 1 else f"median of {about['runs']} runs (smallest-largest)"
    quick = ", --quick: not a measurement" if about["quick"] else ""
    return (f"{about['date']}, commit {about['commit']}, {about['cpu']}, {about['cores']} cores, "
            f"{' '.join(about['instructions'])}; {runs}{quick}")


def markdown(results: pathlib.Path) -> str:
    """The tables of all sections that were ever measured; each new machine or day says so."""
    lines, said = [], ""
    for section in SECTIONS:
        kept = load(results, section.__name__)
        if kept is None:
            continue
        about = measured_on(kept["about"])
        if about != said:
            lines += [f"**{about}**", ""]
            said = about
        lines += section(kept["figures"])
    peers = [line for name in ("llama-cpp", "vllm-bare")
             for line in (ROOT / f"bench/requirements/{name}.txt").read_text().split()[:1]]
    return "\n".join([*lines, f"Peers: {', '.join(peers)}, Debian's oneDNN.", ""])


def plot(results: pathlib.Path, to: pathlib.Path) -> None:
    """Output tokens per second over concurrency; one sequence beside its limit."""
    import matplotlib
    matplotlib.use("svg")
    from matplotlib import pyplot
    matplotlib.rcParams["svg.hashsalt"] = "lockstep"  # the same figures, the same file
    _, (left, right) = pyplot.subplots(1, 2, figsize=(12, 4.5))
    if kept := load(results, "serving"):
        counts = concurrencies(kept["figures"])
        for name, runs in kept["figures"].items():
            at = [c for c in counts if figures_at(runs, str(c), "tok_s")]
            left.plot(at, [statistics.median(figures_at(runs, str(c), "tok_s")) for c in at],
                      "-" if name.startswith("Lockstep") else "--", marker="o", label=name)
        left.set_xscale("log", base=2)
        left.set_xticks(counts, [str(c) for c in counts])
        left.legend(fontsize=8)
    left.set(title="Serving SmolLM2-135M, 128 tokens in, 128 out", xlabel="requests at once",
             ylabel="output tokens per second")
    left.grid(alpha=0.3)
    if kept := load(results, "decode1"):
        figures = kept["figures"]
        names = list(figures["systems"])[::-1]
        right.barh(names, [statistics.median(figures_at(figures["systems"][n], "tok_s"))
                           for n in names])
        for form, limit in limits(figures).items():
            right.axvline(limit, linestyle=":", color="black")
            right.annotate(f" {form} limit", (limit, len(names) - 0.5), fontsize=8)
    right.set(title="Decoding one sequence", xlabel="tokens per second")
    right.grid(alpha=0.3, axis="x")
    pyplot.tight_layout()
    pyplot.savefig(to, metadata={"Date": None})
    pyplot.close()


def write(results: pathlib.Path, text: str) -> None:
    """Puts the tables between the marks of docs/performance.md, and the plot beside it."""
    path = ROOT / "docs/performance.md"
    old = path.read_text()
    if old.count(MEASURED) != 1 or old.count(END) != 1:
        raise SystemExit(f"{path} has lost its marks: {MEASURED} and {END}")
    before, after = old.split(MEASURED)[0], old.split(END)[1]
    path.write_text(f"{before}{MEASURED}\n\n{text}\n{END}{after}")
    plot(results, ROOT / "docs/performance.svg")


if __name__ == "__main__":
    print(markdown(CACHE / "bench"))
