"""The current epoch is held in memory only: a restarted server takes the epoch of its last transaction for it.

An epoch in which nothing was written is forgotten.
"""

from __future__ import annotations

from typing import Tuple

from node.protocol.core import epoch_of
from node.protocol.events import Durable
from node.protocol.server import Server

ORIGIN = ("ZOOKEEPER-1653", "wenweihu86/raft-java#57")
PROMISE = "epochs"


class Bug(Server):
    def recovered_epochs(self, durable: Durable) -> Tuple[int, int]:
        return durable.accepted_epoch, epoch_of(self.database.last_zxid)
