"""The stages of bench/gpu.sh. Each takes a Work and returns its figures (dictionaries of one shape),
or throws Failed or Skipped."""

import json
import os
import pathlib
import re
import shutil
import sys
import time

import llama8b
import programs
from programs import Failed, Skipped
from serving import Server

FOLDER = pathlib.Path(__file__).resolve().parent


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


def gtest(work, arguments, name, prefix=(), env=None):
    """Runs cuda_suite; a line of how many tests passed. Throws Failed with the names of tests that
    failed, Skipped when all were skipped."""
    work.files.need("cuda_suite")
    report = work.out / f"{name}.tests.json"
    report.unlink(missing_ok=True)
    status = work.run(*prefix, work.files.cuda_suite, *arguments, f"--gtest_output=json:{report}",
                      check=False, env=env)
    if not report.exists():
        raise Failed(f"no report of cuda_suite, which ended with {status}; {programs.tail(work.log)}")
    tests = [{**test, "name": f"{suite['name']}.{test['name']}"}
             for suite in json.loads(report.read_text())["testsuites"] for test in suite["testsuite"]]
    failed = [test["name"] for test in tests if test.get("failures")]
    skipped = [test for test in tests if test.get("result") == "SKIPPED"]
    figure = {"what": name, "tests": len(tests), "passed": len(tests) - len(failed) - len(skipped),
              "failed": len(failed), "skipped": len(skipped)}
    work.figures.append(figure)
    if failed:
        raise Failed(f"{len(failed)} of {len(tests)} tests failed: {', '.join(failed[:20])}")
    if not tests:
        raise Failed("no such tests in cuda_suite")
    if len(skipped) == len(tests):
        reason = re.search(r": Skipped\n(.*)", work.log.read_text(errors="replace"))
        raise Skipped("all tests skipped" + (f": {reason.group(1)}" if reason else ""))
    if status != 0:
        raise Failed(f"cuda_suite ended with {status}; {programs.tail(work.log)}")
    return figure


def suite(work):
    """cuda_suite, but the tests of several ranks, which are a stage of their own."""
    gtest(work, ["--gtest_filter=-NcclCommunicatorOfProcesses*"], "suite")
    return work.figures


# Small, and every own kernel but peer_norm: its kernels wait for each other, and the tools may run one
# after the other.
SANITIZED = ("CudaGpu.*:*CudaSwiglu.*:*CudaSegmentSum.*:*CudaRmsNorm*:*CudaRopeKv*:*CudaEmbedding.*:"
             "*CudaTopLogprobs.*:*CudaTokenChoice.*Logits*:*CudaTokenChoice.Penalties*:*CudaCopyRows.*:"
             "*CudaTruncation.CutsAmongEquals*:*CudaProduct.EqualsTheDouble*:"
             "*CudaAttention.PartsGive*")


def sanitizer(work):
    """compute-sanitizer finds nothing in own kernels."""
    work.files.need("cuda_suite")
    need_gpu()
    tool_path = programs.cuda_tool("compute-sanitizer")
    if tool_path is None:
        raise Failed("no compute-sanitizer in PATH or the CUDA toolkit")
    failures = []
    for tool in ("memcheck", "racecheck", "synccheck"):
        prefix = [tool_path, "--tool", tool, "--error-exitcode", "9"]
        try:
            gtest(work, [f"--gtest_filter={SANITIZED}"], tool, prefix)
        except Failed as error:
            failures.append(f"{tool}: {error}")
    if failures:
        raise Failed("; ".join(failures))
    return work.figures


def nccl(work):
    """Ranks on one GPU: as processes that cuda_suite starts itself, and under mpirun."""
    gtest(work, ["--gtest_filter=NcclCommunicatorOfProcesses*"], "nccl")
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
    work.figures.append({"kernel": "copy", "gb_per_s": own["copy_gb_per_s"]})
    return work.figures


def key(line):
    return tuple(line.get(name) for name in ("kernel", "format", "m", "n", "k", "length"))


def decode8b(work):
    """Decoding in the shape of an 8B Llama with random weights: tokens a second."""
    work.files.need("lockstep", "model")
    need_gpu()
    path = work.scratch / "llama8b-bf16.gguf"
    room = shutil.disk_usage(work.scratch).free
    if room < llama8b.BYTES + (1 << 30):
        raise Skipped(f"{work.scratch} has room for {room >> 30} GiB, the model takes 15")
    try:
        begin = time.monotonic()
        llama8b.make(work.files.model, path)
        work.figures.append({"what": "making the file", "seconds": round(time.monotonic() - begin, 1)})
        failures = []
        for name, options, batches in (("bf16", [], (1, 128)), ("fp8", ["--quantization", "fp8"], (1,))):
            try:
                decode_rates(work, path, name, options, batches)
            except Failed as error:
                failures.append(f"{name}: {error}")
        if failures:
            raise Failed("; ".join(failures))
        return work.figures
    finally:
        path.unlink(missing_ok=True)


def decode_rates(work, path, name, options, batches):
    options = [*options, "--max-model-len", "1024", "--max-num-seqs", "128", "--kv-cache-memory",
               "20GiB"]
    with Server(work.files, path, 1, work.log, work.left(), options=options,
                threads=max(1, os.cpu_count() - 2)) as server:
        work.figures.append({"what": f"{name}, load", "seconds": round(server.seconds_to_ready, 1)})
        for batch in batches:
            requests = [{"prompt_ids": [1 + i, 2, 3, 4, 5, 6, 7, 8]} for i in range(batch)]

            def seconds_of(tokens):
                begin = time.monotonic()
                server.at_once([{**r, "max_tokens": tokens} for r in requests], work.left())
                return time.monotonic() - begin
            seconds_of(16)  # graphs are recorded
            few, many = seconds_of(16), seconds_of(144)
            work.figures.append({"what": f"{name}, decoding", "batch": batch,
                                 "ms_per_step": round((many - few) / 128 * 1e3, 3),
                                 "tokens_per_s": round(128 * batch / (many - few), 1)})


# name, function, seconds at most, what a dry run needs to find
ALL = [("facts", facts, 20, ()), ("suite", suite, 120, ("cuda_suite",)),
       ("sanitizer", sanitizer, 120, ("cuda_suite",)), ("nccl", nccl, 90, ("cuda_suite", "mpirun")),
       ("model", model, 100, ("lockstep", "mpirun", "model", "reference")),
       ("kernels", kernels, 60, ("cuda_kernels",)), ("decode8b", decode8b, 200, ("lockstep", "model"))]
