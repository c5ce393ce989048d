"""A server's history: a snapshot, the logged transactions after it, and the tree of what is committed.

Rules:

1.  The log is in zxid order, and on disk: the core asks for the write in the same step that changes it here.
2.  A transaction is applied to the tree when it is known to be committed, never before.  So a correct ensemble never
    takes anything back; if a leader does demand it (one with a planted bug), the tree is built again without it.
3.  A node's children are kept beside the tree: whoever asks for them, or for their number, must not make us search it.
4.  `last_zxid` is the last *logged* zxid.  It is what the server votes with.

ZooKeeper applies all of its log when it starts and takes it back if a leader says TRUNC (ZKDatabase.loadDataBase,
truncateLog).  Here the tree of a restarted server is its snapshot's, until a leader tells how far the log is committed.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Dict, List, Optional, Tuple

from node.protocol.events import Durable
from node.protocol.messages import Txn
from node.wire import packets
from node.wire.jute import Reader, WireError


class Database:
    """`nodes` is the committed tree, path to data; `committed_zxid` is how far it goes."""

    def __init__(self, durable: Durable) -> None:
        self.snapshot_zxid = durable.snapshot_zxid
        self.log: List[Txn] = list(durable.log)
        self.zxids: List[int] = [txn.zxid for txn in self.log]
        self.base: Dict[str, bytes] = packets.decode_snapshot(durable.snapshot) if durable.snapshot else {"/": b""}
        self.nodes = dict(self.base)
        self.children = children_of(self.nodes)
        self.applied = 0
        self.committed_zxid = durable.snapshot_zxid

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Database) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    @property
    def last_zxid(self) -> int:
        return self.zxids[-1] if self.zxids else self.snapshot_zxid

    def append(self, txns: Tuple[Txn, ...]) -> None:
        self.log.extend(txns)
        self.zxids.extend([txn.zxid for txn in txns])

    def after(self, zxid: int) -> List[Txn]:
        """The logged transactions above `zxid`."""
        return self.log[bisect_right(self.zxids, zxid) :]

    def has(self, zxid: int) -> bool:
        """Is `zxid` a point of this history: the snapshot's, or a logged transaction's?"""
        if zxid == self.snapshot_zxid:
            return True
        at = bisect_left(self.zxids, zxid)
        return at < len(self.zxids) and self.zxids[at] == zxid

    def floor(self, zxid: int) -> Optional[int]:
        """The last point of this history at or below `zxid`, or None if it lies before the snapshot."""
        at = bisect_right(self.zxids, zxid)
        if at:
            return self.zxids[at - 1]
        return self.snapshot_zxid if zxid >= self.snapshot_zxid else None

    def truncate(self, zxid: int) -> None:
        """Drop what is logged above `zxid`."""
        keep = bisect_right(self.zxids, zxid)
        del self.log[keep:]
        del self.zxids[keep:]
        if keep < self.applied:
            self.nodes, self.applied, self.committed_zxid = dict(self.base), 0, self.snapshot_zxid
            self.children = children_of(self.nodes)
            self.commit(zxid)

    def restore(self, zxid: int, nodes: Dict[str, bytes]) -> None:
        """Replace everything by a snapshot, whose state is committed."""
        self.snapshot_zxid = self.committed_zxid = zxid
        self.log, self.zxids, self.applied = [], [], 0
        self.base, self.nodes = nodes, dict(nodes)
        self.children = children_of(self.nodes)

    def compact(self, count: int) -> None:
        """Move the snapshot on over the first `count` transactions of the log, which must be committed."""
        for txn in self.log[:count]:
            apply(self.base, txn)
        self.snapshot_zxid = self.zxids[count - 1]
        del self.log[:count]
        del self.zxids[:count]
        self.applied -= count

    def commit(self, zxid: int) -> List[Txn]:
        """Apply what is logged up to `zxid`, in order; returns what was applied."""
        upto = bisect_right(self.zxids, zxid)
        done = self.log[self.applied : upto]
        for txn in done:
            path = apply(self.nodes, txn)
            if path in self.nodes:
                add_child(self.children, path)
            elif path:
                parent, name = split(path)
                self.children.get(parent, {}).pop(name, None)
        if done:
            self.applied = upto
            self.committed_zxid = done[-1].zxid
        return done


def split(path: str) -> Tuple[str, str]:
    """Parent and name: "/a/b" is "b" of "/a"."""
    parent, _, name = path.rpartition("/")
    return parent or "/", name


def children_of(nodes: Dict[str, bytes]) -> Dict[str, Dict[str, None]]:
    """Of each node that has any: their names."""
    children: Dict[str, Dict[str, None]] = {}
    for path in nodes:
        add_child(children, path)
    return children


def add_child(children: Dict[str, Dict[str, None]], path: str) -> None:
    parent, name = split(path)
    if name:  # the root is nobody's child
        children.setdefault(parent, {})[name] = None


def apply(nodes: Dict[str, bytes], txn: Txn) -> str:
    """One committed transaction on the tree; the path that it concerns, or "".

    Types that we have no use for (sessions, ACLs, ...) change nothing.
    """
    path = ""
    try:
        if txn.type in (packets.CREATE, packets.CREATE2):
            create = packets.decode_create_txn(txn.record)
            path = create.path
            nodes[path] = create.data
        elif txn.type == packets.DELETE:
            path = packets.decode_path(txn.record)
            nodes.pop(path, None)
        elif txn.type == packets.SET_DATA:
            reader = Reader(txn.record, "SetDataTxn")
            path = reader.string("path")
            nodes[path] = reader.buffer("data") or b""
    except WireError:
        # The record was agreed on by a quorum: every server must pass over it alike.
        return ""
    return path
