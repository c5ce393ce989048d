"""Dials wait for each other, and each has the operating system's time-out of two minutes.

One host that swallows packets keeps a restarted server from dialling all the others.
"""

from __future__ import annotations

from typing import Optional

from node.protocol.connections import Peer
from node.protocol.messages import Address
from node.protocol.server import Server

ORIGIN = ("ZOOKEEPER-822", "ZOOKEEPER-3756")
PROMISE = "convergence"


class Bug(Server):
    def dial(self, sid: int, peer: Peer, address: Optional[Address] = None) -> None:
        self.dial_timeout_ms = 120_000
        if not self.dials:
            super().dial(sid, peer, address)
