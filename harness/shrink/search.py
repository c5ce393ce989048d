"""Making a failing case smaller: delta debugging over its faults, then passes over what each fault is.

The model.  A *case* is what a simulated run is a function of: a schedule, the seeds of worlds, and how harsh these are.
A predicate says whether a case still fails, and on which seeds.  The search holds the smallest case that does, and
offers the predicate smaller ones.  *Smaller* is one order (`size`), compared part by part:

    faults, servers, knobs that are turned, kinds, shapes, targets, for good, parameters, seconds of faults, seconds of
    the run, starts, digits

The rules:

1.  What is taken is always smaller.  Sizes are tuples of as many whole numbers from 0 on, and no such tuple has an
    endless row of smaller and smaller ones below it: so the search ends by itself, whatever the predicate says.
2.  The predicate is asked once for each case: answers are kept.
3.  The first of several candidates that fails is taken, in the order of the passes, never the first that is known: so
    the result does not depend on how many cores there are.
4.  Every candidate is a schedule that keeps the rules of `nemesis.schedule`.
5.  The passes repeat until none of them changes anything.  When the predicate may make no more runs (`BudgetSpent`),
    what was found by then stays.

The first pass is ddmin (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002), over the
complements alone, the last faults first: what came after the failure goes at once.  The others are greedy, with
bisection for numbers.

Example: a schedule of 18 faults fails whenever f4 and f11 overlap.

    >>> found = Search(case, lambda case: case.seeds if overlap(case.schedule, "f4", "f11") else ()).run()
    >>> [fault.id for fault in found.faults]
    ['f4', 'f11']
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple, Protocol

import msgspec

from harness.shrink import smaller
from harness.simulator.knobs import Knobs
from nemesis.faults import Fault
from nemesis.schedule import Schedule

SERVERS_MIN = 3
LEAST_FAULT_S = 0.05
CALM_S = 1.0
END_S = 2.0
"""Of a fault that was for good, before it is made shorter."""
BISECTIONS_MAX = 6
NEAR_S, NEAR = 0.05, 0.15
"""A time is short enough when what is known to be too short is so near: nobody reads the difference."""

Size = tuple[int, ...]
Seeds = tuple[int, ...]


class Case(msgspec.Struct, frozen=True):
    """What a run is a function of, but for the bug: it fails on these seeds, the first of which is the one to show."""

    schedule: Schedule
    seeds: Seeds
    knobs: Knobs

    @property
    def faults(self) -> tuple[Fault, ...]:
        return self.schedule.faults

    def key(self) -> bytes:
        """Without its seeds, which are what the predicate answers."""
        return self.schedule.to_json().encode() + msgspec.json.encode(self.knobs)


class Candidate(NamedTuple):
    """A case that may be smaller, and in words how it was made."""

    case: Case
    how: str


class Fails(Protocol):
    """The predicate."""

    def __call__(self, case: Case) -> Seeds:
        """The seeds on which the case fails; none: it does not.  Raises BudgetSpent."""


class BudgetSpent(Exception):
    """As many runs were made as may be."""


class Search:
    """One search.  `best` is the smallest failing case so far, from the beginning on."""

    def __init__(
        self,
        case: Case,
        fails: Fails,
        *,
        acts: bool = False,
        servers_min: int = SERVERS_MIN,
        suspects: Sequence[frozenset[str]] = (),
        foresee: Callable[[Sequence[Case]], None] = lambda cases: None,
        improved: Callable[[Case, str], None] = lambda case, how: None,
    ) -> None:
        """`case` fails.  `acts`: they may be made shorter, too.  `suspects`: guesses at the faults that matter, by id.
         `foresee` is told which cases the predicate may be
        asked for next, in their order; `improved` of each smaller case, and in words how it was made."""
        self.best = case
        self.servers_min = servers_min
        self.suspects = suspects
        self.whole = False
        """It ended by itself: nothing smaller was found."""
        self.interrupted = False
        """Somebody ended it."""
        self.asked = 0
        """How often the predicate was."""
        self._fails = fails
        self._foresee = foresee
        self._improved = improved
        self._answers: dict[bytes, Seeds] = {case.key(): case.seeds}
        self._passes = [_fewer_faults, _fewer_servers, _calmer_world, _simpler_faults, _plainer_params, _shorter_run]
        self._passes += [_shorter_acts] if acts else []
        self._passes += [_shorter_faults, _rounder]

    def run(self) -> Case:
        """Makes it as small as it gets, or as the budget allows."""
        try:
            while not self.whole:
                before = size(self.best)
                for pass_ in self._passes:
                    pass_(self)
                self.whole = size(self.best) == before
        except BudgetSpent:
            pass
        return self.best

    def take(self, candidates: Sequence[Candidate | None]) -> int | None:
        """The number of the first candidate that makes sense (is not None), is smaller, and fails: it is the best one
        from now on.  None: there is no such."""
        left = [(n, c) for n, c in enumerate(candidates) if c is not None and size(c.case) < size(self.best)]
        self._foresee([c.case for _, c in left if c.case.key() not in self._answers])
        for number, candidate in left:
            seeds = self._ask(candidate.case)
            if seeds:
                self.best = msgspec.structs.replace(candidate.case, seeds=seeds)
                self._improved(self.best, candidate.how)
                return number
        return None

    def took(self, candidate: Candidate | None) -> bool:
        return self.take([candidate]) is not None

    def scheduled(self, schedule: Schedule | None, how: str) -> Candidate | None:
        """The best case with another schedule, where there is one."""
        return None if schedule is None else Candidate(msgspec.structs.replace(self.best, schedule=schedule), how)

    def turned(self, knobs: Knobs, how: str) -> Candidate:
        return Candidate(msgspec.structs.replace(self.best, knobs=knobs), how)

    def _ask(self, case: Case) -> Seeds:
        key = case.key()
        if key not in self._answers:
            self.asked += 1
            self._answers[key] = self._fails(case)
        return self._answers[key]


def size(case: Case) -> Size:
    """How large a case is; the module's docstring names the parts."""
    return smaller.size(case.schedule, len(turned(case.knobs)))


def turned(knobs: Knobs) -> list[str]:
    """The knobs that do not stand where a calm world has them."""
    calm = Knobs()
    return [name for name in knobs.__struct_fields__ if getattr(knobs, name) != getattr(calm, name)]


# ---- the passes ------------------------------------------------------------------------------------------------------


def _fewer_faults(search: Search) -> None:
    """The guesses; then ddmin over complements: without all, without halves, quarters, ..., each one."""
    guesses, search.suspects = search.suspects, ()
    search.take([
        search.scheduled(
            smaller.replaced(search.best.schedule, faults=tuple(f for f in search.best.faults if f.id in guess)),
            f"with {', '.join(sorted(guess)) or 'no fault at all'}",
        )
        for guess in (frozenset(), *guesses)
    ])  # fmt: skip
    _storm_ends_with_its_faults(search)
    parts = 1
    while search.best.faults:
        faults = search.best.faults
        parts = min(parts, len(faults))
        bounds = [len(faults) * n // parts for n in range(parts + 1)]
        without = [
            search.scheduled(
                smaller.replaced(search.best.schedule, faults=faults[:begin] + faults[end:]),
                "without " + ", ".join(fault.id for fault in faults[begin:end]),
            )
            for begin, end in reversed(list(pairwise(bounds)))
        ]
        if search.take(without) is not None:
            parts = max(parts - 1, min(parts, 2))
        elif parts == len(faults):
            return
        else:
            parts = min(len(faults), 2 * parts)


def _storm_ends_with_its_faults(search: Search) -> None:
    """What is shorter is run sooner.  What is for good is left the time that it might end in."""
    schedule = search.best.schedule
    ends = [fault.at_s + (END_S if fault.for_s is None else fault.for_s) for fault in schedule.faults]
    over = min(schedule.majority_at_s, max([schedule.calm_s, *ends]))
    search.take([search.scheduled(smaller.majority_at(schedule, over), f"a storm of {over:g} s")])


def _fewer_servers(search: Search) -> None:
    numbers = range(search.servers_min, search.best.schedule.servers)
    search.take([search.scheduled(smaller.replaced(search.best.schedule, servers=n), f"{n} servers") for n in numbers])


def _calmer_world(search: Search) -> None:
    """All of the weather gone, or one knob after the other."""
    if search.took(search.turned(Knobs(), "a calm world")):
        return
    for name in turned(search.best.knobs):
        knobs = msgspec.structs.replace(search.best.knobs, **{name: getattr(Knobs(), name)})
        search.took(search.turned(knobs, f"a world with an ordinary {name}"))


def _simpler_faults(search: Search) -> None:
    """Another kind, shape or target that is simpler; an end for what was for good."""
    for id_ in _ids(search):
        for simpler in (smaller.kinds, smaller.shapes, smaller.targets, smaller.ends):
            search.take([search.scheduled(made, how) for made, how in simpler(search.best.schedule, id_)])


def _plainer_params(search: Search) -> None:
    """Parameters left out, or numbers with fewer digits."""
    for id_ in _ids(search):
        for name in smaller.fault(search.best.schedule, id_).params:
            search.take([search.scheduled(made, how) for made, how in smaller.params(search.best.schedule, id_, name)])


def _shorter_run(search: Search) -> None:
    """Less time between the faults and before the acts."""
    for index, fault in enumerate(search.best.faults):
        earliest = search.best.faults[index - 1].at_s if index else search.best.schedule.calm_s
        _lower(
            search,
            search.best.faults[index].at_s,
            earliest,
            partial(smaller.earlier, index),
            f"less time before {fault.id}",
        )
    schedule = search.best.schedule
    over = [fault.at_s + (fault.for_s or 0) for fault in schedule.faults]
    _lower(search, schedule.majority_at_s, max([schedule.calm_s, *over]), smaller.majority_at, "a shorter storm")
    _lower(search, search.best.schedule.calm_s, CALM_S, smaller.calm, "a shorter calm")


def _shorter_acts(search: Search) -> None:
    """Less time to converge in.  A correct server needs some of it, and that is the predicate's to know."""
    schedule = search.best.schedule
    _lower(search, schedule.everyone_at_s, schedule.majority_at_s, smaller.everyone_at, "a shorter act one")
    schedule = search.best.schedule
    _lower(search, schedule.duration_s, schedule.everyone_at_s, smaller.end_at, "a shorter act two")


def _shorter_faults(search: Search) -> None:
    for id_ in _ids(search):
        for_s = smaller.fault(search.best.schedule, id_).for_s
        if for_s is not None:
            _lower(
                search,
                for_s,
                LEAST_FAULT_S,
                partial(smaller.lasting, id_),
                f"{id_} is shorter",
            )


def _rounder(search: Search) -> None:
    """The same times with fewer digits, and never later."""
    for id_ in _ids(search):
        search.take([search.scheduled(made, how) for made, how in smaller.rounder(search.best.schedule, id_)])


def _ids(search: Search) -> Iterator[str]:
    return iter([fault.id for fault in search.best.faults])


def _lower(
    search: Search, value: float, floor: float, make: Callable[[Schedule, float], Schedule | None], how: str
) -> None:
    """The lowest value that fails, by bisection, in numbers that are short to write."""
    low, high = min(floor, value), value
    for step in range(BISECTIONS_MAX):
        middle = low if step == 0 else smaller.between(low, high)
        if middle is None or high - low < max(NEAR_S, NEAR * high):
            return
        if search.took(search.scheduled(make(search.best.schedule, middle), f"{how}: {middle:g} s")):
            if middle == low:
                return
            high = middle
        else:
            low = middle
