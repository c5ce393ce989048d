"""A follower takes whatever epoch its leader proposes, a lower one than it has promised too."""

from __future__ import annotations

from node.server import Server

ORIGIN = ("vesoft-inc/nebula#685", "ZOOKEEPER-335")
PROMISE = "epochs"


class Bug(Server):
    def may_promise(self, epoch: int) -> bool:
        return True
