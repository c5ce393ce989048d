"""A server stays in its own round, whatever round the others are in.

Votes of different rounds do not count together, so servers that have held different numbers of elections never agree.
"""

from __future__ import annotations

from node.protocol.messages import Notification
from node.protocol.server import Server

ORIGIN = ("ZOOKEEPER-275",)
PROMISE = "convergence"


class Bug(Server):
    def on_looking_vote(self, sid: int, n: Notification) -> None:
        if n.round <= self.round:
            super().on_looking_vote(sid, n)
