"""What every promise has in common: it says which ops it needs, is fed those alone, and ends with a result."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, Protocol, TypeGuard

import msgspec

from checker.history import Op

Valid = bool | Literal["unknown"]

VIOLATIONS_MAX = 100
"""Maximum number of violations kept for a promise; the others are counted.  A broken system may break it thousands of
times."""


class Violation(msgspec.Struct):
    """One violation of a promise, with everything that proves it."""

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
    """The result of one promise."""

    name: str
    valid: Valid
    violations: list[Violation] = []
    more_violations: int = 0
    """Violations beyond those that are listed."""
    reasons: list[str] = []
    """Why it is unknown, in words."""
    stats: dict[str, Any] = {}
    judged: bool = True
    """False: it is reported only, and has no part in the verdict."""

    @property
    def violation_count(self) -> int:
        return len(self.violations) + self.more_violations


class Promise(Protocol):
    """The judge of one promise over one history.  What it is fed depends on which of the two protocols below it has."""

    name: str

    def finish(self) -> Result:
        """How the promise fared.  To be called once, after the last op."""


class OfReports(Promise, Protocol):
    """A promise about what servers, nemesis and controller report, in the order in which it happened.

    It reads the world (`checker.availability`), which has taken each op before the promise does.
    """

    takes: tuple[type, ...]
    """The types of values whose ops it needs; `vocabulary.EVERY` for a promise that looks at the time."""

    def feed(self, op: Op) -> None:
        """Takes the next op, with a typed value."""


class OfClients(Promise, Protocol):
    """A promise about what clients did, in the order of the file."""

    def feed_clients(self, ops: Sequence[Op], phase: str | None) -> list[Op]:
        """Takes the next ops of clients, all in one phase of the run; returns those with an `f` that it does not know.

        Raises ValueProblem with the index of the op whose value is not right.
        """

    def lost(self) -> set[int]:
        """The values that `find_proofs` would look for; empty where the history need not be read again."""

    def find_proofs(self, ops: Iterable[Op]) -> None:
        """Takes all ops of the history again, before `finish`, and finds those that violations will name."""


def of_reports(promise: Promise) -> TypeGuard[OfReports]:
    """By one member: `isinstance` of a protocol looks at all of them, which costs half a millisecond a history."""
    return hasattr(promise, "takes")


def of_clients(promise: Promise) -> TypeGuard[OfClients]:
    """By one member, as `of_reports`."""
    return hasattr(promise, "feed_clients")


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
