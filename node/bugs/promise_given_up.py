"""A server that gives up a leader or an attempt to lead takes its promise back, though the epoch is the same.

Raft's votedFor, cleared by a step-down within the term: the same mistake in five code bases over eleven years.
"""

from __future__ import annotations

from typing import Any, Dict, Optional

from node.protocol.server import Server

ORIGIN = ("etcd-io/etcd#2461", "ktoso/akka-raft#56", "camunda/camunda#5368", "microsoft/CCF#8094")
PROMISE = "epochs"


class Bug(Server):
    def look_for_leader(self, reason: str, evidence: Optional[Dict[str, Any]] = None) -> None:
        self.accepted_epoch = self.current_epoch
        super().look_for_leader(reason, evidence)
