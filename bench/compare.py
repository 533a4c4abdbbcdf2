"""Measures Lockstep beside its peers on this machine. Called by bench/run.sh."""

import argparse
import json
import os
import signal
import sys

# Each is a function of sections.py; its figures are kept in .cache/bench/<name>.json.
SECTIONS = {
    "decode1": "decoding one sequence, beside the limit that memory sets",
    "serving": "servers under 1, 8, 32, 64 streaming HTTP requests: tokens per second, first token",
    "prefill": "the first token of a prompt of 512",
    "speculation": "what guessing ahead brings, and costs, on ordinary requests",
    "llama1b": "servers on random weights in Llama-3.2-1B's shape, 1, 8, 16 at once",
    "products": "matrix products alone, beside oneDNN",
    "ranks": "1 rank x 2 threads and 2 ranks x 1 thread, asked by turns",
    "split": "where the time of a token goes",
    "order": "what the fixed order of sums costs, beside a free one",
    "start": "from a server's start to its first token, Llama-3.2-1B's shape",
    "quality": "perplexity of a fixed text for every choice of activations and cache",
}
ONCE = ("quality",)  # nothing in it is timed


def parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench/run.sh", formatter_class=argparse.RawDescriptionHelpFormatter,
        description=__doc__.split("\n")[0], epilog="sections:\n" + "\n".join(
            f"  {name:<12}{what}" for name, what in SECTIONS.items()))
    parser.add_argument("--model", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--only", action="append", choices=SECTIONS, metavar="SECTION",
                        help="measure this section; may be repeated [all]")
    parser.add_argument("--runs", type=int, default=3, help="of every system, taking turns [3]")
    parser.add_argument("--quick", action="store_true",
                        help="one short run of everything, to see that it works")
    parser.add_argument("--write", action="store_true",
                        help="put the tables and a plot into docs/performance.md, or on a machine "
                             "without AMX into docs/performance-avx512.md")
    options = parser.parse_args(words)
    if options.runs < 1:
        parser.error("--runs: at least 1")
    if options.quick and options.write:
        parser.error("--write: what --quick measures are no figures")
    return options


def use_two_cores() -> None:
    """Binds this process, and so all that it starts, to the first two cores that it may use."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("bench: two cores are needed")
    os.sched_setaffinity(0, cores[:2])


def main() -> None:
    options = parse(sys.argv[1:])
    # Asked to end, it ends what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    import report  # (here, because --help must work before anything is installed)
    import sections
    use_two_cores()
    plan = sections.Plan(options.model, 1 if options.quick else options.runs, options.quick)
    results = sections.CACHE / "bench" / ("quick" if plan.quick else ".")  # those are no figures
    results.mkdir(parents=True, exist_ok=True)
    if os.getloadavg()[0] > 0.5:
        sections.say(f"this machine is busy (load {os.getloadavg()[0]:.1f}): the figures will be poor")
    for name in options.only or SECTIONS:
        sections.say(f"section {name}: {SECTIONS[name]}")
        runs = 1 if name in ONCE else plan.runs
        about = report.about_machine() | {"runs": runs, "quick": plan.quick}
        figures = getattr(sections, name)(plan)
        (results / f"{name}.json").write_text(
            json.dumps({"format": report.FORMAT, "about": about, "figures": figures}, indent=1))
    text = report.markdown(results)
    print(text)
    if options.write:
        report.write(results, text)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
