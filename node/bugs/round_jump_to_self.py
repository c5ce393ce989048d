"""A server that joins a higher round stands for itself, and throws the vote away that told it of the round."""

from __future__ import annotations

from node.core import Vote
from node.server import Server

ORIGIN = ("ZOOKEEPER-275",)
PROMISE = "convergence"


class Bug(Server):
    def join_round(self, heard: Vote) -> None:
        self.round = heard.round
        self.recvset = {}
        self.propose(self.initial_proposal())
