"""Who dials whom on the election port, and what goes over a connection first (QuorumCnxManager; protocol section 1).

The model.  Between two servers there is at most one connection, and the server with the larger sid dials it.

1.  A server that has something to send to a peer, and no connection to it, dials it; never twice at a time.
2.  The dialer introduces itself with an initial message.  If it has the larger sid it keeps the connection.  If it has
    the smaller one it hangs up, and the peer dials back.
3.  The newest connection of a peer replaces an older one.
4.  For each peer one message is queued, the newest: a notification says all that its sender stands for, so an older one
    is worth nothing.  What was sent last is remembered, since it may have been lost with its connection: a new
    connection begins with it, brought up to date (`first_message`).
5.  A server that dials us has a bounded time to introduce itself, and a stranger takes no place from a member.

There is no heartbeat on this port.  A server that is LOOKING therefore looks after its connections itself, once a
second: it dials voters that it is not connected to, and dials again those that have left it without answer for two
seconds, because a connection that a partition has stalled can take TCP minutes to come back.  An ensemble with a short
tick promises to be faster: it looks every two ticks, and four ticks without answer are enough.

Example: server 1 of {1, 2} starts.  `[Dial(1, to 2)]`; `Connected(1)` gives `[Send(1, InitialMessage(1)), HangUp(1)]`;
server 2 dials back, `Accepted(2)`, `Received(2, InitialMessage(2))` gives `[Send(2, Notification(...))]`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Optional

from node.config import Config
from node.protocol.core import MS, Core
from node.protocol.events import Dial, Durable, HangUp, Send
from node.protocol.messages import ELECTION, LOOKING, Address, InitialMessage, Notification, QuorumPacket

V1 = -65536
GENERIC_OBSERVER = (1 << 63) - 1
"""The sid that a server without one of its own shows (QuorumPeer.OBSERVER_ID)."""

LOOK_AFTER_MS, LOOK_AFTER_TICKS = 1000, 2
SILENCE_MS, SILENCE_TICKS = 2000, 4
DIAL_BACK_MS = 500
"""Maximum time for a larger peer to dial back; then we introduce ourselves again."""
MAX_STRANGERS = 64
MAX_PENDING = 512


@dataclass
class Peer:
    """What we hold of one other server's election port.  Times in ns; `conn` is the kept connection."""

    conn: Optional[int] = None
    dialing: Optional[int] = None
    queued: Optional[Notification] = None
    last_sent: Optional[Notification] = None
    dial_back: Optional[Address] = None
    """Dial this address as soon as the dial in flight is over."""
    not_before: int = 0
    unanswered_since: int = 0
    """When the first message was sent since we last heard from it; 0 if none was."""


@dataclass
class Pending:
    """An accepted connection that has not said who it is, or whose FOLLOWERINFO is held until the election ends."""

    port: str
    deadline: int
    held: Optional[QuorumPacket] = None


def is_wildcard(address: Address) -> bool:
    """Addresses that mean "any of mine" to their owner, and nothing to us (ZOOKEEPER-2164)."""
    return address[0] in ("0.0.0.0", "::", "[::]", "0:0:0:0:0:0:0:0", "")


class Connections(Core):
    def __init__(self, config: Config, durable: Durable) -> None:
        super().__init__(config, durable)
        self.peers: Dict[int, Peer] = {m.sid: Peer() for m in config.members if m.sid != self.sid}
        self.addresses = {m.sid: m.election_address for m in config.members}
        self.sid_of: Dict[int, int] = {}
        """Kept election connections, and whose they are."""
        self.dials: Dict[int, int] = {}
        """Election dials in flight, and to whom."""
        self.pending: Dict[int, Pending] = {}
        self.generic_observers = 0
        limit = max(1000, config.tick_ms)
        self.dial_timeout_ms = min(config.connect_timeout_ms, limit)
        """No longer than a second or a tick: TCP repeats a lost SYN after 1, 2, 4 s, a new dial sends one at once."""
        self.introduction = InitialMessage(V1, self.sid, (self.addresses[self.sid],))

    # ---- what the layer above does ---------------------------------------------------------------------------------

    def present_notification(self, sid: int) -> Notification:
        """What we would tell `sid` of our vote and state now."""
        raise NotImplementedError

    # ---- sending ---------------------------------------------------------------------------------------------------

    def send_to(self, sid: int, message: Notification) -> None:
        """Send, or queue in place of what was queued, and dial."""
        peer = self.peers.get(sid)
        if peer is None:
            return
        if peer.conn is not None:
            peer.last_sent = message
            peer.unanswered_since = peer.unanswered_since or self.now
            self.out.append(Send(peer.conn, message))
        else:
            peer.queued = message
            self.dial(sid, peer)

    def first_message(self, sid: int, peer: Peer) -> Optional[Notification]:
        """What a new connection begins with.

        ZooKeeper sends the queued message, or else the last one sent, however old: a leader greets a returning server
        with a stale LOOKING vote (trap 5).  We send what we stand for now, if there is anything to send at all.
        """
        if peer.queued is None and peer.last_sent is None and (self.role != LOOKING or sid not in self.voters):
            return None
        return self.present_notification(sid)

    # ---- dialling --------------------------------------------------------------------------------------------------

    def dial(self, sid: int, peer: Peer, address: Optional[Address] = None) -> None:
        if peer.dialing is not None or self.now < peer.not_before:
            return
        target = address or self.addresses.get(sid)
        if target is None:
            self.log("WARN", "Invalid server id: %d: nobody knows its address" % sid)
            return
        conn = self.new_conn()
        peer.dialing = conn
        self.dials[conn] = sid
        self.out.append(Dial(conn, ELECTION, sid, target, self.dial_timeout_ms))

    def on_dialled(self, conn: int) -> None:
        """Our dial of an election port succeeded."""
        sid = self.dials.pop(conn)
        peer = self.peers[sid]
        peer.dialing = None
        if self.keeps_dialled(sid):
            self.out.append(Send(conn, self.introduction))
            self.keep(sid, conn)
            return
        if peer.conn is not None:
            # The larger peer dialled us meanwhile: an introduction would make it replace a good connection.
            self.reached("dial-overtaken")
            self.out.append(HangUp(conn))
            return
        peer.not_before = self.now + DIAL_BACK_MS * MS
        self.out.append(Send(conn, self.introduction))
        self.out.append(HangUp(conn))

    def keeps_dialled(self, sid: int) -> bool:
        """The larger-sid rule, for the dialer (section 1.2)."""
        return sid < self.sid

    def keep(self, sid: int, conn: int) -> None:
        """`conn` is now the connection of `sid`; an older one is closed (section 1.3)."""
        peer = self.peers[sid]
        self.drop(peer)
        peer.conn = conn
        peer.unanswered_since = peer.not_before = 0
        self.sid_of[conn] = sid
        message = self.first_message(sid, peer)
        peer.queued = None
        if message is not None:
            self.send_to(sid, message)

    def drop(self, peer: Peer) -> None:
        if peer.conn is not None:
            del self.sid_of[peer.conn]
            self.out.append(HangUp(peer.conn))
            peer.conn = None

    # ---- being dialled ---------------------------------------------------------------------------------------------

    def on_accepted(self, conn: int, port: str) -> None:
        if len(self.pending) >= MAX_PENDING:
            oldest = next(iter(self.pending))
            del self.pending[oldest]
            self.out.append(HangUp(oldest))
            self.reached("too-many-unidentified")
        limit = self.sync_limit if port == ELECTION else self.init_limit
        self.pending[conn] = Pending(port, self.now + limit)
        self.look_at_pending_by(self.now + limit)

    def look_at_pending_by(self, deadline: int) -> None:
        """Sooner will do: the timer of one that has introduced itself meanwhile is left as it is."""
        self.set_timer("pending", min(self.timers.get("pending", deadline), deadline))

    def on_pending_timer(self) -> None:
        """Close what did not introduce itself in time (section 1.4), and learners that were held long enough."""
        for conn in [conn for conn, pending in self.pending.items() if pending.deadline <= self.now]:
            pending = self.pending.pop(conn)
            self.log(
                "WARN", "Closing connection %d on the %s port: it did not get to its business" % (conn, pending.port)
            )
            self.reached("handshake-timed-out")
            self.out.append(HangUp(conn))
        if self.pending:
            self.look_at_pending_by(min(pending.deadline for pending in self.pending.values()))

    def refuse(self, conn: int, why: str) -> None:
        """Close an accepted connection that is of no use."""
        self.pending.pop(conn, None)
        self.log("WARN", "Closing connection %d: %s" % (conn, why))
        self.out.append(HangUp(conn))

    def on_introduced(self, conn: int, message: InitialMessage) -> None:
        """The initial message of a server that dialled us (section 1.2, the acceptor's column)."""
        if conn not in self.pending or self.pending[conn].port != ELECTION:
            return
        sid = message.sid
        if sid == GENERIC_OBSERVER:
            self.generic_observers += 1
            sid = -self.generic_observers
        if sid == self.sid:
            self.refuse(conn, "it has our own server id %d" % sid)
            return
        peer = self.peers.get(sid)
        if peer is None:
            if len(self.peers) >= len(self.config.members) + MAX_STRANGERS:
                self.refuse(conn, "too many servers that are not in the configuration")
                return
            self.reached("stranger")
            peer = self.peers[sid] = Peer()
        del self.pending[conn]
        if self.keeps_accepted(sid):
            self.keep(sid, conn)
            return
        self.drop(peer)
        self.out.append(HangUp(conn))
        advertised = [address for address in message.addresses if not is_wildcard(address)]
        address = advertised[0] if advertised else self.addresses.get(sid)
        if address is None:
            self.log("WARN", "Cannot dial back server %d: it named no address" % sid)
            self.forget_stranger(sid)
            return
        if peer.dialing is not None:
            self.reached("dial-back-waits")
            peer.dial_back = address
            return
        peer.not_before = 0
        self.dial(sid, peer, address)

    def keeps_accepted(self, sid: int) -> bool:
        """The larger-sid rule, for the acceptor (section 1.2)."""
        return sid > self.sid

    # ---- losing connections ----------------------------------------------------------------------------------------

    def on_dial_failed(self, conn: int) -> None:
        sid = self.dials.pop(conn)
        peer = self.peers[sid]
        peer.dialing = None
        if peer.dial_back is not None:
            address, peer.dial_back = peer.dial_back, None
            self.dial(sid, peer, address)
        elif peer.conn is None:
            self.forget_stranger(sid)

    def on_peer_lost(self, conn: int) -> None:
        sid = self.sid_of.pop(conn)
        self.peers[sid].conn = None
        self.forget_stranger(sid)

    def forget_stranger(self, sid: int) -> None:
        peer = self.peers[sid]
        if sid not in self.addresses and peer.conn is None and peer.dialing is None:
            del self.peers[sid]

    # ---- looking after connections while LOOKING -------------------------------------------------------------------

    def look_after_connections(self) -> None:
        """Dial the voters that are not connected, and those whose connection looks dead."""
        self.set_timer("connections", self.now + min(LOOK_AFTER_MS * MS, LOOK_AFTER_TICKS * self.tick))
        for sid in sorted(self.voters):
            peer = self.peers.get(sid)
            if peer is None:
                continue
            if peer.conn is None:
                self.dial(sid, peer)
            elif self.is_silent(peer):
                self.reached("silent-connection")
                self.drop(peer)
                self.dial(sid, peer)

    def is_silent(self, peer: Peer) -> bool:
        return 0 < peer.unanswered_since <= self.now - min(SILENCE_MS * MS, SILENCE_TICKS * self.tick)
