"""The client port: four-letter words, and the part of ZooKeeper's client protocol that writes and reads.

The model.  A connection's first four bytes decide.  A four-letter word is answered as text (`four_letter_words.py`),
and the connection is closed.  Otherwise they are the length of a frame, and the connection is a session: ConnectRequest
and its response, then requests, answered in their order: create (persistent nodes), exists, getData, getChildren,
getChildren2, sync, ping, closeSession.  Everything else is answered with the error "unimplemented".

1.  While the server is not serving, sessions are refused, and those that exist are closed, as ZooKeeper does.  Requests
    in flight have an unknown outcome.
2.  A session lives in its connection; a transaction makes it and another ends it, as in ZooKeeper.  It has no ephemeral
    nodes and no watches, so nothing is lost with it.  A client that asks for an old session is told that it has
    expired, and begins a new one.
3.  Requests of one session are done one after another: a read that follows a write sees it.
4.  Bounds: `MAX_CLIENTS` connections, of which maxClientCnxns from one address, a frame of jute.maxbuffer, `MAX_QUEUED`
    requests read ahead (then the socket is not read), `MAX_UNSENT` bytes of answers (then no request is begun), and the
    session timeout, within which a client must send something.
5.  Requests are begun in turns, one of each client in rotation (`turns.py`).  No write is begun while a peer is slow to
    read those before it (`links.py`).  No read is answered before the writes that it sees are on disk (`settle`).

Example: `ruok` is answered with `imok`, whether the server is serving or not.

Sources: NIOServerCnxn, ZooKeeperServer.processConnectRequest.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Callable, Deque, Dict, List, NamedTuple, Optional, Tuple, cast

from node.agent import four_letter_words
from node.agent.links import listen
from node.agent.traffic import Traffic
from node.agent.turns import Turns
from node.config import MAX_CLIENTS, Config
from node.protocol.events import ClientRequest, Event, Reply
from node.protocol.messages import LEADING
from node.protocol.server import Server
from node.wire import jute, packets
from node.wire.jute import WireError

MAX_QUEUED = 64
MAX_UNSENT = 1024 * 1024
MAX_FRAME = 0xFFFFF

_WRITES = (packets.CREATE_SESSION, packets.CLOSE_SESSION, packets.CREATE, packets.CREATE2, packets.SYNC_OP)


class _Request(NamedTuple):
    xid: int
    type: int
    record: bytes
    came_at: float


class ClientPort:
    """The listener, its connections, and the counts that the words print."""

    def __init__(
        self,
        server: Server,
        tell: Callable[[Event], None],
        log: Callable[[str, str], None],
        turns: Turns,
        may_write: Callable[[], bool],
        settle: Callable[[], bool],
    ) -> None:
        """`settle` puts on disk what is in the tree, and says whether it is there (rule 5)."""
        self.server = server
        self.config: Config = server.config
        self.tell = tell
        self.log = log
        self.turns = turns
        self.may_write = may_write
        self.settle = settle
        self.clients: Dict[ClientConnection, None] = {}
        self.sessions: Dict[int, ClientConnection] = {}
        self.traffic = Traffic()
        self._was_serving = False
        # SessionTrackerImpl.initializeNextSessionId: the sid, the time and a count, so that restarts do not collide.
        self._next_session = ((self.config.sid & 0x7F) << 56) | ((time.time_ns() // 1_000_000 << 16) & (1 << 56) - 1)
        self._listeners: List[asyncio.AbstractServer] = []
        self._sweeper: Optional[asyncio.TimerHandle] = None

    async def start(self) -> None:
        if self.config.client_address is not None:
            address = self.config.client_address
            self._listeners = await listen(lambda: ClientConnection(self), address, "client port", self.log)
            self.sweep()

    def close(self) -> None:
        for listener in self._listeners:
            listener.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        self.drop_sessions()

    def sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for client in [client for client in self.clients if client.deadline <= now]:
            client.close("it said nothing for %g s" % client.patience_s)
        self._sweeper = loop.call_later(0.25, self.sweep)

    def wake(self) -> None:
        """Writes may be begun again."""
        for client in self.clients:
            self.turns.ready(client)

    def follow_server(self) -> None:
        """To be called after every step of the core: sessions end with the serving (rule 1)."""
        serving = self.server.serving
        if serving != self._was_serving:
            self._was_serving = serving
            leads = serving and self.server.role == LEADING
            self.traffic.led_since = asyncio.get_running_loop().time() if leads else None
            if not serving:
                self.drop_sessions()

    def drop_sessions(self) -> None:
        for client in list(self.sessions.values()):
            client.close("")

    def reply(self, reply: Reply) -> None:
        client = self.sessions.get(reply.session)
        if client is not None:
            client.replied(reply)

    def new_session(self) -> int:
        self._next_session += 1
        return self._next_session


class _Farewell:
    """Of a session whose connection is over; told in its turn, since the core may be in the middle of a step."""

    def __init__(self, client: ClientConnection) -> None:
        self.client = client

    def work(self) -> bool:
        self.client.tell(0, packets.CLOSE_SESSION, b"")
        return False


class ClientConnection(asyncio.Protocol):
    """One connection to the client port."""

    def __init__(self, port: ClientPort) -> None:
        self.port = port
        self.transport: Optional[asyncio.Transport] = None
        self.peer = self.host = "?"
        self.session = 0
        self.patience_s = port.config.tick_ms * port.config.sync_limit / 1000
        self.deadline = 0.0
        self._buffer = bytearray()
        self._queue: Deque[_Request] = deque()
        self._busy: Optional[_Request] = None
        self._requests = 0
        self._connecting = False
        """Its first frame has come."""
        self._unread = False
        """It has not read its answers."""
        self._over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=MAX_UNSENT)
        name = self.transport.get_extra_info("peername")
        self.peer = "%s:%d" % name[:2] if name else "?"
        self.host = name[0] if name else ""
        self.port.clients[self] = None
        self._heard()
        limit = self.port.config.max_client_connections
        if limit > 0 and sum(client.host == self.host for client in self.port.clients) > limit:
            self.close("there are %d clients at that address (maxClientCnxns)" % limit)
        elif len(self.port.clients) > MAX_CLIENTS:
            self.close("there are %d clients" % MAX_CLIENTS)

    def _heard(self) -> None:
        self.deadline = asyncio.get_running_loop().time() + self.patience_s

    def pause_writing(self) -> None:
        self._unread = True

    def resume_writing(self) -> None:
        self._unread = False
        self.port.turns.ready(self)

    def statistics(self) -> str:
        queued = len(self._queue) + (self._busy is not None)
        interest, sent = (1 if self.session else 0), self._requests - queued
        return "/%s[%d](queued=%d,recved=%d,sent=%d)" % (self.peer, interest, queued, self._requests, sent)

    def connection_lost(self, exc: Optional[Exception]) -> None:
        self.close("it was closed in the middle of a message" if self._buffer else "")

    def close(self, reason: str) -> None:
        """Closes at once; with a log line unless `reason` is empty."""
        if self._over:
            return
        self._over = True
        if reason:
            self.port.log("WARN", "closing client connection of %s: %s" % (self.peer, reason))
        self.port.clients.pop(self, None)
        self._end_session()
        self._queue.clear()
        assert self.transport is not None
        self.transport.abort()

    def _finish(self) -> None:
        """Closes after what was written is flushed; the sweep has it until then."""
        self._over = True
        self._end_session()
        self.port.clients.pop(self, None)
        assert self.transport is not None
        self.transport.close()
        asyncio.get_running_loop().call_later(self.patience_s, self.transport.abort)

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        self._buffer += data
        try:
            if not self._connecting and len(self._buffer) >= 4:
                text = self._answer_word(self._buffer[:4].decode("latin-1"))
                if text is not None:
                    self.port.traffic.received += 1
                    self.port.traffic.sent += 1
                    assert self.transport is not None
                    self.transport.write(text.encode())
                    self._finish()
                    return
            self._frames()
        except WireError as error:
            self.close(str(error))

    def _answer_word(self, word: str) -> Optional[str]:
        clients = [client.statistics() for client in self.port.clients]
        return four_letter_words.answer(word, self.port.server, self.port.traffic, clients)

    def _frames(self) -> None:
        """Takes whole frames out of the buffer, as far as there is room for requests."""
        assert self.transport is not None
        while not self._over and len(self._buffer) >= 4 and len(self._queue) < MAX_QUEUED:
            size = int.from_bytes(self._buffer[:4], "big", signed=True)
            if not 0 <= size <= MAX_FRAME:
                raise WireError("frame length %d is not in 0 to %d" % (size, MAX_FRAME))
            if len(self._buffer) < 4 + size:
                break
            frame = bytes(self._buffer[4 : 4 + size])
            del self._buffer[: 4 + size]
            self.port.traffic.received += 1
            now = asyncio.get_running_loop().time()
            if not self._connecting:
                self._connecting = True
                self._queue.append(_Request(0, packets.CREATE_SESSION, frame, now))
                continue
            self._heard()
            self._requests += 1
            header, record = packets.decode_request_header(frame)
            self._queue.append(_Request(header.xid, header.type, record, now))
        if self._over:
            return
        if self._can_begin():
            self.port.turns.ready(self)
        if len(self._queue) < MAX_QUEUED:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    def _connect(self, first: _Request) -> None:
        request = packets.decode_connect_request(first.record)
        if not self.port.server.serving:
            self.close("session refused: this server is not serving")
            return
        read_only = None if request.read_only is None else False
        if request.session:
            self._send(packets.encode_connect_response(0, 0, bytes(16), read_only))
            self._finish()
            return
        shortest_ms, longest_ms = self.port.config.session_timeouts
        timeout_ms = min(max(request.timeout_ms, shortest_ms), longest_ms)
        self.patience_s = timeout_ms / 1000
        self.session = self.port.new_session()
        self.port.sessions[self.session] = self
        self._heard()
        # A real leader takes no write of a session that it did not make: a session is a transaction (rule 2).
        self._busy = first
        self.tell(0, packets.CREATE_SESSION, packets.encode_int32(timeout_ms))

    # ---- requests ------------------------------------------------------------------------------------------------

    def _can_begin(self) -> bool:
        if self._over or self._busy is not None or self._unread or not self._queue:
            return False
        return self._queue[0].type not in _WRITES or self.port.may_write()

    def work(self) -> bool:
        """Begins the oldest request; whether the next one can be begun now."""
        if not self._can_begin():
            return False
        try:
            self._begin(self._queue.popleft())
            self._frames()
        except WireError as error:
            self.close(str(error))
        return self._can_begin()

    def _begin(self, request: _Request) -> None:
        if not self.session:
            self._connect(request)
        elif request.type in (packets.CREATE, packets.CREATE2, packets.SYNC_OP):
            self._busy = request
            self._ask(request)
        elif request.type == packets.CLOSE_SESSION:
            self._busy = request
            self.tell(request.xid, packets.CLOSE_SESSION, b"")
        elif self.port.settle():
            self._answer(request, *self._read(request))

    def _ask(self, request: _Request) -> None:
        """Hands a write, or a sync, to the core."""
        try:
            if request.type == packets.SYNC_OP:
                packets.decode_path(request.record)
            elif packets.decode_create_request(request.record).flags != 0:
                self.replied(Reply(self.session, request.xid, request.type, packets.UNIMPLEMENTED, 0, b""))
                return
        except WireError:
            self.replied(Reply(self.session, request.xid, request.type, packets.MARSHALLING_ERROR, 0, b""))
            return
        self.tell(request.xid, request.type, request.record)

    def tell(self, xid: int, kind: int, record: bytes) -> None:
        self.port.tell(ClientRequest(self.session, xid, kind, record, time.time_ns() // 1_000_000))

    def _end_session(self) -> None:
        """The connection is over, and so is its session."""
        self.port.turns.forget(self)
        if self.port.sessions.pop(self.session, None) is not None and self.port.server.serving:
            self.port.turns.ready(_Farewell(self))

    def _created(self, request: _Request) -> None:
        """The session is there: what the client asked for when it connected is answered now."""
        connect = packets.decode_connect_request(request.record)
        read_only = None if connect.read_only is None else False
        timeout_ms = round(self.patience_s * 1000)
        self._send(packets.encode_connect_response(timeout_ms, self.session, bytes(16), read_only))

    def replied(self, reply: Reply) -> None:
        request = self._busy
        if self._over or request is None or (request.xid, request.type) != (reply.cxid, reply.type):
            return
        if reply.error == packets.CONNECTION_LOSS:
            self.close("")  # the outcome is unknown, and ZooKeeper has no other way to say so
            return
        self._busy = None
        if request.type == packets.CREATE_SESSION:
            self._created(request)
        elif request.type == packets.CLOSE_SESSION:
            self.port.sessions.pop(self.session, None)
            self._answered(request, reply)
            self._finish()
            return
        else:
            self._answered(request, reply)
        self.port.turns.ready(self)

    def _answered(self, request: _Request, reply: Reply) -> None:
        payload = reply.payload if reply.error == packets.OK else b""
        if reply.error == packets.OK and request.type == packets.SYNC_OP:
            payload = packets.encode_path(packets.decode_path(request.record))
        elif reply.error == packets.OK and request.type == packets.CREATE2:
            payload += self._stat(packets.decode_create_request(request.record).path)
        self._answer(request, reply.error, payload, reply.zxid)

    def _read(self, request: _Request) -> Tuple[int, bytes]:
        """Error code and response record of a request that needs nobody else."""
        if request.type == packets.PING_OP:
            return packets.OK, b""
        if request.type not in (packets.EXISTS, packets.GET_DATA, packets.GET_CHILDREN, packets.GET_CHILDREN2):
            return packets.UNIMPLEMENTED, b""
        nodes = self.port.server.database.nodes
        try:
            path = packets.decode_path(request.record)
        except WireError:
            return packets.MARSHALLING_ERROR, b""
        if path not in nodes:
            return packets.NO_NODE, b""
        record = b""
        if request.type == packets.GET_DATA:
            record = jute.buffer(nodes[path])
        elif request.type != packets.EXISTS:
            record = packets.encode_paths(sorted(self._children(path)))
        return packets.OK, record + (b"" if request.type == packets.GET_CHILDREN else self._stat(path))

    def _children(self, path: str) -> Dict[str, None]:
        return self.port.server.database.children.get(path, {})

    def _stat(self, path: str) -> bytes:
        """Only the lengths are known: the tree keeps no zxids, times or versions of its nodes."""
        data = self.port.server.database.nodes.get(path, b"")
        return packets.encode_stat(packets.Stat(0, 0, 0, 0, 0, 0, 0, 0, len(data), len(self._children(path)), 0))

    def _answer(self, request: _Request, error: int, payload: bytes, zxid: Optional[int] = None) -> None:
        self.port.traffic.latencies.add((asyncio.get_running_loop().time() - request.came_at) * 1000)
        zxid = self.port.server.processed_zxid if zxid is None else zxid
        self._send(packets.encode_reply_header(request.xid, zxid, error) + payload)

    def _send(self, record: bytes) -> None:
        assert self.transport is not None
        if self._over:
            return
        self.port.traffic.sent += 1
        self.transport.write(jute.buffer(record))
