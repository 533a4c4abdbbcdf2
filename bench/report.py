"""Turns .cache/bench/*.json into the tables and the plot of docs/performance*.md."""

import datetime
import json
import os
import pathlib
import statistics
import subprocess
from collections.abc import Callable

from servers import CACHE, ROOT
from step_parts import PARTS

MEASURED = "<!-- measured: written by bench/run.sh --write -->"
END = "<!-- end of measured -->"
PLOT = "performance.svg"
FORMAT = 2  # of the figures that are kept: older ones are not read
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


def share_row(name: str, runs: Runs) -> list[str]:
    """Of figures that rounds.beside_memory() has made."""
    share = statistics.median(figures_at(runs, "share"))
    return [name, over_runs(runs, "tok_s"), over_runs(runs, "limit"), f"{100 * share:.0f} %"]


SHARE_HEAD = ["", "decode, tok/s", "limit, tok/s", "of the limit"]
NO_GUESSES = "Guessing ahead (speculative decoding) is off."
LIMIT = ("The limit is what this machine reads, in the same seconds, over the bytes of all weights; the "
         "share is of rounds, each between two readings.")


def decode1(figures: dict[str, Runs]) -> list[str]:
    return ["### One sequence: SmolLM2-135M", "",
            "Tokens per second after the first, prompts of 128. Lockstep answers an HTTP client, "
            f"llama-batched-bench is without a server. {NO_GUESSES} {LIMIT}", "",
            *table(SHARE_HEAD, [share_row(name, runs) for name, runs in figures.items()]), ""]


def under_load(figures: dict[str, Runs], figure: str = "tok_s") -> list[str]:
    counts = concurrencies(figures)
    rows = [[name, *(f"{over_runs(runs, str(c), figure)} · {over_runs(runs, str(c), 'ttft_ms')} ms"
                     for c in counts)] for name, runs in figures.items()]
    return table(["", *(f"{c} at once" for c in counts)], rows)


def serving(figures: dict[str, Runs]) -> list[str]:
    return ["### Serving: SmolLM2-135M", "",
            "One streaming HTTP client for all servers; prompts of 128 random tokens, 128 out. Output "
            "tokens per second over the whole run, prefill counted · median time to the first token. "
            f"{NO_GUESSES}",
            "", *under_load(figures), "", f"![Serving and decoding]({PLOT})", ""]


def prefill(figures: dict[str, Runs]) -> list[str]:
    return ["### The first token of a prompt of 512: SmolLM2-135M", "",
            "Lockstep from a request over HTTP to its first token, llama-bench without a server. "
            f"{NO_GUESSES}", "",
            *table(["", "ms"], [[n, over_runs(r, "ttft_ms")] for n, r in figures.items()]), ""]


# Of a request, as guessing.py names them: tokens per second, and their ratios in pairs.
GAINS = ("gain", "sampled_gain", "over_peer")
LOOP = 0.25  # an answer that says so much of it again would flatter guesses
ORDINARY_COLUMNS = ("off", "on", "gain", "sampled_gain", "peer", "over_peer")


def times(values: list[float]) -> str:
    return f"{statistics.median(values):.2f}x" if values else "-"


def share_repeated(runs: Runs, name: str) -> float:
    return statistics.median(run["requests"][name]["repeated"] for run in runs)


def request_row(name: str, runs: Runs) -> list[str]:
    tokens = statistics.median(figures_at(runs, "requests", name, "tokens"))
    return [name, f"{tokens:.0f}", f"{100 * share_repeated(runs, name):.0f} %", *(
        times(figures_at(runs, "requests", name, key)) if key in GAINS
        else over_runs(runs, "requests", name, key) for key in ORDINARY_COLUMNS)]


def medians(runs: Runs, names: list[str], key: str) -> list[float]:
    """One figure of these requests, each the median over runs."""
    found = (figures_at(runs, "requests", name, key) for name in names)
    return [statistics.median(values) for values in found if values]


def mean_row(title: str, runs: Runs, names: list[str]) -> list[str]:
    """Geometric means."""
    cells = []
    for key in ORDINARY_COLUMNS:
        values = medians(runs, names, key)
        mean = statistics.geometric_mean(values) if values else 0
        cells.append("-" if not values else f"{mean:.2f}x" if key in GAINS else number(mean))
    return [title, "", "", *cells]


def smallest_row(runs: Runs, names: list[str]) -> list[str]:
    return ["smallest", "", "", *(times(sorted(medians(runs, names, key))[:1]) if key in GAINS else ""
                                  for key in ORDINARY_COLUMNS)]


def request_rows(runs: Runs) -> list[list[str]]:
    names = list(runs[0]["requests"])
    straight = [name for name in names if share_repeated(runs, name) < LOOP]
    return [*(request_row(name, runs) for name in names),
            mean_row("geometric mean", runs, names),
            mean_row(f"of the {len(straight)} that repeat less than {100 * LOOP:.0f} %", runs, straight),
            smallest_row(runs, names)]


def guessed_right(runs: Runs) -> str:
    draft, accepted = (sum(figures_at(runs, key)) for key in ("draft", "accepted"))
    right = f"; {100 * accepted / draft:.0f} % of the guesses were right" if draft else ""
    return (f"{sum(figures_at(runs, 'compared')):,.0f} answers were compared with an earlier one to the "
            f"same request, and were the same with guesses and without{right}.")


def speculation(runs: Runs) -> list[str]:
    counts = sorted(map(int, runs[0]["at_once"]))
    load_rows = [[f"{count} at once", *(over_runs(runs, "at_once", str(count), of)
                                        for of in ("off", "on")),
                  times(figures_at(runs, "at_once", str(count), "gain"))] for count in counts]
    return ["### Guessing ahead on ordinary requests: SmolLM2-135M in Q4_1", "",
            "Lockstep (one rank of two threads) without guesses and with as many as by default, and "
            "llama-server, all up and asked the same chat by turns, one request at a time. Tokens per "
            "second after the first, greedy, at most 256; ratios are medians over pairs, with their "
            "own column where tokens are drawn at temperature 0.8. Repeated: the share of four words in a "
            "row that the greedy answer already had; so small a model falls into loops, which guesses get "
            "right. llama-server's answers may differ. "
            f"{guessed_right(runs)}", "",
            *table(["", "tokens", "repeated", "off, tok/s", "on, tok/s", "on/off", "on/off at 0.8",
                    "llama-server, tok/s", "on/llama-server"], request_rows(runs)), "",
            "A mixture of these requests, greedy, so many at once until all are answered: all tokens over "
            "all seconds, prompts included.", "",
            *table(["", "off, tok/s", "on, tok/s", "on/off"], load_rows), ""]


def llama1b(figures: dict[str, Runs]) -> list[str]:
    loaded = {name: [{c: run[c] for c in run if c != "alone"} for run in runs]
              for name, runs in figures.items()}
    alone = {name: [run["alone"] for run in runs] for name, runs in figures.items()}
    return ["### Random weights in Llama-3.2-1B's shape", "",
            f"One sequence, counted at the client. {NO_GUESSES} {LIMIT}", "",
            *table(SHARE_HEAD, [share_row(name, runs) for name, runs in alone.items()]), "",
            "As serving, 64 tokens out; the same weights in every file.", "",
            *under_load(loaded), "",
            "Tokens per second after the last first token: decoding alone.", "",
            *under_load(loaded, "decode_tok_s"), ""]


def ranks(figures: dict[str, Runs]) -> list[str]:
    rows = []
    for form, runs in figures.items():
        for count in concurrencies({form: runs}):
            speed, first = ([[over_runs(runs, str(count), key, of) for of in ("first", "second")]
                             for key in ("decode_tok_s", "ttft_ms")])
            ratios = [f"{100 * statistics.median(figures_at(runs, str(count), key, 'ratio')):.0f} %"
                      for key in ("decode_tok_s", "ttft_ms")]
            rows.append([f"{form}, {count} at once", *speed, ratios[0], *first, ratios[1]])
    return ["### One rank or two", "",
            "One rank of two threads and two ranks of one thread, both up and asked by turns, seconds "
            "apart. Tokens per second after the last first token, and milliseconds to the first; of "
            "both the two ranks' over the one's, the median over pairs of rounds. "
            f"{NO_GUESSES}", "",
            *table(["", "1 rank, tok/s", "2 ranks, tok/s", "2 over 1", "1 rank, ms", "2 ranks, ms",
                    "2 over 1"], rows), ""]


def split(figures: dict[str, Runs]) -> list[str]:
    rows = []
    for name, runs in figures.items():
        for count in concurrencies({name: runs}):
            def us(key: str, runs: Runs = runs, count: int = count) -> float:
                return statistics.median(run[str(count)][key] for run in runs)
            for rank in range(2 if "2 ranks" in name else 1):
                parts = [us(f"{part} rank {rank}") for part in PARTS]
                rest = us("all") - sum(parts)
                rows.append([f"{name}: {count} at once, rank {rank}", *map(number, parts),
                             number(rest), number(us("all")),
                             number(us("coordinator rank 0")) if rank == 0 else ""])
    return ["### Where the time of a token goes", "",
            "Microseconds a token, prompts of 128 included, 128 out, counted by the ranks themselves. "
            "Waiting: for plans and for the other rank's tokens; rest: what no part counts, and the "
            "time without a step. The coordinator works beside the ranks, on cores that they share. "
            f"{NO_GUESSES}",
            "", *table(["", "product", "attention", "all-reduce", "elementwise", "sampling", "waiting",
                        "rest", "all", "coordinator"], rows), ""]


def products(figures: list[dict]) -> list[str]:
    cells: dict[tuple, Runs] = {}
    for product in figures:
        key = tuple(product[k] for k in ("format", "threads", "n", "k", "m"))
        cells.setdefault(key, []).append(product)
    counts = sorted({key[4] for key in cells})

    def gmacs(key: tuple) -> str:
        runs, (_, _, n, k, m) = cells[key], key
        text = number(m * n * k * 1e-3 / statistics.median(figures_at(runs, "us")))
        times = figures_at(runs, "times")
        return f"{text} ({statistics.median(times):.2f}x)" if times else text

    rows = []
    # (Of each format and number of threads the shapes in their order.)
    for form, threads, n, k in sorted(dict.fromkeys(key[:4] for key in cells), key=lambda key: key[:2]):
        first = cells[form, threads, n, k, counts[0]]
        gb_s = first[0]["bytes"] / statistics.median(figures_at(first, "us")) * 1e-3
        rows.append([f"{n:,} x {k:,}, {form}, {threads} thread{'s' * (threads > 1)}", number(gb_s),
                     *(gmacs((form, threads, n, k, m)) for m in counts)])
    return ["### Products alone", "",
            "Weights from memory. GB/s of weights for one row of activations; GMAC/s for M rows; in "
            "brackets oneDNN's time over ours for the same product in bf16, measured seconds after it: "
            "above 1, ours is faster.",
            "", *table(["outputs x inputs", "GB/s", *(f"M={m}" for m in counts)], rows), ""]


def order(figures: list[dict]) -> list[str]:
    cases: dict[tuple[int, int], Runs] = {}
    for figure in figures:
        cases.setdefault((figure["ranks"], figure["rows"]), []).append(figure)
    rows = []
    for (count, m), runs in cases.items():
        cost = statistics.median((f["fixed_us"] - f["free_us"]) / f["step_us"] for f in runs)
        rows.append([f"{count} rank{'s' * (count > 1)}, {m} rows",
                     *(over_runs(runs, key) for key in ("fixed_us", "free_us", "step_us")),
                     f"{100 * cost:+.1f} %"])
    return ["### What the fixed order of sums costs", "",
            "The products that are summed over ranks, and these sums, of one step of SmolLM2-135M in "
            "Q4_1, in microseconds: in the order that gives the same bits at any number of ranks, and "
            "in the freest, where each rank sums what it has. One thread a rank; up to 32 rows decode "
            "after 192 positions, 512 are a prefill.", "",
            *table(["", "fixed", "free", "whole step", "cost"], rows), ""]


def start(figures: dict[str, Runs]) -> list[str]:
    return ["### From start to first token: Llama-3.2-1B's shape", "",
            "From the command to the first token of a prompt of 16 over HTTP, files in the page cache. "
            f"{NO_GUESSES}", "",
            *table(["", "seconds"], [[n, over_runs(r, "s")] for n, r in figures.items()]), ""]


def quality(figures: list[dict]) -> list[str]:
    best = {q["weights"]: q["perplexity"] for q in figures if q["activations"] == "f32"}
    rows = [[f"{q['weights']} weights, {q['activations']} activations, {q['cache']} cache",
             f"{q['perplexity']:.3f}",
             f"{100 * (q['perplexity'] / best[q['weights']] - 1):+.2f} %"] for q in figures]
    return ["### What rounding costs", "",
            f"Perplexity of {figures[0]['tokens']:,} tokens of the Debian FAQ (windows of 256), and its "
            "rise over activations in f32. The bf16 weights are the Q4_1 weights rounded once more.",
            "", *table(["", "perplexity", "rise"], rows), ""]


SECTIONS: tuple[Callable[..., list[str]], ...] = (decode1, serving, prefill, speculation, llama1b,
                                                  start, ranks, split, order, products, quality)


def load(results: pathlib.Path, section: str) -> dict | None:
    """What compare.py kept of a section; None if it was never measured, by an older script, or
    nothing came of it."""
    path = results / f"{section}.json"
    kept = json.loads(path.read_text()) if path.exists() else None
    return kept if kept and kept.get("format") == FORMAT and kept["figures"] else None


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
    """Output tokens per second over concurrency; one sequence beside the limit of memory."""
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
        names = list(figures)[::-1]
        right.barh(names, [statistics.median(figures_at(figures[n], "tok_s")) for n in names])
        for form in ("Q4_1", "bf16"):
            found = [limit for name in names if form in name
                     for limit in figures_at(figures[name], "limit")]
            if not found:
                continue
            limit = statistics.median(found)
            right.axvline(limit, linestyle=":", color="black")
            right.annotate(f" {form} limit", (limit, len(names) - 0.5), fontsize=8)
    right.set(title="Decoding one sequence", xlabel="tokens per second")
    right.grid(alpha=0.3, axis="x")
    pyplot.tight_layout()
    pyplot.savefig(to, metadata={"Date": None})
    pyplot.close()


def document() -> pathlib.Path:
    """What this machine's figures go to: matrix units make another machine."""
    unit = "amx_bf16" in about_machine()["instructions"]
    return ROOT / "docs" / ("performance.md" if unit else "performance-avx512.md")


def write(results: pathlib.Path, text: str) -> None:
    """Puts the tables between the marks of the document, and the plot beside it."""
    path = document()
    old = path.read_text()
    if old.count(MEASURED) != 1 or old.count(END) != 1:
        raise SystemExit(f"{path} has lost its marks: {MEASURED} and {END}")
    before, after = old.split(MEASURED)[0], old.split(END)[1]
    svg = path.with_suffix(".svg")
    text = text.replace(PLOT, svg.name)
    path.write_text(f"{before}{MEASURED}\n\n{text}\n{END}{after}")
    plot(results, svg)


if __name__ == "__main__":
    print(markdown(CACHE / "bench"))
