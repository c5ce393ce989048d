"""A learner against a scripted leader: protocol.md sections 5.2, 5.3, 5.6 to 5.8 and 11.4."""

from __future__ import annotations

import pytest

from node.protocol import following as following_module
from node.protocol.events import (
    AppendTxns,
    ClientRequest,
    Connected,
    Dial,
    Durable,
    Effect,
    Log,
    Lost,
    Received,
    Reply,
    StoreEpoch,
    StoreSnapshot,
    TruncateLog,
)
from node.protocol.messages import (
    ACK,
    ACKEPOCH,
    COMMIT,
    DIFF,
    FOLLOWERINFO,
    FOLLOWING,
    INFORM,
    LEADERINFO,
    LOOKING,
    NEWLEADER,
    OBSERVERINFO,
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
from node.protocol.server import Server
from node.wire import packets
from tests.node.probe import Probe, durable, shape, txn, z
from tests.node.world import configs


def following(disk: Durable | None = None, sid: int = 1) -> tuple[Probe, int]:
    """A server that has dialled its leader 3; and the connection."""
    probe = Probe(sid, 3, disk or durable(0, 0))
    return probe, probe.follow(3)


def following_undialled() -> tuple[Probe, int]:
    """The same, and its dial is in flight."""
    probe = Probe(1)
    probe.vote(2, FOLLOWING, 3)
    probe.vote(3, 2, 3)
    return probe, leader_dials(probe)[-1].conn


def synchronizing(disk: Durable | None = None, epoch: int = 1) -> tuple[Probe, int]:
    probe, conn = following(disk)
    probe.packet(conn, LEADERINFO, z(epoch, 0), packets.encode_int32(0x10000))
    return probe, conn


def serving(disk: Durable | None = None, epoch: int = 1) -> tuple[Probe, int]:
    probe, conn = synchronizing(disk, epoch)
    probe.packet(conn, DIFF, 0)
    probe.packet(conn, NEWLEADER, z(epoch, 0))
    probe.packet(conn, UPTODATE, -1)
    assert probe.server.serving
    return probe, conn


def propose(probe: Probe, conn: int, zxid: int) -> list[Effect]:
    return probe.packet(conn, PROPOSAL, zxid, packets.encode_txn(txn(zxid)))


def leader_dials(probe: Probe) -> list[Dial]:
    return [e for e in probe.effects if isinstance(e, Dial) and e.port == QUORUM]


# ---- connecting ----------------------------------------------------------------------------------------------------


def test_a_follower_dials_its_leader_at_once() -> None:
    probe, _ = following()
    assert [d.address for d in leader_dials(probe)] == [("s3", 2888)]


def test_a_refused_dial_is_tried_again_soon_and_not_for_ever() -> None:
    """Section 5.2: within a second, from 5 ms to 100 ms apart."""
    probe = Probe(1)
    probe.vote(2, FOLLOWING, 3)
    probe.vote(3, 2, 3)
    began, times = probe.now, []
    while probe.server.role == FOLLOWING:
        times.append((probe.now - began) // 1_000_000)
        probe.step(Lost(leader_dials(probe)[-1].conn, "refused"))
        if probe.server.role == FOLLOWING:
            probe.advance(max(0.0, (probe.timers["leader-retry"] - probe.now) / 1e6))
        assert len(times) < 50
    assert times[:7] == [0, 5, 15, 35, 75, 155, 255]
    assert times[-1] < 1000
    assert probe.server.round == 2


def test_the_last_dial_of_a_leader_is_within_the_second_however_little_is_left() -> None:
    probe, _ = following_undialled()
    probe.advance(994.5)
    probe.step(Lost(leader_dials(probe)[-1].conn, "refused"))
    probe.advance(5)
    assert leader_dials(probe)[-1].timeout_ms == 1, "half a millisecond is left, and a dial takes whole ones"
    exactly, _ = following_undialled()
    exactly.advance(995)
    exactly.step(Lost(leader_dials(exactly)[-1].conn, "refused"))
    assert exactly.server.role == LOOKING, "the next one would begin when the time is over"


def test_a_dial_into_the_void_ends_within_a_second() -> None:
    probe, _ = following()
    assert leader_dials(probe)[0].timeout_ms == 1000
    wide = Probe(1, tick_ms=3000)
    wide.follow(3)
    assert leader_dials(wide)[0].timeout_ms == 3000


def test_a_learner_introduces_itself_with_its_accepted_epoch() -> None:
    """Section 5.3 step 1."""
    probe, conn = following(durable(6, 5, z(5, 1)))
    info = probe.packets(conn)[0]
    assert (info.type, info.zxid) == (FOLLOWERINFO, z(6, 0))
    assert packets.decode_learner_info(info.data) == (1, 0x10000, 0)


# ---- discovery -----------------------------------------------------------------------------------------------------


def test_an_epoch_is_on_disk_before_it_is_acknowledged() -> None:
    """Section 4.3; testNormalFollowerRun."""
    probe, conn = following(durable(4, 4, z(4, 2)))
    effects = probe.packet(conn, LEADERINFO, z(5, 0))
    assert shape(effects) == [StoreEpoch("acceptedEpoch", 5), ACKEPOCH]
    ack = probe.packets(conn, effects)[0]
    assert (ack.zxid, ack.data) == (z(4, 2), packets.encode_int32(4))
    assert (probe.server.accepted_epoch, probe.server.current_epoch) == (5, 4)


def test_an_epoch_that_was_accepted_before_is_answered_with_minus_one() -> None:
    """Section 5.3: one ack per epoch."""
    probe, conn = following(durable(5, 4))
    effects = probe.packet(conn, LEADERINFO, z(5, 0))
    assert shape(effects) == [ACKEPOCH]
    assert probe.packets(conn, effects)[0].data == packets.encode_int32(-1)


def test_a_lower_epoch_is_refused() -> None:
    probe, conn = following(durable(6, 4))
    effects = probe.packet(conn, LEADERINFO, z(5, 0))
    assert not [p for p in probe.packets(conn, effects) if p.type == ACKEPOCH]
    assert probe.hung_up(conn)
    assert (probe.server.role, probe.server.accepted_epoch) == (LOOKING, 6)


@pytest.mark.parametrize("kind", [NEWLEADER, DIFF, UPTODATE, PROPOSAL, 77])
def test_anything_but_leaderinfo_ends_the_discovery(kind: int) -> None:
    probe, conn = following()
    probe.packet(conn, kind, z(1, 0))
    assert probe.hung_up(conn)
    assert probe.server.role == LOOKING


# ---- synchronisation ---------------------------------------------------------------------------------------------


def test_newleader_is_acknowledged_when_history_and_epoch_are_on_disk() -> None:
    """DIFFSyncConsistencyTest; ZOOKEEPER-1282, 3911, 4785."""
    probe, conn = synchronizing(durable(4, 4, z(4, 1)), epoch=5)
    probe.packet(conn, DIFF, z(4, 3))
    assert propose(probe, conn, z(4, 2)) == []
    probe.packet(conn, COMMIT, z(4, 2))
    propose(probe, conn, z(4, 3))
    effects = probe.packet(conn, NEWLEADER, z(5, 0))
    assert shape(effects) == [AppendTxns((txn(z(4, 2)), txn(z(4, 3)))), StoreEpoch("currentEpoch", 5), ACK]
    assert probe.packets(conn, effects)[0].zxid == z(5, 0)


def test_nothing_is_rewritten_on_a_plain_diff() -> None:
    """testUnnecessarySnap."""
    probe, conn = synchronizing(durable(4, 4, z(4, 1)), epoch=5)
    probe.packet(conn, DIFF, z(4, 1))
    assert shape(probe.packet(conn, NEWLEADER, z(5, 0))) == [StoreEpoch("currentEpoch", 5), ACK]


def test_a_truncation_is_on_disk_before_newleader_is_acknowledged() -> None:
    """ZOOKEEPER-1154, 3701."""
    probe, conn = synchronizing(durable(4, 4, z(4, 1), z(4, 2), z(4, 3)), epoch=6)
    assert shape(probe.packet(conn, TRUNC, z(4, 1))) == []
    propose(probe, conn, z(5, 1))
    effects = probe.packet(conn, NEWLEADER, z(6, 0))
    assert shape(effects) == [
        TruncateLog(z(4, 1)), AppendTxns((txn(z(5, 1)),)), StoreEpoch("currentEpoch", 6), ACK,
    ]  # fmt: skip
    assert probe.server.database.zxids == [z(4, 1), z(5, 1)]


def test_what_the_leader_sends_again_is_never_off_the_disk() -> None:
    """It was acknowledged once; a crash between a truncation and the log would lose it."""
    probe, conn = synchronizing(durable(4, 4, *(z(4, counter) for counter in range(1, 6))), epoch=6)
    probe.packet(conn, TRUNC, z(4, 1))
    for counter in (2, 3, 4):
        propose(probe, conn, z(4, counter))
    effects = probe.packet(conn, NEWLEADER, z(6, 0))
    assert shape(effects)[0] == TruncateLog(z(4, 4))
    assert not [e for e in effects if isinstance(e, AppendTxns)]
    assert "history-differs" in probe.marks()


def test_a_connection_lost_before_newleader_leaves_everything_as_it_was() -> None:
    """ZOOKEEPER-3642, 5094."""
    probe, conn = synchronizing(durable(4, 4, z(4, 1)), epoch=6)
    stream = packets.encode_snapshot({"/": b"", "/snap": b""})
    probe.packet(conn, SNAP, z(5, 9))
    probe.step(Received(conn, SnapshotStream(z(5, 9), stream)))
    effects = probe.lose(conn)
    assert shape(effects) == []
    assert probe.server.role == LOOKING
    assert probe.server.proposal[:2] == (1, z(4, 1))
    assert probe.server.proposal.epoch == 4


def test_a_snapshot_replaces_the_history() -> None:
    """Section 5.6; ZOOKEEPER-2872."""
    probe, conn = synchronizing(durable(4, 4, z(3, 1)), epoch=6)
    stream = packets.encode_snapshot({"/": b"", "/snap": b"s"})
    probe.packet(conn, SNAP, z(5, 9))
    probe.step(Received(conn, SnapshotStream(z(5, 9), stream)))
    propose(probe, conn, z(5, 10))
    effects = probe.packet(conn, NEWLEADER, z(6, 0))
    assert shape(effects) == [StoreSnapshot(z(5, 9), stream, (txn(z(5, 10)),)), StoreEpoch("currentEpoch", 6), ACK]
    probe.packet(conn, COMMIT, z(5, 10))
    probe.packet(conn, UPTODATE, -1)
    assert set(probe.server.database.nodes) == {"/", "/snap", f"/{z(5, 10):x}"}
    assert probe.server.database.last_zxid == z(5, 10)


def test_a_truncation_to_before_a_snapshot_of_an_epochs_start_keeps_the_snapshot() -> None:
    """A ZooKeeper leader sends its snapshot as of epoch<<32; the last transaction before it is the same point."""
    nodes = packets.encode_snapshot({"/": b"", "/snap": b"s"})
    probe, conn = synchronizing(Durable(4, 4, z(4, 0), nodes, (txn(z(4, 1)),)), epoch=6)
    probe.packet(conn, TRUNC, z(3, 7))
    propose(probe, conn, z(5, 1))
    effects = probe.packet(conn, NEWLEADER, z(6, 0))
    assert shape(effects) == [
        TruncateLog(z(4, 0)), AppendTxns((txn(z(5, 1)),)), StoreEpoch("currentEpoch", 6), ACK,
    ]  # fmt: skip
    probe.packet(conn, UPTODATE, -1)
    assert set(probe.server.database.nodes) == {"/", "/snap"}


@pytest.mark.parametrize("zxid", [z(4, 2), z(4, 0)])
def test_a_truncation_to_before_any_other_snapshot_ends_it(zxid: int) -> None:
    nodes = packets.encode_snapshot({"/": b""})
    probe, conn = synchronizing(Durable(4, 4, z(4, 3), nodes, (txn(z(4, 4)),)), epoch=6)
    probe.packet(conn, TRUNC, zxid)
    assert "leader-misbehaved" in probe.marks()


def test_a_truncation_to_a_snapshot_itself_is_a_plain_one() -> None:
    nodes = packets.encode_snapshot({"/": b""})
    probe, conn = synchronizing(Durable(4, 4, z(4, 0), nodes, (txn(z(4, 1)),)), epoch=6)
    probe.packet(conn, TRUNC, z(4, 0))
    assert TruncateLog(z(4, 0)) in probe.packet(conn, NEWLEADER, z(6, 0))
    assert "truncation" in probe.marks()


def test_a_truncation_to_the_start_of_an_epoch_goes_to_the_last_transaction_before_it() -> None:
    """A leader whose history begins with a snapshot as of epoch<<32 names it so; nothing lies between."""
    probe, conn = synchronizing(durable(4, 4, z(3, 1), z(4, 1)), epoch=6)
    probe.packet(conn, TRUNC, z(4, 0))
    assert TruncateLog(z(3, 1)) in probe.packet(conn, NEWLEADER, z(6, 0))


@pytest.mark.parametrize("kind", [PROPOSAL, NEWLEADER, COMMIT])
def test_what_comes_in_place_of_an_announced_snapshot_ends_it(kind: int) -> None:
    probe, conn = synchronizing(epoch=5)
    probe.packet(conn, SNAP, z(4, 9))
    probe.packet(conn, kind, z(5, 0), packets.encode_txn(txn(z(4, 10))))
    assert probe.hung_up(conn)
    assert "leader-misbehaved" in probe.marks()


@pytest.mark.parametrize(("kind", "announced"), [(DIFF, 0), (SNAP, 1)])
def test_a_snapshot_that_was_not_announced_ends_it(kind: int, announced: int) -> None:
    probe, conn = synchronizing(epoch=5)
    probe.packet(conn, kind, z(4, 9))
    snapshot = SnapshotStream(z(4, 9), packets.encode_snapshot({"/": b""}))
    for _ in range(announced):
        probe.step(Received(conn, snapshot))
    assert not probe.hung_up(conn)
    probe.step(Received(conn, snapshot))
    assert probe.hung_up(conn)


@pytest.mark.parametrize("kind", [UPTODATE, 77, ACK])
def test_what_has_no_place_before_newleader_ends_it(kind: int) -> None:
    probe, conn = synchronizing(epoch=5)
    probe.packet(conn, DIFF, 0)
    probe.packet(conn, kind, -1)
    assert probe.hung_up(conn)


@pytest.mark.parametrize("kind", [NEWLEADER, 77, ACK])
def test_what_has_no_place_between_newleader_and_uptodate_ends_it(kind: int) -> None:
    probe, conn = synchronizing(epoch=5)
    probe.packet(conn, DIFF, 0)
    probe.packet(conn, NEWLEADER, z(5, 0))
    assert not probe.hung_up(conn)
    probe.packet(conn, kind, z(5, 0))
    assert probe.hung_up(conn)


def test_a_damaged_snapshot_ends_it() -> None:
    probe, conn = synchronizing()
    probe.packet(conn, SNAP, z(5, 9))
    probe.step(Received(conn, SnapshotStream(z(5, 9), b"\0\0\0\1")))
    assert probe.server.role == LOOKING


@pytest.mark.parametrize(
    ("kind", "zxid"),
    [
        (PROPOSAL, z(4, 2)),
        (NEWLEADER, z(5, 0)),
        (UPTODATE, -1),
        (TRUNC, z(3, 9)),
        (TRUNC, z(4, 9)),
        (LEADERINFO, z(5, 0)),
    ],
)
def test_a_synchronisation_that_cannot_be_ends(kind: int, zxid: int) -> None:
    probe, conn = synchronizing(durable(4, 4, z(4, 1), z(4, 2)), epoch=5)
    probe.packet(conn, kind, zxid, packets.encode_txn(txn(zxid)))
    assert probe.hung_up(conn)
    assert "leader-misbehaved" in probe.marks()


@pytest.mark.parametrize("zxids", [(z(4, 1),), (z(3, 1),), (z(4, 3), z(4, 2)), (z(4, 2), z(4, 2))])
def test_proposals_out_of_order_end_it(zxids: tuple[int, ...]) -> None:
    """ZOOKEEPER-4925."""
    probe, conn = synchronizing(durable(4, 4, z(4, 1)), epoch=5)
    probe.packet(conn, DIFF, z(4, 1))
    for zxid in zxids:
        assert not probe.hung_up(conn)
        propose(probe, conn, zxid)
    assert probe.hung_up(conn)


def test_newleader_of_another_epoch_ends_it() -> None:
    probe, conn = synchronizing(epoch=5)
    probe.packet(conn, DIFF, 0)
    probe.packet(conn, NEWLEADER, z(4, 0))
    assert probe.hung_up(conn)
    assert probe.server.current_epoch == 0


def test_uptodate_brings_acks_and_what_waited() -> None:
    """Section 5.6 steps 4 and 5; ZOOKEEPER-1264."""
    probe, conn = synchronizing(epoch=1)
    probe.packet(conn, DIFF, 0)
    propose(probe, conn, z(1, 1))
    probe.packet(conn, NEWLEADER, z(1, 0))
    propose(probe, conn, z(1, 2))
    probe.packet(conn, COMMIT, z(1, 1))
    assert probe.server.database.committed_zxid == 0
    effects = probe.packet(conn, UPTODATE, -1)
    assert [p.zxid for p in probe.packets(conn, effects) if p.type == ACK] == [z(1, 0), z(1, 1), z(1, 2)]
    assert probe.server.database.committed_zxid == z(1, 1)
    assert probe.server.database.last_zxid == z(1, 2)


def test_what_was_committed_when_it_came_is_not_acknowledged() -> None:
    """Section 5.6: the leader waits for nobody's ACK of its history; NEWLEADER's stands for it."""
    probe, conn = synchronizing(epoch=2)
    probe.packet(conn, DIFF, 0)
    propose(probe, conn, z(1, 1))
    probe.packet(conn, COMMIT, z(1, 1))
    propose(probe, conn, z(1, 2))
    probe.packet(conn, NEWLEADER, z(2, 0))
    effects = probe.packet(conn, UPTODATE, -1)
    assert [p.zxid for p in probe.packets(conn, effects)] == [z(2, 0), z(1, 2)]


def test_history_is_not_applied_before_uptodate() -> None:
    probe, conn = synchronizing(durable(4, 4, z(4, 1)), epoch=5)
    probe.packet(conn, DIFF, z(4, 1))
    probe.packet(conn, NEWLEADER, z(5, 0))
    assert set(probe.server.database.nodes) == {"/"}
    probe.packet(conn, UPTODATE, -1)
    assert set(probe.server.database.nodes) == {"/", f"/{z(4, 1):x}"}
    assert probe.server.vote.epoch == 5, "updateElectionVote"


# ---- broadcast -----------------------------------------------------------------------------------------------------


def test_a_proposal_is_on_disk_before_it_is_acknowledged_and_applied_when_committed() -> None:
    probe, conn = serving()
    effects = propose(probe, conn, z(1, 1))
    assert shape(effects) == [AppendTxns((txn(z(1, 1)),)), ACK]
    assert set(probe.server.database.nodes) == {"/"}
    probe.packet(conn, COMMIT, z(1, 1))
    assert set(probe.server.database.nodes) == {"/", f"/{z(1, 1):x}"}


def test_a_proposal_that_comes_again_is_acknowledged_again_and_not_logged() -> None:
    """A ZooKeeper leader may send a transaction in the synchronisation and once more after it."""
    probe, conn = serving()
    propose(probe, conn, z(1, 1))
    propose(probe, conn, z(1, 3))
    for zxid in (z(1, 1), z(1, 3)):
        effects = propose(probe, conn, zxid)
        assert shape(effects) == [ACK]
        assert probe.packets(conn, effects)[0].zxid == zxid
    assert "proposal-again" in probe.marks()
    propose(probe, conn, z(1, 2))
    assert probe.hung_up(conn), "what lies between is not in our history"


def test_a_packet_that_has_no_place_in_service_is_logged_and_passed_over() -> None:
    probe, conn = serving()
    assert probe.packet(conn, UPTODATE, -1) == [], "a leader may say it twice"
    effects = probe.packet(conn, DIFF, 0)
    assert [e.level for e in effects if isinstance(e, Log)] == ["WARN"]
    assert len(effects) == 1


@pytest.mark.parametrize(("sid", "limit"), [(1, 53), (9, 53), (2, 56)])
def test_a_log_is_compacted_by_half_when_it_is_as_long_as_its_servers_limit(sid: int, limit: int) -> None:
    """snap_count and a sixteenth of it for each of sid modulo 8, so that servers take turns."""
    probe = Probe(sid, 10, snap_count=50)
    conn = probe.follow(10)
    for kind, zxid in ((LEADERINFO, z(1, 0)), (DIFF, 0), (NEWLEADER, z(1, 0)), (UPTODATE, -1)):
        probe.packet(conn, kind, zxid)
    for counter in range(1, limit + 1):
        assert not [e for e in probe.effects if isinstance(e, StoreSnapshot)]
        propose(probe, conn, z(1, counter))
        probe.packet(conn, COMMIT, z(1, counter))
    stored = probe.effects[-1]
    assert isinstance(stored, StoreSnapshot)
    assert (stored.zxid, [t.zxid for t in stored.txns]) == (z(1, 25), [z(1, c) for c in range(26, limit + 1)])
    assert set(packets.decode_snapshot(stored.stream)) == {"/", *(f"/{z(1, c):x}" for c in range(1, 26))}
    assert "log-compacted" in probe.marks()


def test_a_log_may_be_one_transaction_long() -> None:
    probe = Probe(1, 3, snap_count=1)
    conn = probe.follow(3)
    for kind, zxid in ((LEADERINFO, z(1, 0)), (DIFF, 0), (NEWLEADER, z(1, 0)), (UPTODATE, -1)):
        probe.packet(conn, kind, zxid)
    propose(probe, conn, z(1, 1))
    probe.packet(conn, COMMIT, z(1, 1))
    assert (probe.server.database.snapshot_zxid, probe.server.database.log) == (z(1, 1), [])


def test_a_commit_of_what_was_never_proposed_ends_it() -> None:
    """Section 5.7: ZooKeeper ends its process; deviation."""
    probe, conn = serving()
    probe.packet(conn, COMMIT, z(1, 1))
    assert probe.hung_up(conn)


def test_a_ping_is_answered_with_data_that_is_not_null() -> None:
    """Section 5.8."""
    probe, conn = serving()
    answer = probe.packets(conn, probe.packet(conn, PING, z(1, 9)))[0]
    assert (answer.type, answer.zxid, answer.data) == (PING, z(1, 9), b"")


@pytest.mark.parametrize(("phase", "limit_ms"), [("discovery", 2000), ("broadcast", 1000)])
def test_a_silent_leader_is_left(phase: str, limit_ms: int) -> None:
    """Section 5.8: initLimit before NEWLEADER, syncLimit after."""
    probe, conn = following() if phase == "discovery" else serving()
    probe.advance(limit_ms - 1)
    assert probe.server.phase == phase
    probe.advance(1)
    assert probe.server.role == LOOKING
    assert probe.hung_up(conn)


def test_a_leader_that_pings_is_kept() -> None:
    probe, conn = serving()
    for _ in range(50):
        probe.advance(900)
        probe.packet(conn, PING)
    assert probe.server.role == FOLLOWING


def test_a_lost_leader_is_noticed_at_once() -> None:
    probe, conn = serving()
    effects = probe.lose(conn)
    assert probe.server.role == LOOKING
    assert probe.told(2, effects), "everybody hears of it in the same step"


def test_a_client_of_a_follower_is_answered_when_its_transaction_commits() -> None:
    probe, conn = serving()
    payload = packets.encode_create_request(packets.CreateRequest("/a", b""))
    sent = probe.packets(conn, probe.step(ClientRequest(1, 1, packets.CREATE, payload, 0)))
    assert sent == [QuorumPacket(REQUEST, -1, packets.encode_request(1, 1, packets.CREATE, payload))]
    propose(probe, conn, z(1, 1))
    effects = probe.packet(conn, COMMIT, z(1, 1))
    assert [(e.cxid, e.error, e.zxid) for e in effects if isinstance(e, Reply)] == [(1, 0, z(1, 1))]


def test_sync_is_answered_when_the_leader_says_so() -> None:
    probe, conn = serving()
    probe.step(ClientRequest(1, 1, packets.SYNC_OP, packets.encode_path("/"), 0))
    assert probe.packet(conn, SYNC, 0) == [Reply(1, 1, packets.SYNC_OP, packets.OK, 0, b"")]
    assert probe.packet(conn, SYNC, 0) == []


def test_each_client_is_answered_by_its_own_transaction() -> None:
    """A client is known by its session, and its request by its cxid; sync is answered by SYNC alone."""
    probe, conn = serving()
    asked = [(1, 1, packets.SYNC_OP), (1, 2, packets.CREATE_SESSION), (2, 1, packets.CREATE), (1, 1, packets.CREATE)]
    for session, cxid, kind in asked:
        probe.step(ClientRequest(session, cxid, kind, packets.encode_int32(4000), 0))
    record = packets.encode_create_txn(packets.CreateTxn("/a", b""))
    answers = []
    for counter, (session, cxid, kind, body) in enumerate(
        [
            (1, 1, packets.CREATE, record),
            (1, 2, packets.CREATE_SESSION, packets.encode_int32(4000)),
            (3, 1, packets.CREATE, record),
            (2, 1, packets.CREATE, b"garbage"),
        ],
        1,
    ):
        zxid = z(1, counter)
        probe.packet(conn, PROPOSAL, zxid, packets.encode_txn(Txn(zxid, session, cxid, 0, kind, body)))
        answers += [e for e in probe.packet(conn, COMMIT, zxid) if isinstance(e, Reply)]
    assert answers == [
        Reply(1, 1, packets.CREATE, packets.OK, z(1, 1), packets.encode_path("/a")),
        Reply(1, 2, packets.CREATE_SESSION, packets.OK, z(1, 2), b""),
        Reply(2, 1, packets.CREATE, packets.MARSHALLING_ERROR, z(1, 4), b""),
    ]


def test_a_follower_tells_its_leader_whose_sessions_live() -> None:
    """Section 5.8: a real leader ends the sessions that no PING reply names."""
    probe, conn = serving()
    probe.step(ClientRequest(5, 1, packets.CREATE_SESSION, packets.encode_int32(4000), 0))
    probe.step(ClientRequest(6, 1, packets.CREATE_SESSION, packets.encode_int32(6000), 0))
    probe.step(ClientRequest(6, 2, packets.CREATE, b"", 0))
    answer = probe.packets(conn, probe.packet(conn, PING, 0))[0]
    assert packets.decode_ping_sessions(answer.data) == {5: 4000, 6: 6000}
    for session in (5, 7):
        probe.step(ClientRequest(session, 3, packets.CLOSE_SESSION, b"", 0))
    answer = probe.packets(conn, probe.packet(conn, PING, 0))[0]
    assert packets.decode_ping_sessions(answer.data) == {6: 6000}


def test_requests_that_wait_for_the_leader_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following_module, "MAX_WAITING_REQUESTS", 2)
    probe, conn = serving()
    for cxid in (1, 2):
        assert probe.packets(conn, probe.step(ClientRequest(1, cxid, packets.CREATE, b"", 0)))
    effects = probe.step(ClientRequest(1, 3, packets.CREATE, b"", 0))
    assert effects == [Reply(1, 3, packets.CREATE, packets.CONNECTION_LOSS, 0, b"")]


def test_clients_are_refused_while_nobody_leads() -> None:
    probe = Probe(1)
    effects = probe.step(ClientRequest(1, 1, packets.CREATE, b"", 0))
    assert effects == [Reply(1, 1, packets.CREATE, packets.CONNECTION_LOSS, 0, b"")]


def test_an_observer_gets_inform_and_acknowledges_newleader_only() -> None:
    """testNormalObserverRun."""
    probe = Probe(3)
    server = Server(configs(2, 1)[3], Durable(0, 0, 0, b"", ()))
    probe.replace(server)
    probe.connect(1)
    probe.connect(2)
    probe.vote(1, FOLLOWING, 2)
    probe.vote(2, 2, 2)
    conn = leader_dials(probe)[-1].conn
    assert probe.packets(conn, probe.step(Connected(conn)))[0].type == OBSERVERINFO
    probe.packet(conn, LEADERINFO, z(1, 0))
    probe.packet(conn, DIFF, 0)
    assert [p.type for p in probe.packets(conn, probe.packet(conn, NEWLEADER, z(1, 0)))] == [ACK]
    probe.packet(conn, INFORM, z(1, 1), packets.encode_txn(txn(z(1, 1))))
    effects = probe.packet(conn, UPTODATE, -1)
    assert [p.zxid for p in probe.packets(conn, effects)] == [z(1, 0)], "ZOOKEEPER-1551: logged, and not acknowledged"
    effects = probe.packet(conn, INFORM, z(1, 2), packets.encode_txn(txn(z(1, 2))))
    assert not probe.packets(conn, effects)
    assert set(server.database.nodes) == {"/", f"/{z(1, 1):x}", f"/{z(1, 2):x}"}
    probe.packet(conn, INFORM, z(1, 2), packets.encode_txn(txn(z(1, 2))))
    assert server.database.zxids == [z(1, 1), z(1, 2)], "what comes again is not logged again"
