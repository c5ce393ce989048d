"""A leader that has lost its quorum leads on: the periodic check counts the wrong servers, or none."""

from __future__ import annotations

from typing import Set

from node.protocol.server import Server

ORIGIN = ("ZOOKEEPER-1294", "ZOOKEEPER-1450", "ZOOKEEPER-2247")
PROMISE = "stepping-down"


class Bug(Server):
    def still_leads(self, synced: Set[int]) -> bool:
        return True
