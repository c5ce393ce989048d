"""A follower acknowledges NEWLEADER before it logs the leader's history, which it does with the next proposal.

Its current epoch is on disk and the history is not: after a crash it claims an epoch whose transactions it lacks.
"""

from __future__ import annotations

from typing import Tuple

from node.config import Config
from node.core import BROADCAST
from node.events import AppendTxns, Durable, Txn
from node.learner import Learning
from node.server import Server

ORIGIN = ("ZOOKEEPER-3911", "ZOOKEEPER-4262")
PROMISE = "best-history"


class Bug(Server):
    def __init__(self, config: Config, durable: Durable) -> None:
        super().__init__(config, durable)
        self.unlogged: Tuple[Txn, ...] = ()

    def adopt_history(self, learning: Learning) -> None:
        self.log_late()
        super().adopt_history(learning)
        last = self.out[-1] if self.out else None
        if isinstance(last, AppendTxns):
            self.out.pop()
            self.unlogged = last.txns

    def append(self, txns: Tuple[Txn, ...]) -> None:
        if self.phase == BROADCAST:
            self.log_late()
        super().append(txns)

    def log_late(self) -> None:
        if self.unlogged:
            self.out.append(AppendTxns(self.unlogged))
            self.unlogged = ()
