"""`Server`: one server of the ensemble, whole.  `start`, then `step` for each event; both return effects (`events.py`).

Example, a server that is alone in its ensemble and needs nobody:

    server = Server(config, Durable(0, 0, 0, b"", ()))
    server.start(now=0)                      ->  [Report(LOOKING), SetTimer("election", ...), SetTimer("finalize", ...)]
    server.step(now, TimerDue("finalize"))   ->  [Report(LEADING, discovery), StoreEpoch("acceptedEpoch", 1), ...]
"""

from __future__ import annotations

from typing import Dict, List, Optional, Tuple

from node.protocol.core import BROADCAST, MS, zxid_of
from node.protocol.events import Accepted, ClientRequest, Connected, Effect, Event, Lost, Received, TimerDue
from node.protocol.following import Learner
from node.protocol.leadership import SYNCED
from node.protocol.leading import Leader
from node.protocol.messages import (
    FOLLOWERINFO,
    LEADING,
    LOOKING,
    OBSERVERINFO,
    QUORUM,
    InitialMessage,
    Notification,
    QuorumPacket,
    SnapshotStream,
)
from node.protocol.votes import Vote
from node.wire import packets

HOLD_MS = 1000
"""Maximum time to hold a learner that came while we are LOOKING: as long as it would retry."""


class Server(Leader, Learner):
    """A server, its state in plain attributes.

    Besides `start`, `step` and `state`, an agent may read: `role`, `phase`, `round`, `vote`, `serving`,
    `accepted_epoch`, `current_epoch`, `database` (`nodes`, `last_zxid`, `committed_zxid`), `processed_zxid`, and of a
    leader `synced_followers`, `synced_observers`, `learners`, `outstanding`.  Clients may be served while `serving` is
    true.  When it becomes false, close their connections: requests in flight have an unknown outcome.
    """

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    __hash__ = None  # type: ignore[assignment]

    # ---- events ----------------------------------------------------------------------------------------------------

    def start(self, now: int) -> List[Effect]:
        """The server process has started; its disk is as `durable` said."""
        self.now = now
        self.out = []
        self.look_for_leader("started")
        return self.take_effects()

    def step(self, now: int, event: Event) -> List[Effect]:
        """One event, at `now` (ns on the server's monotonic clock, never less than before)."""
        self.now = now
        self.out = []
        kind = event.__class__
        if kind is Received:
            self.on_received(event.conn, event.message)  # type: ignore[union-attr]
        elif kind is TimerDue:
            self.on_timer(event.name)  # type: ignore[union-attr]
        elif isinstance(event, Connected):
            self.on_connected(event.conn)
        elif isinstance(event, Lost):
            self.on_lost(event.conn, event.reason)
        elif isinstance(event, Accepted):
            self.on_accepted(event.conn, event.port)
        elif isinstance(event, ClientRequest):
            self.on_request_of_client(event)
        return self.take_effects()

    def take_effects(self) -> List[Effect]:
        effects, self.out = self.out, []
        return effects

    def on_timer(self, name: str) -> None:
        due = self.timers.get(name)
        if due is None or due > self.now:
            return
        del self.timers[name]
        if name == "leader":
            self.on_leader_timer()
        elif name == "leader-silent":
            self.on_silence_timer()
        elif name == "leader-retry":
            self.on_retry_timer()
        elif name == "election":
            self.on_election_timer()
        elif name == "finalize":
            self.on_finalize_timer()
        elif name == "connections":
            self.look_after_connections()
        elif name == "pending":
            self.on_pending_timer()

    def on_received(self, conn: int, message: object) -> None:
        if message.__class__ is QuorumPacket:
            leading, learning = self.leading, self.learning
            if leading is not None and conn in leading.handlers:
                self.on_learner_packet(leading, conn, message)
            elif learning is not None and conn == learning.conn:
                self.on_leader_packet(learning, message)
            elif conn in self.pending:
                self.on_first_packet(conn, message)
        elif isinstance(message, Notification):
            sid = self.sid_of.get(conn)
            if sid is not None:
                self.on_notification(sid, message)
        elif isinstance(message, InitialMessage):
            self.on_introduced(conn, message)
        elif isinstance(message, SnapshotStream) and self.learning is not None and conn == self.learning.conn:
            self.on_snapshot(self.learning, message)

    def on_first_packet(self, conn: int, packet: QuorumPacket) -> None:
        """A learner comes.  While we are LOOKING it is held: it may have counted the votes sooner than we did."""
        pending = self.pending[conn]
        if pending.port != QUORUM or packet.type not in (FOLLOWERINFO, OBSERVERINFO) or pending.held is not None:
            self.refuse(conn, "its first packet is %s" % packet.type)
        elif self.leading is not None:
            self.on_learner(self.leading, conn, packet)
        elif self.role == LOOKING:
            self.reached("learner-held")
            pending.held = packet
            pending.deadline = self.now + HOLD_MS * MS
            self.look_at_pending_by(pending.deadline)
        else:
            self.refuse(conn, "we do not lead")

    def on_connected(self, conn: int) -> None:
        if conn in self.dials:
            self.on_dialled(conn)
        elif self.learning is not None and conn == self.learning.conn:
            self.on_leader_connected(self.learning)

    def on_lost(self, conn: int, reason: str) -> None:
        if conn in self.sid_of:
            self.on_peer_lost(conn)
        elif conn in self.dials:
            self.on_dial_failed(conn)
        elif self.pending.pop(conn, None) is not None:
            return
        elif self.leading is not None and conn in self.leading.handlers:
            self.on_learner_lost(self.leading, conn, reason)
        elif self.learning is not None and conn == self.learning.conn:
            self.on_leader_lost(self.learning, reason)

    def on_request_of_client(self, request: ClientRequest) -> None:
        if not self.serving:
            self.fail(request, packets.CONNECTION_LOSS)
        elif self.leading is not None:
            self.serve(self.leading, request)
        elif self.learning is not None:
            self.forward(self.learning, request)

    # ---- roles -----------------------------------------------------------------------------------------------------

    def start_role(self) -> None:
        if self.role == LEADING:
            self.lead()
            return
        for conn in [conn for conn, pending in self.pending.items() if pending.held is not None]:
            self.refuse(conn, "we follow server %d" % self.vote.leader)
        self.follow()

    # ---- what is said of this server -------------------------------------------------------------------------------

    def stated_vote(self) -> Vote:
        return self.proposal if self.role == LOOKING else self.vote

    def stated_epoch(self) -> Tuple[Optional[int], bool]:
        if self.leading is not None:
            epoch = self.leading.epoch if self.leading.proposed else None
            return epoch, self.phase != "discovery"
        return (self.learning.epoch if self.learning is not None else None), False

    @property
    def serving(self) -> bool:
        """Clients may read and write here: the server leads or follows, in broadcast."""
        return self.phase == BROADCAST

    @property
    def processed_zxid(self) -> int:
        """As ZooKeeper: a leader has processed its NEWLEADER, a follower nothing until the first commit."""
        own = zxid_of(self.current_epoch, 0) if self.role == LEADING else 0
        return max(self.database.committed_zxid, own)

    @property
    def learners(self) -> Dict[int, str]:
        """A leader's connected learners: sid to what is waited for from them ("synced" in service)."""
        return {} if self.leading is None else {h.sid: h.waits_for for h in self.leading.handlers.values()}

    @property
    def synced_followers(self) -> int:
        return self.count_synced(True)

    @property
    def synced_observers(self) -> int:
        return self.count_synced(False)

    def count_synced(self, followers: bool) -> int:
        if self.leading is None:
            return 0
        handlers = self.leading.handlers.values()
        return sum(h.follower == followers and h.waits_for == SYNCED for h in handlers)

    @property
    def outstanding(self) -> int:
        """Transactions proposed and not committed (0 at a learner)."""
        return 0 if self.leading is None else len(self.leading.outstanding)
