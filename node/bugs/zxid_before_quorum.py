"""A server that begins to lead takes the first zxid of its epoch for its history, before any quorum is there.

If nobody follows it, its vote beats those of servers with real transactions of an earlier epoch.
"""

from __future__ import annotations

from node.broadcast import Leading
from node.server import Server

ORIGIN = ("ZOOKEEPER-790",)
PROMISE = "best-history"


class Bug(Server):
    def propose_epoch(self, leading: Leading) -> None:
        self.store_accepted_epoch(leading.epoch)
        self.store_current_epoch(leading.epoch)
        super().propose_epoch(leading)
