"""An epoch that was promised to one leader is promised to another one as well.

The -1 of ACKEPOCH is left out (Learner.registerWithLeader): whoever asks with an epoch that is not lower gets it.
"""

from __future__ import annotations

from node.server import Server

ORIGIN = ("camunda/camunda#5356", "eliben/raft#27")
PROMISE = "unique-leader"


class Bug(Server):
    def promise_epoch(self, epoch: int) -> int:
        if epoch > self.accepted_epoch:
            self.store_accepted_epoch(epoch)
        return self.current_epoch
