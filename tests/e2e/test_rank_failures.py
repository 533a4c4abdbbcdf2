"""A rank that stops or dies ends the job: with its name, within the deadline, leaving nothing."""

import concurrent.futures
import json
import os
import pathlib
import re
import signal
import subprocess
import time
import urllib.error

import pytest

import cluster


def keep_busy(server, seconds=60, max_tokens=4000):
    """A request in the background that keeps the ranks stepping, whose first tokens have come: its
    answer, or the error that is expected."""
    def ask():
        try:
            return server.post("/v1/completions",
                               {"model": server.get_model(), "prompt": "Count: 1 2 3",
                                "max_tokens": max_tokens, "ignore_eos": True}, seconds)
        except Exception as error:  # the server dies under it
            return error
    pool = concurrent.futures.ThreadPoolExecutor(1)
    asked = pool.submit(ask)
    deadline = time.monotonic() + 30
    while server.metric("lockstep_inter_token_latency_seconds_count") < 4:
        assert time.monotonic() < deadline and not asked.done(), "no tokens came"
        time.sleep(0.05)
    return asked


def fault_code(asked):
    """The code that a request got whose server has died under it."""
    return code_of(asked.result(20))


def code_of(error):
    return json.loads(error.read())["error"]["code"]


def refusal(ask):
    """The code that ask() is refused with, or None."""
    try:
        ask()
    except urllib.error.HTTPError as error:
        return code_of(error)
    return None


def all_gone(pids, timeout=10):
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if not any(map(cluster.is_alive, pids)):
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("busy", [True, False], ids=["under_load", "idle"])
def test_a_stopped_rank_is_named(busy):
    with cluster.Cluster(2, "--deadline-ms", 2000) as server:
        if busy:
            keep_busy(server)
        os.kill(server.rank_pids()[1], signal.SIGSTOP)
        stopped = time.monotonic()
        assert server.wait(20) == 1  # and no signal: the report must not break what it reports
        print(f"ended {time.monotonic() - stopped:.1f} s after SIGSTOP")
        assert all_gone(server.pids)
        # Under load a collective says where rank 1 is missing; idle, the coordinator which step.
        named = (r"rank 1 did not arrive at '[^']+' .* it was last in '[^']*'" if busy
                 else r"no report of step \d+ within \d+ ms from rank 1$")
        errors = [line for line in server.log_text().splitlines() if "[critical]" in line]
        assert any(re.search(named, line) for line in errors), errors


def test_a_stopped_stage_is_named_by_the_next_one():
    with cluster.Cluster(2, "--pp", 2, "--deadline-ms", 2000) as server:
        keep_busy(server)
        # Rank 0's threads are one process: stopped, it takes the coordinator along.
        os.kill(server.rank_pids()[0], signal.SIGSTOP)
        assert server.wait(20) != 0
        assert all_gone(server.pids)
        errors = [line for line in server.log_text().splitlines() if "[critical]" in line]
        assert any(re.search(r"rank 1 on .*(activations \d+ of rank 0 did not come|no plan within)",
                             line) for line in errors), errors


@pytest.mark.parametrize("sent", [signal.SIGSTOP, signal.SIGKILL])
def test_clients_are_told_that_the_replica_has_failed(sent):
    with cluster.Cluster(2, "--deadline-ms", 2000) as server:
        asked = keep_busy(server)
        os.kill(server.rank_pids()[1], sent)
        assert server.wait(20) != 0
        assert fault_code(asked) == "replica_failed"


def test_clients_are_told_of_a_shutdown():
    with cluster.Cluster(2) as server:
        asked = keep_busy(server)
        os.kill(server.rank_pids()[0], signal.SIGTERM)
        assert server.wait(20) == 0
        assert fault_code(asked) == "shutting_down"


def test_open_requests_end_within_the_shutdown_timeout():
    with cluster.Cluster(2, "--shutdown-timeout", 60) as server:
        model = server.get_model()
        asked = keep_busy(server, max_tokens=600)
        os.kill(server.rank_pids()[0], signal.SIGTERM)
        deadline = time.monotonic() + 10
        while refusal(lambda: server.get("/health")) != "shutting_down":
            assert time.monotonic() < deadline
        assert refusal(lambda: server.post("/v1/completions", {
            "model": model, "prompt": "x", "max_tokens": 1})) == "shutting_down"
        assert not asked.done()
        assert server.wait(60) == 0
        assert asked.result(10)["usage"]["completion_tokens"] == 600


def test_clients_are_told_of_a_second_signal():
    with cluster.Cluster(2, "--shutdown-timeout", 60) as server:
        asked = keep_busy(server)
        os.kill(server.rank_pids()[0], signal.SIGTERM)
        deadline = time.monotonic() + 10
        while refusal(lambda: server.get("/health")) != "shutting_down":
            assert time.monotonic() < deadline
        os.kill(server.rank_pids()[0], signal.SIGTERM)
        assert server.wait(5) == 1
        assert fault_code(asked) == "replica_failed"


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_ends_the_job(rank):
    with cluster.Cluster(2) as server:
        keep_busy(server)
        os.kill(server.rank_pids()[rank], signal.SIGKILL)
        assert server.wait(20) != 0
        assert all_gone(server.pids)


def test_sigterm_ends_with_zero():
    with cluster.Cluster(2) as server:
        assert server.ready_line.startswith("ready")
        os.kill(server.rank_pids()[0], signal.SIGTERM)
        assert server.wait(15) == 0
        assert all_gone(server.pids)


def takes_signals(pid):
    """Whether a rank has come so far that it takes SIGTERM for itself."""
    try:
        (mask,) = re.findall(r"^SigBlk:\s*(\w+)$",
                             pathlib.Path(f"/proc/{pid}/status").read_text(), re.M)
    except OSError:
        return False
    return bool(int(mask, 16) & 1 << signal.SIGTERM - 1)


@pytest.mark.parametrize("number,status", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_server_that_still_loads(tmp_path, number, status):
    os.mkfifo(model := tmp_path / "model.gguf")  # nobody writes to it: opening it takes for ever
    with subprocess.Popen(["mpirun", "-np", "2", str(cluster.BINARY), "serve", str(model)],
                          stderr=subprocess.PIPE, text=True, env=cluster.environment()) as job:
        try:
            deadline = time.monotonic() + 30
            while len(ranks := [*filter(takes_signals, cluster.children(job.pid))]) < 2:
                assert time.monotonic() < deadline and job.poll() is None
                time.sleep(0.05)
            os.kill(ranks[1], number)
            _, log = job.communicate(timeout=20)
        finally:
            job.kill()
    assert job.returncode == status
    assert f"{number.name} before the server was ready" in log
    assert all_gone(ranks)


def test_a_server_outlives_the_readers_of_its_output(tmp_path):
    endpoint = f"ipc://{tmp_path}/socket"
    with subprocess.Popen([str(cluster.BINARY), "serve", cluster.find_model(), "--zmq", endpoint,
                           "--threads", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, env=cluster.environment()) as alone:
        try:
            alone.stderr.close()  # it has not logged yet, or not all
            assert alone.stdout.readline().startswith("ready")
            alone.stdout.close()
            done = subprocess.run([str(cluster.BINARY), "generate", "--connect", endpoint,
                                   "--prompt", "1 2", "--max-tokens", "2"], timeout=30)
            assert done.returncode == 0
            alone.send_signal(signal.SIGTERM)  # of which it logs
            assert alone.wait(15) == 0
        finally:
            alone.kill()


def test_health_says_what_is_true():
    with cluster.Cluster(2, "--deadline-ms", 8000) as server:
        assert json.loads(server.get("/health"))["status"] == "healthy"
        keep_busy(server)
        os.kill(server.rank_pids()[1], signal.SIGSTOP)
        time.sleep(4)
        try:
            server.get("/health", 5)
            status = 200
        except Exception as error:
            status = getattr(error, "code", None)
        assert status == 503
