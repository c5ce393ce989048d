"""From an election that was won to an established leader: the new epoch and the promises for it (protocol section 5.3).

The model.  A server that won an election is a *prospective* leader: another one may have won it too.

1.  Learners report which epoch they have accepted.  When they and we ourselves are a quorum, the new epoch is one above
    all of theirs and ours.  It is on our disk before anybody is told.
2.  They promise it, and report how good their history is (current epoch, last zxid).  A learner whose history is better
    than ours is sent away.
3.  When those who promised, and we, are a quorum, we are the *established* leader of the epoch.  Any other server that
    tries for it needs one that has promised already, and each server promises an epoch once.
4.  An accepted epoch counts up to `MAX_EPOCH_JUMP` above ours.  No ensemble tries more epochs in vain and then elects
    us; a greater one is refused, and nobody steps down for it.  ZooKeeper believes any number, and one packet can lead
    it to an epoch in which no server can follow.
5.  A voter counts once, whatever connections it has, and only members of the quorum count.
6.  Each wait for a quorum ends after initLimit.  Then, or when the quorum cannot come about any more, we give up.

Example, servers 1 and 3 of three, 3 elected, both at epoch 4:

    FOLLOWERINFO(4)  ->  [StoreEpoch("acceptedEpoch", 5), Report, Send(LEADERINFO(5))]
    ACKEPOCH(4, z)   ->  [StoreEpoch("currentEpoch", 5), Report(established), ...]
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, List, Optional, Set, Tuple

from node.config import Config
from node.protocol.core import BROADCAST, DISCOVERY, MAX_EPOCH, MS, SYNCHRONIZATION, epoch_of, zxid_of
from node.protocol.events import Durable, HangUp, Send
from node.protocol.messages import ACKEPOCH, FOLLOWERINFO, LEADERINFO, LEADING, PACKET_NAMES, QuorumPacket, Txn
from node.protocol.transactions import Transactions
from node.wire import packets
from node.wire.jute import WireError

DISLOYAL_MS = 500
"""A voter that is still LOOKING after this time (or a tick, if that is longer) does not follow us any more."""
MAX_LEARNERS = 256
"""Above this many learners, refuse servers that are not in the configuration."""
MAX_EPOCH_JUMP = 1 << 16

# What we wait for from a learner.
ACKEPOCH_DUE, QUORUM_DUE, NEWLEADER_ACK_DUE, SYNCED = "ACKEPOCH", "quorum of ACKEPOCH", "ACK of NEWLEADER", "synced"


@dataclass
class LearnerHandler:
    """One learner's connection (LearnerHandler).  `waits_for` is the packet that must come next."""

    sid: int
    follower: bool
    """It came with FOLLOWERINFO: it gets PROPOSAL and COMMIT.  Otherwise INFORM."""
    heard_at: int
    waits_for: str = ACKEPOCH_DUE
    zxid: int = 0
    """Its last zxid, from its ACKEPOCH."""
    forwarding: bool = False
    up_to_date: bool = False
    held: List[QuorumPacket] = field(default_factory=list)
    """COMMITs and INFORMs that wait for its UPTODATE (trap 8)."""
    unacked: Dict[int, int] = field(default_factory=dict)
    """Proposals that it has not acknowledged: zxid to the time when they were sent."""


@dataclass
class Outstanding:
    txn: Txn
    acks: Set[int]


@dataclass
class Leading:
    """One attempt to lead.  `epoch` is -1 until a quorum was heard of.  Times in ns."""

    started_at: int
    deadline: int
    own: Tuple[int, int]
    """Our current epoch and last zxid when we were elected."""
    epoch: int = -1
    proposed: bool = False
    """The epoch is fixed."""
    electors: Set[int] = field(default_factory=set)
    epoch_acks: Dict[int, Tuple[int, int]] = field(default_factory=dict)
    minus_one: Set[int] = field(default_factory=set)
    """Voters that had accepted this epoch before, and cannot promise it again."""
    newleader_acks: Set[int] = field(default_factory=set)
    looking: Set[int] = field(default_factory=set)
    """Voters that were LOOKING long after they elected us."""
    handlers: Dict[int, LearnerHandler] = field(default_factory=dict)
    half_ticks: int = 0
    last_proposed: int = 0
    committed: int = 0
    outstanding: Dict[int, Outstanding] = field(default_factory=dict)
    """In zxid order."""
    syncs: List[Tuple[int, int, int, int]] = field(default_factory=list)
    """sync requests: (zxid to be committed first, connection or 0 for our own client, session, cxid)."""
    waiting: List[Tuple[int, int, int]] = field(default_factory=list)
    """Requests of our own clients: (session, cxid, type)."""
    created: Set[str] = field(default_factory=set)
    """Paths whose creation is outstanding."""


class ProspectiveLeader(Transactions):
    def __init__(self, config: Config, durable: Durable) -> None:
        super().__init__(config, durable)
        self.leading: Optional[Leading] = None
        self.highest_accepted = 0
        """An epoch that a member had accepted when it could not follow us: the next one of ours is above it."""

    # ---- what the layers above do --------------------------------------------------------------------------------

    def synchronize(self, leading: Leading, conn: int, handler: LearnerHandler) -> None:
        """Send what makes the learner's history ours."""
        raise NotImplementedError

    def begin_service(self, leading: Leading) -> None:
        """A quorum holds our history."""
        raise NotImplementedError

    # ---- learners ----------------------------------------------------------------------------------------------

    def on_learner_lost(self, leading: Leading, conn: int, reason: str) -> None:
        handler = leading.handlers.pop(conn)
        self.log("WARN", "GOODBYE server %d: %s" % (handler.sid, reason))

    def close(self, leading: Leading, conn: int, reason: str) -> None:
        if conn not in leading.handlers:
            return
        self.out.append(HangUp(conn))
        self.on_learner_lost(leading, conn, reason)

    def send(self, conn: int, kind: int, zxid: int, data: Optional[bytes] = None) -> None:
        self.out.append(Send(conn, QuorumPacket(kind, zxid, data)))

    # ---- discovery: the epoch (section 5.3) ------------------------------------------------------------------------

    def lead(self) -> None:
        own = (self.current_epoch, self.database.last_zxid)
        leading = self.leading = Leading(self.now, self.now + self.init_limit, own)
        self.set_timer("leader", self.now + self.tick // 2)
        self.hear_accepted_epoch(leading, self.sid, max(self.accepted_epoch, self.highest_accepted))
        for conn, pending in list(self.pending.items()):
            if pending.held is not None and self.leading is leading:
                self.on_learner(leading, conn, pending.held)

    def on_learner(self, leading: Leading, conn: int, packet: QuorumPacket) -> None:
        """FOLLOWERINFO or OBSERVERINFO, the first packet on an accepted quorum connection."""
        try:
            info = packets.decode_learner_info(packet.data)
        except WireError as error:
            self.refuse(conn, str(error))
            return
        accepted = epoch_of(packet.zxid)
        if info.protocol_version < packets.PROTOCOL_VERSION:
            self.refuse(conn, "protocol version 0x%x of server %d is before 3.4" % (info.protocol_version, info.sid))
        elif info.sid == self.sid:
            self.refuse(conn, "a learner has our own server id %d" % info.sid)
        elif info.config_version > 0:
            self.refuse(conn, "Follower is ahead of the leader (has a later activated configuration)")
        elif self.config.member(info.sid) is None and len(leading.handlers) >= MAX_LEARNERS:
            self.refuse(conn, "too many learners that are not in the configuration")
        elif not -1 <= accepted < MAX_EPOCH:
            self.refuse(conn, "accepted epoch %d of server %d leaves no room for another" % (accepted, info.sid))
        elif accepted > max(self.accepted_epoch, self.highest_accepted) + MAX_EPOCH_JUMP:
            self.reached("epoch-jump-refused")
            self.refuse(
                conn,
                "accepted epoch %d of server %d is more than %d above ours, %d"
                % (accepted, info.sid, MAX_EPOCH_JUMP, self.accepted_epoch),
            )
        else:
            del self.pending[conn]
            self.handle(leading, conn, LearnerHandler(info.sid, packet.type == FOLLOWERINFO, self.now), accepted)

    def handle(self, leading: Leading, conn: int, handler: LearnerHandler, accepted: int) -> None:
        for older in [c for c, h in leading.handlers.items() if h.sid == handler.sid]:
            self.reached("learner-came-again")
            self.close(leading, older, "server %d came again" % handler.sid)
        leading.handlers[conn] = handler
        leading.looking.discard(handler.sid)
        if not leading.proposed:
            self.hear_accepted_epoch(leading, handler.sid, accepted)
        elif self.is_shut_out(leading, handler.sid, accepted):
            self.reached("epoch-too-low-for-a-member")
            self.highest_accepted = accepted
            self.stop_leading(
                "server %d has accepted epoch %d, and cannot follow us in epoch %d"
                % (handler.sid, accepted, leading.epoch)
            )
        else:
            self.send_leader_info(leading, conn)

    def is_shut_out(self, leading: Leading, sid: int, accepted: int) -> bool:
        """Has a member accepted an epoch above ours, of an attempt to lead that came to nothing?

        It would refuse our epoch for as long as we lead.  ZooKeeper leaves it out in the cold; we elect again, once,
        and the next epoch is above all that anybody has accepted.
        """
        return accepted > leading.epoch and self.config.member(sid) is not None

    def hear_accepted_epoch(self, leading: Leading, sid: int, accepted: int) -> None:
        """getEpochToPropose: one above whatever anybody has accepted; fixed when a quorum, and we, have told."""
        if self.config.member(sid) is not None and accepted >= leading.epoch:
            leading.epoch = self.epoch_above(accepted)
        if sid in self.voters:
            leading.electors.add(sid)
        if self.is_complete(leading.electors):
            self.propose_epoch(leading)

    def epoch_above(self, accepted: int) -> int:
        """Above, not equal (ZOOKEEPER-1343)."""
        return accepted + 1

    def is_complete(self, sids: Set[int]) -> bool:
        """Both waits of discovery need a quorum with ourselves in it (ZOOKEEPER-1270)."""
        return self.sid in sids and self.is_quorum(sids)

    def propose_epoch(self, leading: Leading) -> None:
        """On our disk before anybody is told (ZOOKEEPER-1291)."""
        if leading.epoch > MAX_EPOCH:
            self.stop_leading("epoch %d would be above the last one, %d" % (leading.epoch, MAX_EPOCH))
            return
        leading.proposed = True
        leading.deadline = self.now + self.init_limit
        self.store_accepted_epoch(leading.epoch)
        self.report("a quorum told its accepted epochs; proposing %d" % leading.epoch)
        for conn in leading.handlers:
            self.send_leader_info(leading, conn)
        self.hear_epoch_ack(leading, self.sid, *leading.own)

    def send_leader_info(self, leading: Leading, conn: int) -> None:
        data = packets.encode_int32(packets.PROTOCOL_VERSION)
        self.out.append(Send(conn, QuorumPacket(LEADERINFO, zxid_of(leading.epoch, 0), data)))

    # ---- discovery: the promises -----------------------------------------------------------------------------------

    def on_ack_epoch(self, leading: Leading, conn: int, handler: LearnerHandler, packet: QuorumPacket) -> None:
        if packet.type != ACKEPOCH:
            self.close(leading, conn, "%s is not ACKEPOCH" % PACKET_NAMES.get(packet.type, packet.type))
            return
        epoch = packets.decode_int32(packet.data)
        established = self.phase != DISCOVERY
        if not established and epoch != -1 and self.is_ahead(leading, epoch, packet.zxid):
            self.reached("follower-ahead")
            self.close(leading, conn, "Follower is ahead of the leader, leader summary: %d, 0x%x" % leading.own)
            return
        handler.zxid = packet.zxid
        handler.waits_for = QUORUM_DUE
        if established:
            self.synchronize(leading, conn, handler)
        elif epoch == -1:
            self.on_minus_one(leading, handler)
        else:
            self.hear_epoch_ack(leading, handler.sid, epoch, packet.zxid)

    def is_ahead(self, leading: Leading, epoch: int, zxid: int) -> bool:
        """Is a learner's history better than ours (StateSummary.isMoreRecentThan)?"""
        return (epoch, zxid) > leading.own

    def on_minus_one(self, leading: Leading, handler: LearnerHandler) -> None:
        """It promised this epoch on a connection that was lost, and must not promise it twice.

        ZooKeeper waits for others until initLimit ends.  If those who are here would be a quorum but for such servers,
        we give up at once: everybody will promise the next epoch.
        """
        if handler.sid not in self.voters:
            return
        leading.minus_one.add(handler.sid)
        here = {self.sid} | {h.sid for h in leading.handlers.values()}
        if self.is_quorum(here) and not self.is_quorum(here - leading.minus_one):
            self.reached("epoch-burnt")
            self.stop_leading("epoch %d was promised before, by servers that we need" % leading.epoch)

    def hear_epoch_ack(self, leading: Leading, sid: int, epoch: int, zxid: int) -> None:
        """waitForEpochAck."""
        if sid in self.voters and zxid != -1:
            leading.epoch_acks[sid] = (epoch, zxid)
        if self.is_complete(set(leading.epoch_acks)):
            self.establish(leading)

    def establish(self, leading: Leading) -> None:
        self.store_current_epoch(leading.epoch)
        self.phase = SYNCHRONIZATION
        leading.deadline = self.now + self.init_limit
        leading.newleader_acks.add(self.sid)
        leading.committed = self.database.last_zxid
        leading.last_proposed = max(leading.committed, zxid_of(leading.epoch, 0))
        evidence = {
            "votes": sorted(leading.epoch_acks),
            "epoch_acks": {str(sid): list(ack) for sid, ack in sorted(leading.epoch_acks.items())},
            "own": list(leading.own),
            "electors": sorted(leading.electors),
        }
        self.report("a quorum promised epoch %d" % leading.epoch, evidence)
        for conn, handler in leading.handlers.items():
            if handler.waits_for == QUORUM_DUE:
                self.synchronize(leading, conn, handler)
        if self.is_quorum(leading.newleader_acks):
            self.begin_service(leading)

    def on_looking_while_leading(self, sid: int) -> None:
        """A voter that is LOOKING long after it elected us will not follow (ZOOKEEPER-3109).

        If there is no quorum without such voters, we elect again rather than wait for them until initLimit ends.
        """
        leading = self.leading
        if leading is None or self.phase == BROADCAST:
            return
        if self.now - leading.started_at < max(DISLOYAL_MS * MS, self.tick):
            return
        if any(handler.sid == sid for handler in leading.handlers.values()):
            return
        leading.looking.add(sid)
        if not self.is_quorum(self.voters - leading.looking):
            self.reached("disloyal-voters")
            self.stop_leading("Quit leading due to voter changed mind.", {"looking": sorted(leading.looking)})

    # ---- the end ---------------------------------------------------------------------------------------------------

    def stop_leading(self, reason: str, evidence: Optional[Dict[str, List[int]]] = None) -> None:
        """Close all learners' connections, so that they look for a leader at once, and do so ourselves."""
        leading = self.leading
        if leading is None or self.role != LEADING:
            return
        for conn in leading.handlers:
            self.out.append(HangUp(conn))
        leading.handlers = {}
        self.leading = None
        self.set_timer("leader", None)
        self.look_for_leader(reason, evidence)
