"""A promise is held in memory only: a restarted server has accepted no epoch but the last one that it took part in."""

from __future__ import annotations

from typing import Tuple

from node.protocol.events import Durable
from node.protocol.server import Server

ORIGIN = ("NodeDB-Lab/nodedb#161", "ktoso/akka-raft#62")
PROMISE = "epochs"


class Bug(Server):
    def recovered_epochs(self, durable: Durable) -> Tuple[int, int]:
        return durable.current_epoch, durable.current_epoch
