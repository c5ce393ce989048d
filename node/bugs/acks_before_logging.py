"""Transactions are acknowledged at once and logged in batches of ten, as if a write were durable when it is queued."""

from __future__ import annotations

from typing import Tuple

from node.config import Config
from node.protocol.events import AppendTxns, Durable
from node.protocol.following import Learning
from node.protocol.messages import Txn
from node.protocol.server import Server

ORIGIN = ("ZOOKEEPER-4785", "NodeDB-Lab/nodedb#161")
PROMISE = "durability"


class Bug(Server):
    def __init__(self, config: Config, durable: Durable) -> None:
        super().__init__(config, durable)
        self.queued: Tuple[Txn, ...] = ()

    def append(self, txns: Tuple[Txn, ...]) -> None:
        self.database.append(txns)
        self.queued += txns
        if len(self.queued) >= 10:
            self.flush()

    def flush(self) -> None:
        if self.queued:
            self.out.append(AppendTxns(self.queued))
            self.queued = ()

    def adopt_history(self, learning: Learning) -> None:
        self.flush()
        super().adopt_history(learning)
