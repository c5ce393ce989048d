"""What every checker has in common: it is fed ops, and ends with a result."""

from __future__ import annotations

from typing import Any, Literal, Protocol

import msgspec

from checker.history import Op

Valid = bool | Literal["unknown"]

VIOLATIONS_MAX = 100
"""A checker keeps this many violations and counts the rest: a broken system breaks a promise thousands of times."""


class Violation(msgspec.Struct):
    """One time that a promise was broken, with everything that proves it."""

    promise: str
    message: str
    ops: list[int]
    """Indexes of the ops that prove it."""
    servers: list[str]
    faults: list[dict[str, Any]]
    """The faults in force then: {"fault", "f", "hosts", "surely"}."""
    time: int
    """Nanoseconds of the run."""


class Result(msgspec.Struct):
    """How a promise fared."""

    name: str
    valid: Valid
    violations: list[Violation] = []
    more_violations: int = 0
    """Violations beyond those that are listed."""
    reasons: list[str] = []
    """Why it is unknown, in words."""
    stats: dict[str, Any] = {}
    judged: bool = True
    """False: reported only; it has no part in the verdict."""

    @property
    def violation_count(self) -> int:
        return len(self.violations) + self.more_violations


class Checker(Protocol):
    """A promise.  `feed` it the ops in the order of `checker.history.ordered`, with typed values, then `finish`."""

    name: str
    takes: tuple[type, ...]
    """The types of values whose ops it is to be fed; all of them for one that looks at the time."""

    def feed(self, op: Op) -> None: ...

    def finish(self) -> Result: ...


class Violations:
    """The violations of one promise: the first hundred kept, all counted."""

    def __init__(self, promise: str) -> None:
        self.promise = promise
        self.kept: list[Violation] = []
        self.count = 0

    def add(self, message: str, ops: list[int], servers: list[str], faults: list[dict[str, Any]], time: int) -> None:
        self.count += 1
        if len(self.kept) < VIOLATIONS_MAX:
            ops = sorted(set(ops))
            self.kept.append(Violation(self.promise, message, ops, sorted(set(servers)), faults, time))

    def result(self, stats: dict[str, Any], reasons: list[str] | None = None) -> Result:
        """Invalid with any violation, else unknown with any reason, else valid."""
        valid: Valid = False if self.count else "unknown" if reasons else True
        return Result(self.promise, valid, self.kept, self.count - len(self.kept), reasons or [], stats)


def seconds(ns: int) -> float:
    """Nanoseconds as seconds, to the millisecond: what results and messages give."""
    return round(ns / 1e9, 3)
