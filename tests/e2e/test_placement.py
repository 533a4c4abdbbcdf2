"""Which CPUs the threads of a real server may use."""

import os
import pathlib

import pytest

from cluster import Cluster

CPUS = os.sched_getaffinity(0)


def core_of(cpu):
    """The CPUs of its core, as text."""
    return pathlib.Path(
        f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text().strip()


CORES = {core_of(cpu) for cpu in CPUS}


def bound_threads(server, rank):
    """Thread id -> its core, of the threads that may run on one core only."""
    server.generate("--prompt", "1, 2, 3, 4,", "--max-tokens", 1)  # all ranks are in their loops
    found = {}
    for task in pathlib.Path(f"/proc/{server.rank_pids()[rank]}/task").iterdir():
        cpus = os.sched_getaffinity(int(task.name))
        if cpus != CPUS:
            core, = {core_of(cpu) for cpu in cpus}
            found[int(task.name)] = core
    return found


@pytest.mark.skipif(len(CORES) < 2, reason="needs two cores")
def test_each_rank_computes_on_its_own_core_and_all_else_is_left_free():
    with Cluster(2) as server:
        pids = server.rank_pids()
        bound = [bound_threads(server, rank) for rank in (0, 1)]
        # The main thread alone: not the coordinator, the gateway, the watchdog, MPI, ZeroMQ.
        assert [list(each) for each in bound] == [[pids[0]], [pids[1]]]
        assert bound[0][pids[0]] != bound[1][pids[1]]
        assert server.log_text().count("1 thread on CPUs ") == 2


@pytest.mark.skipif(len(CORES) < 2, reason="needs two cores")
def test_a_rank_takes_all_cores_when_it_is_alone():
    with Cluster(1, threads=0) as server:
        threads = int(server.ready_line.split("threads=")[1].split()[0])
        bound = bound_threads(server, 0)
        assert len(bound) == len(set(bound.values())) == threads == len(CORES)


def test_more_ranks_than_cores_are_neither_bound_nor_spin():
    ranks = len(CORES) + 1
    if ranks > 9:
        pytest.skip("the demo model has nine query heads")
    with Cluster(ranks) as server:
        for rank in range(ranks):
            assert bound_threads(server, rank) == {}
        assert "not bound to cores, and sleep whenever they wait" in server.log_text()


def test_nothing_is_bound_when_none_is_asked_for():
    with Cluster(1, "--bind", "none") as server:
        assert bound_threads(server, 0) == {}
        assert "1 thread, not bound," in server.log_text()
        assert "[warning]" not in server.log_text()
