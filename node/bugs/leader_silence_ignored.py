"""A follower waits for its leader for as long as the connection is open.

The leader's host is gone, not its process: no reset comes, and nobody ever looks for another leader.
"""

from __future__ import annotations

from node.protocol.server import Server

ORIGIN = ("camunda/camunda#4656",)
PROMISE = "convergence"


class Bug(Server):
    def on_silence_timer(self) -> None:
        return
