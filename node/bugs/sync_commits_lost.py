"""What the leader commits while a follower synchronises is logged there, and never applied to its tree."""

from __future__ import annotations

from node.protocol.following import Learning
from node.protocol.server import Server

ORIGIN = ("ZOOKEEPER-1264", "ZOOKEEPER-1551")
PROMISE = "durability"


class Bug(Server):
    def on_up_to_date(self, learning: Learning) -> None:
        self.database.applied = len(self.database.log)
        super().on_up_to_date(learning)
