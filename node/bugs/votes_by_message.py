"""Votes are counted by the message and not by the voter.

A voter that tells its vote again, as everybody does who hears nothing new, is counted again.  So two servers of five
that are cut off from the others elect one of themselves.
"""

from __future__ import annotations

from typing import Dict, Iterable, List

from node.config import Config
from node.protocol.events import Durable
from node.protocol.server import Server
from node.protocol.votes import Ballot

ORIGIN = ("ktoso/akka-raft#45", "microsoft/coyote-samples#8", "butaneprotocol/oracles#18")
PROMISE = "evidence"


class Bug(Server):
    def __init__(self, config: Config, durable: Durable) -> None:
        super().__init__(config, durable)
        self.messages: Dict[int, int] = {}
        """How often each voter told the vote that it stands for."""

    def record(self, sid: int, ballot: Ballot) -> None:
        self.messages[sid] = self.messages.get(sid, 0) + 1 if self.recvset.get(sid) == ballot else 1
        super().record(sid, ballot)

    def supporters(self, votes: Dict[int, Ballot], reference: Ballot) -> List[int]:
        return [sid for sid in super().supporters(votes, reference) for _ in range(self.messages.get(sid, 1))]

    def is_quorum(self, sids: Iterable[int]) -> bool:
        return 2 * sum(sid in self.voters for sid in sids) > len(self.voters)
