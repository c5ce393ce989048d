"""A server joins a leader that a quorum says it follows, without a word of that leader's own.

The leader's host is dead.  Followers notice at different times; whoever does is told by the others that they follow it,
and follows it again; by then the next one has noticed.  They keep a dead leader on the throne from each other's memory.
"""

from __future__ import annotations

from typing import Dict

from node.protocol.server import Server
from node.protocol.votes import Ballot

ORIGIN = ("ZOOKEEPER-131",)
PROMISE = "convergence"


class Bug(Server):
    def leader_confirms(self, votes: Dict[int, Ballot], reference: Ballot) -> bool:
        return True
