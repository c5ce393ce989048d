"""The pause between two notifications doubles without end, and a server that waits dials nobody.

While no majority can talk the pauses grow; when it can again, everybody waits for its own long pause to be over.
"""

from __future__ import annotations

from node.server import Server

ORIGIN = ("ZOOKEEPER-3756", "ZooKeeper 3.8: FastLeaderElection.maxNotificationInterval of a minute, no dial in between")
PROMISE = "convergence"


class Bug(Server):
    def next_interval(self, interval: int) -> int:
        return 2 * interval

    def hurry(self) -> None:
        return

    def look_after_connections(self) -> None:
        return
