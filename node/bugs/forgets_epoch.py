"""The epochs are held in memory only: a restarted server has accepted none, and followed none.

It promises again what it had promised to another leader, and its history counts for nothing in an election.
"""

from __future__ import annotations

from typing import Tuple

from node.protocol.events import Durable, StoreEpoch
from node.protocol.server import Server

ORIGIN = ("bakwc/PySyncObj#202", "NodeDB-Lab/nodedb#161", "wenweihu86/raft-java#57", "ZOOKEEPER-335")
PROMISE = "epochs"


class Bug(Server):
    def recovered_epochs(self, durable: Durable) -> Tuple[int, int]:
        self.files = {"acceptedEpoch": durable.accepted_epoch, "currentEpoch": durable.current_epoch}
        return 0, 0

    def store_accepted_epoch(self, epoch: int) -> None:
        self.accepted_epoch = epoch
        self.write("acceptedEpoch", epoch)

    def store_current_epoch(self, epoch: int) -> None:
        self.current_epoch = epoch
        self.write("currentEpoch", epoch)

    def write(self, name: str, epoch: int) -> None:
        """Files that nobody reads; they do not fall, so that a start finds nothing wrong with them."""
        if epoch > self.files[name]:
            self.files[name] = epoch
            self.out.append(StoreEpoch(name, epoch))
