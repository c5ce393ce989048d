"""Votes of earlier rounds are counted as if they were of this one."""

from __future__ import annotations

from node.events import Notification
from node.server import Server

ORIGIN = ("ktoso/akka-raft#45", "xnnyygn/xraft#33")
PROMISE = "convergence"


class Bug(Server):
    def on_looking_vote(self, sid: int, n: Notification) -> None:
        super().on_looking_vote(sid, n._replace(round=max(n.round, self.round)))
