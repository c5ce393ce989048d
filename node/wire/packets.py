"""What is inside ZooKeeper's packets: learner info, transactions, snapshots, the client protocol.

Each record is a NamedTuple with its fields in wire order, or a pair of functions `encode_...` / `decode_...`.  Decoders
raise `WireError` on anything malformed, and nothing else.  Source: zookeeper.jute, protocol sections 5.1, 5.3, 5.5.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Dict, List, Mapping, NamedTuple, Optional, Tuple

from node.protocol.messages import Txn
from node.wire import jute
from node.wire.frames import SIGNATURE
from node.wire.jute import Reader, WireError

PROTOCOL_VERSION = 0x10000

# Operation codes (ZooDefs.OpCode) and error codes (KeeperException.Code).
CREATE, DELETE, EXISTS, GET_DATA, SET_DATA, GET_CHILDREN, SYNC_OP, PING_OP = 1, 2, 3, 4, 5, 8, 9, 11
GET_CHILDREN2, CREATE2 = 12, 15
ERROR, CREATE_SESSION, CLOSE_SESSION = -1, -10, -11
OK, UNIMPLEMENTED, MARSHALLING_ERROR, BAD_ARGUMENTS = 0, -6, -5, -8
NO_NODE, NO_CHILDREN_FOR_EPHEMERALS, NODE_EXISTS, CONNECTION_LOSS = -101, -108, -110, -4

OPEN_ACL = ((31, "world", "anyone"),)
"""ZooDefs.Ids.OPEN_ACL_UNSAFE, the only ACL that a node of ours has."""


# ---- discovery ---------------------------------------------------------------------------------------------------


class LearnerInfo(NamedTuple):
    """Data of FOLLOWERINFO and OBSERVERINFO."""

    sid: int
    protocol_version: int
    config_version: int


def encode_learner_info(info: LearnerInfo) -> bytes:
    return struct.pack(">qiq", *info)


def decode_learner_info(data: Optional[bytes]) -> LearnerInfo:
    """8 bytes are a sid (protocol version 1), 12 a version too, 20 a config version too; less is no learner we know."""
    reader = Reader(data or b"", "LearnerInfo")
    sid = reader.int64("serverid")
    protocol_version = reader.int32("protocolVersion") if reader.left >= 4 else 1
    config_version = reader.int64("configVersion") if reader.left >= 8 else 0
    return LearnerInfo(sid, protocol_version, config_version)


def encode_int32(value: int) -> bytes:
    """Data of LEADERINFO (the protocol version) and of ACKEPOCH (the current epoch, or -1)."""
    return jute.int32(value)


def decode_int32(data: Optional[bytes]) -> int:
    return Reader(data or b"", "int32 data").int32("value")


def encode_ping_sessions(sessions: Mapping[int, int]) -> bytes:
    """Data of a PING reply: each session with its timeout in ms.  May be empty, never null (protocol section 5.8)."""
    return b"".join(struct.pack(">qi", session, timeout_ms) for session, timeout_ms in sessions.items())


def decode_ping_sessions(data: Optional[bytes]) -> Dict[int, int]:
    if data is None or len(data) % 12:
        raise WireError("PING: data of %s bytes is no list of sessions" % (None if data is None else len(data)))
    return dict(struct.iter_unpack(">qi", data))


# ---- transactions and requests -----------------------------------------------------------------------------------


def encode_txn(txn: Txn) -> bytes:
    """Data of PROPOSAL and INFORM: TxnHeader, then the record."""
    return struct.pack(">qiqqi", txn.session, txn.cxid, txn.zxid, txn.time_ms, txn.type) + txn.record


def decode_txn(data: Optional[bytes]) -> Txn:
    if data is None or len(data) < 32:
        raise WireError("transaction: %s bytes are no TxnHeader" % (None if data is None else len(data)))
    session, cxid, zxid, time_ms, type_ = struct.unpack_from(">qiqqi", data)
    return Txn(zxid, session, cxid, time_ms, type_, data[32:])


class Request(NamedTuple):
    """Data of REQUEST: what a learner forwards to its leader for a client."""

    session: int
    cxid: int
    type: int
    payload: bytes


def encode_request(session: int, cxid: int, type: int, payload: bytes) -> bytes:
    return struct.pack(">qii", session, cxid, type) + payload


def decode_request(data: Optional[bytes]) -> Request:
    if data is None or len(data) < 16:
        raise WireError("REQUEST: %s bytes are no request" % (None if data is None else len(data)))
    session, cxid, type_ = struct.unpack_from(">qii", data)
    return Request(session, cxid, type_, data[16:])


Acl = Tuple[int, str, str]
"""Permissions, scheme, id."""


@lru_cache(maxsize=16)
def _encode_acls(acls: Tuple[Acl, ...]) -> bytes:
    entries = (jute.int32(perms) + jute.string(scheme) + jute.string(id_) for perms, scheme, id_ in acls)
    return jute.int32(len(acls)) + b"".join(entries)


def _acl(reader: Reader) -> Acl:
    return reader.int32("perms"), reader.string("scheme"), reader.string("id")


class CreateTxn(NamedTuple):
    """Record of a CREATE or CREATE2 transaction."""

    path: str
    data: bytes
    acl: Tuple[Acl, ...] = OPEN_ACL
    ephemeral: bool = False
    parent_cversion: int = -1


def encode_create_txn(txn: CreateTxn) -> bytes:
    return b"".join(
        (
            jute.string(txn.path),
            jute.buffer(txn.data),
            _encode_acls(txn.acl),
            b"\1" if txn.ephemeral else b"\0",
            jute.int32(txn.parent_cversion),
        )
    )


@lru_cache(maxsize=64)
def decode_create_txn(record: bytes) -> CreateTxn:
    """A digest after the record (3.6 and later) is left unread.

    Remembered for a while: a leader looks at a record when it prepares and when it commits it, and all the servers of a
    simulated ensemble at the same one.
    """
    reader = Reader(record, "CreateTxn")
    return CreateTxn(
        reader.string("path"),
        reader.buffer("data") or b"",
        tuple(reader.vector("acl", _acl)),
        reader.boolean("ephemeral"),
        reader.int32("parentCVersion"),
    )


def encode_error_txn(error: int) -> bytes:
    """Record of an ERROR transaction: a request that failed takes a zxid too."""
    return jute.int32(error)


def decode_error_txn(record: bytes) -> int:
    return Reader(record, "ErrorTxn").int32("err")


# ---- snapshots ---------------------------------------------------------------------------------------------------


def encode_snapshot(nodes: Mapping[str, bytes]) -> bytes:
    """What follows a SNAP packet: no sessions, no ACL but the open one, the nodes parents first, the signature.

    The root is "/" in `nodes` ("" on the wire); it and other missing parents are written with empty data.
    """
    paths = {"/", *nodes}
    parents = {path.rpartition("/")[0] for path in nodes} - {""}
    while parents:
        paths |= parents
        parents = {parent.rpartition("/")[0] for parent in parents} - {"", *paths}
    chunks = [jute.int32(0), jute.int32(0)]
    for path in sorted(paths):
        name, data = b"" if path == "/" else path.encode(), nodes.get(path, b"")
        chunks += (jute.int32(len(name)), name, jute.int32(len(data)), data, _OPEN_ACL_AND_STAT)
    return b"".join(chunks) + jute.string("/") + jute.string(SIGNATURE)


_OPEN_ACL_AND_STAT = jute.int64(-1) + bytes(60)
"""ACL id -1 is the open one (ReferenceCountedACLCache); a StatPersisted of zeros."""


def decode_snapshot(stream: bytes) -> Dict[str, bytes]:
    """The nodes of a stream, with the root as "/".  Sessions, ACLs and stats are passed over."""
    reader = Reader(stream, "snapshot")
    reader.vector("sessions", lambda r: r.take(12, "session"))
    reader.vector("ACLs", lambda r: (r.int64("acl id"), r.vector("acl", _acl)))
    nodes: Dict[str, bytes] = {}
    while True:
        path = reader.string("node path")
        if path == "/":
            break
        nodes[path or "/"] = reader.buffer("node data") or b""
        reader.take(68, "node stat")
    if reader.string("signature") != SIGNATURE:
        raise reader.error("missing signature")
    reader.end()
    return nodes


# ---- client protocol ---------------------------------------------------------------------------------------------


class ConnectRequest(NamedTuple):
    """A client's first frame, of 44 bytes, or 45 with `readOnly` (3.4 and later).  `timeout_ms` is what it asks for."""

    protocol_version: int
    last_zxid_seen: int
    timeout_ms: int
    session: int
    password: bytes
    read_only: Optional[bool] = None


def decode_connect_request(data: bytes) -> ConnectRequest:
    reader = Reader(data, "ConnectRequest")
    return ConnectRequest(
        reader.int32("protocolVersion"),
        reader.int64("lastZxidSeen"),
        reader.int32("timeOut"),
        reader.int64("sessionId"),
        reader.buffer("passwd") or b"",
        reader.boolean("readOnly") if reader.left else None,
    )


def encode_connect_response(timeout_ms: int, session: int, password: bytes, read_only: Optional[bool]) -> bytes:
    """`read_only` None leaves the field out, for a client that did not send it."""
    head = jute.int32(0) + jute.int32(timeout_ms) + jute.int64(session) + jute.buffer(password)
    return head + (b"" if read_only is None else b"\1" if read_only else b"\0")


class RequestHeader(NamedTuple):
    xid: int
    type: int


def decode_request_header(data: bytes) -> Tuple[RequestHeader, bytes]:
    """The header, and the record after it."""
    reader = Reader(data, "RequestHeader")
    return RequestHeader(reader.int32("xid"), reader.int32("type")), reader.rest()


def encode_reply_header(xid: int, zxid: int, error: int) -> bytes:
    return jute.int32(xid) + jute.int64(zxid) + jute.int32(error)


class CreateRequest(NamedTuple):
    path: str
    data: bytes
    acl: Tuple[Acl, ...] = OPEN_ACL
    flags: int = 0


def encode_create_request(request: CreateRequest) -> bytes:
    return (
        jute.string(request.path)
        + jute.buffer(request.data)
        + _encode_acls(request.acl)
        + jute.int32(request.flags)
    )  # fmt: skip


def decode_create_request(data: bytes) -> CreateRequest:
    reader = Reader(data, "CreateRequest")
    path, value = reader.string("path"), reader.buffer("data") or b""
    return CreateRequest(path, value, tuple(reader.vector("acl", _acl)), reader.int32("flags"))


def encode_path(path: str) -> bytes:
    """CreateResponse, SyncRequest and SyncResponse are a path and nothing else."""
    return jute.string(path)


def decode_path(data: bytes) -> str:
    """The path that a request to read, or to sync, begins with; a watch after it is ignored."""
    return Reader(data, "path").string("path")


class Stat(NamedTuple):
    czxid: int
    mzxid: int
    ctime: int
    mtime: int
    version: int
    cversion: int
    aversion: int
    ephemeral_owner: int
    data_length: int
    children: int
    pzxid: int


def encode_stat(stat: Stat) -> bytes:
    return struct.pack(">qqqqiiiqiiq", *stat)


def encode_paths(paths: List[str]) -> bytes:
    """The children of GetChildrenResponse."""
    return jute.int32(len(paths)) + b"".join(jute.string(path) for path in paths)
