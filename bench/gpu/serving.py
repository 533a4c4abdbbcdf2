"""A server of some ranks on one GPU, and requests to it over HTTP."""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import re
import subprocess
import time
import urllib.error
import urllib.request

from programs import Failed, environment, stop, tail

# Ranks that share a GPU pass for hosts of their own, or NCCL refuses them.
_RANK = 'NCCL_HOSTID="lockstep-rank-$OMPI_COMM_WORLD_RANK" exec "$0" "$@"'


class Server:
    """`lockstep serve` on `ranks` ranks, ready. Use as a context manager. Throws Failed when it does
    not become ready in `seconds`. `prefix`: a tool that it runs under, and its options."""

    def __init__(self, programs, model, ranks, log, seconds, device="cuda", options=(), threads=1, prefix=()):
        command = [programs.lockstep, "serve", model, "--device", device, "--http", "127.0.0.1:0", "--zmq",
                   "tcp://127.0.0.1:*", "--threads", threads, *options]
        if ranks > 1:
            programs.need("mpirun")
            command = [programs.mpirun, "-np", ranks, "--bind-to", "none", "sh", "-c", _RANK, *command]
        command = [str(part) for part in [*prefix, *command]]
        self.log = pathlib.Path(log)
        begin = time.monotonic()
        with open(self.log, "ab") as out:
            out.write(("$ " + " ".join(command) + "\n").encode())
            out.flush()
            start = out.tell()
            self.process = subprocess.Popen(command, stdout=out, stderr=out, env=environment(),
                                            start_new_session=True)
        self.ready_line = None
        while self.ready_line is None:
            text = self.log.read_bytes()[start:].decode("utf-8", "replace")
            found = re.search(r"^ready .*\bhttp=(\S+).*$", text, re.MULTILINE)
            if found:
                self.ready_line, self.http = found.group(), found.group(1)  # the port is the system's choice
            elif self.process.poll() is not None:
                self._fail(f"{ranks} ranks ended with {self.process.returncode} before they were ready",
                           start)
            elif time.monotonic() - begin > seconds:
                self._fail(f"{ranks} ranks were not ready after {seconds:.0f} s", start)
            time.sleep(0.1)
        self.seconds_to_ready = time.monotonic() - begin
        self.model = json.loads(self._read("/v1/models", None, 30))["data"][0]["id"]

    def _fail(self, words, start):
        stop(self.process)
        raise Failed(f"{words}; {tail(self.log, start)}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pid = re.search(r"pid=(\d+)", self.ready_line)
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.kill(int(pid.group(1)), 15)
            self.process.wait(10)
        stop(self.process)

    def _read(self, path, body, seconds):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.http + path, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=seconds) as reply:
                return reply.read()
        except urllib.error.HTTPError as error:
            raise Failed(f"HTTP {error.code}: {error.read()[:300].decode('utf-8', 'replace')}") from error
        except OSError as error:
            raise Failed(f"no answer: {error}; {tail(self.log)}") from error

    def token_ids(self, prompt_ids, max_tokens, seconds, **sampling):
        """Of one answer; greedy unless `sampling` says otherwise."""
        body = {"model": self.model, "prompt": prompt_ids, "max_tokens": max_tokens, "temperature": 0,
                "ignore_eos": True, "return_token_ids": True, **sampling}
        return json.loads(self._read("/v1/completions", body, seconds))["choices"][0]["token_ids"]

    def at_once(self, requests, seconds):
        """The answers to requests (arguments of token_ids, as dictionaries) sent together."""
        with concurrent.futures.ThreadPoolExecutor(len(requests)) as pool:
            return list(pool.map(lambda r: self.token_ids(seconds=seconds, **r), requests))
