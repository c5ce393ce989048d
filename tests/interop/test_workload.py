"""The workload through real ZooKeeper while its leader is killed and a follower is stopped."""

from __future__ import annotations

import signal
import threading
import time
from collections import defaultdict
from pathlib import Path

import pytest

from checker.history import Op, Writer, read
from harness.workloads.registers import Workload, ranges
from harness.workloads.zookeeper import ZooKeeperClients
from tests.ensembles import SETTINGS, Servers


def started(servers: Servers, history: Writer, deadline_s: float) -> Workload:
    began = time.monotonic_ns()
    return Workload(
        servers.hosts,
        ZooKeeperClients(SETTINGS.client_port),
        servers.connect_to,
        history,
        lambda: time.monotonic_ns() - began,
        workers=3,
        rate_per_s=60,
        deadline_s=deadline_s,
    )


def test_no_acknowledged_write_is_missing_after_faults_and_every_operation_ends_once(
    zookeeper: Servers, tmp_path: Path
) -> None:
    path = tmp_path / "history.jsonl"
    with Writer(path) as history:
        workload = started(zookeeper, history, deadline_s=1.0)

        def wait_for_more(what: str, count: int) -> None:
            goal = workload.counts["create"]["ok"] + count
            zookeeper.wait_for(what, lambda: workload.counts["create"]["ok"] >= goal)

        workload.start()
        wait_for_more("writes in calm", 10)
        leader = zookeeper.wait_until_all_serve()
        zookeeper.kill(leader)
        wait_for_more("writes under the next leader", 10)
        zookeeper.start(leader)
        next_leader = zookeeper.wait_until_all_serve()
        follower = next(host for host in zookeeper.hosts if host != next_leader)
        zookeeper.kill(follower, signal.SIGSTOP)
        try:
            unknown = workload.counts["create"]["info"] + workload.counts["read"]["info"]
            zookeeper.wait_for(
                "an operation that the stopped server leaves unknown",
                lambda: workload.counts["create"]["info"] + workload.counts["read"]["info"] > unknown,
            )
        finally:
            zookeeper.kill(follower, signal.SIGCONT)
        zookeeper.wait_until_all_serve()
        assert workload.stop(20)
        assert workload.errors == []
        assert workload.read_all(40) == []

    ops = list(read(path))
    clients = [op for op in ops if isinstance(op.process, int)]
    assert all(op.server in zookeeper.hosts for op in clients)
    acknowledged = {op.value for op in clients if (op.f, op.type) == ("create", "ok")}
    assert len(acknowledged) >= 20
    finals = [op for op in clients if (op.f, op.type) == ("read-all", "ok")]
    assert {op.server for op in finals} == set(zookeeper.hosts)
    for final in finals:
        found = {value for low, high in final.value for value in range(low, high + 1)}
        assert acknowledged <= found
        failed = {op.value for op in clients if (op.f, op.type) == ("create", "fail")}
        assert not failed & found, "what surely did not happen is not there"
    one_thing_after_the_other(clients)
    values = [op.value for op in clients if (op.f, op.type) == ("create", "invoke")]
    assert len(values) == len(set(values)), "every value is written by one request"


def one_thing_after_the_other(ops: list[Op]) -> None:
    by_process: dict[int | str, list[Op]] = defaultdict(list)
    for op in ops:
        by_process[op.process].append(op)
    assert any(op.type == "info" for op in ops), "the faults left something unknown, or they were none"
    for mine in by_process.values():
        for invoke, end in zip(mine[::2], mine[1::2], strict=True):
            assert invoke.type == "invoke"
            assert end.type in ("ok", "fail", "info")
            assert (invoke.f, invoke.server) == (end.f, end.server)
            assert invoke.time <= end.time
        assert all(op.type != "info" for op in mine[:-1]), "a process ends with what it does not know"


def test_stopping_does_not_wait_for_a_server_that_answers_nothing(zookeeper: Servers, tmp_path: Path) -> None:
    before = threading.active_count()
    path = tmp_path / "history.jsonl"

    def waiting() -> int:
        return sum(1 if op.type == "invoke" else -1 for op in read(path))

    with Writer(path) as history:
        workload = started(zookeeper, history, deadline_s=120.0)
        workload.start()
        zookeeper.wait_for("every worker to have a session", lambda: workload.counts["create"]["ok"] >= 6)
        for host in zookeeper.hosts:
            zookeeper.kill(host, signal.SIGSTOP)
        try:
            zookeeper.wait_for("every worker to wait for an answer", lambda: waiting() == 3)
            began = time.monotonic()
            assert workload.stop(60)
            assert time.monotonic() - began < 30
        finally:
            for host in zookeeper.hosts:
                zookeeper.kill(host, signal.SIGCONT)
    zookeeper.wait_for("its threads to end", lambda: threading.active_count() <= before)
    zookeeper.wait_until_all_serve()


@pytest.mark.parametrize(
    ("values", "expected"),
    [([], []), ([3], [[3, 3]]), ([3, 1, 2], [[1, 3]]), ([1, 2, 4, 4, 7, 8], [[1, 2], [4, 4], [7, 8]])],
)
def test_values_are_given_as_ranges(values: list[int], expected: list[list[int]]) -> None:
    assert ranges(values) == expected
