"""A follower answers LEADERINFO first, and writes the accepted epoch when it has the leader's history.

If it crashes in between, it has promised an epoch that it knows nothing of.
"""

from __future__ import annotations

from node.protocol.following import Learning
from node.protocol.server import Server

ORIGIN = ("NodeDB-Lab/nodedb#161", "ZOOKEEPER-1291")
PROMISE = "epochs"


class Bug(Server):
    def promise_epoch(self, epoch: int) -> int:
        if epoch == self.accepted_epoch:
            return -1
        self.accepted_epoch = epoch
        return self.current_epoch

    def on_new_leader(self, learning: Learning, zxid: int) -> None:
        self.store_accepted_epoch(self.accepted_epoch)
        super().on_new_leader(learning, zxid)
