"""A leader sends a new follower what is committed and what is proposed later, but not what is outstanding."""

from __future__ import annotations

from node.broadcast import Handler
from node.events import Txn
from node.server import Server

ORIGIN = ("ZOOKEEPER-1319", "ZOOKEEPER-962")
PROMISE = "best-history"


class Bug(Server):
    def send_proposal(self, conn: int, handler: Handler, txn: Txn, data: bytes) -> None:
        if handler.forwarding:
            super().send_proposal(conn, handler, txn, data)
