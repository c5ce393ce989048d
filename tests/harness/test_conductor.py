"""The conductor and what hosts answer to it: what is not surely over is taken back again, and then given up."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from checker.history import Op, read
from harness.hosts.injector_client import Answer
from harness.results.recorder import Recorder
from harness.runs.conductor import UNDO_TRIES, Conductor
from harness.runs.observer import Observer
from harness.watch.progress import Progress
from nemesis.faults import Fault
from nemesis.orders import Order
from nemesis.schedule import Schedule

HOSTS = ("n1", "n2", "n3")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is gained here by waiting between two tries."""
    monkeypatch.setattr("harness.runs.conductor.UNDO_AGAIN_S", 0.01)


FREEZE = Fault(id="f1", kind="clock", at_s=0.0, for_s=0.1, targets="random", params={"change": "freeze"})
SCHEDULE = Schedule(seed=1, servers=3, duration_s=0.1, calm_s=0.0, core_at_s=0.1, all_at_s=0.1, faults=(FREEZE,))


def answers_to_the_stop(path: Path, refusals: int) -> list[Op]:
    """The ops of the fault's stop on hosts that say so often that it does not show."""
    asked = 0

    def send_all(orders: Mapping[str, Order], deadline_s: float) -> dict[str, Answer]:
        nonlocal asked
        asked += 1
        if 1 < asked <= 1 + refusals:
            return {host: Answer(ok=False, error="the clock runs at the rate 29.980, not 1.000") for host in orders}
        return {host: Answer(ok=True, verified={"rate": 1.0}) for host in orders}

    record, progress = Recorder(path), Progress(quiet=True)
    observer = Observer(record, HOSTS, (), progress)
    Conductor(SCHEDULE, send_all, dict.fromkeys(HOSTS, ("127.0.0.1",)), record, observer, progress).run()
    record.close()
    return [op for op in read(path) if op.process == "nemesis" and op.value["step"] == "stop"]


@pytest.mark.parametrize("refusals", [0, 1, 2])
def test_a_fault_whose_end_did_not_show_is_taken_back_until_it_does(tmp_path: Path, refusals: int) -> None:
    """Else its servers would be in doubt for the rest of the run, and no majority with them owed a leader."""
    ops = answers_to_the_stop(tmp_path / "history.jsonl", refusals)
    assert [op.type for op in ops] == ["invoke", "info"] * refusals + ["invoke", "ok"]
    assert all("29.980" in str(op.error) for op in ops if op.type == "info")


def test_a_fault_whose_end_never_shows_is_given_up(tmp_path: Path) -> None:
    ops = answers_to_the_stop(tmp_path / "history.jsonl", refusals=100)
    assert [op.type for op in ops] == ["invoke", "info"] * UNDO_TRIES
