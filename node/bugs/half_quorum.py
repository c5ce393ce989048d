"""Half of the voters are taken for a quorum.

Two of five servers elect a leader while the other three have one; one of three elects itself.
"""

from __future__ import annotations

from typing import Iterable

from node.protocol.server import Server

ORIGIN = ("the off-by-one of QuorumMaj.containsQuorum, written as >= with integer division",)
PROMISE = "evidence"


class Bug(Server):
    def is_quorum(self, sids: Iterable[int]) -> bool:
        return len(self.voters.intersection(sids)) >= max(1, len(self.voters) // 2)
