"""Many seeds on many cores: batches of simulated runs on an executor of `concurrent.futures`.

The model.  A campaign hands out batches of seeds and counts what comes back.  The executor is a pool of processes here,
or Dask's on a cluster.  What travels is small: a `Spec` and seeds go out, and for each seed comes back how it ended; a
run is a function of its seed, so a failing one is simply run again here to keep its folder.  The rules:

1.  Every seed is counted once.  A batch whose worker died is handed out again; only what came back is counted.
2.  A batch that keeps killing its workers is halved, and tried by itself, until the seed that does it is found; that
    seed is `unknown`, and the campaign with it.
3.  A cluster that is gone (no scheduler, or no worker left) ends the campaign: what was counted is said, and it is
    `unknown`.
4.  Invalid beats unknown beats valid.
5.  The canary.  A planted bug is run over some of the seeds (`CANARY`).  If it is not found, the harness is blind, and
    the verdict is unknown, whatever else was seen.

Example: `Campaign(Spec(), range(1000), jobs=2).run()` is a thousand chaotic minutes, judged.
"""

from __future__ import annotations

import itertools
import math
import multiprocessing
import signal
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from checker.counted import counted
from checker.promises.base import Valid
from checker.verdict import combine
from harness.runs import signals
from harness.simulator.run import simulate
from harness.simulator.simulated_run import SimulatorSettings
from harness.simulator.worker import make_processes
from nemesis.schedule import Schedule

BATCH = 8
"""Seeds of a batch: about a second of work, so that handing it out costs little (one seed takes 0.14 s)."""
BATCHES_WAITING = 2
"""Beside the one that a worker is at, so that it never waits for us."""
TRIES = 3
"""So often a seed may kill its worker, alone, before it is given up."""
LISTED_MAX = 100
"""Failing seeds that are named; the rest is counted."""

CONNECT_S = 20
"""For the scheduler of a cluster to answer."""
SILENCE_S = 20.0
"""Nothing came back from a cluster for so long: is it still there?"""

CANARY = "forgets-epoch"
CANARY_FIRST, CANARY_EVERY = 3, 200
"""The canary runs on the first seeds of a campaign, and then on every so many."""


class SweepSpec(NamedTuple):
    """What is the same for all runs of a campaign."""

    servers: int = 5
    schedule: Schedule | None = None
    bug: str = ""
    settings: SimulatorSettings = SimulatorSettings()


class SeedEnded(NamedTuple):
    """How the run of one seed ended."""

    seed: int
    valid: Valid
    broken: tuple[str, ...]
    """Promises."""
    summary: str
    seconds: float
    """Simulated."""
    messages: int
    failures: tuple[str, ...]
    """Cores that raised, disks that did not load, or the simulator's own failure."""


class Batch(NamedTuple):
    """Seeds to be run, and how often a worker has died of them so far."""

    spec: SweepSpec
    seeds: tuple[int, ...]
    canary: bool = False
    deaths: int = 0


class Done(NamedTuple):
    ended: tuple[SeedEnded, ...]
    reached: dict[str, int]
    took_s: float


def run_batch(batch: Batch) -> Done:
    """Runs the seeds, one after the other: this is what travels to a worker."""
    began = time.process_time()
    reached: Counter[str] = Counter()
    ended = []
    for seed in batch.seeds:
        try:
            run = simulate(
                seed,
                servers=batch.spec.servers,
                schedule=batch.spec.schedule,
                bug=batch.spec.bug,
                settings=batch.spec.settings,
            )
        except Exception:  # noqa: BLE001 - a defect of the simulator must name its seed, and lose no other
            text = traceback.format_exc()
            ended.append(SeedEnded(seed, "unknown", (), "the simulator failed: " + text, 0.0, 0, (text,)))
            continue
        reached.update(run.reached)
        ended.append(
            SeedEnded(
                seed,
                run.valid,
                tuple(run.broken),
                "" if run.valid is True else run.verdict.summary,
                run.seconds,
                run.messages,
                tuple(run.failures[:3]),
            )
        )
    return Done(tuple(ended), dict(reached), time.process_time() - began)


@dataclass
class SweepTally:
    """What a campaign has seen so far."""

    counts: Counter[Valid] = field(default_factory=Counter)
    failing: list[SeedEnded] = field(default_factory=list)
    """The first of those that were not valid."""
    broken: Counter[str] = field(default_factory=Counter)
    """Promise to the number of runs that broke it."""
    reached: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    messages: int = 0
    core_s: float = 0.0
    """What the workers took of their cores' time."""
    wall_s: float = 0.0
    canary_runs: int = 0
    canary_found: int = 0
    deaths: int = 0
    """Workers that died."""
    troubles: list[str] = field(default_factory=list)
    """Why the verdict is at best unknown, beside what the runs say."""

    @property
    def runs(self) -> int:
        return sum(self.counts.values())

    @property
    def valid(self) -> Valid:
        verdict = combine(self.counts)
        if verdict is not False and (self.troubles or not self.runs):
            return "unknown"
        return verdict

    def add(self, batch: Batch, done: Done) -> None:
        self.core_s += done.took_s
        if batch.canary:
            self.canary_runs += len(done.ended)
            self.canary_found += sum(ended.valid is False for ended in done.ended)
            return
        self.reached.update(done.reached)
        for ended in done.ended:
            self.counts[ended.valid] += 1
            self.seconds += ended.seconds
            self.messages += ended.messages
            self.broken.update(ended.broken)
            if ended.valid is not True:
                self.failing.append(ended)
        if len(self.failing) > LISTED_MAX:
            # Those that broke a promise first; results come in any order, and the lowest seeds are named.
            self.failing.sort(key=lambda ended: (ended.valid is not False, ended.seed))
            del self.failing[LISTED_MAX:]


class Sweep:
    """One campaign.  `run` returns when all seeds are done, the time is up, or it is interrupted."""

    def __init__(
        self,
        spec: SweepSpec,
        seeds: Iterable[int],
        *,
        jobs: int,
        until_s: float = math.inf,
        scheduler: str = "",
        watch: Callable[[SweepTally], None] = lambda tally: None,
    ) -> None:
        """`scheduler`: the address of a Dask scheduler, in place of `jobs` processes; `watch` is told of progress."""
        self.tally = SweepTally()
        self._spec = spec
        self._seeds = iter(seeds)
        self._workers = max(1, jobs)
        self._until_s = until_s
        self._scheduler = scheduler
        self._watch = watch
        self._again: deque[Batch] = deque()
        self._under_way: dict[Future[Done], Batch] = {}
        self._fresh = self._batches()

    def run(self) -> SweepTally:
        tally = self.tally
        began = heard = time.monotonic()
        pool = make_pool(self._workers, self._scheduler)
        try:
            with signals.handled((signal.SIGTERM, signal.SIGHUP), signals.interrupt):
                while True:
                    time_is_up = time.monotonic() - began >= self._until_s
                    if not self._hand_out(pool.executor, time_is_up) and not self._under_way:
                        break
                    done, _ = wait(self._under_way, timeout=0.5, return_when=FIRST_COMPLETED)
                    broken = False
                    for future in done:
                        broken |= self._take(future, self._under_way.pop(future))
                    if broken:
                        pool = self._replace(pool)
                    if done:
                        heard = time.monotonic()
                    elif time.monotonic() - heard > SILENCE_S:
                        pool.check()
                        heard = time.monotonic()
                    tally.wall_s = time.monotonic() - began
                    self._watch(tally)
        except KeyboardInterrupt:
            tally.troubles.append("it was interrupted")
            pool.abandon()
        except ClusterGone as error:
            tally.troubles.append(f"the cluster is gone: {error}")
        finally:
            pool.close()
            tally.wall_s = time.monotonic() - began
        if tally.runs and not self._spec.bug and not tally.canary_found:
            runs = counted(tally.canary_runs, "run")
            tally.troubles.append(
                f"the canary {CANARY!r}, a planted bug, was not found in {runs}: the harness is blind"
            )
        return tally

    # ---- batches ---------------------------------------------------------------------------------------------------

    def _batches(self) -> Iterator[Batch]:
        """The campaign's seeds as they are handed out, with the canary's among them."""
        canary = SweepSpec(min(self._spec.servers, 5), bug=CANARY)
        for number in itertools.count():
            seeds = tuple(itertools.islice(self._seeds, BATCH if number >= self._workers else 1))
            if not seeds:
                return
            if not self._spec.bug and (number < CANARY_FIRST or number % (CANARY_EVERY // BATCH) == 0):
                yield Batch(canary, seeds[:1], canary=True)
            yield Batch(self._spec, seeds)

    def _hand_out(self, executor: Executor, time_is_up: bool) -> bool:
        """Keep the workers busy; False when there is nothing left to hand out."""
        while True:
            suspect = bool(self._again) and self._again[0].deaths >= 2
            if len(self._under_way) >= (1 if suspect or self._alone() else self._workers * (1 + BATCHES_WAITING)):
                return True
            if self._again:
                batch = self._again.popleft()
            else:
                fresh = None if time_is_up else next(self._fresh, None)
                if fresh is None:
                    return False
                batch = fresh
            try:
                self._under_way[executor.submit(run_batch, batch)] = batch
            except BrokenProcessPool:
                failed: Future[Done] = Future()
                failed.set_exception(BrokenProcessPool("a worker died"))
                self._under_way[failed] = batch
                return True

    def _alone(self) -> bool:
        """A batch that may kill its worker is under way, and nothing beside it may be blamed."""
        return any(batch.deaths >= 2 for batch in self._under_way.values())

    def _take(self, future: Future[Done], batch: Batch) -> bool:
        """Count what came back.  True when the worker died instead."""
        try:
            done = future.result()
        except (BrokenProcessPool, CancelledError) as _:
            self._died(batch)
            return True
        except Exception as error:
            if type(error).__name__ not in ("KilledWorker", "FutureCancelledError", "CommClosedError"):
                raise
            self._died(batch)  # Dask tried the batch on several workers, and each died
            return False
        self.tally.add(batch, done)
        return False

    def _died(self, batch: Batch) -> None:
        self.tally.deaths += 1
        batch = batch._replace(deaths=batch.deaths + 1)
        middle = len(batch.seeds) // 2
        if batch.deaths > 2 and middle:
            self._again.extend(batch._replace(seeds=part) for part in (batch.seeds[:middle], batch.seeds[middle:]))
        elif batch.deaths > 2 + TRIES:
            text = f"its worker died {TRIES} times"
            self.tally.add(batch, Done((SeedEnded(batch.seeds[0], "unknown", (), text, 0.0, 0, (text,)),), {}, 0.0))
        else:
            self._again.append(batch)

    def _replace(self, pool: Pool) -> Pool:
        """A pool in which a process died is of no use any more: all that was under way is handed out again."""
        for future, batch in list(self._under_way.items()):
            del self._under_way[future]
            if future.done() and not future.cancelled() and future.exception() is None:
                self._take(future, batch)
            else:
                self._died(batch)
        pool.close()
        return make_pool(self._workers, self._scheduler)


# ---- executors -------------------------------------------------------------------------------------------------------


class ClusterGone(Exception):
    """The cluster cannot be reached, or has no worker: nothing more will come of it."""


class Pool(NamedTuple):
    """`check` raises ClusterGone when nothing can come back any more; `abandon` ends what is under way at once."""

    executor: Executor
    close: Callable[[], None]
    check: Callable[[], object]
    abandon: Callable[[], None] = lambda: None


def make_pool(jobs: int, scheduler: str = "") -> Pool:
    """Processes of this machine, or the workers of a Dask cluster (ClusterGone: there is none there)."""
    if not scheduler:
        executor = make_processes(jobs)
        return Pool(executor, lambda: executor.shutdown(wait=True, cancel_futures=True), lambda: None, _kill)
    client = _client(scheduler)
    # pure=False: two batches are two tasks, also where their arguments are the same.
    return Pool(client.get_executor(pure=False), client.close, lambda: _check(client))


def _kill() -> None:
    """A worker is deaf to Ctrl-C, and may be at a batch, or at its own start, for seconds."""
    for process in multiprocessing.active_children():
        process.kill()


def workers_of(scheduler: str) -> int:
    """How many tasks a Dask cluster runs at once.  Raises ClusterGone, and ImportError: Dask is not installed."""
    client = _client(scheduler)
    try:
        return _check(client)
    finally:
        client.close()


def _check(client: Any) -> int:
    try:
        threads = int(sum(client.nthreads().values()))
    except (OSError, RuntimeError, TimeoutError) as error:
        raise ClusterGone(f"its scheduler does not answer: {error}") from None
    if not threads:
        raise ClusterGone("it has no worker")
    return threads


def _client(scheduler: str) -> Any:
    from distributed import Client

    try:
        return Client(scheduler, timeout=CONNECT_S)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, TimeoutError) as error:
        raise ClusterGone(str(error)) from None


# ---- figures ---------------------------------------------------------------------------------------------------------


def wilson(hits: int, of: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval of a share, at 95 % (Wilson, 1927): it stays within 0..1, also for few runs."""
    if not of:
        return 0.0, 1.0
    share = hits / of
    middle = share + z * z / (2 * of)
    half = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    scale = 1 + z * z / of
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)
