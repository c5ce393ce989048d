"""A leader turns a follower away that comes a second time: it has had its answer.

A follower whose connection broke, or that was restarted, is shut out for as long as the leader leads.
"""

from __future__ import annotations

from typing import Set

from node.config import Config
from node.protocol.events import Durable
from node.protocol.leadership import Leading, LearnerHandler
from node.protocol.server import Server

ORIGIN = ("vesoft-inc/nebula#2419",)
PROMISE = "convergence"


class Bug(Server):
    def __init__(self, config: Config, durable: Durable) -> None:
        super().__init__(config, durable)
        self.came: Set[int] = set()

    def lead(self) -> None:
        self.came = set()
        super().lead()

    def handle(self, leading: Leading, conn: int, handler: LearnerHandler, accepted: int) -> None:
        if handler.sid in self.came:
            self.refuse(conn, "server %d has come before" % handler.sid)
        else:
            self.came.add(handler.sid)
            super().handle(leading, conn, handler, accepted)
