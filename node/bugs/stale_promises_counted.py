"""Promises that a server got in an earlier attempt to lead count in the next one, which is for another epoch."""

from __future__ import annotations

from typing import Dict, Tuple

from node.config import Config
from node.protocol.events import Durable
from node.protocol.leadership import Leading
from node.protocol.server import Server

ORIGIN = ("eliben/raft#27", "xnnyygn/xraft#33")
PROMISE = "unique-leader"


class Bug(Server):
    def __init__(self, config: Config, durable: Durable) -> None:
        super().__init__(config, durable)
        self.promises: Dict[int, Tuple[int, int]] = {}
        """Every promise that this process ever got."""

    def hear_epoch_ack(self, leading: Leading, sid: int, epoch: int, zxid: int) -> None:
        self.promises[sid] = (epoch, zxid)
        leading.epoch_acks = self.promises
        super().hear_epoch_ack(leading, sid, epoch, zxid)
