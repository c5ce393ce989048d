"""Whether a case still fails: simulated runs, and the promise that has to break again.

A case fails if one of a few seeds breaks the promise: those on which it failed before, and then others, since a smaller
schedule is another history in every world.  Where the bug is a planted one, the correct server has to be judged as it
was on the whole schedule (`correct`): a case that breaks a correct server's promise, or in which too little happens to
judge it, shows nothing about the bug.

Runs that may be asked for soon are begun ahead on other cores (`foresee`).  They change nothing but the time that it
takes: a run is a function of its case, and only runs that were asked for count for the budget.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import NamedTuple

from checker.names import PromiseNames
from checker.promises.base import Valid, Violation
from checker.vacuity import NO_FAULT
from harness.shrink.search import BudgetSpent, Case, Seeds
from harness.simulator.run import simulate
from harness.simulator.simulated_run import SimulatedRun, SimulatorSettings
from harness.simulator.worker import make_processes

SEEDS = 2
"""That a case is tried on."""
LAST_FAULTS = (1, 2, 4)
"""How many faults before a violation are guessed to be its cause."""


class FailingRun(NamedTuple):
    """What a run is a function of; this is what travels to another core."""

    case: Case
    seed: int
    bug: str
    settings: SimulatorSettings


class CaseEnded(NamedTuple):
    valid: Valid
    broken: PromiseNames
    """Promises, that of the first violation first."""
    vacuous: bool
    """All that is missing for a verdict is a fault."""
    suspects: dict[str, tuple[frozenset[str], ...]]
    """Guesses for each broken promise: ids of faults that may be all that its first violation needs."""


def carry_out(run: FailingRun) -> CaseEnded:
    ended = simulate(
        run.seed,
        servers=run.case.schedule.servers + run.settings.observers,
        schedule=run.case.schedule,
        bug=run.bug,
        settings=run.settings,
        knobs=run.case.knobs,
    )
    first: dict[str, Violation] = {}
    for violation in ended.verdict.violations:
        first.setdefault(violation.promise, violation)
    vacuous = ended.valid == "unknown" and ended.verdict.reasons == [NO_FAULT]
    return CaseEnded(
        ended.valid,
        PromiseNames(first),
        vacuous,
        {name: _suspects(ended, violation) for name, violation in first.items()},
    )


def _suspects(ended: SimulatedRun, violation: Violation) -> tuple[frozenset[str], ...]:
    """The faults in force at a violation, the last ones before it, and all before it; the fewest first."""
    begun = [
        str(op.value["fault"])
        for op in ended.ops
        if op.process == "nemesis" and op.type == "invoke" and op.value["step"] == "start" and op.time <= violation.time
    ]
    guesses = [{str(fault["fault"]) for fault in violation.faults}, *({*begun[-n:]} for n in LAST_FAULTS), {*begun}]
    return tuple(sorted(set(map(frozenset, guesses)), key=lambda guess: (len(guess), sorted(guess))))


class Failing:
    """The predicate of a `Search`, on the simulator.  To be closed."""

    def __init__(
        self,
        promise: str,
        bug: str,
        settings: SimulatorSettings,
        *,
        runs_max: int,
        budget_s: float = math.inf,
        jobs: int = 1,
    ) -> None:
        self.promise = promise
        self.bug = bug
        self.settings = settings
        self.runs = 0
        self.correct: Valid | None = None
        """What the verdict on the correct server has to be, if there is a planted bug to be told from it."""
        self.watch: Callable[[], None] = lambda: None
        """Called at each run."""
        self.runs_max = runs_max
        self.ahead_max = 2 * jobs * SEEDS
        self._until = time.monotonic() + budget_s
        self._pool: ProcessPoolExecutor | None = None
        if jobs > 1:
            self._pool = make_processes(jobs)
        self._ahead: dict[tuple[bytes, int], Future[CaseEnded]] = {}

    def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)

    def __call__(self, case: Case) -> Seeds:
        for seed in _seeds(case):
            if self.fails(case, seed):
                return (seed, *(other for other in case.seeds if other != seed))[:SEEDS]
        return ()

    def fails(self, case: Case, seed: int) -> bool:
        """In this world.  Raises BudgetSpent."""
        return self.promise in self._ended(case, seed, self.bug).broken and self.spares_the_correct(case, seed)

    def spares_the_correct(self, case: Case, seed: int) -> bool:
        """Whether the correct server is judged as it has to be.  Without any fault its verdict cannot be `True`."""
        if self.correct is None:
            return True
        ended = self._ended(case, seed, "")
        return not ended.broken and (self.correct == "unknown" or ended.valid is True or ended.vacuous)

    def broken(self, case: Case, seed: int) -> PromiseNames:
        """The promises that are broken in this world, that of the first violation first."""
        return self._ended(case, seed, self.bug).broken

    def suspects(self, case: Case, seed: int) -> tuple[frozenset[str], ...]:
        """Guesses at the faults that matter."""
        return self._ended(case, seed, self.bug).suspects.get(self.promise, ())

    def judge_the_correct(self, case: Case, seed: int) -> Valid:
        """The verdict on the correct server in this world."""
        return self._ended(case, seed, "").valid

    def foresee(self, cases: Sequence[Case], seeds: int = SEEDS) -> None:
        """These may be asked for next, in this order, each on so many seeds."""
        for future in self._ahead.values():
            future.cancel()
        self._ahead.clear()
        if self._pool is None or not cases:
            return
        wanted = ((case, seed) for case in cases for seed in _seeds(case)[:seeds])
        for case, seed in islice(wanted, self.ahead_max):
            try:
                future = self._pool.submit(carry_out, FailingRun(case, seed, self.bug, self.settings))
            except BrokenProcessPool:
                return
            self._ahead[case.key(), seed] = future

    def _ended(self, case: Case, seed: int, bug: str) -> CaseEnded:
        if self.runs >= self.runs_max or time.monotonic() >= self._until:
            raise BudgetSpent
        self.runs += 1
        self.watch()
        ahead = self._ahead.pop((case.key(), seed), None) if bug == self.bug else None
        if ahead is not None:
            try:
                return ahead.result()
            except BrokenProcessPool:
                self.close()  # a worker died, of lack of memory or by somebody's hand: we go on alone
        return carry_out(FailingRun(case, seed, bug, self.settings))


def _seeds(case: Case) -> list[int]:
    """Those that are tried."""
    return [*case.seeds, *(seed for seed in range(2 * SEEDS) if seed not in case.seeds)][:SEEDS]
