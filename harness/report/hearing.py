"""Who hears whom, who runs, and where the majority is: the world at every instant, as the checkers know it.

The history is fed to `checker.availability.Availability`, in the order of time; what changes in it is written down.
An *effect* is one of the world's atoms, `("drops", "n1", "n2")`: n1 hears nothing from n2.  Its level is 0 (not so),
1 (perhaps: it was asked for, or its end was) or 2 (surely).  The *majority* is the one that is owed a leader, if
there is one.

Columns, for the page:

    atoms   [["drops", 0, 1], ["paused", 3], ...]     hosts by their places
    t, a, l     when the atom `a` came to level `l`
    rt, rh, ru  when the server of the host `rh` came to run (1) or not (0)
    majority    [[t, [0, 1, 2]], [t, null], ...]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from checker.availability import Availability
from checker.history import HistoryError, ordered, read
from checker.vocabulary import RunOp, ValueProblem, typed
from harness.report.columns import column

CHANGES_MAX = 60_000
"""The most changes that are written; what comes later, the page does not know."""
US = 1_000


def hearing(history: Path, hosts: list[str]) -> dict[str, Any]:
    """The columns.  `until` is where they end early, in microseconds, and None otherwise: they go to the run's end."""
    place = {host: n for n, host in enumerate(hosts)}
    known = _KnownServer(place)
    until: int | None = 0
    run: RunOp | None = None
    world: Availability | None = None
    try:
        for op in ordered(read(history)):
            if isinstance(op.process, int) or not typed(op, run):
                continue
            if isinstance(op.value, RunOp) and run is None:
                run = op.value
                world = Availability(run)
            elif world is not None:
                before = world.revision
                world.feed(op)
                if world.revision != before:
                    known.look(world)
                if known.changes > CHANGES_MAX:
                    until = world.now // US
                    break
        else:
            until = None
    except (HistoryError, ValueProblem):
        # The verdict says what is wrong with such a history; here it ends.
        until = 0 if world is None else world.now // US
    return known.columns() | {"until": until}


class _KnownServer:
    def __init__(self, place: dict[str, int]) -> None:
        self._place = place
        self._atoms: dict[tuple[str, ...], int] = {}
        self._levels: dict[tuple[str, ...], int] = {}
        self._running: dict[str, bool | None] = {}
        self._effects: list[tuple[int, int, int]] = []
        self._runs: list[tuple[int, int, int]] = []
        self._majorities: list[tuple[int, list[int] | None]] = []

    @property
    def changes(self) -> int:
        return len(self._effects) + len(self._runs) + len(self._majorities)

    def look(self, world: Availability) -> None:
        at = world.now // US
        levels = dict.fromkeys(world.possible, 1) | dict.fromkeys(world.sure, 2)
        for atom in sorted(levels.keys() | self._levels.keys()):
            level = levels.get(atom, 0)
            if level != self._levels.get(atom, 0):
                self._effects.append((at, self._atoms.setdefault(atom, len(self._atoms)), level))
        self._levels = levels
        for host, runs in world.running.items():
            if host in self._place and runs is not None and runs != self._running.get(host):
                self._running[host] = runs
                self._runs.append((at, self._place[host], int(runs)))
        majority = world.majority()
        told = None if majority is None else sorted(self._place[host] for host in majority if host in self._place)
        if told != (self._majorities[-1][1] if self._majorities else None):
            self._majorities.append((at, told))

    def columns(self) -> dict[str, Any]:
        return {
            "atoms": [[kind, *(self._place.get(name, name) for name in names)] for kind, *names in self._atoms],
            "t": column(t for t, _, _ in self._effects),
            "a": column(a for _, a, _ in self._effects),
            "l": column(level for _, _, level in self._effects),
            "rt": column(t for t, _, _ in self._runs),
            "rh": column(h for _, h, _ in self._runs),
            "ru": column(u for _, _, u in self._runs),
            "majority": [[t, told] for t, told in self._majorities],
        }
