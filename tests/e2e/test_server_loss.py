"""What the terminal's commands and the Python client say when their server goes away half-way."""

import contextlib
import os
import signal
import subprocess

import cluster
import lockstep_client
import pytest

LOCKSTEP = str(cluster.BINARY)


@contextlib.contextmanager
def command(*arguments, **options):
    with subprocess.Popen([LOCKSTEP, *map(str, arguments)], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, env=cluster.environment(),
                          **options) as process:
        try:
            yield process
        finally:
            process.kill()


def kill_rank_0(server):
    os.kill(server.rank_pids()[0], signal.SIGKILL)


def test_generate_ends_with_1_when_its_server_is_killed():
    with cluster.Cluster(2) as server, command(
            "generate", "--connect", server.zmq, "--prompt", "1 2", "--ignore-eos",
            "--max-tokens", 5000) as asking:
        begun = asking.stdout.read(10)
        kill_rank_0(server)
        _, error = asking.communicate(timeout=20)
        assert asking.returncode == 1
        assert error == f"lockstep: lost the connection to {server.zmq}\n"
        assert len(begun) == 10


def test_chat_from_a_pipe_ends_with_1_when_its_server_is_killed():
    with cluster.Cluster(2) as server, command("chat", "--connect", server.zmq,
                                               stdin=subprocess.PIPE) as chat:
        chat.stdin.write("Count from 1 to 1000, one number on each line.\n")
        chat.stdin.flush()
        chat.stdout.read(1)
        kill_rank_0(server)
        _, error = chat.communicate(timeout=20)
        assert chat.returncode == 1
        assert f"connection_error: lost the connection to {server.zmq}" in error


def test_a_stream_of_the_python_client_ends_when_its_server_is_killed():
    with cluster.Cluster(2) as server, lockstep_client.Client(server.zmq, timeout=None) as client:
        stream = client.stream("1 2", ignore_eos=True, max_tokens=5000)
        next(stream)
        kill_rank_0(server)
        with pytest.raises(lockstep_client.LockstepError) as caught:
            list(stream)
        assert str(caught.value) == f"connection_error: lost the connection to {server.zmq}"


def test_ctrl_c_ends_generate_where_nobody_answers():
    with command("generate", "--connect", "tcp://127.0.0.1:9", "--prompt", "x",
                 "--timeout-ms", 60000) as asking:
        with contextlib.suppress(subprocess.TimeoutExpired):
            asking.wait(1)  # it waits for a connection
        assert asking.returncode is None
        asking.send_signal(signal.SIGINT)
        _, error = asking.communicate(timeout=10)
        assert asking.returncode == 130
        assert "cancelled before tcp://127.0.0.1:9" in error
