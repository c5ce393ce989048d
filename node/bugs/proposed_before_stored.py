"""A leader tells its epoch first, and writes it when a quorum has promised it.

If it crashes in between, it may propose the same epoch again, to others.
"""

from __future__ import annotations

from node.protocol.leadership import Leading
from node.protocol.messages import LEADING
from node.protocol.server import Server

ORIGIN = ("ZOOKEEPER-1291",)
PROMISE = "epochs"


class Bug(Server):
    def store_accepted_epoch(self, epoch: int) -> None:
        if self.role == LEADING:
            self.accepted_epoch = epoch
        else:
            super().store_accepted_epoch(epoch)

    def establish(self, leading: Leading) -> None:
        super().store_accepted_epoch(leading.epoch)
        super().establish(leading)
