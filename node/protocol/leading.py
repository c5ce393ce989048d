"""An established leader: it makes its learners' histories its own, serves, and knows when it must stop.

The model (protocol sections 5.5 and 5.8; `leadership.py` is what comes before, `broadcast.py` what happens meanwhile):

1.  *Synchronisation.*  Each learner gets what its history lacks, loses what it has too much, and then gets NEWLEADER.
2.  When a quorum has acknowledged NEWLEADER, our history is committed, all of it, and service begins.
3.  Twice a tick we send a PING to each learner, and close those that have been silent for too long.
4.  Once a tick we count the voters that we heard from lately.  Without a quorum we stop leading, and everybody looks
    for a leader: another one may have been elected already.

Example, servers 1 and 3 of three, 3 established in epoch 5, and 1 with the same history:

    (established)  ->  [Send(DIFF), Send(NEWLEADER(5))]
    ACK(5<<32)     ->  [Report(broadcast), Send(UPTODATE)]
"""

from __future__ import annotations

from typing import Set, Tuple

from node.protocol.broadcast import LAST_COUNTER, Broadcast
from node.protocol.core import BROADCAST, MS, SYNCHRONIZATION, epoch_of, is_epoch_start, zxid_of
from node.protocol.events import Send
from node.protocol.leadership import ACKEPOCH_DUE, NEWLEADER_ACK_DUE, QUORUM_DUE, SYNCED, Leading, LearnerHandler
from node.protocol.messages import (
    ACK,
    COMMIT,
    DIFF,
    NEWLEADER,
    PACKET_NAMES,
    PING,
    PROPOSAL,
    REQUEST,
    REVALIDATE,
    SNAP,
    TRUNC,
    UPTODATE,
    QuorumPacket,
    SnapshotStream,
)
from node.wire import packets
from node.wire.jute import WireError


class Leader(Broadcast):
    # ---- synchronisation (section 5.5) -----------------------------------------------------------------------------

    def synchronize(self, leading: Leading, conn: int, handler: LearnerHandler) -> None:
        """Send what makes the learner's history ours, then NEWLEADER (syncFollower)."""
        handler.heard_at = self.now
        # What it acknowledged before may be cut off now and logged again; until then it does not count.
        for outstanding in leading.outstanding.values():
            outstanding.acks.discard(handler.sid)
        kind, zxid = self.choose_sync(leading, handler.zxid)
        self.send(conn, kind, zxid)
        if kind == SNAP:
            self.out.append(Send(conn, SnapshotStream(zxid, packets.encode_snapshot(self.database.nodes))))
        elif kind == DIFF:
            zxid = handler.zxid
        for txn in self.database.after(zxid):
            if txn.zxid <= leading.committed:
                self.send(conn, PROPOSAL, txn.zxid, packets.encode_txn(txn))
                self.send(conn, COMMIT, txn.zxid)
            elif handler.follower:
                self.send_proposal(conn, handler, txn, packets.encode_txn(txn))
        handler.forwarding = True
        handler.waits_for = NEWLEADER_ACK_DUE
        self.send(conn, NEWLEADER, zxid_of(leading.epoch, 0), self.config_text.encode())

    def choose_sync(self, leading: Leading, theirs: int) -> Tuple[int, int]:
        """DIFF, TRUNC or SNAP, and its zxid, for a learner whose last zxid is `theirs` (the table of section 5.5).

        A snapshot holds what is committed.  Before service begins that is less than our history: the rest follows it.
        """
        history, last = self.database, leading.committed
        processed = leading.last_proposed if not leading.outstanding and self.phase == BROADCAST else last
        if theirs in (last, processed):
            return DIFF, theirs
        epoch_start = is_epoch_start(theirs)
        if theirs > last:
            return (SNAP, history.committed_zxid) if epoch_start else (TRUNC, last)
        point = history.floor(theirs)
        if point is None:
            return SNAP, history.committed_zxid
        if point == theirs or epoch_start:
            return DIFF, last
        if epoch_of(point) == epoch_of(theirs):
            return TRUNC, point
        return SNAP, history.committed_zxid

    def on_newleader_ack(self, leading: Leading, conn: int, handler: LearnerHandler, packet: QuorumPacket) -> None:
        if packet.type != ACK:
            name = PACKET_NAMES.get(packet.type, packet.type)
            self.close(leading, conn, "Next packet was supposed to be an ACK, but received packet: %s" % name)
            return
        handler.waits_for = SYNCED
        if packet.zxid != zxid_of(leading.epoch, 0):
            self.log("ERROR", "NEWLEADER ACK from sid: %d is from a different epoch" % handler.sid)
        elif handler.sid in self.voters:
            leading.newleader_acks.add(handler.sid)
        if self.phase == BROADCAST:
            self.bring_up_to_date(conn, handler)
        elif self.is_quorum(leading.newleader_acks):
            self.begin_service(leading)

    def begin_service(self, leading: Leading) -> None:
        """A quorum holds our history: it is committed, all of it."""
        self.phase = BROADCAST
        self.update_election_vote(leading.epoch)
        self.database.commit(leading.committed)
        evidence = {"newleader_acks": sorted(leading.newleader_acks)}
        self.report("a quorum is synchronised; serving in epoch %d" % leading.epoch, evidence)
        for conn, handler in leading.handlers.items():
            if handler.waits_for == SYNCED:
                self.bring_up_to_date(conn, handler)

    def bring_up_to_date(self, conn: int, handler: LearnerHandler) -> None:
        self.send(conn, UPTODATE, -1)
        handler.up_to_date = True
        handler.heard_at = self.now
        # What it was sent before, it acknowledges from now on.
        handler.unacked = dict.fromkeys(handler.unacked, self.now)
        held, handler.held = handler.held, []
        for packet in held:
            self.out.append(Send(conn, packet))

    # ---- packets of learners ---------------------------------------------------------------------------------------

    def on_learner_packet(self, leading: Leading, conn: int, packet: QuorumPacket) -> None:
        handler = leading.handlers[conn]
        handler.heard_at = self.now
        try:
            if handler.waits_for == SYNCED:
                self.on_synced_packet(leading, conn, handler, packet)
            elif handler.waits_for == ACKEPOCH_DUE:
                self.on_ack_epoch(leading, conn, handler, packet)
            elif handler.waits_for == NEWLEADER_ACK_DUE:
                self.on_newleader_ack(leading, conn, handler, packet)
            else:
                self.close(leading, conn, "%s before its time" % PACKET_NAMES.get(packet.type, packet.type))
        except WireError as error:
            self.close(leading, conn, str(error))

    def on_synced_packet(self, leading: Leading, conn: int, handler: LearnerHandler, packet: QuorumPacket) -> None:
        kind = packet.type
        if kind == PING:
            return
        if kind == ACK:
            if packet.zxid & LAST_COUNTER:
                handler.unacked.pop(packet.zxid, None)
                self.hear_ack(leading, handler.sid, packet.zxid)
        elif kind == REQUEST and self.phase == BROADCAST:
            self.on_request(leading, conn, packet)
        elif kind == REVALIDATE:
            # Sessions live with the server that the client is connected to: any of them is valid here.
            self.send(conn, REVALIDATE, packet.zxid, (packet.data or b"")[:8] + b"\1")
        else:
            self.log("WARN", "unexpected quorum packet %s from %d" % (PACKET_NAMES.get(kind, kind), handler.sid))

    # ---- who is still there (section 5.8) --------------------------------------------------------------------------

    def on_leader_timer(self) -> None:
        """Twice a tick: pings, silent learners, deadlines; and once a tick, the quorum."""
        leading = self.leading
        if leading is None:
            return
        self.set_timer("leader", self.now + self.tick // 2)
        self.drop_silent_learners(leading)
        ping = QuorumPacket(PING, leading.last_proposed, None)
        for conn, handler in leading.handlers.items():
            if handler.forwarding:
                self.out.append(Send(conn, ping))
        leading.half_ticks += 1
        if self.phase != BROADCAST:
            if leading.deadline <= self.now:
                self.reached("no-quorum-in-time")
                self.stop_leading(self.overdue(leading))
        elif leading.half_ticks % 2 == 0:
            self.check_quorum(leading)

    def overdue(self, leading: Leading) -> str:
        if self.phase == SYNCHRONIZATION:
            sids = sorted(leading.newleader_acks)
            return "Waiting for a quorum of followers, only synced with sids: %s" % sids
        what = "epoch to be acked by quorum" if leading.proposed else "epoch from quorum"
        return "Timeout while waiting for %s" % what

    def drop_silent_learners(self, leading: Leading) -> None:
        for conn, handler in list(leading.handlers.items()):
            # Before UPTODATE a 3.8 learner answers no PING.
            limit = self.sync_limit if handler.up_to_date else self.init_limit
            if handler.heard_at + limit <= self.now and handler.waits_for != QUORUM_DUE:
                self.reached("learner-silent")
                self.close(leading, conn, "silent for %d ms" % ((self.now - handler.heard_at) // MS))
            elif handler.up_to_date and self.owes_ack(handler):
                self.reached("transaction-timeout")
                self.close(leading, conn, "Closing connection to peer due to transaction timeout.")

    def owes_ack(self, handler: LearnerHandler) -> bool:
        oldest = next(iter(handler.unacked.values()), None)
        return oldest is not None and oldest + self.sync_limit <= self.now

    def check_quorum(self, leading: Leading) -> None:
        synced = self.synced_servers(leading)
        if not self.still_leads(synced):
            self.reached("quorum-lost-while-leading")
            reason = "Not sufficient followers synced, only synced with sids: %s" % sorted(synced)
            self.stop_leading(reason, {"synced": sorted(synced)})

    def still_leads(self, synced: Set[int]) -> bool:
        """Without a quorum that we heard from lately, somebody else may lead by now."""
        return self.is_quorum(synced)

    def synced_servers(self, leading: Leading) -> Set[int]:
        """We, and voters that we heard from in time.  A connection that has not said whose it is never counts."""
        return {self.sid} | {h.sid for h in leading.handlers.values() if h.sid in self.voters}
