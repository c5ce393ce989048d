"""A new leader takes the epoch after that of its last transaction, and everybody accepts it: there are no promises.

ZooKeeper before 3.4.  A leader that wrote nothing in its epoch leaves no trace of it; the next one takes it again.
"""

from __future__ import annotations

from node.protocol.core import epoch_of
from node.protocol.leadership import Leading
from node.protocol.server import Server

ORIGIN = ("ZOOKEEPER-335", "ZOOKEEPER-1081", "ZOOKEEPER-1082")
PROMISE = "unique-leader"


class Bug(Server):
    def hear_accepted_epoch(self, leading: Leading, sid: int, accepted: int) -> None:
        super().hear_accepted_epoch(leading, sid, epoch_of(self.database.last_zxid))

    def may_promise(self, epoch: int) -> bool:
        return True

    def promise_epoch(self, epoch: int) -> int:
        self.store_accepted_epoch(epoch)
        return self.current_epoch
