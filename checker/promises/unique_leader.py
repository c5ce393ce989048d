"""Promise `unique-leader`: per epoch at most one established leader, over the whole run.

The rule.  An epoch belongs to the first server that is established in it (Leadership2 in the TLA+ specification of
ZooKeeper).  Another server that is established in it breaks the promise, at whatever time: two leaders of one epoch
need not meet to give two transactions the same zxid.  The same server breaks it too, if it is established in the epoch
a second time after it had stopped leading: it would number its transactions from the start again.

A server that merely won a vote is elected, not established; two servers elected in one round break nothing.

The order of two hosts' reports does not matter, so no clock error does.  Memory: one entry an epoch.
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
        self.owners: dict[int, tuple[Process, int]] = {}
        """epoch -> the host that it belongs to, and the op that established it."""
        self.leads: dict[Process, int] = {}
        """host -> the epoch in which it is established at present."""
        self.established = 0

    def feed(self, op: Op) -> None:
        value, host = op.value, op.process
        if not isinstance(value, State) or not value.is_established or value.epoch is None:
            if host in self.leads:
                del self.leads[host]
        elif self.leads.get(host) != value.epoch:
            self.leads[host] = value.epoch
            self._establish(op, host, value.epoch)

    def _establish(self, op: Op, host: Process, epoch: int) -> None:
        self.established += 1
        first = self.owners.setdefault(epoch, (host, op.index))
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
        return self.violations.result({"epochs": len(self.owners), "established": self.established})
