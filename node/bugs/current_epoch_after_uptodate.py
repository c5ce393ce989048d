"""A follower acknowledges NEWLEADER first, and writes the new current epoch at UPTODATE."""

from __future__ import annotations

from node.events import StoreEpoch
from node.learner import Learning
from node.server import Server

ORIGIN = ("ZOOKEEPER-1282",)
PROMISE = "best-history"


class Bug(Server):
    def on_new_leader(self, learning: Learning, zxid: int) -> None:
        before = self.current_epoch
        super().on_new_leader(learning, zxid)
        self.out = [effect for effect in self.out if not isinstance(effect, StoreEpoch)]
        self.current_epoch = before

    def on_up_to_date(self, learning: Learning) -> None:
        super().on_up_to_date(learning)
        self.store_current_epoch(self.accepted_epoch)
