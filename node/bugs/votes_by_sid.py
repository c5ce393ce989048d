"""The order of votes leaves out the last transaction: the highest id of the newest epoch wins.

Discovery keeps what it elects from leading, since its followers have the better history; the next round elects it
again.
"""

from __future__ import annotations

from node.core import Vote
from node.server import Server

ORIGIN = ("redpanda-data/redpanda#30817", "ZOOKEEPER-596")
PROMISE = "convergence"


class Bug(Server):
    def better(self, a: Vote, b: Vote) -> bool:
        return (a.epoch, a.leader) > (b.epoch, b.leader)
