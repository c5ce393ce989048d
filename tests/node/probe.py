"""One real server, and a script in place of everybody else: what conformance cases of protocol.md need.

probe = Probe(1)                                   # server 1 of three
probe.vote(2, LOOKING, leader=2, round=1)          # what server 2 tells it
probe.advance(200)                                 # ms; timers fall due
probe.server.role
"""

from __future__ import annotations

from typing import Any

from node.protocol.core import MS
from node.protocol.events import (
    Accepted,
    AppendTxns,
    Connected,
    Dial,
    Durable,
    Effect,
    Event,
    HangUp,
    Lost,
    Reached,
    Received,
    Report,
    Send,
    StoreEpoch,
    StoreSnapshot,
    TimerDue,
    TruncateLog,
)
from node.protocol.messages import ELECTION, LOOKING, QUORUM, InitialMessage, Notification, QuorumPacket, Txn
from node.protocol.server import Server
from node.wire import packets
from tests.node.contract import Ledger
from tests.node.world import configs

EMPTY = Durable(0, 0, 0, b"", ())


def z(epoch: int, counter: int) -> int:
    return (epoch << 32) | counter


def txn(zxid: int) -> Txn:
    record = packets.encode_create_txn(packets.CreateTxn(f"/{zxid:x}", b""))
    return Txn(zxid, 1, zxid & 0xFFFF, 0, packets.CREATE, record)


def durable(accepted: int, current: int, *zxids: int) -> Durable:
    return Durable(accepted, current, 0, b"", tuple(txn(zxid) for zxid in zxids))


class Probe:
    """`conns` maps a sid to its election connection; every effect ever emitted is in `effects`."""

    def __init__(
        self, sid: int, servers: int = 3, disk: Durable = EMPTY, cls: type[Server] = Server, **settings: Any
    ) -> None:
        self.config = configs(servers, **settings)[sid]
        self.server = cls(self.config, disk)
        self.now = 1_000_000 * MS
        self.effects: list[Effect] = []
        self.conns: dict[int, int] = {}
        self.accepts = 0
        self.ledger = Ledger()
        self.take(self.server.start(self.now))

    def take(self, effects: list[Effect]) -> list[Effect]:
        self.effects += effects
        self.ledger.check(self.server, effects)
        return effects

    @property
    def timers(self) -> dict[str, int]:
        return self.ledger.timers

    def replace(self, server: Server) -> None:
        """Put another server in this one's place, and start it."""
        self.config, self.server, self.ledger, self.effects, self.conns = server.config, server, Ledger(), [], {}
        self.take(server.start(self.now))

    def step(self, event: Event) -> list[Effect]:
        return self.take(self.server.step(self.now, event))

    def advance(self, ms: float) -> list[Effect]:
        """Let time pass; returns the effects of the timers that fell due."""
        end, seen = self.now + int(ms * MS), len(self.effects)
        while self.timers:
            name = min(self.timers, key=lambda name: self.timers[name])
            if self.timers[name] > end:
                break
            self.now = max(self.now, self.timers.pop(name))
            self.step(TimerDue(name))
        self.now = end
        return self.effects[seen:]

    def accept(self, port: str) -> int:
        self.accepts += 2
        self.step(Accepted(self.accepts, port))
        return self.accepts

    # ---- election port ------------------------------------------------------------------------------------------

    def connect(self, sid: int) -> list[Effect]:
        """Bring an election connection with `sid` up, as its sid demands; returns what the server says on it."""
        if sid > self.server.sid:
            conn = self.accept(ELECTION)
            effects = self.step(Received(conn, InitialMessage(-65536, sid, ((f"s{sid}", 3888),))))
        else:
            dials = [e for e in self.effects if isinstance(e, Dial) and e.port == ELECTION and e.sid == sid]
            conn = dials[-1].conn
            effects = self.step(Connected(conn))
        self.conns[sid] = conn
        return effects

    def vote(self, sid: int, state: int = LOOKING, leader: int = 0, zxid: int = 0, round: int = 1, epoch: int = 0,
             version: int = 2, config: str | None = None) -> list[Effect]:  # fmt: skip
        if sid not in self.conns:
            self.connect(sid)
        return self.step(Received(self.conns[sid], Notification(state, leader, zxid, round, epoch, version, config)))

    def told(self, sid: int, effects: list[Effect] | None = None) -> list[Notification]:
        """The notifications sent to `sid`."""
        among = self.effects if effects is None else effects
        return [
            e.message
            for e in among
            if isinstance(e, Send) and e.conn == self.conns.get(sid) and isinstance(e.message, Notification)
        ]

    # ---- quorum port --------------------------------------------------------------------------------------------

    def elect_self(self) -> None:
        """Everybody votes for this server."""
        vote = self.server.proposal
        for sid in sorted(self.server.voters - {self.server.sid}):
            self.vote(sid, LOOKING, vote.leader, vote.zxid, vote.round, vote.epoch)
        self.advance(200)

    def learner(self, sid: int, accepted: int = 0, kind: int = 11) -> int:
        """A learner dials and introduces itself; returns its connection."""
        conn = self.accept(QUORUM)
        info = packets.encode_learner_info(packets.LearnerInfo(sid, 0x10000, 0))
        self.packet(conn, kind, z(accepted, 0), info)
        return conn

    def ack_epoch(self, conn: int, epoch: int, zxid: int = 0) -> list[Effect]:
        return self.packet(conn, 18, zxid, packets.encode_int32(epoch))

    def follow(self, leader: int, round: int = 1, epoch: int = 0) -> int:
        """Elect `leader` and connect to it; returns the connection."""
        for sid in sorted(self.server.voters - {self.server.sid}):
            state = 2 if sid == leader else 1
            self.vote(sid, state, leader, self.server.database.last_zxid, round, epoch)
        dial = next(e for e in reversed(self.effects) if isinstance(e, Dial) and e.port == QUORUM)
        self.step(Connected(dial.conn))
        return dial.conn

    def packet(self, conn: int, kind: int, zxid: int = 0, data: bytes | None = None) -> list[Effect]:
        return self.step(Received(conn, QuorumPacket(kind, zxid, data)))

    def packets(self, conn: int, effects: list[Effect] | None = None) -> list[QuorumPacket]:
        """The packets sent on a quorum connection."""
        among = self.effects if effects is None else effects
        return [
            e.message for e in among if isinstance(e, Send) and e.conn == conn and isinstance(e.message, QuorumPacket)
        ]

    def lose(self, conn: int) -> list[Effect]:
        return self.step(Lost(conn, "closed by the peer"))

    def hung_up(self, conn: int) -> bool:
        return HangUp(conn) in self.effects

    def marks(self) -> set[str]:
        return {e.mark for e in self.effects if isinstance(e, Reached)}

    def reports(self) -> list[dict[str, Any]]:
        return [e.value for e in self.effects if isinstance(e, Report)]


def shape(effects: list[Effect]) -> list[Any]:
    """Effects that matter for the order of what is durable and what is said: packet types, and storage."""
    out: list[Any] = []
    for e in effects:
        if isinstance(e, Send) and isinstance(e.message, QuorumPacket):
            out.append(e.message.type)
        elif isinstance(e, (StoreEpoch, AppendTxns, TruncateLog, StoreSnapshot)):
            out.append(e)
    return out
