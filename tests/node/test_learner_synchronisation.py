"""A learner against a scripted leader: it takes the leader's history (protocol.md sections 5.6, 11.4)."""

from __future__ import annotations

import pytest

from node.protocol.core import MAX_EPOCH
from node.protocol.events import (
    AppendTxns,
    Durable,
    Received,
    StoreEpoch,
    StoreSnapshot,
    TruncateLog,
)
from node.protocol.messages import (
    ACK,
    COMMIT,
    DIFF,
    LEADERINFO,
    LOOKING,
    NEWLEADER,
    PROPOSAL,
    SNAP,
    TRUNC,
    UPTODATE,
    SnapshotStream,
)
from node.wire import packets
from tests.node.following import propose, serving, synchronizing
from tests.node.probe import durable, shape, txn, z


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


def test_an_epoch_beyond_the_last_one_is_not_promised() -> None:
    probe, _ = synchronizing(epoch=MAX_EPOCH + 1)
    assert "leader-misbehaved" in probe.marks()
    assert probe.server.accepted_epoch == 0


@pytest.mark.parametrize("kind", [SNAP, DIFF, TRUNC])
def test_a_synchronisation_of_no_epoch_is_left(kind: int) -> None:
    for zxid in (z(MAX_EPOCH + 1, 0), -1):
        probe, conn = synchronizing()
        probe.packet(conn, kind, zxid)
        assert "leader-misbehaved" in probe.marks()


def test_a_transaction_of_no_epoch_is_left() -> None:
    probe, conn = synchronizing()
    probe.packet(conn, DIFF, 0)
    propose(probe, conn, z(MAX_EPOCH + 1, 1))
    assert "leader-misbehaved" in probe.marks()
    probe, conn = serving()
    propose(probe, conn, z(MAX_EPOCH + 1, 1))
    assert "leader-misbehaved" in probe.marks()
    assert probe.server.database.last_zxid == 0
