"""The conductor's driver on hosts: threads, deadlines and the history.  Its rules are in `tests/nemesis`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from checker.history import Op, read
from harness.hosts.injector_client import Answer
from harness.results.recorder import Recorder
from harness.runs.conductor import ConductorOnHosts
from harness.runs.observer import Observer
from harness.watch.progress import Progress
from nemesis.faults import Fault, Order
from nemesis.schedule import Schedule

HOSTS = ("n1", "n2", "n3")
DEADLINE_S = 60


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is gained here by waiting between two tries."""
    monkeypatch.setattr("nemesis.conductor.UNDO_AGAIN_S", 0.01)


FREEZE = Fault(id="f1", kind="clock", at_s=0.0, for_s=0.1, targets="random", params={"change": "freeze"})
PAUSE = Fault(id="f2", kind="pause", at_s=0.05, for_s=0.1, targets="all")

SendAll = Callable[[Mapping[str, Order], float], Mapping[str, Answer]]


def yes(orders: Mapping[str, Order]) -> dict[str, Answer]:
    return {host: Answer(ok=True, verified={"rate": 1.0}) for host in orders}


def conducted(path: Path, send_all: SendAll, *faults: Fault) -> tuple[list[Op], list[str]]:
    """The nemesis' ops, and what the harness failed at."""
    schedule = Schedule(
        seed=1, servers=3, duration_s=0.2, calm_s=0.0, majority_at_s=0.2, everyone_at_s=0.2, faults=faults
    )
    record, progress = Recorder(path), Progress(quiet=True)
    observer = Observer(record, HOSTS, (), progress)
    conductor = ConductorOnHosts(schedule, send_all, dict.fromkeys(HOSTS, ("127.0.0.1",)), record, observer, progress)
    conductor.run()
    record.close()
    return [op for op in read(path) if op.process == "nemesis"], conductor.errors


def steps(ops: list[Op], fault: Fault = FREEZE) -> list[str]:
    return [f"{op.type} {op.value['step']}" for op in ops if op.value["fault"] == fault.id]


def test_a_stop_that_hosts_refuse_is_sent_again_until_they_confirm_it(tmp_path: Path) -> None:
    asked = 0

    def refuse_twice(orders: Mapping[str, Order], deadline_s: float) -> dict[str, Answer]:
        nonlocal asked
        asked += 1
        if asked in (2, 3):
            return {host: Answer(ok=False, error="the clock runs at the rate 29.980, not 1.000") for host in orders}
        return yes(orders)

    ops, errors = conducted(tmp_path / "history.jsonl", refuse_twice, FREEZE)
    assert steps(ops) == [
        "invoke start", "ok start", *["invoke stop", "info stop"] * 2, "invoke stop", "ok stop",
    ]  # fmt: skip
    assert all("29.980" in str(op.error) for op in ops if op.type == "info")
    assert not errors


def test_a_host_that_does_not_answer_holds_up_no_other_fault(tmp_path: Path) -> None:
    """The start of the first fault is answered only when the second one is over."""
    second_is_over = threading.Event()

    def first_is_late(orders: Mapping[str, Order], deadline_s: float) -> dict[str, Answer]:
        order = next(iter(orders.values()))
        if order["do"] == "clock":
            assert second_is_over.wait(DEADLINE_S)
        if order["do"] == "undo" and order["fault"] == PAUSE.id:
            second_is_over.set()
        return yes(orders)

    ops, errors = conducted(tmp_path / "history.jsonl", first_is_late, FREEZE, PAUSE)
    assert not errors
    for fault in (FREEZE, PAUSE):
        assert steps(ops, fault) == ["invoke start", "ok start", "invoke stop", "ok stop"]


def test_a_start_whose_sending_raises_is_undone_and_makes_the_run_incomplete(tmp_path: Path) -> None:
    """Hosts may have done it, and nobody knows."""

    def break_once(orders: Mapping[str, Order], deadline_s: float) -> dict[str, Answer]:
        if any(order["do"] == "clock" for order in orders.values()):
            raise RuntimeError("out of threads")
        return yes(orders)

    ops, errors = conducted(tmp_path / "history.jsonl", break_once, FREEZE)
    assert steps(ops) == ["invoke start", "info start", "invoke stop", "ok stop"]
    assert errors == ["f1 clock: RuntimeError: out of threads"]


def test_when_the_history_can_no_longer_be_written_nothing_more_is_sent(tmp_path: Path) -> None:
    sent: list[str] = []
    path = tmp_path / "history.jsonl"
    record, progress = Recorder(path), Progress(quiet=True)
    schedule = Schedule(
        seed=1, servers=3, duration_s=60, calm_s=0.0, majority_at_s=60, everyone_at_s=60, faults=(FREEZE,)
    )

    def disk_is_full(orders: Mapping[str, Order], deadline_s: float) -> dict[str, Answer]:
        sent.extend(str(order["do"]) for order in orders.values())
        record.failure = "the disk is full"
        record.failed.set()
        return yes(orders)

    observer = Observer(record, HOSTS, (), progress)
    conductor = ConductorOnHosts(
        schedule, disk_is_full, dict.fromkeys(HOSTS, ("127.0.0.1",)), record, observer, progress
    )
    conductor.run()
    record.close()
    assert sent == ["clock"]
    assert any("the disk is full" in error for error in conductor.errors)
