"""A server votes with the last transaction that it has applied, not with the last one that it has logged.

What is logged and not known to be committed is forgotten in the vote; after a restart that is everything.  A server
with less can win, and discovery then refuses it, round after round.
"""

from __future__ import annotations

from node.protocol.server import Server
from node.protocol.votes import Vote

ORIGIN = ("ZOOKEEPER-2845", "ZOOKEEPER-596")
PROMISE = "convergence"


class Bug(Server):
    def initial_proposal(self) -> Vote:
        return super().initial_proposal()._replace(zxid=self.database.committed_zxid)
