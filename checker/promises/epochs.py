"""Promise `epochs`: per server, accepted and current epoch never fall, and current never exceeds accepted.

The rule.  With its accepted epoch a server promises to follow no leader of an older one; with its current epoch it
votes.  Both are on disk before the server reports them (QuorumPeer's files acceptedEpoch and currentEpoch).  So in the
order of one server's own reports (`state` and `started`), over all its restarts:

*   accepted epoch: never less than it was, nor less than a current epoch that was reported since;
*   current epoch: never less than it was;
*   current epoch <= accepted epoch, in each report that has both.

After a fall the lower epoch counts, so that one loss is one violation.  A report that leaves an epoch out (null) says
nothing about it.  Only reports of one server are compared, in that server's own order, so no clock error matters.
Memory: four numbers a server.
"""

from __future__ import annotations

from checker.availability import Availability
from checker.history import Op, Process
from checker.promises.base import Result, Violations
from checker.vocabulary import Started, State

NONE_YET = -(1 << 62)


class Reported:
    """The epochs that a server last reported, and in which ops."""

    def __init__(self) -> None:
        self.accepted = self.current = NONE_YET
        self.accepted_op = self.current_op = 0


class Epochs:
    name = "epochs"
    takes: tuple[type, ...] = (State, Started)

    def __init__(self, world: Availability) -> None:
        self.world = world
        self.violations = Violations(self.name)
        self.last: dict[Process, Reported] = {}
        self.reports = 0

    def feed(self, op: Op) -> None:
        value = op.value
        host, accepted, current = op.process, value.accepted_epoch, value.current_epoch
        if accepted is None and current is None:
            return
        self.reports += 1
        last = self.last.get(host)
        if last is None:
            last = self.last[host] = Reported()
        if accepted is not None:
            if accepted < last.accepted:
                self._fell(op, host, "accepted", last.accepted, last.accepted_op, accepted)
            last.accepted, last.accepted_op = accepted, op.index
        if current is not None:
            if current < last.current:
                self._fell(op, host, "current", last.current, last.current_op, current)
            last.current, last.current_op = current, op.index
            if accepted is None and current > last.accepted:
                last.accepted, last.accepted_op = current, op.index  # it is at least that, though it was not reported
            if accepted is not None and current > accepted:
                message = f"{host} has current epoch {current}, above its accepted epoch {accepted} (op {op.index})"
                self.violations.add(message, [op.index], [str(host)], self.world.faults_now(), op.time)

    def _fell(self, op: Op, host: Process, which: str, highest: int, at: int, epoch: int) -> None:
        message = f"{host}'s {which} epoch fell from {highest} (op {at}) to {epoch} (op {op.index})"
        self.violations.add(message, [at, op.index], [str(host)], self.world.faults_now(), op.time)

    def finish(self) -> Result:
        reasons = [] if self.reports else ["no server reported its epochs"]
        return self.violations.result({"reports": self.reports}, reasons)
