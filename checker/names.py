"""The names of the promises: safety first, then liveness, then what is only reported.

Results and summaries keep this order.  A promise that was renamed or split keeps its old name in `RENAMED`: histories,
case files, emitted tests and command lines of earlier versions go on to use it, and `current` says what it means now.

    >>> current(["best-history", "evidence"])
    ('leader-history', 'durability', 'evidence')
    >>> "best-history" in PromiseNames(["durability"])
    True
"""

from __future__ import annotations

from collections.abc import Iterable

SAFETY = ("unique-leader", "epochs", "leader-history", "durability", "evidence")
"""Broken by what was reported: nothing that comes later can mend it."""

LIVENESS = ("convergence", "stepping-down")
"""Broken by what did not happen within a bound."""

REPORTED = ("partial-connectivity",)
"""Measured and never judged."""

ORDER = SAFETY + LIVENESS + REPORTED

RENAMED = {"best-history": ("leader-history", "durability")}
"""A name of an earlier version -> the promises that it stands for."""


def current(names: Iterable[str]) -> tuple[str, ...]:
    """The same promises by their names of today, each once; an unknown name stays as it is."""
    return tuple(dict.fromkeys(new for name in names for new in RENAMED.get(name, (name,))))


def family(name: str) -> str:
    """The oldest name that stands for this promise: of use where a key of an earlier version has to stay the same."""
    return next((old for old, new in RENAMED.items() if name in new), name)


class PromiseNames(list[str]):
    """Names of today.  An old name is `in` them if any promise that it stands for is."""

    def __contains__(self, name: object) -> bool:
        return any(list.__contains__(self, new) for new in RENAMED.get(str(name), (name,)))
