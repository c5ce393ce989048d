"""A campaign counts every seed once, whatever dies on the way, and knows when it saw nothing."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from checker.promises.base import Valid
from harness.simulator import sweep
from harness.simulator.simulated_run import SimulatorSettings
from harness.simulator.sweep import (
    BATCH,
    Batch,
    ClusterGone,
    Done,
    SeedEnded,
    Sweep,
    SweepSpec,
    SweepTally,
    wilson,
    workers_of,
)
from tests.addresses import network

SPEC = SweepSpec(3, settings=SimulatorSettings(duration_s=31.0))
DEADLINE_S = 120.0
REPOSITORY = Path(sweep.__file__).parents[2]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How often each seed was counted."""
    seen: Counter[int] = Counter()
    add = SweepTally.add

    def watched(tally: SweepTally, batch: Batch, done: Done) -> None:
        if not batch.canary:
            seen.update(ended.seed for ended in done.ended)
        add(tally, batch, done)

    monkeypatch.setattr(SweepTally, "add", watched)
    return seen


# ---- workers that die ------------------------------------------------------------------------------------------------


def test_a_worker_that_is_killed_in_mid_campaign_costs_no_seed_and_none_is_counted_twice(counted: Counter[int]) -> None:
    killed: list[int] = []

    def kill_one(tally: SweepTally) -> None:
        if tally.runs and not killed:
            victim = multiprocessing.active_children()[0].pid
            assert victim is not None
            killed.append(victim)
            os.kill(victim, signal.SIGKILL)

    tally = Sweep(SPEC, range(30), jobs=2, watch=kill_one).run()
    assert killed
    assert tally.deaths > 0
    assert counted == Counter(range(30))
    assert tally.valid is True
    assert tally.canary_found > 0


KILLER = 5


def kills_its_worker(batch: Batch) -> Done:
    """As the real one, but for a seed that takes its process with it."""
    if KILLER in batch.seeds and not batch.canary:
        os.kill(os.getpid(), signal.SIGKILL)
    return Done(tuple(SeedEnded(seed, True, (), "", 1.0, 1, ()) for seed in batch.seeds), {}, 0.0)


def test_a_seed_that_always_kills_its_worker_is_found_and_unknown_and_all_others_are_counted(
    counted: Counter[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "run_batch", kills_its_worker)
    tally = Sweep(SPEC._replace(bug="half-quorum"), range(1 + BATCH), jobs=1).run()
    assert counted == Counter(range(1 + BATCH))
    assert tally.counts == {True: BATCH, "unknown": 1}
    assert [ended.seed for ended in tally.failing] == [KILLER]
    assert "worker died" in tally.failing[0].summary
    assert tally.valid == "unknown"


def test_a_simulator_that_raises_names_its_seed_and_loses_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(seed: int, **_: object) -> object:
        raise ZeroDivisionError(f"seed {seed}")

    monkeypatch.setattr(sweep, "simulate", breaks)
    done = sweep.run_batch(Batch(SPEC, (1, 2)))
    assert [(ended.seed, ended.valid) for ended in done.ended] == [(1, "unknown"), (2, "unknown")]
    assert all("ZeroDivisionError" in ended.failures[0] for ended in done.ended)


def quick(batch: Batch) -> Done:
    return Done(tuple(SeedEnded(seed, True, (), "", 1.0, 1, ()) for seed in batch.seeds), {}, 0.0)


@pytest.mark.parametrize("batches", [100, 101, 102, 103])
def test_a_campaign_on_one_worker_ends_however_many_batches_it_has(
    batches: int, counted: Counter[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pool that replaces its processes after 100 batches never came to an end here."""
    monkeypatch.setattr(sweep, "run_batch", quick)
    count = 1 + (batches - 1) * BATCH
    Sweep(SPEC._replace(bug="half-quorum"), range(count), jobs=1).run()
    assert counted == Counter(range(count))


# ---- a cluster -------------------------------------------------------------------------------------------------------


class Cluster(NamedTuple):
    address: str
    scheduler: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A Dask scheduler and two workers of one thread, as processes of this machine."""
    file = tmp_path / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": REPOSITORY}
    scheduler = subprocess.Popen(
        [*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)],
        **quiet,  # type: ignore[call-overload]
    )
    workers = []
    try:
        _until(lambda: file.exists() and bool(file.read_text().strip()))
        for number in (1, 2):
            words = ["worker", "--scheduler-file", str(file), "--no-nanny", "--nthreads", "1", "--no-dashboard"]
            words += ["--host", "127.0.0.1", "--local-directory", str(tmp_path / f"worker{number}")]
            workers.append(subprocess.Popen([*dask, *words], **quiet))  # type: ignore[call-overload]
        address = json.loads(file.read_text())["address"]
        _until(lambda: _threads(address) == 2)
        yield Cluster(address, scheduler, workers)
    finally:
        for process in (*workers, scheduler):
            process.kill()
            process.wait(30)


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _threads(address: str) -> int:
    try:
        return workers_of(address)
    except ClusterGone:
        return 0


def test_a_cluster_that_loses_a_worker_loses_no_seed_and_repeats_none_and_one_without_workers_is_said_to_be_gone(
    cluster: Cluster, counted: Counter[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "SILENCE_S", 1.0)

    def kill(worker: subprocess.Popen[bytes], tally: SweepTally) -> None:
        if tally.runs and worker.poll() is None:
            worker.kill()
            worker.wait(30)

    first, second = cluster.workers
    tally = Sweep(SPEC, range(30), jobs=2, scheduler=cluster.address, watch=lambda seen: kill(first, seen)).run()
    assert first.poll() == -signal.SIGKILL
    assert counted == Counter(range(30))
    assert tally.valid is True
    assert tally.canary_found > 0

    counted.clear()
    tally = Sweep(SPEC, range(9999), jobs=1, scheduler=cluster.address, watch=lambda seen: kill(second, seen)).run()
    assert tally.valid == "unknown"
    assert "the cluster is gone: it has no worker" in tally.troubles
    assert 0 < tally.runs == len(counted) < 9999
    assert set(counted.values()) == {1}


def test_a_scheduler_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "CONNECT_S", 1)
    with pytest.raises(ClusterGone):
        workers_of(f"tcp://{network()}.1:9")


# ---- verdicts --------------------------------------------------------------------------------------------------------


def _done(*valids: Valid) -> Done:
    return Done(
        tuple(
            SeedEnded(seed, valid, ("epochs",) if valid is False else (), "", 60.0, 10, ())
            for seed, valid in enumerate(valids)
        ),
        {"round-jump": 2},
        0.5,
    )


@pytest.mark.parametrize(
    ("valids", "verdict"),
    [
        ((True, True), True),
        ((True, "unknown"), "unknown"),
        ((True, "unknown", False), False),
        ((), "unknown"),
    ],
)
def test_invalid_beats_unknown_beats_valid_and_nothing_is_unknown(valids: tuple[Valid, ...], verdict: Valid) -> None:
    tally = SweepTally()
    tally.add(Batch(SPEC, tuple(range(len(valids)))), _done(*valids))
    assert tally.valid == verdict
    assert (tally.runs, tally.seconds) == (len(valids), 60.0 * len(valids))


def test_a_trouble_makes_a_valid_campaign_unknown_and_an_invalid_one_stays_invalid() -> None:
    for valid, verdict in ((True, "unknown"), (False, False)):
        tally = SweepTally(troubles=["the harness is blind"])
        tally.add(Batch(SPEC, (0,)), _done(valid))
        assert tally.valid == verdict


def test_the_canarys_runs_count_for_the_canary_alone() -> None:
    tally = SweepTally()
    tally.add(Batch(SPEC, (0, 1), canary=True), _done(False, True))
    assert (tally.runs, tally.canary_runs, tally.canary_found, tally.broken, tally.reached) == (0, 2, 1, {}, {})


def test_of_many_failing_seeds_the_lowest_that_broke_a_promise_are_named() -> None:
    tally = SweepTally()
    for first in range(400, -1, -40):
        ended = [SeedEnded(first + n, "unknown" if n % 2 else False, (), "", 1.0, 1, ()) for n in range(40)]
        tally.add(Batch(SPEC, ()), Done(tuple(ended), {}, 0.0))
    named = sorted(ended.seed for ended in tally.failing)
    assert named == list(range(0, 200, 2))
    assert tally.counts == {False: 220, "unknown": 220}


def test_a_harness_that_does_not_find_the_canary_is_blind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "CANARY", "")  # the correct server in its place
    tally = Sweep(SPEC, range(2), jobs=1).run()
    assert tally.counts == {True: 2}
    assert tally.canary_runs > 0
    assert tally.valid == "unknown"
    assert "blind" in tally.troubles[0]


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"), [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (0, 0, 0, 1)]
)
def test_the_interval_of_a_share_is_wilsons(hits: int, of: int, low: float, high: float) -> None:
    assert wilson(hits, of) == pytest.approx((low, high), abs=2e-4)
