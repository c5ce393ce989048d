"""The pause between two notifications doubles without end, and nothing takes it back, not even a new election.

A server that could talk to nobody a few times waits longer and longer; and it dials only when it has something to tell.
"""

from __future__ import annotations

from node.protocol.server import Server

ORIGIN = ("ZooKeeper 3.8: a minute's maxNotificationInterval in FastLeaderElection.lookForLeader",)
PROMISE = "convergence"


class Bug(Server):
    def first_interval(self) -> int:
        return max(self.interval, super().first_interval())

    def next_interval(self, interval: int) -> int:
        return 2 * interval

    def look_after_connections(self) -> None:
        return
