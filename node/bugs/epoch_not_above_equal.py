"""The proposed epoch is above the accepted ones, but for one that is equal to it.

`>` for `>=`: an accepted epoch that is equal to the proposal does not raise it.
"""

from __future__ import annotations

from node.broadcast import Leading
from node.server import Server

ORIGIN = ("ZOOKEEPER-1343",)
PROMISE = "unique-leader"


class Bug(Server):
    def hear_accepted_epoch(self, leading: Leading, sid: int, accepted: int) -> None:
        super().hear_accepted_epoch(leading, sid, accepted - 1 if accepted == leading.epoch else accepted)
