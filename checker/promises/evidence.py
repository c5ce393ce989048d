"""Promise `evidence`: every established leader shows a quorum of distinct voters, and a quorum of epoch acks.

The rule.  While a server leads, its reports carry `evidence`:

================  ======================================================  ============================================
`votes`           sids (a list, or an object by sid) that voted for it    a quorum, before or when it is established
`epoch_acks`      sid -> [current epoch, last zxid] of who acknowledged   a quorum, before or when it is established
`newleader_acks`  sids that acknowledged NEWLEADER                        a quorum, when it enters broadcast
================  ======================================================  ============================================

`checker.quorums` decides what a quorum is, not the server: only voters count, and each once.

*   Evidence that holds no quorum is a violation at once, whether or not the leader is established.  Of each kind, the
    first that a leadership shows counts.
*   Evidence that an established leader has not shown when its leadership (or the history) ends is a violation too.  It
    names the op in which the leader first claimed to be established.

A leadership is an unbroken stretch of reports with role LEADING: a report of another role, a start or a stop ends it.

Only reports of one server are compared, in that server's own order, so no clock error matters.  Memory: one leadership
a host.
"""

from __future__ import annotations

from typing import Any

from checker.availability import Availability
from checker.history import Op, Process
from checker.promises.base import Result, Violations
from checker.vocabulary import Started, State, Stopped

NEEDED = {"votes": "votes", "epoch_acks": "epoch acks", "newleader_acks": "NEWLEADER acks"}


class Leadership:
    """An unbroken stretch in which one server reports LEADING."""

    def __init__(self) -> None:
        self.shown: set[str] = set()
        self.claims: dict[str, Op] = {}
        """Kind of evidence that it has to show -> the op since which it has to."""


class Evidence:
    name = "evidence"
    takes: tuple[type, ...] = (State, Started, Stopped)

    def __init__(self, world: Availability) -> None:
        self.world = world
        self.violations = Violations(self.name)
        self.leaderships: dict[Process, Leadership] = {}
        self.judged = 0

    def feed(self, op: Op) -> None:
        value, host = op.value, op.process
        if isinstance(value, State) and value.role == "LEADING":
            leadership = self.leaderships.get(host)
            if leadership is None:
                leadership = self.leaderships[host] = Leadership()
            self._look(op, host, value, leadership)
        elif host in self.leaderships:
            self._end(host)

    def _look(self, op: Op, host: Process, state: State, leadership: Leadership) -> None:
        if state.established:
            leadership.claims.setdefault("votes", op)
            leadership.claims.setdefault("epoch_acks", op)
            if state.phase == "broadcast":
                leadership.claims.setdefault("newleader_acks", op)
        if not state.evidence:
            return
        for kind, words in NEEDED.items():
            shown = state.evidence.get(kind)
            if shown is None or kind in leadership.shown:
                continue
            leadership.shown.add(kind)
            sids = sids_of(shown)
            if not self.world.quorums.of(sids):
                voters = sorted(self.world.quorums.voters.intersection(sids))
                others = [sid for sid in sids if sid not in self.world.quorums.voters]
                beside = f" (beside {others}, who are no voters)" if others else ""
                epoch = f" epoch {state.epoch}" if state.epoch is not None else ""
                message = (
                    f"{host} leads{epoch} with {words} of {voters}{beside}: "
                    f"not a quorum of {sorted(self.world.quorums.voters)} (op {op.index})"
                )
                self.violations.add(message, [op.index], [str(host)], self.world.faults_now(), op.time)

    def _end(self, host: Process) -> None:
        leadership = self.leaderships.pop(host)
        if not leadership.claims:
            return
        self.judged += 1
        missing = [kind for kind in leadership.claims if kind not in leadership.shown]
        if missing:
            op = leadership.claims[missing[0]]
            words = " and ".join(NEEDED[kind] for kind in missing)
            message = f"{host} was established in epoch {op.value.epoch} (op {op.index}) and never showed its {words}"
            self.violations.add(message, [op.index], [str(host)], self.world.faults_now(), op.time)

    def finish(self) -> Result:
        for host in list(self.leaderships):
            self._end(host)
        reasons = [] if self.judged else ["no established leader, so no evidence to look at"]
        return self.violations.result({"leaderships": self.judged}, reasons)


def sids_of(shown: Any) -> list[int]:
    """The distinct sids that evidence names, in a list or as keys of an object.  Anything else in it is ignored."""
    found = set()
    for sid in shown if isinstance(shown, list | dict) else ():
        if isinstance(sid, int) or (isinstance(sid, str) and sid.lstrip("-").isdecimal()):
            found.add(int(sid))
    return sorted(found)
