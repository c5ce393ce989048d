"""A learner against a scripted leader: in service, and how it ends (protocol.md sections 5.7, 5.8)."""

from __future__ import annotations

import pytest

from node.protocol import following as following_module
from node.protocol.events import (
    AppendTxns,
    ClientRequest,
    Connected,
    Durable,
    Log,
    Reply,
    StoreSnapshot,
)
from node.protocol.messages import (
    ACK,
    COMMIT,
    DIFF,
    FOLLOWING,
    INFORM,
    LEADERINFO,
    LOOKING,
    NEWLEADER,
    OBSERVERINFO,
    PING,
    PROPOSAL,
    REQUEST,
    SYNC,
    UPTODATE,
    QuorumPacket,
    Txn,
)
from node.protocol.server import Server
from node.wire import packets
from tests.node.following import following, leader_dials, propose, serving
from tests.node.probe import Probe, shape, txn, z
from tests.node.world import configs


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
    assert "leader-silent" in probe.marks()


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
