"""Sorts the ops of a history by when they happened.

A history is in the order in which the controller learned of things; most promises are about the order in which they
happened.  `ordered` gives the second from the first: it sorts by `time` over a bounded window.  Two rules keep it
honest:

*   Ops of one process that came in the order of its own clock (`host_time`) stay in that order, whatever the jitter of
    the mapping did to their `time`.
*   Nothing is held back longer than `REORDER_WINDOW_NS` of history (or `REORDER_OPS_MAX` ops).  An op that comes later
    than that comes out at once, out of its order, and its index is noted in `Ordered.late`; a verdict with late ops is
    at best `unknown`.
*   An op that its `time` puts behind a later one of its own host's clock is noted in the same way.

Sorted is not ordered: the order of two ops of different hosts is known only if `Op.latest` of the one is before
`Op.earliest` of the other.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator

from checker.history.op import Op, Process

REORDER_WINDOW_NS = 120 * 1_000_000_000
"""Longer than an SSH connection may stay lost (twice the lease of 30 s) before the run gives up its host."""

REORDER_OPS_MAX = 100_000
"""Maximum number of ops held back for sorting.  Clients' ops are not sorted; the rest are about 2,000 a minute."""


LATE_MAX = 100
"""Maximum number of late ops that are kept."""


class Ordered:
    """Sorts a stream of ops by `time` over a bounded window: `push` each, `pop_ready` after it, `pop_all` last."""

    def __init__(self, window_ns: int = REORDER_WINDOW_NS, ops_max: int = REORDER_OPS_MAX) -> None:
        self.window_ns = window_ns
        self.ops_max = ops_max
        self.late: dict[int, Process] = {}
        """The first hundred ops that were not given out in their order, by index, and whose they are."""
        self._held: list[tuple[int, int, Op]] = []
        """Sorted.  Ops come nearly in their order, so a new one belongs at the end or close to it."""
        self._ready: list[Op] = []
        self._now = -(1 << 62)
        self._given = -(1 << 62)
        self._last: dict[Process, tuple[int, int]] = {}
        self._given_last: dict[Process, int] = {}
        """The greatest `host_time` of each process that was given out."""

    def push(self, op: Op) -> None:
        key = op.time
        host_time = op.host_time
        if host_time is not None:
            last = self._last.get(op.process)
            if last is None or host_time >= last[0]:
                if last is not None and key < last[1]:
                    key = last[1]
                self._last[op.process] = (host_time, key)
        held = self._held
        if key > self._now:
            self._now = key
            held.append((key, op.index, op))
        else:
            if key < self._given:
                self._note_late(op)
            bisect.insort(held, (key, op.index, op))
        limit = self._now - self.window_ns
        while held[0][0] < limit or len(held) > self.ops_max:
            key, _, op = held.pop(0)
            if key > self._given:  # noqa: PLR1730 - twice as fast as max
                self._given = key
            self._give(op)

    def pop_ready(self) -> list[Op]:
        """The ops that are old enough for nothing to come before them any more."""
        ready, self._ready = self._ready, []
        return ready

    def pop_all(self) -> list[Op]:
        for _, _, op in self._held:
            self._give(op)
        self._held.clear()
        return self.pop_ready()

    def _give(self, op: Op) -> None:
        self._ready.append(op)
        if op.host_time is not None:
            if op.host_time >= self._given_last.get(op.process, op.host_time):
                self._given_last[op.process] = op.host_time
            else:
                self._note_late(op)

    def _note_late(self, op: Op) -> None:
        if len(self.late) < LATE_MAX:
            self.late[op.index] = op.process


def ordered(ops: Iterable[Op], window_ns: int = REORDER_WINDOW_NS, ops_max: int = REORDER_OPS_MAX) -> Iterator[Op]:
    """`ops` in the order of `time`, as far as a bounded window can tell; see the rules above."""
    order = Ordered(window_ns, ops_max)
    for op in ops:
        order.push(op)
        yield from order.pop_ready()
    yield from order.pop_all()
