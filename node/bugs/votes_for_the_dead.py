"""A server that has lost its leader begins the next round with its vote for that leader, and not for itself.

So do all the others, who lost the same leader: they elect the dead one, cannot reach it, and elect it again.
"""

from __future__ import annotations

from node.protocol.server import Server
from node.protocol.votes import Vote

ORIGIN = ("ZOOKEEPER-569",)
PROMISE = "convergence"


class Bug(Server):
    def initial_proposal(self) -> Vote:
        if self.vote.round >= 0 and self.vote.leader != self.sid:
            return self.vote._replace(round=self.round)
        return super().initial_proposal()
