"""A restarted server has forgotten which epochs it accepted, and takes the epoch of its last transaction for them.

Origin: ZOOKEEPER-335, 1081, 1082 (there were no epoch promises before 3.4.0), and 1387 (defaults at load).
Breaks: epochs; and then unique-leader, since an epoch is promised twice.
"""

from __future__ import annotations

from typing import Tuple

from node.core import epoch_of
from node.events import Durable
from node.server import Server


class Bug(Server):
    def recovered_epochs(self, durable: Durable) -> Tuple[int, int]:
        epoch = epoch_of(self.database.last_zxid)
        return epoch, epoch
