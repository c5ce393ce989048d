"""The TCP connections of a server: listening, dialling, and what bad bytes and stalled peers may do, which is nothing.

Rules:

1.  A connection that somebody dialled exists for the core (`Accepted`) from its first whole message on.  One that
    sends none within tickTime x syncLimit is closed; the core never hears of it.
2.  Bytes that are no message (`WireError`), and a message that is not complete tickTime x syncLimit after its first
    byte, close that connection with one log line, and disturb nothing else.  A snapshot may take longer as long as it
    moves.
3.  Everything has a bound: `MAX_ACCEPTED` connections of each port (a newcomer over it displaces the oldest one that
    has said nothing yet; if all have, it is closed), the bytes that wait to be sent on a connection (`MAX_UNSENT`, and
    a snapshot's length on top), the time a hung-up connection may take to be flushed.  What arrives is told in turns
    (`turns.py`), and a connection is not read while something that it said waits to be told.
4.  What is sent is handed to the kernel at once, in order.  A `HangUp` flushes; nothing is told about it later.
5.  A peer that reads slowly holds up those who cause what it has to read: while more than `SLOW_FROM` bytes wait for
    it, no request of a client is begun, ours or one that a learner forwards.  So 20 values of 1 MB do not cost a
    follower its place.  But it may not hold up the ensemble: the others wait half of tickTime x syncLimit at the
    longest, so that what comes after a request, such as an acknowledgement, still comes in time.  They wait for it
    again only when it has caught up.  One that reads nothing at all for as long is lost.
6.  Of a notification's configuration, which nobody here looks at, no more than `MAX_CONFIG` characters are told: the
    journal keeps what is told, and a frame may bring 500 kB.
7.  After a partition the kernel's own retries come ever later (a SYN after 1, 3, 7 s; data after up to two minutes).
    So a dial sends a fresh SYN to each address of the name every `max(1 s, tickTime)` as long as it lasts, and an
    election connection on which something stays unacknowledged for tickTime x syncLimit is lost (TCP_USER_TIMEOUT),
    and will be dialled again.
8.  Nobody is accepted before both ports are listened on: that may take as long as the own name is unknown.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import socket
from collections import deque
from typing import Callable, Deque, Dict, List, Optional, Tuple, Union, cast

from node.agent import addresses
from node.agent.turns import Turns
from node.config import Config
from node.protocol.events import Accepted, Connected, Dial, Event, HangUp, Lost, Received, Send
from node.protocol.messages import (
    ELECTION,
    QUORUM,
    REQUEST,
    Address,
    Message,
    Notification,
    QuorumPacket,
    SnapshotStream,
)
from node.wire.frames import ElectionDecoder, QuorumDecoder, WireError, encode

MAX_ACCEPTED = 256
SLOW_FROM = 4 * 1024 * 1024
MAX_UNSENT = 64 * 1024 * 1024
MAX_CONFIG = 16 * 1024
BACKLOG = 128
BIND_ATTEMPTS = 3
BIND_PAUSE_S = 1.0
COMPLAINT_S = 30.0
"""Seconds between two log lines about dials of one server."""


class BindError(Exception):
    """A port of ours cannot be listened on."""


async def listen(
    factory: Callable[[], asyncio.BaseProtocol],
    address: Address,
    what: str,
    log: Callable[[str, str], None],
    attempts: int = BIND_ATTEMPTS,
) -> List[asyncio.AbstractServer]:
    """Listeners on the addresses of a name; 0 attempts: tries until it is cancelled.  Raises `BindError`."""
    host, port = address
    for attempt in itertools.count(1):
        try:
            return await addresses.listeners(factory, address, BACKLOG, lambda text: log("WARN", what + ": " + text))
        except (OSError, UnicodeError, ValueError) as error:
            problem = "%s: cannot listen on %s port %d: %s" % (what, host, port, _reason(error))
            if attempt == attempts:
                raise BindError(problem) from None
        if attempt & (attempt - 1) == 0:  # the first, the second, the fourth ...: it may go on for ever
            log("WARN", "%s; trying again every %g s (attempt %d)" % (problem, BIND_PAUSE_S, attempt))
        await asyncio.sleep(BIND_PAUSE_S)
    raise AssertionError("not reached")


def _reason(error: Exception) -> str:
    number = getattr(error, "errno", None)
    if isinstance(number, int) and number > 0:
        return os.strerror(number)
    return getattr(error, "strerror", None) or str(error)  # a name that is not known has a number of its own


class Links:
    """All connections of the election port and the quorum port, for the core behind `tell`."""

    def __init__(
        self,
        config: Config,
        tell: Callable[[Event], None],
        log: Callable[[str, str], None],
        turns: Optional[Turns] = None,
        relieved: Callable[[], None] = lambda: None,
    ) -> None:
        """`relieved` is called when requests may be begun again (rule 5)."""
        self.tell = tell
        self.log = log
        self.turns = turns or Turns()
        self.slow: Dict[Link, None] = {}
        """Peers that requests wait for (rule 5)."""
        self.watched: Dict[Link, float] = {}
        """Those and others that have much to read, and when to look at them, in seconds of the event loop's clock."""
        self._relieved = relieved
        self.patience_s = config.tick_ms * config.sync_limit / 1000
        self.attempt_s = max(1.0, config.tick_ms / 1000)
        self.conns: Dict[int, Link] = {}
        """Connections that the core knows, by id."""
        self.all: Dict[Link, None] = {}
        """Every connection with a socket, oldest first."""
        self.dials: Dict[int, asyncio.Task[None]] = {}
        self._config = config
        self.accepting = False
        self._next_conn = 2
        self._resolver = addresses.Resolver()
        self._complained: Dict[Tuple[int, str], float] = {}
        """When the log last had a line about dials of a server, by sid and port."""
        self._listeners: List[asyncio.AbstractServer] = []
        self._sweeper: Optional[asyncio.TimerHandle] = None

    async def start(self) -> None:
        me = self._config.member(self._config.sid)
        assert me is not None
        for port, (host, number) in ((ELECTION, me.election_address), (QUORUM, me.quorum_address)):
            own = ("", number) if self._config.listen_on_all_ips else (host, number)
            factory = functools.partial(Link, self, port)
            self._listeners += await listen(factory, own, port + " port", self.log, self._config.bind_attempts)
        self.accepting = True
        self.sweep()

    def close(self) -> None:
        for listener in self._listeners:
            listener.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for task in self.dials.values():
            task.cancel()
        self._resolver.close()
        for link in list(self.all):
            link.hang_up()

    def sweep(self) -> None:
        """Close what is overdue (rules 1 to 3)."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for link in [link for link in self.all if link.deadline is not None and link.deadline <= now]:
            link.overdue()
        for link in [link for link, due in self.watched.items() if due <= now]:
            link.look_again()
        self._sweeper = loop.call_later(min(self.patience_s / 8, 1.0), self.sweep)

    def wait_for(self, link: Link) -> None:
        self.slow[link] = None
        self.look_later(link)

    def look_later(self, link: Link) -> None:
        self.watched[link] = asyncio.get_running_loop().time() + self.patience_s / 2

    def forget(self, link: Link) -> None:
        """It has read, or is over."""
        self.watched.pop(link, None)
        self.relieve(link)

    def relieve(self, link: Link) -> None:
        """`link` is not waited for any more."""
        if link in self.slow:
            del self.slow[link]
            if self.slow:
                return
            for waiting in self.all:
                self.turns.ready(waiting)
            self._relieved()

    # ---- effects -------------------------------------------------------------------------------------------------

    def send(self, effect: Send) -> None:
        link = self.conns.get(effect.conn)
        if link is not None:
            link.send(effect)

    def hang_up(self, effect: HangUp) -> None:
        task = self.dials.pop(effect.conn, None)
        if task is not None:
            task.cancel()
        link = self.conns.get(effect.conn)
        if link is not None:
            link.hang_up()

    def dial(self, effect: Dial) -> None:
        self.dials[effect.conn] = asyncio.get_running_loop().create_task(self._dial(effect))

    async def _dial(self, dial: Dial) -> None:
        loop = asyncio.get_running_loop()
        host, port = dial.address
        link = Link(self, dial.port, dial.conn)
        deadline = loop.time() + dial.timeout_ms / 1000
        reason = ""
        while link.transport is None and not reason:
            attempt_s = min(self.attempt_s, deadline - loop.time())
            try:
                await asyncio.wait_for(self._connect(link, dial, attempt_s), max(attempt_s, 0))
            except asyncio.TimeoutError:
                if loop.time() >= deadline:
                    reason = "no connection within %d ms" % dial.timeout_ms
            except (OSError, UnicodeError, OverflowError, ValueError) as error:
                reason = _reason(error)
        if link.transport is None and self.dials.pop(dial.conn, None) is not None:
            problem = "cannot connect to server %d at %s:%d: %s" % (dial.sid, host, port, reason)
            self._complain(dial, problem)
            self.tell(Lost(dial.conn, problem))

    async def _connect(self, link: Link, dial: Dial, attempt_s: float) -> None:
        resolved = await self._resolver.resolve(dial.address)
        sock = await addresses.connect(resolved, attempt_s)
        peer = sock.getpeername()[0]
        if peer != resolved[0].host:
            others = ", ".join(to.host for to in resolved if to.host != peer)
            text = "connected to server %d at %s, another address of %s; the others are %s"
            self._complain(dial, text % (dial.sid, peer, dial.address[0], others))
        await asyncio.get_running_loop().create_connection(lambda: link, sock=sock)

    def _complain(self, dial: Dial, text: str) -> None:
        """Logs a line about dials of a server, unless the last one was just now."""
        now, key = asyncio.get_running_loop().time(), (dial.sid, dial.port)
        if now - self._complained.get(key, -COMPLAINT_S) < COMPLAINT_S:
            return
        if len(self._complained) >= MAX_ACCEPTED:  # servers that nobody configured may name themselves
            self._complained.clear()
        self._complained[key] = now
        self.log("WARN", text)

    # ---- what links tell -----------------------------------------------------------------------------------------

    def admit(self, newcomer: Link) -> bool:
        """Rule 3: is there room on its port, or somebody silent to put out?"""
        accepted = [link for link in self.all if link.port == newcomer.port and not link.dialled]
        if len(accepted) < MAX_ACCEPTED:
            return True
        silent = next((link for link in accepted if link.conn is None), None)
        if silent is not None:
            silent.fail("too many connections, and it has said nothing yet")
        return silent is not None

    def new_conn(self) -> int:
        conn = self._next_conn
        self._next_conn += 2
        return conn


def _with_config(n: Notification, config: str) -> Notification:
    return Notification(n.state, n.leader, n.zxid, n.round, n.peer_epoch, n.version, config)


class Link(asyncio.Protocol):
    """One TCP connection.  `conn` is its id once the core knows it."""

    def __init__(self, links: Links, port: str, conn: Optional[int] = None) -> None:
        self.links = links
        self.port = port
        self.conn = conn
        self.dialled = conn is not None
        self.decoder: Union[ElectionDecoder, QuorumDecoder]
        if port == ELECTION:
            self.decoder = ElectionDecoder(expect_initial=not self.dialled)
        else:
            self.decoder = QuorumDecoder(expect_snapshot=self.dialled)
        self.transport: Optional[asyncio.Transport] = None
        self.peer = "?"
        self.deadline: Optional[float] = None
        self.over = False
        """Nothing is told about it any more."""
        self._snapshots = 0
        """Bytes of snapshots that may wait to be sent on top of the bounds."""
        self._written = 0
        """Bytes that were ever to be sent."""
        self._taken: Optional[int] = None
        """Those that were out when others began to wait for this peer; None once it has read again."""
        self._heard: Deque[Message] = deque()
        self._end_reason: Optional[str] = None
        """Why it ended, while what was heard before waits to be told."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=SLOW_FROM, low=SLOW_FROM // 2)
        name = self.transport.get_extra_info("peername")
        self.peer = "%s:%d" % name[:2] if name else "?"
        sock: socket.socket = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.port == ELECTION:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self.links.patience_s * 1000))
        if self.dialled:
            assert self.conn is not None
            if self.links.dials.pop(self.conn, None) is None:  # hung up while it was being dialled
                self.over = True
                self.transport.abort()
                return
            self.links.all[self] = None
            self.links.conns[self.conn] = self
            self.links.tell(Connected(self.conn))
            return
        if not self.links.accepting:
            self.over = True
            self.transport.abort()
            return
        self.deadline = asyncio.get_running_loop().time() + self.links.patience_s
        if self.links.admit(self):
            self.links.all[self] = None
        else:
            self.fail("too many connections on the %s port" % self.port)

    def data_received(self, data: bytes) -> None:
        if self.over:
            return
        try:
            messages = self.decoder.feed(data)
        except WireError as error:
            self.fail(str(error))
            return
        self._expect(bool(messages))
        if messages:
            self._heard.extend(messages)
            assert self.transport is not None
            self.transport.pause_reading()
            self.links.turns.ready(self)

    @property
    def holds_request(self) -> bool:
        """The next thing to be told is a learner's request, and somebody is slow (rule 5)."""
        head = self._heard[0] if self._heard else None
        return isinstance(head, QuorumPacket) and head.type == REQUEST and bool(self.links.slow)

    def work(self) -> bool:
        """Tells one message; whether another one can be told now."""
        if self.over or not self._heard or self.holds_request:
            return False
        message = self._heard.popleft()
        if isinstance(message, Notification) and message.config is not None and len(message.config) > MAX_CONFIG:
            message = _with_config(message, message.config[:MAX_CONFIG])
        if self.conn is None:
            self.conn = self.links.new_conn()
            self.links.conns[self.conn] = self
            self.links.tell(Accepted(self.conn, self.port))
        if not self.over:
            self.links.tell(Received(self.conn, message))
        if self.over:
            return False
        if self._heard:
            return not self.holds_request
        if self._end_reason is not None:
            self._end(self._end_reason)
        else:
            assert self.transport is not None
            self.transport.resume_reading()
            self._expect(True)
        return False

    def _expect(self, progress: bool) -> None:
        """Sets the deadline of what the peer owes us (rule 2)."""
        if self.conn is None and not progress:
            return  # its first message is due since it connected
        if not self.decoder.partial:
            self.deadline = None
        elif progress or self.deadline is None or (self.dialled and self.port == QUORUM):
            self.deadline = asyncio.get_running_loop().time() + self.links.patience_s

    def overdue(self) -> None:
        if self.over:
            assert self.transport is not None
            self.transport.abort()
            self.links.all.pop(self, None)
        elif self._heard:
            self._expect(True)  # it is we who are late: we have not read on
        elif self.conn is None:
            self.fail("no whole first message within %g s" % self.links.patience_s)
        else:
            self.fail("half a message, and not its end within %g s" % self.links.patience_s)

    def connection_lost(self, exc: Optional[Exception]) -> None:
        self.links.all.pop(self, None)
        self.links.forget(self)
        if self.over:
            return
        if self.decoder.buffered:
            self.fail("it was closed in the middle of a message")
        elif self._heard:
            self._end_reason = "closed by the peer" if exc is None else str(exc)
        else:
            self._end("closed by the peer" if exc is None else str(exc))

    def send(self, effect: Send) -> None:
        assert self.transport is not None
        if self.over:
            return
        unsent = self.transport.get_write_buffer_size()
        if unsent == 0:
            self._snapshots = 0
        if isinstance(effect.message, SnapshotStream):
            self._snapshots += len(effect.message.stream)
        data = encode(effect.message)
        if unsent + len(data) > MAX_UNSENT + self._snapshots:
            self.fail("%d bytes wait to be sent, it does not read" % unsent)
            return
        self.transport.write(data)
        self._written += len(data)
        unsent = self.transport.get_write_buffer_size()
        if self._taken is None and unsent > SLOW_FROM + self._snapshots:
            self._taken = self._written - unsent
            self.links.wait_for(self)

    def look_again(self) -> None:
        """Others have waited for it long enough (rule 5)."""
        assert self.transport is not None
        unsent = self.transport.get_write_buffer_size()
        if self._written - unsent == self._taken:
            self.fail("%d bytes wait to be sent, it does not read" % unsent)
            return
        self._taken = self._written - unsent
        self.links.look_later(self)
        self.links.relieve(self)

    def resume_writing(self) -> None:
        self._snapshots, self._taken = 0, None
        self.links.forget(self)

    def fail(self, reason: str) -> None:
        """Closes at once, with the one log line."""
        assert self.transport is not None
        self.links.log("WARN", "closing %s connection of %s: %s" % (self.port, self.peer, reason))
        self.links.all.pop(self, None)
        self.transport.abort()
        self._heard.clear()
        self._end(reason)

    def hang_up(self) -> None:
        """Closes once what was sent is flushed, or when that takes too long."""
        assert self.transport is not None
        self.over = True
        self._heard.clear()
        self.links.forget(self)
        if self.conn is not None:
            self.links.conns.pop(self.conn, None)
        self.deadline = asyncio.get_running_loop().time() + self.links.patience_s
        self.transport.close()

    def _end(self, reason: str) -> None:
        self.over = True
        self.links.forget(self)
        if self.conn is not None and self.links.conns.pop(self.conn, None) is not None:
            self.links.tell(Lost(self.conn, reason))
