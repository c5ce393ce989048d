"""The search for every planted bug of the catalogue: is the harness able to see it, and how fast?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import as_completed
from typing import Any, NamedTuple

from checker.counted import counted
from checker.promises.base import Valid
from harness.simulator.run import simulate
from harness.simulator.sweep import SweepSpec, make_pool
from node import bugs

BUDGET_S = 60.0
"""Seconds of one core within which a bug is to be found."""
SIZES = (5, 3)
"""Ensembles that a bug is looked for in, in turn: a minority is soon dead in one of three, and holds more in one of
five."""


class BugSearch(NamedTuple):
    """How the search for one bug ended."""

    bug: str
    promise: str
    """That it is known to break."""
    seed: int | None
    """The first that broke this promise; None: none did."""
    runs: int
    servers: int
    """Of the ensemble that it was found in, or last looked for in."""
    took_s: float
    """Seconds of one core, whatever else the machine was doing."""
    broken: tuple[str, ...]
    """All promises that were broken on the way."""


class Found(NamedTuple):
    searches: tuple[BugSearch, ...]

    @property
    def missed(self) -> list[BugSearch]:
        return [search for search in self.searches if search.seed is None]

    @property
    def valid(self) -> Valid:
        """A harness that misses a bug is blind to something: what it says is unknown."""
        return "unknown" if self.missed or not self.searches else True

    @property
    def summary(self) -> str:
        width = max((len(search.bug) for search in self.searches), default=0)
        lines = [
            f"{s.bug:{width}}  {s.promise:14}  "
            + (
                f"seed {s.seed} of {s.servers} servers, {counted(s.runs, 'run')}, {s.took_s:.2f} s"
                if s.seed is not None
                else f"NOT FOUND in {counted(s.runs, 'run')}"
            )
            for s in self.searches
        ]
        lines.append(f"{len(self.searches) - len(self.missed)} of {len(self.searches)} planted bugs were found.")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        return {
            "valid": self.valid,
            "bugs": {s.bug: {k: v for k, v in s._asdict().items() if k != "bug"} for s in self.searches},
        }


def find(spec: SweepSpec, seeds: Iterable[int], sizes: Sequence[int] = SIZES, budget_s: float = BUDGET_S) -> BugSearch:
    """The first seed at which the bug of `spec` breaks the promise that it is known to break.

    `sizes` are the numbers of servers that seeds have in turn, in place of those of `spec`.
    """
    promise = bugs.about(spec.bug).promise
    began = time.process_time()
    runs, servers = 0, 0
    seen: dict[str, None] = {}
    for seed in seeds:
        if time.process_time() - began > budget_s:
            break
        servers = sizes[seed % len(sizes)]
        run = simulate(seed, servers=servers, schedule=spec.schedule, bug=spec.bug, settings=spec.settings)
        runs += 1
        seen |= dict.fromkeys(run.broken)
        if promise in run.broken:
            return BugSearch(spec.bug, promise, seed, runs, servers, time.process_time() - began, tuple(seen))
    return BugSearch(spec.bug, promise, None, runs, servers, time.process_time() - began, tuple(seen))


def search(
    spec: SweepSpec, seeds: Iterable[int], jobs: int, say: Callable[[str], None], sizes: Sequence[int] = SIZES
) -> Found:
    """Look for every bug of the catalogue, each on a core of its own."""
    pool = make_pool(jobs)
    try:
        under_way = [pool.executor.submit(find, spec._replace(bug=name), seeds, sizes) for name in bugs.names()]
        for future in as_completed(under_way):
            result = future.result()
            say(f"{result.bug}: " + (f"seed {result.seed}" if result.seed is not None else "not found"))
        return Found(tuple(future.result() for future in under_way))
    finally:
        pool.close()
