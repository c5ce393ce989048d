"""A follower writes the new current epoch before it has the new leader's history.

If the leader is lost in between, an old history goes by the new epoch, wins the next election, and cuts off what was
committed.
"""

from __future__ import annotations

from node.server import Server

ORIGIN = ("ZOOKEEPER-4643", "ZOOKEEPER-4646", "ZOOKEEPER-4785")
PROMISE = "best-history"


class Bug(Server):
    def promise_epoch(self, epoch: int) -> int:
        answer = super().promise_epoch(epoch)
        self.store_current_epoch(epoch)
        return answer
