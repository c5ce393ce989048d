"""The bytes on the election port and on the quorum port: incremental decoders without I/O, and `encode`.

Election port.  The dialer's first bytes are the initial message: int64 version (-65536 V1, -65535 V2), int64 sid, int32
length (1 to 2048), and "host:port" addresses joined by "|"; or, from a 3.4 server, a lone int64 sid >= 0.  Then both
sides send frames: int32 length (1 to 524288) and a notification.  Notifications of 28 and of 40 bytes (servers before
3.5) are accepted (protocol section 2.3).  ZooKeeper skips a malformed notification and keeps its connection; here it is
a `WireError`, and ends the connection, since no ZooKeeper sends one.

Quorum port.  Packets without outer frame: int32 type, int64 zxid, buffer data, vector of (string, string) authinfo,
which is null in practice (in a REQUEST: empty) and dropped.  A SNAP packet is followed by a raw snapshot stream, up to
its signature "BenWasHere".

A decoder is fed the bytes as they come, in any pieces, and returns the messages that they complete.  It holds at most
one unfinished message, whose size is bounded, and never allocates by an announced length.

    decoder = ElectionDecoder(expect_initial=True)
    decoder.feed(b"\\xff\\xff\\xff\\xff\\xff\\xff")  ->  []
    decoder.feed(...)  ->  [InitialMessage(-65536, 2, (("127.0.0.1", 3888),))]

Sources: QuorumCnxManager.InitialMessage, FastLeaderElection.Messenger.WorkerReceiver, org.apache.jute.
"""

from __future__ import annotations

import struct
from typing import Generator, List, Optional, Tuple

from node.protocol.messages import (
    REQUEST,
    SNAP,
    Address,
    InitialMessage,
    Message,
    Notification,
    QuorumPacket,
    SnapshotStream,
)
from node.wire import jute
from node.wire.jute import WireError

__all__ = ["V1", "V2", "ElectionDecoder", "QuorumDecoder", "WireError", "encode", "format_address"]

V1, V2 = -65536, -65535
MAX_ADDRESSES = 2048
MAX_FRAME = 512 * 1024
MAX_SNAPSHOT = 64 * 1024 * 1024
"""Longest snapshot stream, in bytes, that a server takes in.  A bound of our own: ZooKeeper has none."""
SIGNATURE = "BenWasHere"

_NOTIFICATION = struct.Struct(">iqqqq")
_INT32 = struct.Struct(">i")
_PACKET_HEAD = struct.Struct(">iqi")


# ---- election port -----------------------------------------------------------------------------------------------


class ElectionDecoder:
    """Decodes what a peer sends on an election connection; `expect_initial` on the accepting side."""

    def __init__(self, expect_initial: bool) -> None:
        self._expect_initial = expect_initial
        self._buffer = bytearray()
        self._error: Optional[WireError] = None

    @property
    def partial(self) -> bool:
        """The peer owes us bytes: its initial message, or the rest of a frame."""
        return self._expect_initial or bool(self._buffer)

    @property
    def buffered(self) -> int:
        """Bytes of the unfinished message."""
        return len(self._buffer)

    def feed(self, data: bytes) -> List[Message]:
        if self._error is not None:
            raise self._error
        self._buffer += data
        messages: List[Message] = []
        try:
            while True:
                message = self._initial() if self._expect_initial else self._frame()
                if message is None:
                    return messages
                messages.append(message)
        except WireError as error:
            self._error = error
            self._buffer.clear()
            raise

    def _initial(self) -> Optional[Message]:
        buffer = self._buffer
        if len(buffer) < 8:
            return None
        version = int.from_bytes(buffer[:8], "big", signed=True)
        if version >= 0:
            del buffer[:8]
            self._expect_initial = False
            return InitialMessage(0, version, ())
        if version not in (V1, V2):
            raise WireError("initial message: unrecognized protocol version %d" % version)
        if len(buffer) < 20:
            return None
        sid = int.from_bytes(buffer[8:16], "big", signed=True)
        size = int.from_bytes(buffer[16:20], "big", signed=True)
        if sid < 0:
            raise WireError("initial message: sid %d is negative" % sid)
        if not 0 < size <= MAX_ADDRESSES:
            raise WireError("initial message of server %d: unreasonable address length %d" % (sid, size))
        if len(buffer) < 20 + size:
            return None
        addresses = _parse_addresses(bytes(buffer[20 : 20 + size]))
        del buffer[: 20 + size]
        self._expect_initial = False
        return InitialMessage(version, sid, addresses)

    def _frame(self) -> Optional[Message]:
        buffer = self._buffer
        if len(buffer) < 4:
            return None
        size = int.from_bytes(buffer[:4], "big", signed=True)
        if not 0 < size <= MAX_FRAME:
            raise WireError("notification: frame length %d is not in 1 to %d" % (size, MAX_FRAME))
        if len(buffer) < 4 + size:
            return None
        payload = bytes(buffer[4 : 4 + size])
        del buffer[: 4 + size]
        return decode_notification(payload)


def decode_notification(payload: bytes) -> Notification:
    """One frame's payload, by the size and version rules of protocol section 2.3."""
    size = len(payload)
    reader = jute.Reader(payload, "notification of %d bytes" % size)
    state = reader.int32("state")
    if not 0 <= state <= 3:
        raise reader.error("unknown state %d" % state)
    leader, zxid, electionround = reader.int64("leader"), reader.int64("zxid"), reader.int64("electionEpoch")
    if size == 28:
        return Notification(state, leader, zxid, electionround, zxid >> 32, 0, None)
    peer_epoch = reader.int64("peerEpoch")
    version = reader.int32("version")
    if size == 40:
        version = 0  # 3.4.6 and later: ZooKeeper does not look at the version of a message of this length
    if version < 2:
        return Notification(state, leader, zxid, electionround, peer_epoch, version, None)
    length = reader.int32("config length")
    if not 0 <= length <= size:
        raise reader.error("config length %d" % length)
    config = reader.take(length, "config").decode("utf-8", "replace")
    return Notification(state, leader, zxid, electionround, peer_epoch, version, config)


def _parse_addresses(data: bytes) -> Tuple[Address, ...]:
    """ "host:port|[v6]:port": wildcard hosts are dropped (ZOOKEEPER-2164), anything odd is a WireError."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise WireError("initial message: the address %.80r is not UTF-8" % data) from None
    addresses = []
    for part in text.split("|"):
        host, colon, port_text = part.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise WireError("initial message: badly formed address %.80r" % part)
        if not colon or not host:
            raise WireError("initial message: badly formed address %.80r" % part)
        port = int(port_text) if port_text.isascii() and port_text.isdigit() and len(port_text) <= 5 else -1
        if not 0 < port <= 65535:
            raise WireError("initial message: bad port number in %.80r" % part)
        if host not in ("0.0.0.0", "::", "0:0:0:0:0:0:0:0"):
            addresses.append((host, port))
    return tuple(addresses)


def format_address(address: Address) -> str:
    host, port = address
    return "[%s]:%d" % (host, port) if ":" in host else "%s:%d" % (host, port)


def _encode_initial(message: InitialMessage) -> bytes:
    if message.version >= 0:
        return jute.int64(message.sid)
    text = "|".join(format_address(address) for address in message.addresses)
    return jute.int64(message.version) + jute.int64(message.sid) + jute.string(text)


def _encode_notification(n: Notification) -> bytes:
    payload = _NOTIFICATION.pack(n.state, n.leader, n.zxid, n.round, n.peer_epoch) + _INT32.pack(n.version)
    if n.version >= 2:
        payload += jute.string(n.config or "")
    return _INT32.pack(len(payload)) + payload


# ---- quorum port -------------------------------------------------------------------------------------------------

_Steps = Generator[None, None, None]


class QuorumDecoder:
    """Decodes what a peer sends on a quorum connection.

    `expect_snapshot` is for the learner's side: a learner never sends SNAP, so that a leader refuses it, and the 64 MiB
    of a snapshot are open only to the server that we dialled ourselves.
    """

    def __init__(self, expect_snapshot: bool = True) -> None:
        self._expect_snapshot = expect_snapshot
        self._buffer = bytearray()
        self._position = 0
        self._messages: List[Message] = []
        self._error: Optional[WireError] = None
        self._steps = self._parse()
        next(self._steps)

    @property
    def partial(self) -> bool:
        """The peer owes us the rest of a packet or of a snapshot."""
        return bool(self._buffer)

    @property
    def buffered(self) -> int:
        """Bytes of the unfinished message."""
        return len(self._buffer)

    def feed(self, data: bytes) -> List[Message]:
        if self._error is not None:
            raise self._error
        self._buffer += data
        try:
            next(self._steps)
        except WireError as error:
            self._error = error
            self._buffer.clear()
            raise
        messages, self._messages = self._messages, []
        return messages

    def _parse(self) -> _Steps:
        """Walks the stream, and yields whenever it needs more bytes than there are."""
        buffer = self._buffer
        while True:
            del buffer[: self._position]
            self._position = 0
            yield from self._need(16)
            type_, zxid, size = _PACKET_HEAD.unpack_from(buffer)
            if not 1 <= type_ <= 19:
                raise WireError("quorum packet: unknown type %d" % type_)
            if not -1 <= size <= jute.MAX_BUFFER:
                raise WireError("quorum packet of type %d: unreasonable data length %d" % (type_, size))
            end = 16 + max(size, 0)
            yield from self._need(end + 4)
            data = None if size == -1 else bytes(buffer[16:end])
            self._position = end
            yield from self._authinfo()
            self._messages.append(QuorumPacket(type_, zxid, data))
            if type_ == SNAP:
                if not self._expect_snapshot:
                    raise WireError("quorum packet: SNAP from a learner")
                start = self._position
                yield from self._snapshot()
                self._messages.append(SnapshotStream(zxid, bytes(buffer[start : self._position])))

    def _need(self, end: int) -> _Steps:
        """Wait until the buffer reaches `end`."""
        if end > MAX_SNAPSHOT:
            raise WireError("snapshot: longer than %d bytes" % MAX_SNAPSHOT)
        while len(self._buffer) < end:
            yield

    def _int32(self) -> Generator[None, None, int]:
        self._position += 4
        yield from self._need(self._position)
        return int(_INT32.unpack_from(self._buffer, self._position - 4)[0])

    def _skip(self, size: int) -> _Steps:
        self._position += size
        yield from self._need(self._position)

    def _count(self, what: str) -> Generator[None, None, int]:
        """A vector's count: -1 (null) is none; a peer that announces many elements must still send them."""
        count = yield from self._int32()
        if count < -1:
            raise WireError("quorum stream: %s count %d" % (what, count))
        return max(count, 0)

    def _length(self, what: str) -> Generator[None, None, int]:
        """A buffer's length, with the bytes waited for; -1 (null) is 0."""
        size = yield from self._int32()
        if not -1 <= size <= jute.MAX_BUFFER:
            raise WireError("quorum stream: unreasonable length %d of %s" % (size, what))
        size = max(size, 0)
        yield from self._skip(size)
        return size

    def _authinfo(self) -> _Steps:
        count = yield from self._count("authinfo")
        if count > 16:
            raise WireError("quorum packet: authinfo of %d ids" % count)
        for _ in range(2 * count):
            yield from self._length("authinfo")

    def _snapshot(self) -> _Steps:
        """Finds the end of a snapshot stream (protocol section 5.5): sessions, ACLs, nodes, signature."""
        for _ in range((yield from self._count("session"))):
            yield from self._skip(12)
        for _ in range((yield from self._count("ACL"))):
            yield from self._skip(8)
            for _ in range((yield from self._count("ACL entry"))):
                yield from self._skip(4)
                yield from self._length("ACL scheme")
                yield from self._length("ACL id")
        while True:
            size = yield from self._length("node path")
            if self._buffer[self._position - size : self._position] == b"/":
                break
            yield from self._length("node data")
            yield from self._skip(8 + 60)
        size = yield from self._length("signature")
        if self._buffer[self._position - size : self._position] != SIGNATURE.encode():
            raise WireError("snapshot: missing signature")


def encode(message: Message) -> bytes:
    """The message's bytes on its port.  A `SnapshotStream` is its raw stream; its SNAP packet was sent before it."""
    if isinstance(message, Notification):
        return _encode_notification(message)
    if isinstance(message, QuorumPacket):
        # A leader walks through the ids of a REQUEST to check ACLs, and a null there fails it (checkACL).
        authinfo = b"\0\0\0\0" if message.type == REQUEST else b"\xff\xff\xff\xff"
        return _PACKET_HEAD.pack(message.type, message.zxid, -1)[:12] + jute.buffer(message.data) + authinfo
    if isinstance(message, InitialMessage):
        return _encode_initial(message)
    return message.stream
