"""Proposals that come between NEWLEADER and UPTODATE are dropped; those that follow are logged over the hole."""

from __future__ import annotations

from node.protocol.following import Learning
from node.protocol.messages import PROPOSAL, QuorumPacket
from node.protocol.server import Server

ORIGIN = ("ZOOKEEPER-962",)
PROMISE = "durability"


class Bug(Server):
    def on_sync_packet(self, learning: Learning, packet: QuorumPacket) -> None:
        if packet.type != PROPOSAL or not learning.synced:
            super().on_sync_packet(learning, packet)
