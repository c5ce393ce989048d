"""A leader goes on without a member that has accepted a higher epoch, of an attempt to lead that came to nothing.

That member refuses the leader's epoch for as long as it leads, and is left out though it could talk to everybody.
"""

from __future__ import annotations

from node.broadcast import Leading
from node.server import Server

ORIGIN = ("ZooKeeper 3.8: Learner.registerWithLeader leaves, and LearnerHandler.run lets it",)
PROMISE = "convergence"


class Bug(Server):
    def is_shut_out(self, leading: Leading, sid: int, accepted: int) -> bool:
        return False
