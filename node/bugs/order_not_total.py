"""The order of votes compares the server ids of votes whose epochs differ: a beats b, and b beats a.

A misplaced parenthesis.  When servers have the same last transaction, and the higher id has the lower epoch (nothing
was written in the epoch that it missed), each vote beats the other, and they are exchanged for ever.
"""

from __future__ import annotations

from node.core import Vote
from node.server import Server

ORIGIN = ("ZOOKEEPER-1419",)
PROMISE = "convergence"


class Bug(Server):
    def better(self, a: Vote, b: Vote) -> bool:
        if a.epoch > b.epoch or (a.epoch == b.epoch and a.zxid > b.zxid):
            return True
        return a.zxid == b.zxid and a.leader > b.leader
