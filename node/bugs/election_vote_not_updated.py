"""Only the leader updates its vote with the epoch that it has established; its followers answer with the old one.

A server that comes later never sees a quorum of equal votes, unless the followers alone are one.
"""

from __future__ import annotations

from node.protocol.messages import LEADING
from node.protocol.server import Server

ORIGIN = ("ZOOKEEPER-1732", "ZOOKEEPER-1805", "ZOOKEEPER-1817")
PROMISE = "convergence"


class Bug(Server):
    def update_election_vote(self, epoch: int) -> None:
        if self.role == LEADING:
            super().update_election_vote(epoch)
