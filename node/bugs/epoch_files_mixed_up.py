"""At its start a server reads the accepted epoch for the current one.

A server that promised an epoch, and stopped before it had the new leader's history, claims that it had it: its old
history wins the next election, and cuts off what was committed.
"""

from __future__ import annotations

from typing import Tuple

from node.events import Durable
from node.server import Server

ORIGIN = ("ZOOKEEPER-1387",)
PROMISE = "best-history"


class Bug(Server):
    def recovered_epochs(self, durable: Durable) -> Tuple[int, int]:
        return durable.accepted_epoch, durable.accepted_epoch
