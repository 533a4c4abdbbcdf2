"""The stages of bench/gpu.sh. Each takes a Work and returns its figures (dictionaries of one shape),
or throws Failed or Skipped."""

import concurrent.futures
import csv
import json
import os
import pathlib
import re
import shutil
import statistics
import sys
import tempfile
import time

import llama8b
import programs
from programs import Failed, Skipped
from serving import Server

FOLDER = pathlib.Path(__file__).resolve().parent
NAME_8B = "llama8b-bf16.gguf"


class Work:
    """What a stage works with: programs, a folder for logs and a deadline."""

    def __init__(self, name, files, out, seconds, scratch, device="cuda"):
        self.files, self.out, self.scratch, self.device = files, out, scratch, device
        self.log = out / f"{name}.log"
        self._deadline = time.monotonic() + seconds
        self.figures = []  # what there is when a stage fails half-way

    def left(self):
        seconds = self._deadline - time.monotonic()
        if seconds <= 0:
            raise Failed("out of time")
        return seconds

    def run(self, *command, check=True, env=None):
        return programs.run(command, self.log, self.left(), env, check)


def need_gpu():
    """Throws Skipped, with the reason, where no GPU answers."""
    try:
        programs.output(["nvidia-smi", "-L"])
    except Failed as error:
        raise Skipped(f"no GPU: {error}") from None


def facts(work):
    """What machine it is."""
    query = ("name,driver_version,memory.total,clocks.max.sm,clocks.max.memory,clocks.sm,"
             "temperature.gpu,power.limit,mig.mode.current,compute_mode")
    figures, missing = [], []

    def add(what, command):
        try:
            text = programs.output(command).strip()
            figures.append({"what": what, "value": text.splitlines()[-1] if what == "nvcc" else text})
        except Failed as error:
            missing.append(str(error))
    add(query, ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"])
    nvcc, sanitizer = (programs.cuda_tool(name) or name for name in ("nvcc", "compute-sanitizer"))
    add("nvcc", [nvcc, "--version"])
    add("compute-sanitizer", [sanitizer, "--version"])
    add("PyTorch", [sys.executable, "-c", "import torch; print(torch.__version__, torch.version.cuda)"])
    figures.append({"what": "cores", "value": str(os.cpu_count())})
    figures.append({"what": "libc", "value": os.confstr("CS_GNU_LIBC_VERSION")})
    figures.append({"what": "libraries", "value": " ".join(programs.library_folders())})
    work.figures = figures
    if missing:
        raise Failed("; ".join(missing))
    return figures


def gtest(work, chosen, name, prefix=(), at_once=8):
    """Runs the tests of cuda_suite that the filter `chosen` names, each in a process of its own, so that
    none spoils a GPU's context for the others; a line of how many passed. Throws Failed with the names of
    tests that failed, Skipped when all were skipped."""
    work.files.need("cuda_suite")
    with tempfile.TemporaryDirectory() as scratch:
        listing = pathlib.Path(scratch) / "listing"
        programs.run([work.files.cuda_suite, "--gtest_list_tests", f"--gtest_filter={chosen}"], listing,
                     work.left())
        tests = names_of_tests(listing.read_text())
    if not tests:
        raise Failed("no such tests in cuda_suite")
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        results = dict(zip(tests, pool.map(lambda test: run_test(work, test, prefix), tests)))
    with open(work.log, "a") as log:
        for test, (result, seconds, output) in results.items():
            log.write(f"\n=== {name}: {test}: {result}, {seconds:.1f} s\n"
                      + (output[-20_000:] if result not in ("passed", "skipped") else ""))
    failed = {test: result for test, (result, *_) in results.items() if result not in ("passed", "skipped")}
    skipped = [test for test, (result, *_) in results.items() if result == "skipped"]
    work.figures.append({"what": name, "tests": len(tests), "passed": len(tests) - len(failed) - len(skipped),
                         "failed": len(failed), "skipped": len(skipped)})
    if failed:
        raise Failed(f"{len(failed)} of {len(tests)} tests failed: "
                     + ", ".join(f"{test} ({result})" for test, result in list(failed.items())[:20]))
    if len(skipped) == len(tests):
        reason = re.search(r": Skipped\n(.*)", results[tests[0]][2])
        raise Skipped("all tests skipped" + (f": {reason.group(1)}" if reason else ""))


def names_of_tests(listing):
    """From what --gtest_list_tests prints."""
    names, suite_name = [], ""
    for line in listing.splitlines():
        word = line.split("#")[0].strip()
        if line.startswith("  "):
            names.append(suite_name + word)
        elif word.endswith("."):
            suite_name = word
    return names


def run_test(work, test, prefix):
    """How one test ended ("passed", "skipped" or why not), its seconds and its output."""
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        output = pathlib.Path(scratch) / "output"
        try:
            status = programs.run([*prefix, work.files.cuda_suite, f"--gtest_filter={test}"], output,
                                  work.left(), check=False)
            text = output.read_text(errors="replace")
            result = ("skipped" if "[  SKIPPED ] 1 test" in text else "passed") if status == 0 else f"status {status}"
        except Failed as error:
            text = output.read_text(errors="replace") if output.exists() else str(error)
            result = "out of time"
    return result, time.monotonic() - begin, text


def suite(work):
    """cuda_suite, but the tests of several ranks, which are a stage of their own."""
    # The device's room is everybody's: tests of it run by themselves.
    all_of(lambda: gtest(work, "-NcclCommunicatorOfProcesses*:CudaMemory.*", "suite"),
           lambda: gtest(work, "CudaMemory.*", "suite, memory", at_once=1))
    return work.figures


def all_of(*parts):
    """Does all parts, also when some fail; throws Failed with the reasons of those, else Skipped if one
    was."""
    failures, skipped = [], []
    for part in parts:
        try:
            part()
        except Failed as error:
            failures.append(str(error))
        except Skipped as error:
            skipped.append(str(error))
    if failures:
        raise Failed("; ".join(failures))
    if skipped:
        raise Skipped(skipped[0])


# Small, and every own kernel but peer_norm: its kernels wait for each other, and the tools may run one
# after the other.
SANITIZED = ("CudaGpu.*:*CudaSwiglu.*:*CudaSegmentSum.*:*CudaRmsNorm*:*CudaRopeKv*:*CudaEmbedding.*:"
             "*CudaTopLogprobs.*:*CudaTokenChoice.*Logits*:*CudaTokenChoice.Penalties*:*CudaCopyRows.*:"
             "*CudaTruncation.CutsAmongEquals*:*CudaProduct.EqualsTheDouble*:*CudaProduct.ActivatesAs*:"
             "*CudaAttention.PartsGive*")


def sanitizer(work):
    """compute-sanitizer finds nothing in own kernels."""
    work.files.need("cuda_suite")
    need_gpu()
    tool_path = programs.cuda_tool("compute-sanitizer")
    if tool_path is None:
        raise Failed("no compute-sanitizer in PATH or the CUDA toolkit")
    def check(tool, *options):
        gtest(work, SANITIZED, tool, [tool_path, "--tool", tool, "--error-exitcode", "9", *options], at_once=16)
    all_of(lambda: check("memcheck", "--report-api-errors", "no"),  # tests provoke some, and check them
           lambda: check("racecheck"), lambda: check("synccheck"))
    return work.figures


def nccl(work):
    """Ranks on one GPU: as processes that cuda_suite starts itself, and under mpirun."""
    gtest(work, "NcclCommunicatorOfProcesses*", "nccl", at_once=2)
    if work.files.mpirun is None:
        raise Failed("no mpirun; the ranks that cuda_suite started itself passed")
    for ranks in (2, 4):
        work.run(work.files.mpirun, "-np", ranks, "--bind-to", "none", work.files.cuda_suite, "rank",
                 "collectives", "mpi")
        work.figures.append({"what": f"{ranks} ranks under mpirun", "tests": 1, "passed": 1,
                             "failed": 0, "skipped": 0})
    return work.figures


def agreement(ids, case, safe_gap):
    """How many tokens agree with the reference up to the first tie. Throws Failed at another."""
    for step, (got, expected, gap) in enumerate(zip(ids, case["ids"], case["top2_gap"])):
        if got != expected:
            if gap >= safe_gap:
                raise Failed(f"prompt {case['prompt']!r}, token {step}: {got}, the reference has "
                             f"{expected} by {gap}")
            return step
    return len(case["ids"])


def model(work):
    """A small model on 1, 2 and 4 ranks, and on 2 as pipeline stages: against the reference, and
    everything against everything."""
    work.files.need("lockstep", "model", "reference")
    reference = json.loads(work.files.reference.read_text())
    greedy = [{"prompt_ids": case["prompt_ids"], "max_tokens": reference["max_tokens"]}
              for case in reference["cases"]]
    drawn = [{**request, "temperature": 1.0, "seed": seed, "max_tokens": 24}
             for seed in (1, 2, 3) for request in greedy]
    answers, failures = {}, []
    shapes = [(1, 1, "auto"), (2, 1, "auto"), (4, 1, "auto"), (2, 2, "auto")]
    if work.device == "cuda":  # without kernels that exchange by themselves
        shapes.append((2, 1, "nccl"))
    for ranks, stages, sums in shapes:
        name = f"{ranks} ranks" + (f" in {stages} stages" if stages > 1 else "") + (
            f", sums by {sums}" if sums != "auto" else "")
        try:
            with Server(work.files, work.files.model, ranks, work.log, min(work.left(), 60), work.device,
                        ["--max-model-len", "512", "--kv-cache-memory", "64MiB", "--pp", stages,
                         "--all-reduce", sums]) as server:
                begin = time.monotonic()
                alone = [server.token_ids(seconds=work.left(), **r) for r in greedy + drawn[:8]]
                together = server.at_once(greedy + drawn, work.left())
                seconds = time.monotonic() - begin
        except Failed as error:
            failures.append(str(error))
            continue
        answers[name] = together
        if together[:len(alone)] != alone:
            failures.append(f"{name}: other tokens in a batch of {len(together)} than alone")
        try:
            agreed = sum(agreement(ids, case, reference["safe_gap"])
                         for ids, case in zip(alone, reference["cases"]))
        except Failed as error:
            failures.append(f"{name}: {error}")
            agreed = None
        work.figures.append({"ranks": ranks, "stages": stages, "sums": sums,
                             "ready_s": round(server.seconds_to_ready, 1),
                             "answers": len(alone) + len(together), "seconds": round(seconds, 2),
                             "tokens_as_the_reference": agreed,
                             "of": sum(len(case["ids"]) for case in reference["cases"])})
    first = next(iter(answers.values()), None)
    for name, other in answers.items():
        if other != first:
            failures.append(f"{name}: other tokens than {next(iter(answers))}")
    if failures:
        raise Failed("; ".join(failures))
    return work.figures


def kernels(work):
    """Own kernels by themselves, and PyTorch's at the same shapes."""
    work.files.need("cuda_kernels")
    need_gpu()
    work.run("sh", "-c", f'"$0" > "{work.out}/kernels.own.json"', work.files.cuda_kernels)
    own = json.loads((work.out / "kernels.own.json").read_text())
    work.figures = own["kernels"]
    work.run("sh", "-c", f'"$0" "$1" > "{work.out}/kernels.torch.json"', sys.executable,
             FOLDER / "torch_kernels.py")
    theirs = {key(line): line for line in json.loads((work.out / "kernels.torch.json").read_text())}
    for line in work.figures:
        if key(line) in theirs:
            line["torch_us"] = theirs[key(line)]["us"]
            line["of_torch_time"] = line["us"] / line["torch_us"]
    work.figures.append({"kernel": "reading", "gb_per_s": own["read_gb_per_s"]})
    work.run("sh", "-c", f'"$0" --shapes > "{work.out}/kernels.shapes.json"', work.files.cuda_kernels)
    return work.figures


def key(line):
    return tuple(line.get(name) for name in ("kernel", "format", "m", "n", "k", "length", "chunk"))


def model_8b(work):
    """The file in the shape of an 8B Llama, which the stages that use it share; suite.py removes it."""
    path = work.scratch / NAME_8B
    if path.exists():
        return path
    room = shutil.disk_usage(work.scratch).free
    if room < llama8b.BYTES + (1 << 30):
        raise Skipped(f"{work.scratch} has room for {room >> 30} GiB, the model takes 15")
    begin = time.monotonic()
    try:
        llama8b.make(work.files.model, path)
    except BaseException:
        path.unlink(missing_ok=True)  # half of one
        raise
    work.figures.append({"what": "making the file", "seconds": round(time.monotonic() - begin, 1)})
    return path


def decode8b(work):
    """Decoding in the shape of an 8B Llama with random weights: tokens a second."""
    work.files.need("lockstep", "model")
    need_gpu()
    path = model_8b(work)
    failures = []
    # Those that matter most come first: time may end.
    ways = [("bf16", [], (1, 128)), ("fp8", ["--quantization", "fp8"], (1, 128))]
    if programs.output(["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]).split()[0] == "9.0":
        ways.insert(1, ("bf16-warpgroups", ["--products", "warpgroups"], (128,)))
        ways += [("fp8-warpgroups", ["--quantization", "fp8", "--products", "warpgroups"], (128,)),
                 ("bf16-nothing-ahead", ["--weights-ahead", "0"], (1,)),
                 ("fp8-nothing-ahead", ["--quantization", "fp8", "--weights-ahead", "0"], (1,))]
    for name, options, batches in ways:
        try:
            decode_rates(work, path, name, options, batches)
        except Failed as error:
            failures.append(f"{name}: {error}")
    if failures:
        raise Failed("; ".join(failures))
    return work.figures


def profile(work):
    """Where the time of a decoding step of that model goes, kernel by kernel."""
    work.files.need("lockstep", "model")
    need_gpu()
    ncu = programs.cuda_tool("ncu")
    if ncu is None:
        raise Failed("no ncu in PATH or the CUDA toolkit")
    path = model_8b(work)
    table = work.out / "profile.csv"
    # Two steps of eleven operations a layer, and some.
    tool = [ncu, "--target-processes", "all", "--clock-control", "none", "--metrics", "gpu__time_duration.sum",
            "--launch-count", "1200", "--csv", "--page", "raw", "--log-file", table]
    with Server(work.files, path, 1, work.log, work.left(), prefix=tool,
                options=["--max-model-len", "1024", "--max-num-seqs", "8", "--kv-cache-memory", "4GiB"],
                threads=max(1, os.cpu_count() - 2)) as server:
        server.token_ids(list(range(1, 141)), 4, work.left())
    work.figures = kernels_of_a_step(table.read_text())
    return work.figures


def kernels_of_a_step(text):
    """The kernels of the first step that decodes, from ncu's table, each with its calls and microseconds."""
    rows = list(csv.reader(line for line in text.splitlines() if line.startswith('"')))
    if len(rows) < 3:
        raise Failed(f"ncu left no table: {text[-300:]}")
    name, time_of = rows[0].index("Kernel Name"), rows[0].index("gpu__time_duration.sum")
    per_micro = {"ns": 1e-3, "us": 1, "usecond": 1, "nsecond": 1e-3, "ms": 1e3, "msecond": 1e3}[rows[1][time_of]]
    steps = []
    for row in rows[2:]:
        named = re.search(r"(\w+)\s*[<(]", re.sub(r"<?unnamed>::", "", row[name]))
        kernel = named.group(1) if named else row[name]
        if kernel == "embedding_kernel":
            steps.append({})
        if steps:
            calls, micros = steps[-1].get(kernel, (0, 0.0))
            steps[-1][kernel] = (calls + 1, micros + float(row[time_of].replace(",", "")) * per_micro)
    if len(steps) < 3:
        raise Failed(f"ncu saw {len(steps)} steps begin: the second is complete when a third begins")
    total = sum(micros for _, micros in steps[1].values())
    return [{"kernel": kernel, "calls": calls, "us": round(micros, 1), "share": round(micros / total, 3)}
            for kernel, (calls, micros) in sorted(steps[1].items(), key=lambda item: -item[1][1])]


def share_of_limit(work, name, milliseconds):
    """Of what reading alone would take for the weights of a token, where the stage `kernels` measured it."""
    try:
        reading = json.loads((work.out / "kernels.own.json").read_text())["read_gb_per_s"]
    except (OSError, ValueError):  # not there, or cut off
        return None
    return llama8b.bytes_of_a_token(name.split("-")[0]) / reading * 1e-6 / milliseconds


def decode_rates(work, path, name, options, batches):
    trace = work.out / f"decode8b.{name}.trace.json"
    options = [*options, "--max-model-len", "1024", "--max-num-seqs", "128", "--max-num-batched-tokens",
               "2048", "--kv-cache-memory", "20GiB", "--trace", trace, "--trace-skip", "60", "--trace-steps", "100"]
    with Server(work.files, path, 1, work.log, work.left(), options=options,
                threads=max(1, os.cpu_count() - 2)) as server:
        work.figures.append({"what": f"{name}, load", "seconds": round(server.seconds_to_ready, 1)})

        def seconds_of(requests, tokens):
            begin = time.monotonic()
            server.at_once([{**r, "max_tokens": tokens} for r in requests], work.left())
            return time.monotonic() - begin

        for batch in batches:
            requests = [{"prompt_ids": [1 + i, 2, 3, 4, 5, 6, 7, 8]} for i in range(batch)]
            seconds_of(requests, 16)  # graphs are recorded
            few, many = seconds_of(requests, 16), seconds_of(requests, 144)
            milliseconds = (many - few) / 128 * 1e3
            figure = {"what": f"{name}, decoding", "batch": batch, "ms_per_step": round(milliseconds, 3),
                      "tokens_per_s": round(128 * batch / (many - few), 1)}
            if batch == 1 and (share := share_of_limit(work, name, milliseconds)) is not None:
                figure["of_the_limit"] = round(share, 3)
            work.figures.append(figure)
            if batch == 1:
                median, most = step_gaps(trace)
                work.figures.append({"what": f"{name}, gap between steps on the host", "batch": 1,
                                     "us_median": median, "us_most": most})
            else:
                requests = [{"prompt_ids": [(7 * i + 3 * j) % 50000 for j in range(128)]} for i in range(batch)]
                seconds = seconds_of(requests, 128)
                work.figures.append({"what": f"{name}, 128 tokens in, 128 out", "batch": batch,
                                     "seconds": round(seconds, 3),
                                     "tokens_per_s": round(128 * batch / seconds, 1)})


def step_gaps(trace):
    """Median and largest microseconds from the end of a step, as the host sees it, to the next one's
    beginning: none where that one was put in line before."""
    events = json.loads(trace.read_text())
    steps = sorted((event["ts"], event["dur"]) for event in events if event["name"] == "step on the GPU")
    gaps = [begin - (ts + dur) for (ts, dur), (begin, _) in zip(steps, steps[1:])]
    if not gaps:
        raise Failed(f"no steps in {trace}")
    return round(statistics.median(gaps), 1), round(max(gaps), 1)


# name, function, seconds at most, what a dry run needs to find
ALL = [("facts", facts, 20, ()), ("suite", suite, 120, ("cuda_suite",)),
       ("sanitizer", sanitizer, 120, ("cuda_suite",)), ("nccl", nccl, 90, ("cuda_suite", "mpirun")),
       ("model", model, 100, ("lockstep", "mpirun", "model", "reference")),
       ("kernels", kernels, 90, ("cuda_kernels",)), ("decode8b", decode8b, 150, ("lockstep", "model")),
       ("profile", profile, 60, ("lockstep", "model"))]
