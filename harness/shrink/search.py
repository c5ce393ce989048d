"""Making a failing case smaller: delta debugging over its faults, then passes over what each fault is.

The model.  A *case* is what a simulated run is a function of: a schedule, the seeds of worlds, and how harsh these are.
A predicate says whether a case still fails, and on which seeds.  The search holds the smallest case that does, and
offers the predicate smaller ones.  *Smaller* is one order (`size`), compared part by part:

    faults, servers, knobs that are turned, kinds, shapes, targets, for good, parameters, seconds of faults, seconds of
    the run, decimals

The rules:

1.  What is taken is always smaller, and sizes are whole numbers: the search ends by itself.
2.  The predicate is asked once for each case: answers are kept.
3.  A budget bounds how many runs the predicate makes; what was found by then is kept.
4.  The passes repeat until none of them changes anything.

The first pass is ddmin (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002), over the
complements alone, the last faults first: what came after the failure goes at once.  The others are greedy, with
bisection for numbers.

Example: a schedule of 18 faults fails whenever f4 and f11 overlap.

    >>> found = Search(case, lambda c: c.seeds if overlap(c.schedule, "f4", "f11") else (), budget=500).run()
    >>> [fault.id for fault in found.schedule.faults]
    ['f4', 'f11']
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise

import msgspec

from harness.simulator.knobs import Knobs
from nemesis.faults import KINDS, Fault
from nemesis.schedule import Schedule, ScheduleError, parse

SIMPLE_KINDS = ("kill", "pause", "partition", "stop", "host-kill", "clock", "flap", "loss", "rate", "slow", "delay")
SIMPLE_SHAPES = ("", "isolate", "split", "halves", "deaf", "mute", "link", "one-way")
SIMPLE_TARGETS = ("leader", "follower", "random", "previous-leader", "elected", "followers", "all", "minority")
SERVERS_MIN = 3
LEAST_FAULT_S = 0.05
CALM_S = 1.0
BISECTIONS_MAX = 7

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

    def fault(self, name: str) -> Fault:
        return next(fault for fault in self.faults if fault.id == name)

    def key(self) -> bytes:
        """Without its seeds, which are what the predicate answers."""
        return self.schedule.to_json().encode() + msgspec.json.encode(self.knobs)


Fails = Callable[[Case], Seeds]
"""The seeds on which the case fails; none: it does not.  Raises `BudgetSpent` when no more runs may be made."""


class BudgetSpent(Exception):
    """As many runs were made as may be."""


class Search:
    """One search.  `best` is the smallest failing case so far, from the beginning on."""

    def __init__(
        self, case: Case, fails: Fails, *, improved: Callable[[Case, str], None] = lambda case, how: None
    ) -> None:
        """`case` fails.  `improved` is told of each smaller one, and in words how it was made."""
        self.best = case
        self.whole = False
        """It ended by itself: nothing smaller was found."""
        self.asked = 0
        self._fails = fails
        self._improved = improved
        self._answers: dict[bytes, Seeds] = {case.key(): case.seeds}

    def run(self) -> Case:
        """Makes it as small as it gets, or as the budget allows."""
        passes = (
            _fewer_faults, _fewer_servers, _calmer_world, _simpler_faults, _shorter_run, _shorter_faults, _rounder
        )  # fmt: skip
        try:
            while not self.whole:
                before = size(self.best)
                for pass_ in passes:
                    pass_(self)
                self.whole = size(self.best) == before
        except BudgetSpent:
            pass
        return self.best

    def take(self, candidate: Case | Schedule | None, how: str) -> bool:
        """Whether the candidate is smaller, makes sense, and fails; it is the best one then."""
        if isinstance(candidate, Schedule):
            candidate = msgspec.structs.replace(self.best, schedule=candidate)
        if candidate is None or not size(candidate) < size(self.best):
            return False
        key = candidate.key()
        if key not in self._answers:
            self.asked += 1
            self._answers[key] = self._fails(candidate)
        seeds = self._answers[key]
        if seeds:
            self.best = msgspec.structs.replace(candidate, seeds=seeds)
            self._improved(self.best, how)
        return bool(seeds)


def size(case: Case) -> Size:
    """How large a case is; the module's docstring names the parts."""
    schedule, faults = case.schedule, case.faults
    return (
        len(faults),
        schedule.servers,
        len(turned(case.knobs)),
        sum(_rank(fault.kind, SIMPLE_KINDS) for fault in faults),
        sum(_rank(fault.shape, SIMPLE_SHAPES) for fault in faults),
        sum(_rank(fault.targets, SIMPLE_TARGETS) for fault in faults),
        sum(fault.for_s is None for fault in faults),
        sum(len(fault.params) for fault in faults),
        sum(_ms(fault.for_s or 0) for fault in faults),
        _ms(schedule.duration_s),
        sum(_ms(phase_s) for phase_s, _ in schedule.phases()) + sum(_ms(fault.at_s) for fault in faults),
        sum(_decimals(number) for number in _numbers(schedule)),
    )


def turned(knobs: Knobs) -> list[str]:
    """The knobs that do not stand where a calm world has them."""
    calm = Knobs()
    return [name for name in knobs.__struct_fields__ if getattr(knobs, name) != getattr(calm, name)]


def _rank(word: str, simple: Sequence[str]) -> int:
    return simple.index(word) if word in simple else len(simple)


def _ms(seconds: float) -> int:
    """Times of a schedule are whole milliseconds."""
    return round(seconds * 1000)


def _numbers(schedule: Schedule) -> Iterator[float]:
    for fault in schedule.faults:
        yield fault.at_s
        yield fault.for_s or 0
        yield from (value for value in fault.params.values() if isinstance(value, int | float))


def _decimals(number: float) -> int:
    """How many digits it is written with."""
    return len(f"{number:g}".replace(".", "").strip("0"))


def _with(schedule: Schedule, **fields: object) -> Schedule | None:
    """The schedule with other fields; None where that makes no sense."""
    try:
        return parse(msgspec.structs.replace(schedule, **fields).to_json())
    except ScheduleError:
        return None


def _with_fault(schedule: Schedule, old: Fault, **fields: object) -> Schedule | None:
    new = msgspec.structs.replace(old, **fields)
    return _with(schedule, faults=tuple(new if fault is old else fault for fault in schedule.faults))


# ---- the passes ------------------------------------------------------------------------------------------------------


def _fewer_faults(search: Search) -> None:
    """ddmin over complements: without all, without halves, quarters, ..., each one."""
    parts = 1
    while search.best.faults:
        faults = search.best.faults
        parts = min(parts, len(faults))
        bounds = [len(faults) * n // parts for n in range(parts + 1)]
        for begin, end in reversed(list(pairwise(bounds))):
            dropped = ", ".join(fault.id for fault in faults[begin:end])
            if search.take(_with(search.best.schedule, faults=faults[:begin] + faults[end:]), f"without {dropped}"):
                parts = max(parts - 1, 1 if parts == 1 else 2)
                break
        else:
            if parts >= len(faults):
                return
            parts = min(len(faults), 2 * parts)


def _fewer_servers(search: Search) -> None:
    for servers in range(SERVERS_MIN, search.best.schedule.servers):
        if search.take(_with(search.best.schedule, servers=servers), f"{servers} servers"):
            return


def _calmer_world(search: Search) -> None:
    """All of the weather gone, or one knob after the other."""
    if search.take(msgspec.structs.replace(search.best, knobs=Knobs()), "a calm world"):
        return
    for name in turned(search.best.knobs):
        knobs = msgspec.structs.replace(search.best.knobs, **{name: getattr(Knobs(), name)})
        search.take(msgspec.structs.replace(search.best, knobs=knobs), f"a world with an ordinary {name}")


def _simpler_faults(search: Search) -> None:
    """Another kind, shape or target that is simpler; an end for what was for good."""
    for name in [fault.id for fault in search.best.faults]:
        for kind in SIMPLE_KINDS[: _rank(search.best.fault(name).kind, SIMPLE_KINDS)]:
            if _simpler_kind(search, name, kind):
                break
        fault = search.best.fault(name)
        for shape in SIMPLE_SHAPES[1 : _rank(fault.shape, SIMPLE_SHAPES)] if fault.shape else ():
            if search.take(_with_fault(search.best.schedule, fault, shape=shape), f"{name} is {shape}"):
                break
        fault = search.best.fault(name)
        for word in SIMPLE_TARGETS[: _rank(fault.targets, SIMPLE_TARGETS)] if fault.targets else ():
            if search.take(_with_fault(search.best.schedule, fault, targets=word), f"{name} hits {word}"):
                break
        fault = search.best.fault(name)
        if fault.for_s is None:
            for_s = round(search.best.schedule.core_at_s - fault.at_s, 3)
            search.take(_with_fault(search.best.schedule, fault, for_s=for_s), f"{name} is over in act one")


def _simpler_kind(search: Search, name: str, kind: str) -> bool:
    fault = search.best.fault(name)
    if KINDS[kind].shaped:
        changed = {"kind": kind, "params": {}, "shape": fault.shape or "isolate", "targets": fault.targets or "leader"}
    else:
        changed = {"kind": kind, "params": {}, "shape": "", "targets": fault.targets or "leader"}
    if any(not param.optional for param in KINDS[kind].params.values()):
        return False  # which parameters would be the simple ones?
    return search.take(_with_fault(search.best.schedule, fault, **changed), f"{name} is a {kind}")


def _shorter_run(search: Search) -> None:
    """Less time between the faults and before the acts.

    The acts keep their length: it is what a correct server's verdict rests on, and it has to be valid, not unknown.
    """
    for index, fault in enumerate(search.best.faults):
        at_s = search.best.faults[index].at_s
        earliest = search.best.faults[index - 1].at_s if index else search.best.schedule.calm_s
        _lower(search, at_s, earliest, partial(_earlier, index), f"less time before {fault.id}")
    schedule = search.best.schedule
    busy_until = [at_s for f in schedule.faults for at_s in (f.at_s, f.at_s + (f.for_s or 0))]
    last = max([schedule.calm_s, *busy_until])
    _lower(search, schedule.core_at_s, last, partial(_shift, 2), "a shorter storm")
    _lower(search, search.best.schedule.calm_s, CALM_S, _calm, "a shorter calm")


def _earlier(index: int, schedule: Schedule, at_s: float) -> Schedule | None:
    """The fault, all later ones and the acts begin earlier, by the same time."""
    by = schedule.faults[index].at_s - at_s
    faults = tuple(
        msgspec.structs.replace(fault, at_s=round(fault.at_s - by, 3)) if n >= index else fault
        for n, fault in enumerate(schedule.faults)
    )
    moved = _with(schedule, faults=faults)
    return None if moved is None else _shift(2, moved, round(schedule.core_at_s - by, 3)) or moved


def _shift(phase: int, schedule: Schedule, at_s: float) -> Schedule | None:
    """The phase begins at `at_s`, and those after it as much earlier."""
    by = schedule.phases()[phase][0] - at_s
    names = ("calm_s", "core_at_s", "all_at_s", "duration_s")[phase - 1 :]
    return _with(schedule, **{name: round(getattr(schedule, name) - by, 3) for name in names})


def _calm(schedule: Schedule, calm_s: float) -> Schedule | None:
    return _with(schedule, calm_s=calm_s)


def _shorter_faults(search: Search) -> None:
    for name in [fault.id for fault in search.best.faults]:
        for_s = search.best.fault(name).for_s
        if for_s is not None:
            _lower(search, for_s, LEAST_FAULT_S, partial(_lasting, name), f"{name} is shorter")


def _lasting(name: str, schedule: Schedule, for_s: float) -> Schedule | None:
    return _with_fault(schedule, next(fault for fault in schedule.faults if fault.id == name), for_s=for_s)


def _lower(
    search: Search, value: float, floor: float, make: Callable[[Schedule, float], Schedule | None], how: str
) -> None:
    """The lowest value that fails, by bisection; rounded up to what is short to write."""
    low, high = min(floor, value), value
    for step in range(BISECTIONS_MAX):
        middle = low if step == 0 else _short(low, high)
        if middle is None or high - low < max(0.02, high / 10):
            return
        if search.take(make(search.best.schedule, middle), f"{how} ({middle:g} s)"):
            if middle == low:
                return
            high = middle
        else:
            low = middle


def _short(low: float, high: float) -> float | None:
    """A number about midway between the two, with as few digits as there can be; None: they are next to each other."""
    middle = (low + high) / 2
    for digits in range(4):
        rounded = round(middle, digits)
        if low < rounded < high and abs(rounded - middle) <= (high - low) / 4:
            return rounded
    return None


def _rounder(search: Search) -> None:
    """The same times, with fewer digits, and never later."""
    for name in [fault.id for fault in search.best.faults]:
        for digits in (0, 1, 2):
            fault = search.best.fault(name)
            by = 10**digits
            if search.take(
                _with_fault(search.best.schedule, fault, at_s=int(fault.at_s * by) / by), f"{name} at {digits} decimals"
            ):
                break
