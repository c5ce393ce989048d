"""Whether a case still fails: simulated runs, and the promise that has to break again.

A case fails if the promise is broken on at least `least` of the seeds that are tried: those on which it failed before,
and then others.  With `least` 1 the first that fails is enough; more makes a case that fails in most worlds, for
failures that come and go.  No more seeds are tried than may still matter, and no more runs made than `budget`.
"""

from __future__ import annotations

from harness.shrink.search import BudgetSpent, Case, Seeds
from harness.simulator.run import Settings, SimulatedRun, simulate


class Failing:
    """The predicate of a `Search`, on the simulator."""

    def __init__(
        self, promise: str, bug: str, settings: Settings, *, budget: int, seeds: int = 3, least: int = 1
    ) -> None:
        self.promise = promise
        self.bug = bug
        self.settings = settings
        self.budget = budget
        self.runs = 0
        self._seeds = max(seeds, least)
        self._least = least

    def __call__(self, case: Case) -> Seeds:
        tried = list(case.seeds[: self._seeds])
        tried += [seed for seed in range(2 * self._seeds) if seed not in tried][: self._seeds - len(tried)]
        failed: list[int] = []
        for left, seed in zip(range(len(tried), 0, -1), tried, strict=True):
            if len(failed) + left < self._least:
                return ()
            if self.fails(case, seed):
                failed.append(seed)
                if len(failed) == self._least:
                    return tuple(failed)
        return ()

    def fails(self, case: Case, seed: int, bug: str | None = None) -> bool:
        """One run."""
        if self.runs >= self.budget:
            raise BudgetSpent
        self.runs += 1
        return self.promise in self.simulate(case, seed, bug).broken

    def simulate(self, case: Case, seed: int, bug: str | None = None) -> SimulatedRun:
        """The run itself, which no budget bounds; `bug` in place of the failure's own."""
        return simulate(
            seed,
            servers=case.schedule.servers + self.settings.observers,
            schedule=case.schedule,
            bug=self.bug if bug is None else bug,
            settings=self.settings,
            knobs=case.knobs,
        )
