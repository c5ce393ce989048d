"""A leader sends DIFF to a follower that has transactions which the leader's history lacks."""

from __future__ import annotations

from typing import Tuple

from node.protocol.leadership import Leading
from node.protocol.messages import DIFF, TRUNC
from node.protocol.server import Server

ORIGIN = ("ZOOKEEPER-1154", "ZOOKEEPER-1156")
PROMISE = "durability"


class Bug(Server):
    def choose_sync(self, leading: Leading, theirs: int) -> Tuple[int, int]:
        kind, zxid = super().choose_sync(leading, theirs)
        return (DIFF, theirs) if kind == TRUNC else (kind, zxid)
