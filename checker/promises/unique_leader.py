"""Promise `unique-leader`: per epoch at most one established leader, over the whole run.

The rule.  An epoch belongs to the first server that is established in it (Leadership2 in the TLA+ specification of
ZooKeeper).  It is broken by another server that is established in it, at whatever time: two leaders of one epoch need
not meet to give two transactions one zxid.  It is broken as well by the same server established in it a second time,
after it had stopped leading: it would number its transactions from the start again.

A server that merely won a vote is elected, not established; two servers elected in one round break nothing.

No time is compared, so no clock error matters.  Memory: one entry an epoch.
"""

from __future__ import annotations

from checker.availability import Availability
from checker.history import Op, Process
from checker.promises.base import Result, Violations
from checker.vocabulary import Started, State, Stopped


class UniqueLeader:
    name = "unique-leader"
    takes: tuple[type, ...] = (State, Started, Stopped)

    def __init__(self, world: Availability) -> None:
        self.world = world
        self.violations = Violations(self.name)
        self.throne: dict[int, tuple[Process, int]] = {}
        """epoch -> the host that has it, and the op that established it."""
        self.reign: dict[Process, int] = {}
        """host -> the epoch in which it has been established without a break."""
        self.established = 0

    def feed(self, op: Op) -> None:
        value, host = op.value, op.process
        if not isinstance(value, State) or not value.throned or value.epoch is None:
            if host in self.reign:
                del self.reign[host]
        elif self.reign.get(host) != value.epoch:
            self.reign[host] = value.epoch
            self._establish(op, host, value.epoch)

    def _establish(self, op: Op, host: Process, epoch: int) -> None:
        self.established += 1
        first = self.throne.setdefault(epoch, (host, op.index))
        if first[1] == op.index:
            return
        if first[0] != host:
            message = (
                f"epoch {epoch} has two established leaders: {first[0]} (op {first[1]}) and {host} (op {op.index})"
            )
        else:
            message = f"{host} was established in epoch {epoch} twice: at op {first[1]}, and again at op {op.index}"
        self.violations.add(message, [first[1], op.index], [str(first[0]), str(host)], self.world.faults_now(), op.time)

    def finish(self) -> Result:
        return self.violations.result({"epochs": len(self.throne), "established": self.established})
