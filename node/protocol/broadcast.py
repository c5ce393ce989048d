"""A leader's transactions, from a request to its commit (Leader.propose, tryToCommit; section 5.7).

The model.  A leader in broadcast makes each request a transaction, with the next zxid of its epoch.

1.  It sends it to all followers (PROPOSAL) and logs it itself; each that has it on disk acknowledges it.
2.  When a quorum has it, and everything before it is committed, it is committed: applied here, COMMIT to the followers,
    INFORM to the observers.
3.  A request that cannot be done becomes a transaction too, an error, so that its answer finds its way in order.
4.  A learner hears COMMIT and INFORM only after its UPTODATE: a 3.8 learner that gets one sooner, for what was
    proposed before NEWLEADER, dies of a null dereference (trap 8, ZOOKEEPER-4394).

Example, two followers on connections 2 and 4: a create gives
`[Send(2, PROPOSAL), Send(4, PROPOSAL), AppendTxns(...)]`; the first ACK, `[Send(2, COMMIT), Send(4, COMMIT), Reply]`.
"""

from __future__ import annotations

from typing import Optional, Tuple

from node.protocol.events import ClientRequest, Send
from node.protocol.leadership import Leading, LearnerHandler, Outstanding, ProspectiveLeader
from node.protocol.messages import COMMIT, INFORM, PROPOSAL, SYNC, QuorumPacket, Txn
from node.wire import packets
from node.wire.jute import WireError

LAST_COUNTER = 0xFFFFFFFF
MAX_OUTSTANDING = 10_000


class Broadcast(ProspectiveLeader):
    # ---- broadcast (section 5.7) -----------------------------------------------------------------------------------

    def submit(self, leading: Leading, request: packets.Request, time_ms: int) -> bool:
        """Make a request a transaction, and propose it.  False if too many are outstanding, or no zxid is left."""
        if len(leading.outstanding) >= MAX_OUTSTANDING:
            return False
        zxid = leading.last_proposed + 1
        if zxid & LAST_COUNTER == LAST_COUNTER:
            self.reached("zxid-rollover")
            self.stop_leading("zxid lower 32 bits have rolled over, forcing re-election, and therefore new epoch start")
            return False
        type_, record = self.prepare(leading, request.type, request.payload)
        self.propose_txn(leading, Txn(zxid, request.session, request.cxid, time_ms, type_, record))
        return True

    def prepare(self, leading: Leading, kind: int, payload: bytes) -> Tuple[int, bytes]:
        """The transaction that a request becomes: type and record (PrepRequestProcessor, the part that we serve)."""
        if kind == packets.CREATE_SESSION:
            return kind, payload
        if kind == packets.CLOSE_SESSION:
            return kind, packets.encode_int32(0)
        if kind not in (packets.CREATE, packets.CREATE2):
            return packets.ERROR, packets.encode_error_txn(packets.UNIMPLEMENTED)
        try:
            create = packets.decode_create_request(payload)
        except WireError:
            return packets.ERROR, packets.encode_error_txn(packets.MARSHALLING_ERROR)
        error = self.create_error(leading, create)
        if error:
            return packets.ERROR, packets.encode_error_txn(error)
        leading.created.add(create.path)
        return kind, packets.encode_create_txn(packets.CreateTxn(create.path, create.data))

    def create_error(self, leading: Leading, create: packets.CreateRequest) -> int:
        path, nodes = create.path, self.database.nodes
        if create.flags:
            return packets.UNIMPLEMENTED
        if not path.startswith("/") or path.endswith("/") or "//" in path or "\0" in path:
            return packets.BAD_ARGUMENTS
        parent = path.rpartition("/")[0] or "/"
        if parent not in nodes and parent not in leading.created:
            return packets.NO_NODE
        if path in nodes or path in leading.created:
            return packets.NODE_EXISTS
        return packets.OK

    def propose_txn(self, leading: Leading, txn: Txn) -> None:
        leading.last_proposed = txn.zxid
        leading.outstanding[txn.zxid] = Outstanding(txn, set())
        data = packets.encode_txn(txn)
        for conn, handler in leading.handlers.items():
            if handler.forwarding and handler.follower:
                self.send_proposal(conn, handler, txn, data)
        self.append((txn,))
        self.hear_ack(leading, self.sid, txn.zxid)

    def send_proposal(self, conn: int, handler: LearnerHandler, txn: Txn, data: bytes) -> None:
        handler.unacked[txn.zxid] = self.now
        self.send(conn, PROPOSAL, txn.zxid, data)

    def hear_ack(self, leading: Leading, sid: int, zxid: int) -> None:
        """A voter has the transaction on disk.  Commits go in zxid order."""
        outstanding = leading.outstanding.get(zxid)
        if outstanding is None or sid not in self.voters:
            return
        outstanding.acks.add(sid)
        while leading.outstanding:
            first, oldest = next(iter(leading.outstanding.items()))
            if not self.is_quorum(oldest.acks):
                return
            del leading.outstanding[first]
            self.commit_txn(leading, oldest.txn)

    def commit_txn(self, leading: Leading, txn: Txn) -> None:
        leading.committed = txn.zxid
        commit = QuorumPacket(COMMIT, txn.zxid, None)
        inform: Optional[QuorumPacket] = None
        for conn, handler in leading.handlers.items():
            if not handler.forwarding:
                continue
            if handler.follower:
                packet = commit
            else:
                packet = inform = inform or QuorumPacket(INFORM, txn.zxid, packets.encode_txn(txn))
            if handler.up_to_date:
                self.out.append(Send(conn, packet))
            else:
                self.reached("commit-held")
                handler.held.append(packet)
        if txn.type in (packets.CREATE, packets.CREATE2):
            leading.created.discard(packets.decode_create_txn(txn.record).path)
        self.apply(txn.zxid, leading.waiting)
        self.answer_syncs(leading)
        self.compact()

    def serve(self, leading: Leading, request: ClientRequest) -> None:
        """A request of our own client."""
        session, cxid, kind = request.session, request.cxid, request.type
        if kind == packets.SYNC_OP:
            leading.syncs.append((self.last_outstanding(leading), 0, session, cxid))
            self.answer_syncs(leading)
            return
        leading.waiting.append((session, cxid, kind))
        if not self.submit(leading, packets.Request(session, cxid, kind, request.payload), request.wall_time_ms):
            leading.waiting.remove((session, cxid, kind))
            self.fail(request, packets.CONNECTION_LOSS)

    def last_outstanding(self, leading: Leading) -> int:
        return next(reversed(leading.outstanding)) if leading.outstanding else 0

    def answer_syncs(self, leading: Leading) -> None:
        """SYNC follows the COMMIT of everything that was outstanding when it was asked for."""
        while leading.syncs and leading.syncs[0][0] <= leading.committed:
            _, conn, session, cxid = leading.syncs.pop(0)
            if conn == 0:
                self.answer_sync(session, cxid)
            elif conn in leading.handlers:
                self.send(conn, SYNC, 0)

    def on_request(self, leading: Leading, conn: int, packet: QuorumPacket) -> None:
        """A learner forwards a request of its client."""
        request = packets.decode_request(packet.data)
        if request.type == packets.SYNC_OP and len(leading.syncs) < MAX_OUTSTANDING:
            leading.syncs.append((self.last_outstanding(leading), conn, request.session, request.cxid))
            self.answer_syncs(leading)
        elif request.type == packets.SYNC_OP or not self.submit(leading, request, 0):
            self.close(leading, conn, "too many transactions are outstanding")
