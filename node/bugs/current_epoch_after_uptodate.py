"""A follower acknowledges NEWLEADER first, and writes the new current epoch at UPTODATE.

What it has logged from the new leader goes by the old epoch until then, and after a crash in an election.
"""

from __future__ import annotations

from node.core import BROADCAST
from node.events import LEADING
from node.learner import Learning
from node.server import Server

ORIGIN = ("ZOOKEEPER-1282",)
PROMISE = "best-history"


class Bug(Server):
    def store_current_epoch(self, epoch: int) -> None:
        if self.role == LEADING or self.phase == BROADCAST:
            super().store_current_epoch(epoch)

    def on_up_to_date(self, learning: Learning) -> None:
        super().on_up_to_date(learning)
        self.store_current_epoch(self.accepted_epoch)
