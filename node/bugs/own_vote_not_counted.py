"""A server does not count its own vote.

While everybody is there, the others' votes are enough.  When a bare majority is left, nobody ever counts a quorum.
"""

from __future__ import annotations

from node.protocol.server import Server

ORIGIN = ("vesoft-inc/nebula#3415",)
PROMISE = "convergence"


class Bug(Server):
    def count_own_vote(self) -> None:
        return
