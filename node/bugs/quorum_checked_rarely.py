"""A leader looks after its quorum every twenty ticks, while its followers have long elected another."""

from __future__ import annotations

from node.config import Config
from node.protocol.events import Durable
from node.protocol.leadership import Leading
from node.protocol.server import Server

ORIGIN = ("sofastack/sofa-jraft#34", "hashicorp/raft#108", "tikv/tikv#964")
PROMISE = "stepping-down"


class Bug(Server):
    def __init__(self, config: Config, durable: Durable) -> None:
        super().__init__(config, durable)
        self.ticks = 0

    def check_quorum(self, leading: Leading) -> None:
        self.ticks += 1
        if self.ticks % 20 == 0:
            super().check_quorum(leading)
