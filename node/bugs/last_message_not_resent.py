"""What was written to a connection that broke is lost: a new connection does not begin with the last message.

TCP was relied on for delivery, and a vote that was told is not told again within a minute.
"""

from __future__ import annotations

from typing import Optional

from node.protocol.connections import Peer
from node.protocol.core import MS
from node.protocol.messages import Notification
from node.protocol.server import Server

ORIGIN = ("ZOOKEEPER-481",)
PROMISE = "convergence"


class Bug(Server):
    def first_message(self, sid: int, peer: Peer) -> Optional[Notification]:
        return peer.queued

    def first_interval(self) -> int:
        return 60_000 * MS
