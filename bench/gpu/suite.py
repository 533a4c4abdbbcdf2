"""Runs the stages of bench/gpu.sh one after the other, each within its time, and writes what came of
them: a table on standard output; results.json, results.md and the logs into one folder. A stage that
fails does not keep the others from running. Exit status: 0 when all stages are ok."""

import argparse
import json
import os
import pathlib
import sys
import tarfile
import tempfile
import time
import traceback

import stages
from programs import Failed, Programs, Skipped

HERE = pathlib.Path(__file__).resolve().parent
NAMES = [name for name, *_ in stages.ALL]


def options():
    parser = argparse.ArgumentParser(prog="bench/gpu.sh", description=__doc__)
    parser.add_argument("--bundle", type=pathlib.Path,
                        help="what launch/bundle.sh --gpu made: the archive or its folder")
    parser.add_argument("--build", type=pathlib.Path, help="or a build folder; default build/cuda-release")
    parser.add_argument("--out", type=pathlib.Path,
                        default=os.environ.get("OUT") or "gpu-results", help="default: $OUT, or gpu-results")
    parser.add_argument("--only", action="append", choices=NAMES, help="run this stage; repeatable")
    parser.add_argument("--seconds", type=float, default=520, help="for all of it; default 520")
    parser.add_argument("--files", type=pathlib.Path,
                        help="the folder that make_files.py filled; default: the bundle's")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"],
                        help="of the stage `model`: cpu, to see without a GPU that it works")
    parser.add_argument("--scratch", type=pathlib.Path, help="for files of 16 GB; default /dev/shm")
    parser.add_argument("--dry-run", action="store_true", help="say what is missing; run nothing")
    return parser.parse_args()


def find_programs(chosen, scratch):
    if chosen.bundle and chosen.bundle.is_file():
        with tarfile.open(chosen.bundle) as archive:
            archive.extractall(scratch, filter="data")
        return Programs(next(scratch.iterdir()), True)
    if chosen.bundle:
        return Programs(chosen.bundle, True)
    if chosen.build is None and (HERE.parents[1] / "libexec").is_dir():
        return Programs(HERE.parents[1], True)  # this file is part of a bundle
    return Programs(chosen.build or HERE.parents[1] / "build/cuda-release", False)


def run_stage(stage, files, chosen, left):
    name, function, limit, _ = stage
    work = stages.Work(name, files, chosen.out, min(limit, left), chosen.scratch, chosen.device)
    begin = time.monotonic()
    status, reason = "ok", ""
    try:
        if left <= 0:
            raise Skipped("no time is left")
        work.figures = function(work)
    except Skipped as error:
        status, reason = "skipped", str(error)
    except Failed as error:
        status, reason = "failed", str(error)
    except Exception as error:  # of the measurement itself: the other stages go on
        status, reason = "failed", f"{type(error).__name__}: {error}"
        with open(work.log, "a") as log:
            traceback.print_exc(file=log)
    return {"stage": name, "status": status, "reason": reason,
            "seconds": round(time.monotonic() - begin, 1), "figures": work.figures}


def dry_run(files, wanted):
    complete = True
    for name, function, limit, needs in wanted:
        missing = [need for need in needs if getattr(files, need) is None]
        complete &= not missing
        state = f"missing in {files.folder}: {', '.join(missing)}" if missing else "everything is there"
        print(f"{name:10} up to {limit:3} s  {function.__doc__.splitlines()[0]} ({state})")
    return 0 if complete else 1


def text_of(value):
    return f"{value:.3g}" if isinstance(value, float) and abs(value) < 1000 else str(value)


def table(figures):
    """Lines of Markdown."""
    columns = list(dict.fromkeys(name for figure in figures for name in figure))
    rows = [columns, ["---"] * len(columns)]
    rows += [[text_of(figure.get(name, "")) for name in columns] for figure in figures]
    return ["| " + " | ".join(row) + " |" for row in rows]


def report(results):
    lines = table([{"stage": r["stage"], "status": r["status"], "seconds": r["seconds"],
                    "reason": " ".join(r["reason"].split())[:300].replace("|", "/")} for r in results])
    for result in results:
        if result["figures"]:
            lines += ["", f"## {result['stage']}", "", *table(result["figures"])]
    return "\n".join(lines) + "\n"


def main():
    chosen = options()
    chosen.out = pathlib.Path(chosen.out)
    chosen.scratch = chosen.scratch or pathlib.Path(
        "/dev/shm" if os.path.isdir("/dev/shm") else tempfile.gettempdir())
    wanted = [stage for stage in stages.ALL if not chosen.only or stage[0] in chosen.only]
    with tempfile.TemporaryDirectory() as scratch:
        begin = time.monotonic()
        try:
            files = find_programs(chosen, pathlib.Path(scratch))
        except (OSError, tarfile.TarError) as error:
            print(f"bench/gpu.sh: {chosen.bundle}: {error}", file=sys.stderr)
            return 2
        if chosen.files:
            files.take(chosen.files)
        if chosen.dry_run:
            return dry_run(files, wanted)
        chosen.out.mkdir(parents=True, exist_ok=True)
        results = []
        for stage in wanted:
            left = chosen.seconds - (time.monotonic() - begin)
            result = run_stage(stage, files, chosen, left)
            results.append(result)
            print(f"{result['stage']:10} {result['status']:8} {result['seconds']:6.1f} s  "
                  f"{' '.join(result['reason'].split())[:160]}", file=sys.stderr, flush=True)
            # After each stage: what there is stays if this ends before its time.
            (chosen.out / "results.json").write_text(json.dumps(
                {"seconds": round(time.monotonic() - begin, 1), "stages": results}, indent=1))
            (chosen.out / "results.md").write_text(report(results))
        (chosen.scratch / stages.NAME_8B).unlink(missing_ok=True)
    print(report(results), end="")
    return 0 if all(result["status"] == "ok" for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
