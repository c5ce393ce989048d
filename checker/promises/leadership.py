"""What `leader-history` and `evidence` judge: one leadership at a time.

A *leadership* is an unbroken stretch of one host's reports with role LEADING that name no two epochs.  Any other state,
a start or a stop ends it; a report of another epoch ends it and begins the next, which owes everything anew.  A report
that leaves its epoch out belongs to the leadership under way.

    LEADING    LEADING 1    LEADING 1, established    LEADING 2, established    LOOKING
    |------------------- epoch 1 -----------------|   |------ epoch 2 -----|
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from checker.history import Op, Process
from checker.vocabulary import State


class Leadership:
    """An unbroken stretch in which one server reports LEADING, in one epoch."""

    def __init__(self) -> None:
        self.epoch: int | None = None
        self.established: Op | None = None
        """The first report that it is established."""


L = TypeVar("L", bound=Leadership)


class Leaderships(Generic[L]):
    """The leaderships under way, one a host."""

    def __init__(self, kind: type[L]) -> None:
        self.kind = kind
        self.under_way: dict[Process, L] = {}

    def take(self, op: Op) -> tuple[L | None, L | None]:
        """The leadership that this report ends, and the one that it belongs to; None where there is none."""
        host, state = op.process, op.value
        before = self.under_way.get(host)
        if not isinstance(state, State) or state.role != "LEADING":
            if before is not None:
                del self.under_way[host]
            return before, None
        ended, now = None, before
        if now is not None and None not in (now.epoch, state.epoch) and now.epoch != state.epoch:
            ended, now = now, None
        if now is None:
            now = self.under_way[host] = self.kind()
        if state.epoch is not None:
            now.epoch = state.epoch
        if state.established and now.established is None:
            now.established = op
        return ended, now


def sids_of(shown: Any) -> list[int]:
    """The distinct sids that evidence names, in a list or as keys of an object (the vocabulary lets in no other)."""
    return sorted({int(sid) for sid in shown}) if isinstance(shown, list | dict) else []
