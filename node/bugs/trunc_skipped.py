"""A follower that cannot cut its log off reports success, and serves what was never committed."""

from __future__ import annotations

from node.protocol.messages import DIFF, TRUNC
from node.protocol.server import Server

ORIGIN = ("ZOOKEEPER-3701",)
PROMISE = "durability"


class Bug(Server):
    def sync_point(self, kind: int, zxid: int) -> int:
        return super().sync_point(DIFF if kind == TRUNC else kind, zxid)
