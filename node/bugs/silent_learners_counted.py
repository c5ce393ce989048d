"""A leader counts every learner whose connection is open, however long it has been silent.

A partition closes no connection.
"""

from __future__ import annotations

from node.protocol.leadership import Leading
from node.protocol.server import Server

ORIGIN = ("ZOOKEEPER-3240", "camunda/camunda#4656")
PROMISE = "stepping-down"


class Bug(Server):
    def drop_silent_learners(self, leading: Leading) -> None:
        return
