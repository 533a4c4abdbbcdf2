"""200 streaming clients, many of which leave in the middle: nothing may be left behind."""

import json
import pathlib
import random
import socket
import threading
import time

import cluster

CLIENTS = 200


def resident_bytes(pids):
    total = 0
    for pid in pids:
        for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon"):
                total += int(line.split()[1]) * 1024
    return total


def stream(port, model, seed, outcomes):
    """One streaming request; leaves after a random number of bytes, or stays to the end."""
    pick = random.Random(seed)
    body = json.dumps({"model": model, "prompt": "word " * pick.randint(1, 60),
                       "max_tokens": pick.randint(1, 24), "temperature": 0, "ignore_eos": True,
                       "stream": True}).encode()
    leave_after = pick.choice([0, 1, 400, 2000, None])
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
        connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                           b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                           % (len(body), body))
        if leave_after == 0:
            time.sleep(pick.random())
            return
        while leave_after is None or len(received) < leave_after:
            part = connection.recv(4096)
            if not part:
                break
            received += part
    if leave_after is None:
        outcomes.append(b"data: [DONE]" in received)


def run_round(server, number):
    outcomes = []
    threads = [threading.Thread(target=stream, args=(server.http_port, server.get_model(),
                                                     1000 * number + i, outcomes))
               for i in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(180)
    assert not any(thread.is_alive() for thread in threads)
    assert len(outcomes) > 20 and all(outcomes)


def wait_until_idle(server):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        busy = [server.metric(f"lockstep_{name}") for name in
                ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc")]
        if not any(busy):
            return
        time.sleep(0.2)
    raise AssertionError(f"running, waiting, cache use never came to 0: {busy}")


def test_nothing_is_left_of_clients_that_vanish():
    with cluster.Cluster(2) as server:
        memory = []
        for number in range(4):  # the first one warms caches and allocators up
            run_round(server, number)
            wait_until_idle(server)
            memory.append(resident_bytes(server.rank_pids().values()))
        print("resident MiB after each round:", [m >> 20 for m in memory])
        assert memory[3] < memory[1] + 8 * 2**20
        reply = server.post("/v1/completions", {"model": server.get_model(), "prompt": "Hello",
                                                "max_tokens": 4, "temperature": 0})
        assert reply["usage"]["completion_tokens"] == 4
