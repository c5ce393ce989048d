"""After a truncation the log is written on at the old position of the file, and is lost at the next start."""

from __future__ import annotations

from typing import List

from node.config import Config
from node.protocol.events import AppendTxns, Durable, Effect, TruncateLog
from node.protocol.server import Server

ORIGIN = ("ZOOKEEPER-1489",)
PROMISE = "durability"


class Bug(Server):
    def __init__(self, config: Config, durable: Durable) -> None:
        super().__init__(config, durable)
        self.truncated = False

    def take_effects(self) -> List[Effect]:
        effects = []
        for effect in super().take_effects():
            self.truncated = self.truncated or isinstance(effect, TruncateLog)
            if not (self.truncated and isinstance(effect, AppendTxns)):
                effects.append(effect)
        return effects
