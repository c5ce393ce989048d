"""The wait for the promises looks at the flag of the wait before it, which is up: nobody's promise is awaited."""

from __future__ import annotations

from node.protocol.core import DISCOVERY
from node.protocol.leadership import Leading
from node.protocol.server import Server

ORIGIN = ("ZOOKEEPER-1192",)
PROMISE = "evidence"


class Bug(Server):
    def hear_epoch_ack(self, leading: Leading, sid: int, epoch: int, zxid: int) -> None:
        super().hear_epoch_ack(leading, sid, epoch, zxid)
        if self.phase == DISCOVERY:
            self.establish(leading)
