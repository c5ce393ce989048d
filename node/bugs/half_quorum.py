"""Half of the voters are taken for a quorum.

Origin: the off-by-one of `count(S) > voters/2` (QuorumMaj.containsQuorum), written as >=, with integer division.
Breaks: unique-leader.  Two of five servers elect a leader while the other three have one; one of three elects itself.
"""

from __future__ import annotations

from typing import Iterable

from node.server import Server


class Bug(Server):
    def is_quorum(self, sids: Iterable[int]) -> bool:
        return len(self.voters.intersection(sids)) >= max(1, len(self.voters) // 2)
