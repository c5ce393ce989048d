"""What a leader and a learner both do with transactions: store them, apply them, and answer the clients who sent them.

The model.  `Following` and `Leading` are siblings over this layer, and know nothing of each other: a learner gets its
transactions from its leader, a leader makes them of requests.  What happens to a transaction after that is the same.

1.  The log on disk and the log in memory change together.  Each change of the database stands beside the effect that
    makes it durable: `append`, `cut_back`, `replace`, `compact`.  Nothing else changes the log.
2.  A transaction is applied to the tree when it is known to be committed, and then answers the client that asked for
    it, if that client is one of ours.  A request is recognised by its session and its cxid.
3.  A long log is compacted: its older part becomes a snapshot.

Example, a learner that hears the commit of its client's create:

    append((txn,))          ->  [AppendTxns((txn,))]
    apply(txn.zxid, [...])  ->  [Reply(session, cxid, CREATE, 0, txn.zxid, path)]
"""

from __future__ import annotations

from typing import Dict, List, Tuple

from node.protocol.election import Election
from node.protocol.events import AppendTxns, ClientRequest, Reply, StoreSnapshot, TruncateLog
from node.protocol.messages import Txn
from node.wire import packets
from node.wire.jute import WireError

Waiting = Tuple[int, int, int]
"""A client's request that is not answered yet: session, cxid and type."""


class Transactions(Election):
    # ---- the log: on disk and in memory alike ------------------------------------------------------------------

    def append(self, txns: Tuple[Txn, ...]) -> None:
        """Log, durably."""
        if txns:
            self.out.append(AppendTxns(txns))
            self.database.append(txns)

    def cut_back(self, zxid: int) -> None:
        """Drop what is logged above `zxid`."""
        self.out.append(TruncateLog(zxid))
        self.database.truncate(zxid)

    def replace(self, zxid: int, stream: bytes, nodes: Dict[str, bytes], txns: Tuple[Txn, ...]) -> None:
        """Replace everything by a snapshot at `zxid`, whose tree is `nodes`, and by the transactions that follow it.

        In one write: the snapshot may be older than what we hold, and only what follows it makes up for that.
        """
        self.out.append(StoreSnapshot(zxid, stream, txns))
        self.database.restore(zxid, nodes)
        self.database.append(txns)

    def compact(self) -> None:
        """Replace the older part of a long log by a snapshot.

        The younger part stays, so that a server that comes back soon needs no snapshot.  All servers commit the same
        transaction at the same time, and writing a snapshot takes a while; so each has a limit of its own, and all
        cut off as much at a time: they take turns.
        """
        database, count = self.database, self.config.snap_count
        limit = count + self.sid % 8 * count // 16
        if database.applied >= limit:
            self.reached("log-compacted")
            database.compact(max(1, count // 2))
            snapshot = packets.encode_snapshot(database.base)
            self.out.append(StoreSnapshot(database.snapshot_zxid, snapshot, tuple(database.log)))

    # ---- the tree, and our clients -----------------------------------------------------------------------------

    def apply(self, zxid: int, waiting: List[Waiting]) -> None:
        """Everything up to `zxid` is committed: apply it, and answer those of our clients who wait for it."""
        for txn in self.database.commit(zxid):
            if waiting:
                self.answer(waiting, txn)

    def answer(self, waiting: List[Waiting], txn: Txn) -> None:
        """Answer the client whose request became `txn`, if it is one of ours."""
        for at, (session, cxid, kind) in enumerate(waiting):
            if session == txn.session and cxid == txn.cxid and kind != packets.SYNC_OP:
                del waiting[at]
                error, payload = reply_of(txn)
                self.out.append(Reply(session, cxid, kind, error, txn.zxid, payload))
                return

    def answer_sync(self, session: int, cxid: int) -> None:
        """Everything that was committed before the client asked for a sync is applied here."""
        self.out.append(Reply(session, cxid, packets.SYNC_OP, packets.OK, self.database.committed_zxid, b""))

    def fail(self, request: ClientRequest, error: int) -> None:
        self.out.append(Reply(request.session, request.cxid, request.type, error, self.database.committed_zxid, b""))


def reply_of(txn: Txn) -> Tuple[int, bytes]:
    """Error code and response record for the client of a committed transaction."""
    try:
        if txn.type == packets.ERROR:
            return packets.decode_error_txn(txn.record), b""
        if txn.type in (packets.CREATE, packets.CREATE2):
            return packets.OK, packets.encode_path(packets.decode_create_txn(txn.record).path)
    except WireError:
        return packets.MARSHALLING_ERROR, b""
    return packets.OK, b""
