"""The commands as people and scripts use them: exit codes, help, errors, chat, configuration."""

import os
import pty
import select
import signal
import socket
import subprocess
import time

import pytest

import cluster
from random_checkpoint import SCHEMES, Checkpoint

LOCKSTEP = str(cluster.BINARY)


def run(*arguments, stdin="", timeout=30):
    return subprocess.run([LOCKSTEP, *map(str, arguments)], input=stdin, capture_output=True,
                          text=True, timeout=timeout, env=cluster.environment())


def test_help_has_examples_and_succeeds():
    for arguments in ([], ["serve"], ["generate"], ["chat"], ["plan"]):
        done = run(*arguments, "--help")
        assert done.returncode == 0 and "Example" in done.stdout


@pytest.mark.parametrize("arguments,named", [
    ([], "subcommand"),
    (["fly"], "'fly' is no subcommand"),
    (["--swim"], "'--swim' is no subcommand and no option"),
    (["serve", "x", "--device", "gpu"], "gpu not in {auto,cpu,cuda}"),
    (["plan", "x", "--kv-cache-dtype", "int4"], "int4 not in {auto,bf16,fp8,int8}"),
    (["plan", "x", "--max-num-batched-tokens", "5"], "5 is below --max-num-seqs 64"),
    (["generate", "--token-ids", ""], "--token-ids"),
    (["generate", "--token-ids=-1"], "--token-ids"),
    (["generate", "--prompt", "x", "--top-p", "0"], "above 0 and at most 1"),
    (["serve"], "MODEL"),
    (["serve", "x", "--block-size", "24"], "--block-size"),
    (["serve", "x", "--max-num-seqs", "0"], "--max-num-seqs"),
    (["serve", "x", "--kernels", "mmx"], "--kernels"),
    (["serve", "x", "--http", "localhost"], "--http"),
    (["serve", "x", "--device", "tpu"], "--device"),
    (["serve", "x", "--max-num-batched-tokens", "8"], "--max-num-batched-tokens"),
    (["generate", "--temperature", "hot"], "--temperature"),
    (["plan"], "model"),
    (["plan", "x", "--device", "abacus"], "--device"),
    (["plan", "x", "--weights", "q3"], "--weights"),
    (["plan", "x", "--gpu-memory-utilization", "0.5"], "--gpu-memory-utilization"),
    (["plan", "x", "--all-reduce", "nccl"], "--all-reduce"),
    (["plan", "x", "--nccl-windows"], "--nccl-windows"),
    (["plan", "x", "--device", "h100", "--kv-cache-dtype", "int8"], "--kv-cache-dtype"),
    (["generate", "--prompt", "a", "--token-ids", "1"], "--token-ids"),
], ids=lambda value: "_".join(value) if isinstance(value, list) else value)
def test_usage_errors_exit_with_2_and_name_the_option(arguments, named):
    done = run(*arguments)
    assert done.returncode == 2
    assert named in done.stderr


def test_help_shows_the_names_of_values_and_nothing_behind_them():
    for command in ("serve", "plan"):
        assert "->" not in run(command, "--help").stdout


@pytest.mark.parametrize("epoch", ["-1", "0", "", "1.5", "18446744073709551616"])
def test_an_epoch_that_is_none_is_named(epoch):
    done = subprocess.run([LOCKSTEP, "serve", "x"], capture_output=True, text=True, timeout=60,
                          env={**cluster.environment(), "LOCKSTEP_EPOCH": epoch})
    assert done.returncode == 1
    assert f"LOCKSTEP_EPOCH is '{epoch}': it must be an integer from 1" in done.stderr


def test_a_configuration_file_says_what_options_say(tmp_path):
    config = tmp_path / "serve.toml"
    config.write_text(f'model = "{cluster.find_model()}"\nblock_size = 24\n')
    done = run("serve", "--config", config)
    assert done.returncode == 2 and "block-size" in done.stderr
    config.write_text('max-num-seqs = 4\nmax_num_sequences = 4\n')
    done = run("serve", "--config", config)
    assert done.returncode == 2
    assert f"{config}:2: max_num_sequences" in done.stderr
    config.write_text("threads = [1\n")
    assert f"{config}:" in run("serve", "--config", config).stderr


def test_a_model_that_is_not_there_is_named():
    done = run("serve", "/nowhere/model.gguf", timeout=60)
    assert done.returncode != 0
    assert "/nowhere/model.gguf" in done.stderr


def test_a_template_that_cannot_be_parsed_is_named_before_anything_is_loaded(tmp_path):
    folder = Checkpoint(tmp_path / "bad", SCHEMES["int4_group"]).folder
    (folder / "chat_template.jinja").write_text("a\n{% if x %}")
    done = run("serve", folder, "--threads", 1, "--zmq", f"ipc://{tmp_path}/socket", timeout=60)
    assert done.returncode != 0
    assert f"{folder}: chat template, line 2, column 11: expected 'endif'" in done.stderr
    assert "MiB of weights" not in done.stderr


def test_a_device_that_is_not_there_is_named_before_anything_is_loaded():
    done = run("serve", "/nowhere/model.gguf", "--device", "cuda", timeout=60)
    assert done.returncode == 1
    assert "--device cuda" in done.stderr
    built_in = os.environ.get("LOCKSTEP_CUDA") == "ON"
    assert ("configure with --preset cuda-release" in done.stderr) != built_in
    if built_in:  # then it depends on the machine
        assert any(reason in done.stderr for reason in (
            "no CUDA driver", "driver of this host", "shows no device", "CUDA code for sm_"))
    assert "/nowhere/model.gguf" not in done.stderr


@pytest.mark.parametrize("option", ["--http", "--zmq"])
def test_a_port_that_is_taken_is_named_before_the_weights_are_loaded(option):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        addresses = {"--http": "127.0.0.1:0", "--zmq": "tcp://127.0.0.1:*"}
        addresses[option] = addresses[option][:-1] + str(port)
        done = run("serve", cluster.find_model(), *sum(addresses.items(), ()), timeout=60)
    assert done.returncode == 1
    assert f"{option}: cannot listen on {addresses[option]}: Address already in use" in done.stderr
    assert "of weights" not in done.stderr


def test_generate_streams_text_and_prints_json(server):
    plain = run("generate", "--connect", server.zmq, "--prompt", "1, 2, 3, 4,", "--max-tokens", 9)
    assert plain.returncode == 0
    answer = server.generate("--prompt", "1, 2, 3, 4,", "--max-tokens", 9, "--logprobs", 1)
    assert plain.stdout == answer["text"] + "\n"
    assert set(answer) >= {"text", "token_ids", "finish_reason", "usage", "timings", "logprobs"}
    from_stdin = run("generate", "--connect", server.zmq, "--max-tokens", 9, stdin="1, 2, 3, 4,")
    assert from_stdin.stdout == plain.stdout


def test_generate_names_what_the_server_refuses(server):
    done = run("generate", "--connect", server.zmq, "--prompt", "x", "--max-tokens", 9000)
    assert done.returncode == 1
    assert "context_length_exceeded" in done.stderr and "8,192" in done.stderr


@pytest.mark.parametrize("arguments,status", [
    (["generate", "--prompt", "1 2", "--max-tokens", "4"], 1),
    (["generate", "--prompt", "1 2", "--max-tokens", "4", "--json"], 1),
    (["chat", "--max-tokens", "4"], 1),
    (["plan"], 2)], ids=["generate", "json", "chat", "plan"])
def test_an_answer_that_cannot_be_written_is_no_success(server, arguments, status):
    place = [cluster.find_model()] if arguments == ["plan"] else ["--connect", server.zmq]
    with open("/dev/full", "w") as full:
        done = subprocess.run([LOCKSTEP, *arguments, *place], input="Hello\n", stdout=full,
                              stderr=subprocess.PIPE, text=True, timeout=30)
    assert done.returncode == status
    assert "standard output did not take all" in done.stderr


@pytest.mark.parametrize("arguments", [["generate", "--prompt", "1 2"], ["chat"]],
                         ids=["generate", "chat"])
def test_a_reader_that_has_gone_ends_the_answer(server, arguments):
    with subprocess.Popen([LOCKSTEP, *arguments, "--connect", server.zmq, "--max-tokens", "8000"],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as asking:
        asking.stdin.write(b"Count from 1 to 1000, one number on each line.\n")
        asking.stdin.close()
        asking.stdout.read(1)
        asking.stdout.close()
        assert asking.wait(10) == -signal.SIGPIPE
    deadline = time.monotonic() + 5
    while server.metric("lockstep_num_requests_running"):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_generate_says_when_nobody_answers():
    done = run("generate", "--connect", "tcp://127.0.0.1:9", "--prompt", "x", "--timeout-ms", 300)
    assert done.returncode == 1
    assert "no answer from tcp://127.0.0.1:9" in done.stderr


def test_ctrl_c_cancels_generate(server):
    process = subprocess.Popen([LOCKSTEP, "generate", "--connect", server.zmq, "--prompt", "1 2",
                                "--max-tokens", "5000", "--ignore-eos"], stdout=subprocess.PIPE)
    process.stdout.read(10)
    process.send_signal(signal.SIGINT)
    process.stdout.read()
    assert process.wait(10) == 130
    deadline = time.monotonic() + 5
    while server.metric("lockstep_num_requests_running") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert server.metric("lockstep_num_requests_running") == 0


def test_chat_reads_lines_from_a_pipe(server):
    done = run("chat", "--connect", server.zmq, "--max-tokens", 12, stdin="Hello\n/reset\nHello\n")
    first, second = done.stdout.strip().split("\n")
    assert done.returncode == 0 and first == second


class Terminal:
    """A program on a pseudo-terminal."""

    def __init__(self, *command):
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.execve(command[0], command, {**cluster.environment(), "TERM": "dumb",
                                            "XDG_STATE_HOME": "/nonexistent/state"})
        self.seen = ""

    def type(self, text):
        os.write(self.descriptor, text.encode())

    def wait_for(self, text, timeout=20):
        deadline = time.monotonic() + timeout
        while text not in self.seen:
            left = max(deadline - time.monotonic(), 0)
            assert select.select([self.descriptor], [], [], left)[0], f"no {text!r}: {self.seen!r}"
            self.seen += os.read(self.descriptor, 4096).decode(errors="replace")
        before, self.seen = self.seen.split(text, 1)
        return before

    def end(self, timeout=20):
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = None
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.01)
        raise AssertionError(f"it does not end: {self.seen!r}")

    def kill(self):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


@pytest.fixture
def terminal(server):
    chat = Terminal(LOCKSTEP, "chat", "--connect", server.zmq)
    yield chat
    chat.kill()


def test_ctrl_c_in_chat_ends_the_answer_and_not_the_program(terminal):
    terminal.wait_for("> ")
    terminal.type("Count from 1 to 1000, one number on each line.\n")
    terminal.wait_for("\n")  # the echo
    terminal.wait_for("1")
    terminal.type("\x03")
    terminal.wait_for("(stopped)")
    terminal.wait_for("> ")
    for _ in range(20):  # at whatever moment it comes
        terminal.type("\x03")
        terminal.wait_for("Ctrl-D or /quit leaves")
        terminal.wait_for("> ")
    terminal.type("/quit\n")
    assert terminal.end() == 0


def test_a_second_start_reads_the_weights_of_the_first(tmp_path):
    def start():
        with cluster.Cluster(2, "--weight-cache", tmp_path / "cache") as server:
            return server.generate("--prompt", "1, 2, 3, 4,", "--max-tokens", 8), server.log_text()

    (first, first_log), (second, second_log) = start(), start()
    assert first_log.count(".packed: written") == 2 and ".packed: read" not in first_log
    assert second_log.count(".packed: read") == 2 and ".packed: written" not in second_log
    assert len(list((tmp_path / "cache").iterdir())) == 2
    assert first["token_ids"] == second["token_ids"]
