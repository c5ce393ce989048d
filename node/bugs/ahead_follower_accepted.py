"""A leader does not look at its followers' histories: one that has more than it is cut back."""

from __future__ import annotations

from node.protocol.leadership import Leading
from node.protocol.server import Server

ORIGIN = ("ZOOKEEPER-335", "Junqueira, Reed, Serafini: Zab (DSN 2011), section IV")
PROMISE = "leader-history"


class Bug(Server):
    def is_ahead(self, leading: Leading, epoch: int, zxid: int) -> bool:
        return False
