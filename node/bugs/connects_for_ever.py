"""A learner tries to reach the server that was elected for as long as it takes, even when that one is gone."""

from __future__ import annotations

from node.protocol.following import Learning
from node.protocol.server import Server

ORIGIN = ("ZOOKEEPER-3398",)
PROMISE = "convergence"


class Bug(Server):
    def dial_leader(self, learning: Learning) -> None:
        learning.give_up_at = self.now + 100 * self.init_limit
        super().dial_leader(learning)
