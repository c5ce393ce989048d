"""Following a leader: discovery, synchronisation, broadcast (Learner, Follower, Observer; protocol section 5).

The model, in the learner's packets to its leader, and what is on disk before each:

    connect
    FOLLOWERINFO(accepted epoch)             "these epochs I have promised"
    <- LEADERINFO(e)                         e > accepted epoch, or we leave
    ACKEPOCH(current epoch, last zxid)       acceptedEpoch = e is on disk: "nobody below e any more; this is my history"
    <- DIFF | TRUNC | SNAP, PROPOSAL, COMMIT, ... NEWLEADER(e)
    ACK(e<<32)                               the leader's history and currentEpoch = e are on disk, in this order
    <- UPTODATE
    ACK(zxid) of each PROPOSAL               the transaction is on disk

1.  Each epoch is acknowledged once: if LEADERINFO names the epoch that we have accepted already, the answer is -1,
    which counts for nobody, and the synchronisation goes on.
2.  What the leader sends before NEWLEADER is held in memory, and nothing on disk changes until NEWLEADER; then all of
    it changes at once.  A connection lost half-way leaves the history as it was (compare ZOOKEEPER-3642, 5094).
3.  Of the log, only what contradicts the leader's history is rewritten: what was acknowledged once is never off the
    disk, not even between two writes.
4.  Nothing is applied to the tree before UPTODATE.
5.  A silent leader is left: after initLimit ticks until NEWLEADER, after syncLimit ticks from then on.  A leader whose
    connection is lost is left at once.  Then the server is LOOKING again.

Observers do the same with OBSERVERINFO, and get INFORM where followers get PROPOSAL and COMMIT.

Example, a follower that accepted epoch 4 and hears of epoch 5:

    LEADERINFO(5)  ->  [StoreEpoch("acceptedEpoch", 5), Report, Send(ACKEPOCH(4, last zxid))]
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, List, Optional

from node.config import Config
from node.protocol.core import BROADCAST, MAX_EPOCH, MS, SYNCHRONIZATION, epoch_of, is_epoch_start, zxid_of
from node.protocol.events import (
    ClientRequest,
    Dial,
    Durable,
    HangUp,
    Send,
)
from node.protocol.messages import (
    ACK,
    ACKEPOCH,
    COMMIT,
    DIFF,
    FOLLOWERINFO,
    INFORM,
    LEADERINFO,
    NEWLEADER,
    OBSERVERINFO,
    OBSERVING,
    PACKET_NAMES,
    PING,
    PROPOSAL,
    QUORUM,
    REQUEST,
    SNAP,
    SYNC,
    TRUNC,
    UPTODATE,
    QuorumPacket,
    SnapshotStream,
    Txn,
)
from node.protocol.transactions import Transactions, Waiting
from node.wire import packets
from node.wire.jute import WireError

RETRY_FIRST_MS, RETRY_LONGEST_MS = 5, 100
CONNECT_BUDGET_MS = 1000
"""Maximum time to reach the leader (or a tick, if that is longer).  A server that refuses us is not leading yet, and
will be within finalizeWait.  One that does not answer is cut off, and the others had better elect soon."""
MAX_WAITING_REQUESTS = 1000


@dataclass
class Learning:
    """What a learner knows of its leader while it follows.  `phase_epoch` is None until LEADERINFO.  Times in ns."""

    leader: int
    give_up_at: int
    conn: Optional[int] = None
    connected: bool = False
    retry_ms: int = RETRY_FIRST_MS
    heard_at: int = 0
    read_limit: int = 0
    epoch: Optional[int] = None
    sync: str = ""
    """DIFF, TRUNC or SNAP, once it came; `sync_zxid` with it: the leader's history agrees with ours up to there."""
    sync_zxid: int = 0
    stream: Optional[bytes] = None
    nodes: Dict[str, bytes] = field(default_factory=dict)
    proposals: List[Txn] = field(default_factory=list)
    """Received and not logged yet."""
    unacked: List[int] = field(default_factory=list)
    """Logged at NEWLEADER and not known to be committed: acknowledged after UPTODATE."""
    synced: bool = False
    commit_to: int = 0
    """The highest zxid known to be committed."""
    waiting: List[Waiting] = field(default_factory=list)
    """Client requests that were forwarded: (session, cxid, type), in order."""
    sessions: Dict[int, int] = field(default_factory=dict)
    """Sessions of our clients, and their timeouts in ms: a real leader ends what no PING reply names."""


class LeaderMisbehaved(Exception):
    """A packet that cannot come here."""


class Learner(Transactions):
    def __init__(self, config: Config, durable: Durable) -> None:
        super().__init__(config, durable)
        self.learning: Optional[Learning] = None

    # ---- connecting (section 5.2) ----------------------------------------------------------------------------------

    def follow(self) -> None:
        leader = self.vote.leader
        if self.config.member(leader) is None:
            self.log("WARN", "Couldn't find the leader with id = %d" % leader)
            self.look_for_leader("the elected leader %d is not in the configuration" % leader)
            return
        budget = min(self.init_limit, max(CONNECT_BUDGET_MS * MS, self.tick))
        self.learning = Learning(leader, self.now + budget)
        self.dial_leader(self.learning)

    def dial_leader(self, learning: Learning) -> None:
        member = self.config.member(learning.leader)
        assert member is not None
        timeout_ms = max(1, (learning.give_up_at - self.now) // MS)
        learning.conn = self.new_conn()
        self.out.append(Dial(learning.conn, QUORUM, member.sid, member.quorum_address, timeout_ms))

    def on_leader_connected(self, learning: Learning) -> None:
        assert learning.conn is not None
        learning.connected = True
        learning.heard_at = self.now
        learning.read_limit = self.init_limit
        self.set_timer("leader-silent", self.now + learning.read_limit)
        info = packets.LearnerInfo(self.sid, packets.PROTOCOL_VERSION, 0)
        kind = OBSERVERINFO if self.role == OBSERVING else FOLLOWERINFO
        self.tell_leader(kind, zxid_of(self.accepted_epoch, 0), packets.encode_learner_info(info))

    def on_leader_lost(self, learning: Learning, reason: str) -> None:
        if learning.connected:
            learning.conn = None
            self.stop_following("lost the leader: %s" % reason)
            return
        pause = learning.retry_ms * MS
        if self.now + pause >= learning.give_up_at:
            learning.conn = None
            self.stop_following("cannot reach server %d: %s" % (learning.leader, reason))
            return
        self.reached("leader-dial-retried")
        learning.retry_ms = min(2 * learning.retry_ms, RETRY_LONGEST_MS)
        learning.conn = None
        self.set_timer("leader-retry", self.now + pause)

    def on_retry_timer(self) -> None:
        if self.learning is not None and self.learning.conn is None:
            self.dial_leader(self.learning)

    def on_silence_timer(self) -> None:
        """The read time-out (section 5.8): looked at when it could be over, not set anew with each packet."""
        learning = self.learning
        if learning is None or not learning.connected:
            return
        due = learning.heard_at + learning.read_limit
        if due > self.now:
            self.set_timer("leader-silent", due)
            return
        self.reached("leader-silent")
        self.stop_following("no packet from the leader for %d ms" % (learning.read_limit // MS))

    def stop_following(self, reason: str) -> None:
        learning = self.learning
        assert learning is not None
        if learning.conn is not None:
            self.out.append(HangUp(learning.conn))
        self.learning = None
        for timer in ("leader-silent", "leader-retry"):
            self.set_timer(timer, None)
        self.look_for_leader(reason)

    def tell_leader(self, kind: int, zxid: int, data: Optional[bytes] = None) -> None:
        assert self.learning is not None
        assert self.learning.conn is not None
        self.out.append(Send(self.learning.conn, QuorumPacket(kind, zxid, data)))

    # ---- packets ---------------------------------------------------------------------------------------------------

    def on_leader_packet(self, learning: Learning, packet: QuorumPacket) -> None:
        learning.heard_at = self.now
        kind = packet.type
        if kind == PING:
            # Null data would kill the handler of a real leader (section 5.8).
            self.tell_leader(PING, packet.zxid, packets.encode_ping_sessions(learning.sessions))
            return
        try:
            if self.phase == BROADCAST:
                self.on_broadcast_packet(learning, packet)
            elif self.phase == SYNCHRONIZATION:
                self.on_sync_packet(learning, packet)
            elif kind == LEADERINFO:
                self.on_leader_info(learning, epoch_of(packet.zxid))
            else:
                raise LeaderMisbehaved("%s where LEADERINFO belongs" % PACKET_NAMES.get(kind, kind))
        except (LeaderMisbehaved, WireError) as error:
            self.log("ERROR", "Leaving leader %d: %s" % (learning.leader, error))
            self.reached("leader-misbehaved")
            self.stop_following("the leader sent what it cannot send: %s" % error)

    # ---- discovery (section 5.3) -----------------------------------------------------------------------------------

    def on_leader_info(self, learning: Learning, epoch: int) -> None:
        if epoch > MAX_EPOCH:
            raise LeaderMisbehaved("LEADERINFO of epoch %d, above the last one, %d" % (epoch, MAX_EPOCH))
        if not self.may_promise(epoch):
            self.reached("leader-epoch-too-low")
            self.stop_following("Leaders epoch, %d is less than accepted epoch, %d" % (epoch, self.accepted_epoch))
            return
        answer = self.promise_epoch(epoch)
        learning.epoch = epoch
        self.phase = SYNCHRONIZATION
        self.report("accepted epoch %d of server %d" % (epoch, learning.leader))
        self.tell_leader(ACKEPOCH, self.database.last_zxid, packets.encode_int32(answer))

    def may_promise(self, epoch: int) -> bool:
        """Nothing below what was promised once."""
        return epoch >= self.accepted_epoch

    def promise_epoch(self, epoch: int) -> int:
        """On disk before it is answered; what is answered: our current epoch, or -1 if the promise was given before."""
        if epoch == self.accepted_epoch:
            self.reached("epoch-answered-minus-one")
            return -1
        self.store_accepted_epoch(epoch)
        return self.current_epoch

    # ---- synchronisation (section 5.6) -----------------------------------------------------------------------------

    def on_sync_packet(self, learning: Learning, packet: QuorumPacket) -> None:
        kind = packet.type
        if not learning.sync:
            if kind not in (DIFF, TRUNC, SNAP):
                raise LeaderMisbehaved("%s where DIFF, TRUNC or SNAP belongs" % PACKET_NAMES.get(kind, kind))
            self.expect_epoch_of(packet.zxid)
            learning.sync = PACKET_NAMES[kind]
            learning.sync_zxid = self.sync_point(kind, packet.zxid)
            learning.commit_to = learning.sync_zxid
        elif learning.sync == "SNAP" and learning.stream is None:
            raise LeaderMisbehaved("%s where a snapshot belongs" % PACKET_NAMES.get(kind, kind))
        elif kind in (PROPOSAL, INFORM):
            txn = packets.decode_txn(packet.data)
            self.expect_epoch_of(txn.zxid)
            before = learning.proposals[-1].zxid if learning.proposals else learning.sync_zxid
            if not learning.synced and txn.zxid <= before:
                raise LeaderMisbehaved("transaction 0x%x after 0x%x" % (txn.zxid, before))
            learning.proposals.append(txn)
            if kind == INFORM:
                learning.commit_to = max(learning.commit_to, txn.zxid)
        elif kind == COMMIT:
            learning.commit_to = max(learning.commit_to, packet.zxid)
        elif kind == NEWLEADER and not learning.synced:
            if epoch_of(packet.zxid) != learning.epoch:
                raise LeaderMisbehaved("NEWLEADER of epoch %d, not %s" % (epoch_of(packet.zxid), learning.epoch))
            self.on_new_leader(learning, packet.zxid)
        elif kind == UPTODATE and learning.synced:
            self.on_up_to_date(learning)
        else:
            raise LeaderMisbehaved("%s in the synchronisation" % PACKET_NAMES.get(kind, kind))

    def expect_epoch_of(self, zxid: int) -> None:
        """No transaction is of an epoch that there is not; a bug may make it later than its leader's."""
        if not 0 <= epoch_of(zxid) <= MAX_EPOCH:
            raise LeaderMisbehaved("zxid 0x%x is of no epoch" % zxid)

    def sync_point(self, kind: int, zxid: int) -> int:
        """Up to where the leader's history is ours, before what it will send now."""
        if kind == SNAP:
            return zxid
        last = self.database.last_zxid
        if kind == DIFF:
            # The zxid of a DIFF is the leader's last; what it sends comes after what we said was our last.
            return last
        if zxid == last:
            return last
        start = self.database.snapshot_zxid
        if zxid < start and is_epoch_start(start):
            # A ZooKeeper leader names its snapshot by the start of its epoch, which is no transaction.  Whoever leads
            # later holds what that leader began with, and nothing between it and that start.
            self.reached("truncation-to-the-start-of-an-epoch")
            return start
        point = self.database.floor(zxid)
        if point is None or zxid > last or (point != zxid and not is_epoch_start(zxid)):
            # To go on from a point that we do not have would leave a hole in our history.
            raise LeaderMisbehaved("TRUNC to 0x%x, which our history does not hold" % zxid)
        self.reached("truncation")
        return point

    def on_snapshot(self, learning: Learning, snapshot: SnapshotStream) -> None:
        learning.heard_at = self.now
        if learning.sync != "SNAP" or learning.stream is not None:
            self.stop_following("a snapshot without SNAP")
            return
        try:
            learning.nodes = packets.decode_snapshot(snapshot.stream)
        except WireError as error:
            self.stop_following("the leader's snapshot: %s" % error)
            return
        self.reached("snapshot-sync")
        learning.stream = snapshot.stream

    def on_new_leader(self, learning: Learning, zxid: int) -> None:
        """Make the leader's history and epoch durable, then acknowledge (ZOOKEEPER-1282, 3911, 4785)."""
        self.adopt_history(learning)
        if epoch_of(zxid) != self.current_epoch:
            self.store_current_epoch(epoch_of(zxid))
        learning.synced = True
        learning.read_limit = self.sync_limit
        self.set_timer("leader-silent", self.now + learning.read_limit)
        self.report("synchronised with server %d by %s" % (learning.leader, learning.sync))
        self.tell_leader(ACK, zxid)

    def adopt_history(self, learning: Learning) -> None:
        sent = learning.proposals
        if learning.stream is not None:
            self.replace(learning.sync_zxid, learning.stream, learning.nodes, tuple(sent))
            learning.stream = b""
        else:
            ours = self.database.after(learning.sync_zxid)
            same = 0
            while same < len(sent) and same < len(ours) and sent[same] == ours[same]:
                same += 1
            if same < len(ours):
                self.reached("history-differs")
                point = ours[same - 1].zxid if same else learning.sync_zxid
                self.cut_back(point)
            self.append(tuple(sent[same:]))
        learning.unacked = [txn.zxid for txn in sent if txn.zxid > learning.commit_to]
        learning.proposals = []

    def on_up_to_date(self, learning: Learning) -> None:
        assert learning.epoch is not None
        self.phase = BROADCAST
        self.update_election_vote(learning.epoch)
        self.report("serving in epoch %d of server %d" % (learning.epoch, learning.leader))
        self.tell_leader(ACK, zxid_of(learning.epoch, 0))
        for zxid in learning.unacked:
            self.tell_leader(ACK, zxid)
        learning.unacked = []
        for txn in learning.proposals:
            self.on_proposal(txn)
        learning.proposals = []
        self.commit(learning, learning.commit_to)

    # ---- broadcast (section 5.7) -----------------------------------------------------------------------------------

    def on_broadcast_packet(self, learning: Learning, packet: QuorumPacket) -> None:
        kind = packet.type
        if kind == PROPOSAL:
            txn = packets.decode_txn(packet.data)
            self.expect_epoch_of(txn.zxid)
            self.on_proposal(txn)
        elif kind == COMMIT:
            self.on_commit(learning, packet.zxid)
        elif kind == INFORM:
            txn = packets.decode_txn(packet.data)
            self.expect_epoch_of(txn.zxid)
            if txn.zxid > self.database.last_zxid:
                self.append((txn,))
            self.commit(learning, txn.zxid)
        elif kind == SYNC:
            self.on_synced(learning)
        elif kind != UPTODATE:
            self.log("WARN", "Unexpected packet from the leader: %s" % PACKET_NAMES.get(kind, kind))

    def on_proposal(self, txn: Txn) -> None:
        if txn.zxid <= self.database.last_zxid:
            self.reached("proposal-again")
            if self.database.has(txn.zxid):
                self.acknowledge(txn.zxid)
                return
            raise LeaderMisbehaved("transaction 0x%x after 0x%x" % (txn.zxid, self.database.last_zxid))
        self.append((txn,))
        self.acknowledge(txn.zxid)

    def acknowledge(self, zxid: int) -> None:
        if self.role != OBSERVING:
            self.tell_leader(ACK, zxid)

    def on_commit(self, learning: Learning, zxid: int) -> None:
        if zxid > self.database.last_zxid:
            # ZooKeeper ends its process here (exit 12); the history is whole, so a new synchronisation will do.
            raise LeaderMisbehaved("COMMIT of 0x%x, which was never proposed to us" % zxid)
        self.commit(learning, zxid)

    def commit(self, learning: Learning, zxid: int) -> None:
        """Apply up to `zxid`, and answer our clients."""
        learning.commit_to = max(learning.commit_to, zxid)
        self.apply(learning.commit_to, learning.waiting)
        self.compact()

    # ---- our clients -----------------------------------------------------------------------------------------------

    def forward(self, learning: Learning, request: ClientRequest) -> None:
        """Hand a client's request to the leader; the transaction that comes back answers it."""
        if len(learning.waiting) >= MAX_WAITING_REQUESTS:
            self.fail(request, packets.CONNECTION_LOSS)
            return
        if request.type == packets.CREATE_SESSION:
            learning.sessions[request.session] = packets.decode_int32(request.payload)
        elif request.type == packets.CLOSE_SESSION:
            learning.sessions.pop(request.session, None)
        learning.waiting.append((request.session, request.cxid, request.type))
        data = packets.encode_request(request.session, request.cxid, request.type, request.payload)
        self.tell_leader(REQUEST, -1, data)

    def on_synced(self, learning: Learning) -> None:
        """SYNC answers the oldest sync that we forwarded: everything committed before it has reached us."""
        for at, (session, cxid, kind) in enumerate(learning.waiting):
            if kind == packets.SYNC_OP:
                del learning.waiting[at]
                self.answer_sync(session, cxid)
                return
