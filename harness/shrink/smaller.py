"""What is smaller than a schedule: the order, and the steps down from one.

Each step gives schedules that keep the rules of `nemesis.schedule`, or None where that cannot be.  A kind says itself
how simple it is (`Kind.simplicity`).  A simple shape or target stands early in its list here; one that is in no list is
the least simple.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from nemesis.faults import KINDS, Fault
from nemesis.schedule import Schedule, ScheduleError, parse

SIMPLE_SHAPES = ("", "isolate", "split", "halves", "deaf", "mute", "link", "one-way")
SIMPLE_TARGETS = ("leader", "follower", "random", "previous-leader", "elected", "followers", "all", "minority")

Steps = Iterator[tuple[Schedule | None, str]]
"""Schedules, the simplest first, and in words what each is."""


def size(schedule: Schedule, knobs: int) -> tuple[int, ...]:
    """`knobs`: how many are turned.  `harness.shrink.search` names the parts."""
    faults = schedule.faults
    return (
        len(faults),
        schedule.servers,
        knobs,
        sum(KINDS[fault.kind].simplicity for fault in faults),
        sum(_rank(fault.shape, SIMPLE_SHAPES) for fault in faults),
        sum(_rank(fault.targets, SIMPLE_TARGETS) for fault in faults),
        sum(fault.for_s is None for fault in faults),
        sum(len(fault.params) for fault in faults),
        sum(_ms(fault.for_s or 0) for fault in faults),
        _ms(schedule.duration_s),
        sum(_ms(phase_s) for phase_s, _ in schedule.phases()) + sum(_ms(fault.at_s) for fault in faults),
        sum(_digits(number) for number in _numbers(schedule)),
    )


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


def _digits(number: float) -> int:
    """How many it is written with, but for zeros at its ends."""
    return len(f"{number:f}".replace(".", "").strip("0"))


def fault(schedule: Schedule, id_: str) -> Fault:
    return next(fault for fault in schedule.faults if fault.id == id_)


def replaced(schedule: Schedule, **fields: object) -> Schedule | None:
    """The schedule with other fields; None where that makes no sense."""
    try:
        return parse(msgspec.structs.replace(schedule, **fields).to_json())
    except ScheduleError:
        return None


def _with_fault(schedule: Schedule, old: Fault, **fields: object) -> Schedule | None:
    new = msgspec.structs.replace(old, **fields)
    return replaced(schedule, faults=tuple(new if fault is old else fault for fault in schedule.faults))


# ---- simpler words ---------------------------------------------------------------------------------------------------


def kinds(schedule: Schedule, id_: str) -> Steps:
    """Simpler kinds, of those that need no parameters; a fault that had no targets or shape gets the simplest."""
    old = fault(schedule, id_)
    simpler = [kind for kind in KINDS.values() if kind.simplicity < KINDS[old.kind].simplicity]
    for kind in sorted(simpler, key=lambda kind: kind.simplicity):
        if all(param.optional for param in kind.params.values()):
            shape = (old.shape or "isolate") if kind.shaped else ""
            targets_ = old.targets or "leader"
            made = _with_fault(schedule, old, kind=kind.name, params={}, shape=shape, targets=targets_)
            yield made, f"{id_} is a {kind.name}"


def shapes(schedule: Schedule, id_: str) -> Steps:
    old = fault(schedule, id_)
    for shape in SIMPLE_SHAPES[1 : _rank(old.shape, SIMPLE_SHAPES)] if old.shape else ():
        yield _with_fault(schedule, old, shape=shape), f"{id_} has the shape {shape}"
        if not old.targets:
            yield _with_fault(schedule, old, shape=shape, targets="leader"), f"{id_} has the shape {shape}"


def targets(schedule: Schedule, id_: str) -> Steps:
    old = fault(schedule, id_)
    for word in SIMPLE_TARGETS[: _rank(old.targets, SIMPLE_TARGETS)] if old.targets else ():
        yield _with_fault(schedule, old, targets=word), f"{id_} hits {word}"


def ends(schedule: Schedule, id_: str) -> Steps:
    """An end for what was for good."""
    old = fault(schedule, id_)
    if old.for_s is None and schedule.majority_at_s > old.at_s:
        for_s = round(schedule.majority_at_s - old.at_s, 3)
        yield _with_fault(schedule, old, for_s=for_s), f"{id_} is over when act one begins"


def params(schedule: Schedule, id_: str, name: str) -> Steps:
    """Without the parameter, or, for a number, with one digit or two."""
    old = fault(schedule, id_)
    value = old.params.get(name)
    yield (
        _with_fault(schedule, old, params={n: v for n, v in old.params.items() if n != name}),
        f"{id_} has no {name}",
    )
    if isinstance(value, int | float):
        for digits in (1, 2):
            rounded = type(value)(float(f"{value:.{digits}g}"))
            yield _with_fault(schedule, old, params={**old.params, name: rounded}), f"{id_} has {name} {rounded:g}"


# ---- lower numbers ---------------------------------------------------------------------------------------------------


def earlier(index: int, schedule: Schedule, at_s: float) -> Schedule | None:
    """The fault of that number, all later ones and the acts begin earlier, by the same time."""
    by = schedule.faults[index].at_s - at_s
    faults = tuple(
        msgspec.structs.replace(fault, at_s=round(fault.at_s - by, 3)) if n >= index else fault
        for n, fault in enumerate(schedule.faults)
    )
    moved = msgspec.structs.replace(schedule, faults=faults)
    return majority_at(moved, schedule.majority_at_s - by) or replaced(moved)


def majority_at(schedule: Schedule, at_s: float) -> Schedule | None:
    """The acts begin then, and are as long as before."""
    by = schedule.majority_at_s - at_s
    names = ("majority_at_s", "everyone_at_s", "duration_s")
    return replaced(schedule, **{name: round(getattr(schedule, name) - by, 3) for name in names})


def everyone_at(schedule: Schedule, at_s: float) -> Schedule | None:
    by = schedule.everyone_at_s - at_s
    return replaced(schedule, everyone_at_s=at_s, duration_s=round(schedule.duration_s - by, 3))


def end_at(schedule: Schedule, at_s: float) -> Schedule | None:
    return replaced(schedule, duration_s=at_s)


def calm(schedule: Schedule, calm_s: float) -> Schedule | None:
    return replaced(schedule, calm_s=calm_s)


def lasting(id_: str, schedule: Schedule, for_s: float) -> Schedule | None:
    return _with_fault(schedule, fault(schedule, id_), for_s=for_s)


def rounder(schedule: Schedule, id_: str) -> Steps:
    """The fault's start with fewer decimals, and not later."""
    old = fault(schedule, id_)
    for decimals in (0, 1, 2):
        by = 10**decimals
        yield _with_fault(schedule, old, at_s=int(old.at_s * by) / by), f"{id_} starts at {decimals} decimals"


def between(low: float, high: float) -> float | None:
    """A number about midway between the two, with as few digits as there can be; None: they are next to each other."""
    middle = (low + high) / 2
    for decimals in range(4):
        rounded = round(middle, decimals)
        if low < rounded < high and abs(rounded - middle) <= (high - low) / 4:
            return rounded
    return None
