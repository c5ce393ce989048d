"""What was written to a connection that broke is lost: a new connection does not begin with the last message.

It is told again when the pause between two notifications is over, and that grows to a minute, as ZooKeeper's does.
"""

from __future__ import annotations

from typing import Optional

from node.connections import Peer
from node.core import MS
from node.events import Notification
from node.server import Server

ORIGIN = ("ZOOKEEPER-481",)
PROMISE = "convergence"


class Bug(Server):
    def first_message(self, sid: int, peer: Peer) -> Optional[Notification]:
        return peer.queued

    def next_interval(self, interval: int) -> int:
        return min(2 * interval, 60_000 * MS)
