"""A minimal, blocking ZooKeeper client over any socket-like object, and registers on top of it.

The model.  A call ends in one of three ways (`harness.workloads.base`).  `Failed`: either the request never left this
process whole, or the server answered with an error code that says so.  `Unknown`: the request left, and no answer that
settles it came back in time; an answer that comes later would be taken for the answer of another request.

A register is a node: the value 7 is `/onethrone/0000000007`, which holds "7".

Rules:

1.  Nothing is ever sent twice.  There is no reconnection here: a client is one session over one connection.
2.  Every call has a deadline, in seconds, after which it raises `Unknown`, whatever trickles in meanwhile.
3.  A request is out as soon as its first byte may be: an error while sending is `Unknown`, since the bytes may have
    arrived; only an error before that is `Failed`.

The wire format is jute (org.apache.zookeeper.proto): big-endian integers, length-prefixed strings, each packet with a
32-bit length before it.  "Socket-like" means `sendall`, `recv`, `settimeout`, `shutdown` and `close`, as a `socket` and
a paramiko channel have them.

Example:

    with ZooKeeperClient.connect(socket.create_connection(("127.0.0.1", 2181)), deadline_s=5) as client:
        client.create("/a", b"1")
        assert client.get_data("/a") == b"1"
"""

from __future__ import annotations

import contextlib
import struct
import time
from dataclasses import dataclass
from types import TracebackType

from harness.workloads.base import ClientError, Connect, Failed, SocketLike, Unknown

CREATE, EXISTS, GET_DATA, GET_CHILDREN, SYNC, PING, CLOSE_SESSION = 1, 3, 4, 8, 9, 11, -11

OK, NO_NODE, NODE_EXISTS = 0, -101, -110

_ERROR_NAMES = {
    -1: "SystemError",
    -2: "RuntimeInconsistency",
    -3: "DataInconsistency",
    -4: "ConnectionLoss",
    -5: "MarshallingError",
    -6: "Unimplemented",
    -7: "OperationTimeout",
    -8: "BadArguments",
    NO_NODE: "NoNode",
    -102: "NoAuth",
    NODE_EXISTS: "NodeExists",
    -112: "SessionExpired",
    -114: "InvalidACL",
    -118: "SessionMoved",
    -119: "NotReadOnly",
    -127: "ThrottledOp",
}

_SURELY_NOT_DONE = frozenset({-5, -6, -8, NO_NODE, -102, NODE_EXISTS, -112, -114, -118, -119, -127})
"""Codes after which a request has changed nothing: the others (and codes not known here) leave it open."""

PING_XID, WATCH_XID = -2, -1
REPLY_BYTES_MAX = 64 << 20
FOUR_LETTER_BYTES_MAX = 1 << 20
_OPEN_ACL = struct.pack(">ii", 1, 31) + struct.pack(">i5si6s", 5, b"world", 6, b"anyone")


@dataclass(frozen=True)
class ZnodeStat:
    """The parts of a node's stat that are of use here: the zxids of its creation and last change, and its version."""

    czxid: int
    mzxid: int
    version: int


class ZooKeeperClient:
    """One session over one connection, used by one thread (`abort` may be called from any)."""

    def __init__(self, connection: SocketLike, deadline_s: float) -> None:
        self._connection = connection
        self._deadline_s = deadline_s
        self._buffer = bytearray()
        self._xid = 0
        self._broken = ""
        self.session = 0
        self.session_timeout_ms = 0
        self.last_zxid = 0
        """The zxid of the newest reply: how far the server had come."""

    @classmethod
    def connect(
        cls, connection: SocketLike, deadline_s: float = 5.0, session_timeout_ms: int = 10_000
    ) -> ZooKeeperClient:
        """Open a session.  Takes ownership of `connection`; raises `Failed` (no operation can have happened yet)."""
        client = cls(connection, deadline_s)
        greeting = struct.pack(">iqiqi16s?", 0, 0, session_timeout_ms, 0, 16, bytes(16), False)
        try:
            client._send(greeting, time.monotonic() + deadline_s)
            reply = client._receive(time.monotonic() + deadline_s)
            if len(reply) < 20:
                raise Unknown(f"the answer to the connect request has {len(reply)} bytes; at least 20 were expected")
            _, client.session_timeout_ms, client.session, _ = struct.unpack_from(">iiqi", reply)
            if client.session_timeout_ms <= 0:
                raise Unknown("the server refused the session (time-out 0)")
        except ClientError as error:
            client._hang_up()
            raise Failed(f"no session: {error}") from error
        except BaseException:
            client._hang_up()
            raise
        return client

    def create(self, path: str, data: bytes, deadline_s: float | None = None) -> str:
        """Create a persistent node that anyone may read; returns its path."""
        payload = _string(path) + _buffer(data) + _OPEN_ACL + struct.pack(">i", 0)
        return self._one_buffer(self._call(CREATE, payload, deadline_s)).decode("utf-8", "replace")

    def get_data(self, path: str, deadline_s: float | None = None) -> bytes:
        """The node's data; raises `Failed` with code `NO_NODE` when there is none."""
        reply = self._call(GET_DATA, _string(path) + b"\0", deadline_s)
        return self._one_buffer(reply)

    def exists(self, path: str, deadline_s: float | None = None) -> ZnodeStat | None:
        """The node's stat, or None when there is no such node."""
        try:
            reply = self._call(EXISTS, _string(path) + b"\0", deadline_s)
        except Failed as error:
            if error.code == NO_NODE:
                return None
            raise
        if len(reply) < 36:
            raise self._break(f"a stat of {len(reply)} bytes")
        czxid, mzxid, _, _, version = struct.unpack_from(">qqqqi", reply)
        return ZnodeStat(czxid, mzxid, version)

    def get_children(self, path: str, deadline_s: float | None = None) -> list[str]:
        """The names of the node's children, in no order."""
        reply = self._call(GET_CHILDREN, _string(path) + b"\0", deadline_s)
        try:
            (count,) = struct.unpack_from(">i", reply)
            names, at = [], 4
            for _ in range(count):
                name, at = _read_buffer(reply, at)
                names.append(name.decode())
        except (struct.error, ValueError) as error:
            raise self._break(f"a list of children that cannot be read: {error}") from None
        return names

    def sync(self, path: str, deadline_s: float | None = None) -> None:
        """Wait until this server has applied what the leader had committed when it was asked."""
        self._call(SYNC, _string(path), deadline_s)

    def ping(self, deadline_s: float | None = None) -> None:
        """Renew the session and wait for the answer."""
        self._call(PING, b"", deadline_s, PING_XID)

    def close(self) -> None:
        """End the session in good order if the server answers within a second, and hang up."""
        if not self._broken:
            with contextlib.suppress(ClientError):  # without an answer the session expires by itself
                self._call(CLOSE_SESSION, b"", 1.0)
        self._hang_up()

    def abort(self) -> None:
        """Wake whoever waits in a call of this client, and let it end as `Unknown`; callable from any thread."""
        _end(self._connection)

    @property
    def usable(self) -> bool:
        """False once a call ended as `Unknown`, or after `close`."""
        return not self._broken

    def __enter__(self) -> ZooKeeperClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---- one call ------------------------------------------------------------------------------------------------

    def _call(self, operation: int, payload: bytes, deadline_s: float | None, xid: int | None = None) -> bytes:
        if self._broken:
            raise Failed(f"not sent: the session is over ({self._broken})")
        deadline = time.monotonic() + (self._deadline_s if deadline_s is None else deadline_s)
        if xid is None:
            self._xid += 1
            xid = self._xid
        self._send(struct.pack(">ii", xid, operation) + payload, deadline)
        while True:
            reply = self._receive(deadline)
            if len(reply) < 16:
                raise self._break(f"a reply of {len(reply)} bytes; a header has 16")
            got, zxid, code = struct.unpack_from(">iqi", reply)
            if got == xid:
                break
            if got not in (PING_XID, WATCH_XID):
                raise self._break(f"a reply to request {got} while {xid} was open")
        if zxid > 0:
            self.last_zxid = zxid
        if code == OK:
            return reply[16:]
        name = f"{_ERROR_NAMES.get(code, 'error')} ({code})"
        if code in _SURELY_NOT_DONE:
            raise Failed(name, code)
        self._broken = name
        raise Unknown(name, code)

    def _send(self, packet: bytes, deadline: float) -> None:
        try:
            self._connection.settimeout(max(0.001, deadline - time.monotonic()))
            self._connection.sendall(struct.pack(">i", len(packet)) + packet)
        except (OSError, EOFError) as error:
            raise self._break(f"sending: {_words(error)}") from None

    def _receive(self, deadline: float) -> bytes:
        (length,) = struct.unpack(">i", self._take(4, deadline))
        if not 0 <= length <= REPLY_BYTES_MAX:
            raise self._break(f"a packet of {length} bytes was announced")
        return self._take(length, deadline)

    def _take(self, count: int, deadline: float) -> bytes:
        while len(self._buffer) < count:
            left = deadline - time.monotonic()
            if left <= 0:
                raise self._break("no answer in time")
            try:
                self._connection.settimeout(left)
                data = self._connection.recv(65536)
            except (OSError, EOFError) as error:
                raise self._break(f"waiting for the answer: {_words(error)}") from None
            if not data:
                raise self._break("the server closed the connection")
            self._buffer += data
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _one_buffer(self, reply: bytes) -> bytes:
        try:
            return _read_buffer(reply, 0)[0]
        except (struct.error, ValueError) as error:
            raise self._break(f"an answer that cannot be read: {error}") from None

    def _break(self, why: str) -> Unknown:
        self._broken = self._broken or why
        return Unknown(why)

    def _hang_up(self) -> None:
        self._broken = self._broken or "closed"
        _end(self._connection)


def four_letter_word(connection: SocketLike, word: str, deadline_s: float = 5.0) -> str:
    """Send `word` ("ruok", "srvr", "mntr") and return the whole answer.  Takes ownership of `connection`.

    Raises `Failed` when the answer does not end in time, or the connection is lost.
    """
    deadline = time.monotonic() + deadline_s
    answer = bytearray()
    try:
        connection.settimeout(deadline_s)
        connection.sendall(word.encode("ascii"))
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or len(answer) > FOUR_LETTER_BYTES_MAX:
                raise Failed(f"{word}: no end of the answer after {deadline_s} s and {len(answer)} bytes")
            connection.settimeout(left)
            data = connection.recv(65536)
            if not data:
                return answer.decode("utf-8", "replace")
            answer += data
    except (OSError, EOFError) as error:
        if answer.endswith((b"\n", b"imok")):  # ZooKeeper closes at once after its answer, now and then with a reset
            return answer.decode("utf-8", "replace")
        raise Failed(f"{word}: {_words(error)}") from None
    finally:
        _end(connection)


def _words(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__


def _end(connection: SocketLike) -> None:
    with contextlib.suppress(OSError, EOFError):  # it may be gone already, which is what is wanted
        connection.shutdown(2)
    with contextlib.suppress(OSError, EOFError):
        connection.close()


def _string(text: str) -> bytes:
    return _buffer(text.encode())


def _buffer(data: bytes) -> bytes:
    return struct.pack(">i", len(data)) + data


def _read_buffer(reply: bytes, at: int) -> tuple[bytes, int]:
    (length,) = struct.unpack_from(">i", reply, at)
    if length == -1:
        return b"", at + 4
    if length < 0 or at + 4 + length > len(reply):
        raise ValueError(f"a buffer of {length} bytes at {at} in a reply of {len(reply)}")
    return reply[at + 4 : at + 4 + length], at + 4 + length


# ---- registers -------------------------------------------------------------------------------------------------------

ROOT = "/onethrone"


def path_of(value: int) -> str:
    """The node that holds `value`."""
    return f"{ROOT}/{value:010d}"


class ZooKeeperClients:
    """See `harness.workloads.base.Clients`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._root_made = False

    def connect(self, connect: Connect, deadline_s: float) -> ZooKeeperRegisters:
        client = ZooKeeperClient.connect(connect(self._port), deadline_s)
        try:
            if not self._root_made:
                _make_root(client)
                self._root_made = True
        except BaseException:
            client.abort()
            raise
        return ZooKeeperRegisters(client)


class ZooKeeperRegisters:
    """See `harness.workloads.base.RegisterClient`."""

    def __init__(self, client: ZooKeeperClient) -> None:
        self._client = client

    @property
    def usable(self) -> bool:
        return self._client.usable

    def write(self, value: int) -> None:
        self._client.create(path_of(value), b"%d" % value)

    def read(self, value: int) -> int | None:
        try:
            return int(self._client.get_data(path_of(value)))
        except Failed as error:
            if error.code == NO_NODE:
                return None
            raise

    def read_all(self, deadline_s: float) -> list[int]:
        self._client.sync(ROOT, deadline_s)
        try:
            names = self._client.get_children(ROOT, deadline_s)
        except Failed as error:
            if error.code == NO_NODE:
                return []
            raise
        return [int(name) for name in names if name.isdigit()]

    def close(self) -> None:
        self._client.close()

    def abort(self) -> None:
        self._client.abort()


def _make_root(client: ZooKeeperClient) -> None:
    try:
        client.create(ROOT, b"")
    except Failed as error:
        if error.code != NODE_EXISTS:
            raise
