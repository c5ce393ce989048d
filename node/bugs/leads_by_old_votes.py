"""A server that is named by followers of any round takes itself for confirmed, and leads."""

from __future__ import annotations

from typing import Dict

from node.election import Ballot
from node.server import Server

ORIGIN = ("ZOOKEEPER-1514",)
PROMISE = "convergence"


class Bug(Server):
    def leader_confirms(self, votes: Dict[int, Ballot], reference: Ballot) -> bool:
        return reference.leader == self.sid or super().leader_confirms(votes, reference)
