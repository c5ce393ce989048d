"""A leader's transactions, from a request to its commit (protocol section 5.7)."""

from __future__ import annotations

import pytest

from node.protocol import broadcast
from node.protocol.events import AppendTxns, ClientRequest, Log, Reached, Reply, StoreSnapshot
from node.protocol.messages import (
    ACK,
    COMMIT,
    DIFF,
    INFORM,
    LEADING,
    LOOKING,
    OBSERVERINFO,
    PROPOSAL,
    REVALIDATE,
    SYNC,
    QuorumPacket,
    Txn,
)
from node.wire import packets
from tests.node.leading import create, elected, serving, types
from tests.node.probe import shape, z


def test_a_transaction_is_proposed_logged_and_committed_by_a_quorum() -> None:
    """testNormalRun."""
    probe, conn = serving()
    effects = create(probe, 1)
    kinds = shape(effects)
    assert kinds[0] == PROPOSAL
    assert isinstance(kinds[1], AppendTxns)
    assert "/c1" not in probe.server.database.nodes
    effects = probe.packet(conn, ACK, z(1, 1))
    assert types(probe.packets(conn, effects)) == [COMMIT]
    assert Reply(7, 1, packets.CREATE, 0, z(1, 1), packets.encode_path("/c1")) in effects
    assert probe.server.database.nodes["/c1"] == b"v"
    assert probe.server.leading is not None
    assert not probe.server.leading.created


def test_a_leader_compacts_its_log_when_it_has_answered_and_keeps_the_younger_half() -> None:
    """As a follower does: server 3's limit is snap_count and three sixteenths of it, 16 + 3."""
    probe, conn = serving(snap_count=16)
    for counter in range(1, 20):
        assert not [e for e in probe.effects if isinstance(e, StoreSnapshot)]
        create(probe, counter)
        effects = probe.packet(conn, ACK, z(1, counter))
    assert [type(e) for e in effects[-3:]] == [Reply, Reached, StoreSnapshot]
    stored = effects[-1]
    assert isinstance(stored, StoreSnapshot)
    assert (stored.zxid, [t.zxid for t in stored.txns]) == (z(1, 8), [z(1, c) for c in range(9, 20)])


def test_commits_go_in_the_order_of_zxids() -> None:
    """Section 5.7."""
    probe, conn = serving()
    create(probe, 1)
    create(probe, 2)
    assert probe.packets(conn, probe.packet(conn, ACK, z(1, 2))) == []
    commits = probe.packets(conn, probe.packet(conn, ACK, z(1, 1)))
    assert [(p.type, p.zxid) for p in commits] == [(COMMIT, z(1, 1)), (COMMIT, z(1, 2))]
    for zxid in (z(1, 2), z(1, 3)):
        assert probe.packet(conn, ACK, zxid) == [], "it is committed, or was never proposed"


def test_acks_of_observers_and_strangers_and_repeated_ones_commit_nothing() -> None:
    probe, conn = serving(servers=5)
    create(probe, 1)
    for sid in (8, 9):
        other = probe.learner(sid, accepted=1, kind=OBSERVERINFO)
        probe.ack_epoch(other, -1)
        probe.packet(other, ACK, z(1, 0))
        probe.packet(other, ACK, z(1, 1))
    probe.packet(conn, ACK, z(1, 1))
    probe.packet(conn, ACK, z(1, 1))
    assert probe.server.outstanding == 1


@pytest.mark.parametrize(
    ("path", "error"),
    [("/a", -110), ("/x/y", -101), ("a", -8), ("/a/", -8), ("/a//b", -8), ("/a/b", 0)],
)
def test_a_create_that_fails_becomes_an_error_transaction(path: str, error: int) -> None:
    probe, conn = serving()
    create(probe, 1, "/a")
    create(probe, 2, path)
    effects = [*probe.packet(conn, ACK, z(1, 1)), *probe.packet(conn, ACK, z(1, 2))]
    assert [(e.cxid, e.error) for e in effects if isinstance(e, Reply)] == [(1, 0), (2, error)]


def test_a_request_of_a_follower_is_proposed_for_it() -> None:
    probe, conn = serving()
    payload = packets.encode_create_request(packets.CreateRequest("/f", b""))
    probe.packet(conn, 1, -1, packets.encode_request(8, 4, packets.CREATE, payload))
    proposal = packets.decode_txn(probe.packets(conn)[-1].data)
    assert (proposal.session, proposal.cxid, proposal.zxid) == (8, 4, z(1, 1))


def test_a_session_is_valid_wherever_its_client_comes() -> None:
    """Section 5.7, REVALIDATE: the session, and one byte that says so."""
    probe, conn = serving()
    for data in (b"sessionXtime", b"sessionX", None):
        answer = probe.packets(conn, probe.packet(conn, REVALIDATE, 5, data))
        assert answer == [QuorumPacket(REVALIDATE, 5, (data or b"")[:8] + b"\1")]


def test_a_packet_that_has_no_place_in_service_is_logged_and_passed_over() -> None:
    probe, conn = serving()
    effects = probe.packet(conn, DIFF, 0)
    assert [e.level for e in effects if isinstance(e, Log)] == ["WARN"]
    assert len(effects) == 1


def test_a_request_before_service_begins_is_not_proposed() -> None:
    probe = elected(5, 5)
    conns = [probe.learner(1), probe.learner(2)]
    for conn in conns:
        probe.ack_epoch(conn, 0)
    probe.packet(conns[0], ACK, z(1, 0))
    payload = packets.encode_create_request(packets.CreateRequest("/f", b""))
    probe.packet(conns[0], 1, -1, packets.encode_request(8, 4, packets.CREATE, payload))
    assert probe.server.outstanding == 0
    assert not probe.hung_up(conns[0])


def test_a_client_of_the_leader_may_sync() -> None:
    """Section 5.7: it is answered after what was outstanding when it was asked for, and no later."""
    probe, conn = serving()
    sync = ClientRequest(7, 5, packets.SYNC_OP, packets.encode_path("/"), 0)
    assert probe.step(sync) == [Reply(7, 5, packets.SYNC_OP, 0, 0, b"")]
    create(probe, 1)
    assert probe.step(sync) == []
    create(probe, 2)
    effects = probe.packet(conn, ACK, z(1, 1))
    assert [(e.cxid, e.zxid) for e in effects if isinstance(e, Reply)] == [(1, z(1, 1)), (5, z(1, 1))]
    request = packets.encode_request(8, 6, packets.SYNC_OP, packets.encode_path("/"))
    probe.packet(conn, 1, -1, request)
    assert probe.packets(conn, probe.packet(conn, ACK, z(1, 2)))[-1] == QuorumPacket(SYNC, 0, None)


def test_outstanding_transactions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own client is told; a follower whose request cannot be taken is closed, and comes again."""
    monkeypatch.setattr(broadcast, "MAX_OUTSTANDING", 2)
    probe, conn = serving()
    late = probe.learner(2, accepted=1)
    create(probe, 1)
    create(probe, 2)
    refused = create(probe, 3)
    assert refused == [Reply(7, 3, packets.CREATE, packets.CONNECTION_LOSS, 0, b"")]
    assert probe.server.leading is not None
    assert probe.server.leading.waiting == [(7, 1, packets.CREATE), (7, 2, packets.CREATE)]
    payload = packets.encode_create_request(packets.CreateRequest("/f", b""))
    probe.packet(conn, 1, -1, packets.encode_request(8, 4, packets.CREATE, payload))
    assert [probe.hung_up(conn), probe.hung_up(late)] == [True, False]


def test_a_transaction_carries_its_client_and_time_and_a_followers_none() -> None:
    probe, conn = serving()
    create(probe, 1)
    payload = packets.encode_create_request(packets.CreateRequest("/f", b""))
    probe.packet(conn, 1, -1, packets.encode_request(8, 4, packets.CREATE, payload))
    log = probe.server.database.log
    assert [(t.zxid, t.session, t.cxid, t.time_ms) for t in log] == [(z(1, 1), 7, 1, 1000), (z(1, 2), 8, 4, 0)]
    assert probe.packets(conn)[-1].zxid == z(1, 2)


@pytest.mark.parametrize(
    ("kind", "payload", "type_", "record"),
    [
        (packets.CREATE_SESSION, packets.encode_int32(4000), packets.CREATE_SESSION, packets.encode_int32(4000)),
        (packets.CLOSE_SESSION, b"", packets.CLOSE_SESSION, packets.encode_int32(0)),
        (packets.DELETE, packets.encode_path("/a"), packets.ERROR, packets.encode_error_txn(packets.UNIMPLEMENTED)),
        (packets.CREATE, b"garbage", packets.ERROR, packets.encode_error_txn(packets.MARSHALLING_ERROR)),
        (
            packets.CREATE,
            packets.encode_create_request(packets.CreateRequest("/a\0b", b"")),
            packets.ERROR,
            packets.encode_error_txn(packets.BAD_ARGUMENTS),
        ),
    ],
)
def test_every_request_becomes_a_transaction(kind: int, payload: bytes, type_: int, record: bytes) -> None:
    """PrepRequestProcessor, the part that we serve; what cannot be done becomes an error."""
    probe, conn = serving()
    probe.step(ClientRequest(7, 1, kind, payload, 1000))
    assert probe.server.database.log == [Txn(z(1, 1), 7, 1, 1000, type_, record)]
    replies = [e for e in probe.packet(conn, ACK, z(1, 1)) if isinstance(e, Reply)]
    error = packets.decode_error_txn(record) if type_ == packets.ERROR else packets.OK
    assert replies == [Reply(7, 1, kind, error, z(1, 1), b"")]


def test_a_commit_goes_to_everybody_who_is_synchronised_past_who_is_not() -> None:
    """One informs each observer, with the whole transaction, after learners that have not come so far."""
    probe, conn = serving()
    probe.learner(2, accepted=1)
    observers = [probe.learner(sid, accepted=1, kind=OBSERVERINFO) for sid in (8, 9)]
    for observer in observers:
        probe.ack_epoch(observer, -1)
        probe.packet(observer, ACK, z(1, 0))
    create(probe, 1)
    probe.packet(conn, ACK, z(1, 1))
    for observer in observers:
        last = probe.packets(observer)[-1]
        assert (last.type, last.zxid, packets.decode_txn(last.data).cxid) == (INFORM, z(1, 1), 1)


def test_sync_waits_for_what_was_outstanding() -> None:
    probe, conn = serving()
    create(probe, 1)
    request = packets.encode_request(8, 5, packets.SYNC_OP, packets.encode_path("/"))
    assert probe.packets(conn, probe.packet(conn, 1, -1, request)) == []
    sent = probe.packets(conn, probe.packet(conn, ACK, z(1, 1)))
    assert types(sent) == [COMMIT, SYNC]
    assert types(probe.packets(conn, probe.packet(conn, 1, -1, request))) == [SYNC]


def test_the_counter_at_its_end_forces_a_new_epoch() -> None:
    """ZOOKEEPER-1277, ZxidRolloverTest."""
    probe, conn = serving()
    assert probe.server.leading is not None
    probe.server.leading.last_proposed = z(1, 0xFFFFFFFD)
    create(probe, 1)
    assert probe.server.role == LEADING
    effects = create(probe, 2)
    assert probe.server.role == LOOKING
    assert probe.hung_up(conn)
    assert any(isinstance(e, Reply) and e.error for e in effects)
    assert "zxid-rollover" in probe.marks()


def test_the_counter_may_end_with_a_followers_request() -> None:
    probe, conn = serving()
    assert probe.server.leading is not None
    probe.server.leading.last_proposed = z(1, 0xFFFFFFFE)
    payload = packets.encode_create_request(packets.CreateRequest("/f", b""))
    probe.packet(conn, 1, -1, packets.encode_request(8, 4, packets.CREATE, payload))
    assert probe.server.role == LOOKING
    assert probe.hung_up(conn)
