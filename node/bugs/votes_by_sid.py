"""Nobody looks at the last transaction: of the newest epoch's servers the one with the highest id wins, and leads.

It is in neither of the two places where ZAB compares histories, the order of votes and discovery; a protocol that has
one such place (a Raft voter's) is as bare with one mistake.  A server that missed the end of an epoch cuts it off.
"""

from __future__ import annotations

from node.protocol.leadership import Leading
from node.protocol.server import Server
from node.protocol.votes import Vote

ORIGIN = ("ZOOKEEPER-596", "Ongaro, Ousterhout: Raft (USENIX ATC 2014), section 5.4.1")
PROMISE = "leader-history"


class Bug(Server):
    def better(self, a: Vote, b: Vote) -> bool:
        return (a.epoch, a.leader) > (b.epoch, b.leader)

    def is_ahead(self, leading: Leading, epoch: int, zxid: int) -> bool:
        return epoch > leading.own[0]
