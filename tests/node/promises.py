"""The promises that must hold in every run of `tests.node.world`, judged from the servers themselves after each step.

1.  *unique-leader*: one established leader for each epoch.
2.  *epochs*: no epoch on a disk ever falls, and the current epoch is never above the accepted one.
3.  *log order*: zxids on a disk rise.
4.  *prefix*: servers commit the same transactions in the same order.
5.  *best-history*: an established leader holds whatever was committed in earlier epochs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from node.protocol.core import epoch_of
from node.protocol.events import AppendTxns, Effect, Report, StoreEpoch, StoreSnapshot
from node.protocol.messages import Txn
from node.protocol.server import Server


class Broken(AssertionError):
    """A promise of the protocol does not hold."""

    def __init__(self, promise: str, text: str) -> None:
        super().__init__(f"{promise}: {text}")
        self.promise = promise


class Promises:
    """Told of each effect before it is performed, and of each step after it."""

    def __init__(self, hosts: Mapping[int, Any]) -> None:
        self.hosts = hosts
        self.leaders: dict[int, int] = {}
        self.epochs: dict[tuple[int, str], int] = {}
        self.committed: list[Txn] = []
        self.upto: dict[int, int] = {}

    def on_effect(self, sid: int, effect: Effect) -> None:
        if isinstance(effect, StoreEpoch):
            before = self.epochs.get((sid, effect.name), 0)
            if effect.epoch < before:
                raise Broken("epochs", f"{effect.name} of server {sid} falls from {before} to {effect.epoch}")
            self.epochs[sid, effect.name] = effect.epoch
            if self.epochs.get((sid, "currentEpoch"), 0) > self.epochs.get((sid, "acceptedEpoch"), 0):
                raise Broken("epochs", f"current epoch of server {sid} is above its accepted epoch")
        elif isinstance(effect, AppendTxns):
            disk = self.hosts[sid].disk
            last = disk.log[-1].zxid if disk.log else disk.snapshot_zxid
            for txn in effect.txns:
                if txn.zxid <= last:
                    raise Broken("log order", f"server {sid} logs 0x{txn.zxid:x} after 0x{last:x}")
                last = txn.zxid
        elif isinstance(effect, StoreSnapshot):
            log = [txn for txn in self.hosts[sid].disk.log if txn.zxid <= effect.zxid]
            if log and log[-1].zxid == effect.zxid:
                self.check(sid, self.index(log[0].zxid - 1), log)
        elif isinstance(effect, Report) and effect.value["established"]:
            self.on_established(sid, effect.value["epoch"])

    def on_established(self, sid: int, epoch: int) -> None:
        other = self.leaders.setdefault(epoch, sid)
        if other != sid:
            raise Broken("unique-leader", f"servers {other} and {sid} are both leaders of epoch {epoch}")
        server = self.hosts[sid].server
        assert server is not None
        for txn in self.committed:
            # Promises can be old when they arrive: a later epoch may have begun, and committed, by then.
            if epoch_of(txn.zxid) >= epoch:
                break
            if txn.zxid > server.database.snapshot_zxid and not server.database.has(txn.zxid):
                raise Broken("best-history", f"leader {sid} of epoch {epoch} lacks committed 0x{txn.zxid:x}")

    def on_started(self, sid: int) -> None:
        server = self.hosts[sid].server
        assert server is not None
        self.upto[sid] = self.index(server.database.snapshot_zxid)
        for name, epoch in (("acceptedEpoch", server.accepted_epoch), ("currentEpoch", server.current_epoch)):
            before = self.epochs.get((sid, name), 0)
            if epoch < before:
                raise Broken("epochs", f"{name} of server {sid} falls from {before} to {epoch} over a crash")

    def index(self, zxid: int) -> int:
        return sum(txn.zxid <= zxid for txn in self.committed)

    def on_step(self, sid: int, server: Server) -> None:
        database = server.database
        at = self.upto[sid]
        if (self.committed[at - 1].zxid if at else 0) == database.committed_zxid:
            return
        if database.applied == 0:
            self.upto[sid] = self.index(database.snapshot_zxid)
            return
        self.check(sid, self.index(database.snapshot_zxid), database.log[: database.applied])

    def check(self, sid: int, start: int, mine: list[Txn]) -> None:
        """Server `sid` has committed `mine`, from position `start` of all that was ever committed."""
        at = max(self.upto[sid], start)
        for offset, txn in enumerate(mine[at - start :], at):
            if offset == len(self.committed):
                self.committed.append(txn)
            elif self.committed[offset] != txn:
                other = self.committed[offset].zxid
                raise Broken("prefix", f"server {sid} commits 0x{txn.zxid:x} where 0x{other:x} was committed")
        self.upto[sid] = start + len(mine)
