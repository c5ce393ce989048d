"""Promise `epochs`: per server, accepted and current epoch never fall, and current never exceeds accepted.

The rule.  A server's accepted epoch is its word to take no leader of an older one, and its current epoch is what it
votes with; both are on disk before they are said (protocol: QuorumPeer's files acceptedEpoch and currentEpoch).  So in
the order of one server's own reports, over all its restarts:

*   accepted epoch: never less than it was;
*   current epoch: never less than it was;
*   current epoch <= accepted epoch.

Only reports of one server are compared, in that server's own order, so no clock error matters.  A report that leaves an
epoch out (null) says nothing of it.  Memory: four numbers a server.
"""

from __future__ import annotations

from checker.fitness import World
from checker.history import Op
from checker.promise import Result, Violations
from checker.values import Started, State


class Epochs:
    name = "epochs"
    takes: tuple[type, ...] = (State, Started)

    def __init__(self, world: World) -> None:
        self.world = world
        self.violations = Violations(self.name)
        self.last: dict[tuple[str, str], tuple[int, int]] = {}
        """(host, "accepted" or "current") -> the highest that it reported, and the op that did."""
        self.reports = 0

    def feed(self, op: Op) -> None:
        value = op.value
        host, accepted, current = str(op.process), value.accepted_epoch, value.current_epoch
        self.reports += accepted is not None or current is not None
        if accepted is not None:
            self._never_falls(op, host, "accepted", accepted)
        if current is not None:
            self._never_falls(op, host, "current", current)
        if accepted is not None and current is not None and current > accepted:
            message = f"{host} has current epoch {current}, above its accepted epoch {accepted} (op {op.index})"
            self.violations.add(message, [op.index], [host], self.world.faults_now(), op.time)

    def _never_falls(self, op: Op, host: str, which: str, epoch: int) -> None:
        highest, at = self.last.get((host, which), (epoch, op.index))
        if epoch < highest:
            message = f"{host}'s {which} epoch fell from {highest} (op {at}) to {epoch} (op {op.index})"
            self.violations.add(message, [at, op.index], [host], self.world.faults_now(), op.time)
        # From a fall on, the lower one counts: one loss is one violation, not one per report that follows.
        self.last[host, which] = (epoch, op.index)

    def finish(self) -> Result:
        reasons = [] if self.reports else ["no server reported its epochs"]
        return self.violations.result({"reports": self.reports}, reasons)
