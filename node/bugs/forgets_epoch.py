"""The epochs are held in memory only: a restarted server has accepted none, and followed none.

It promises again what it had promised to another leader, and its history counts for nothing in an election.
"""

from __future__ import annotations

from typing import Tuple

from node.events import Durable
from node.server import Server

ORIGIN = ("bakwc/PySyncObj#202", "NodeDB-Lab/nodedb#161", "wenweihu86/raft-java#57")
PROMISE = "epochs"


class Bug(Server):
    def recovered_epochs(self, durable: Durable) -> Tuple[int, int]:
        return 0, 0
