"""A server that was elected waits for followers without a deadline, also when they follow another by now."""

from __future__ import annotations

from node.protocol.server import Server

ORIGIN = ("ZOOKEEPER-1191", "camunda/camunda#1068")
PROMISE = "convergence"


class Bug(Server):
    def on_leader_timer(self) -> None:
        if self.leading is not None:
            self.leading.deadline = self.now + self.init_limit
        super().on_leader_timer()
