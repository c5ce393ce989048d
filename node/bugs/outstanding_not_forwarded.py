"""A leader sends a new follower what is committed and what is proposed later, but not what is outstanding."""

from __future__ import annotations

from node.protocol.leadership import LearnerHandler
from node.protocol.messages import Txn
from node.protocol.server import Server

ORIGIN = ("ZOOKEEPER-1319", "ZOOKEEPER-962")
PROMISE = "durability"


class Bug(Server):
    def send_proposal(self, conn: int, handler: LearnerHandler, txn: Txn, data: bytes) -> None:
        if handler.forwarding:
            super().send_proposal(conn, handler, txn, data)
