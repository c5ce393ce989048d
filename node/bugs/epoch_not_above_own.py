"""A new leader's epoch is above what its followers have accepted, but only as high as what it has accepted itself.

Equal is taken for above.  If the leader promised that epoch to another leader, which its followers know nothing of, the
epoch has two.  (ZooKeeper's mistake was with the followers' epochs; of them, whoever promised before answers -1.)
"""

from __future__ import annotations

from node.protocol.leadership import Leading
from node.protocol.server import Server

ORIGIN = ("ZOOKEEPER-1343",)
PROMISE = "unique-leader"


class Bug(Server):
    def hear_accepted_epoch(self, leading: Leading, sid: int, accepted: int) -> None:
        super().hear_accepted_epoch(leading, sid, accepted - 1 if sid == self.sid else accepted)
