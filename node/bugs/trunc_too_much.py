"""TRUNC cuts off one transaction more than it says, which the leader does not send again."""

from __future__ import annotations

from node.protocol.messages import TRUNC
from node.protocol.server import Server

ORIGIN = ("ZOOKEEPER-1156",)
PROMISE = "durability"


class Bug(Server):
    def sync_point(self, kind: int, zxid: int) -> int:
        point = super().sync_point(kind, zxid)
        if kind == TRUNC and point < self.database.last_zxid:
            below = self.database.floor(point - 1)
            return point if below is None else below
        return point
