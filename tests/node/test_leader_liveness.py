"""A leader against scripted learners: who is still there, and the end (protocol.md section 5.8)."""

from __future__ import annotations

from node.protocol.events import Received, TimerDue
from node.protocol.messages import (
    ACK,
    LEADERINFO,
    LEADING,
    LOOKING,
    OBSERVERINFO,
    PING,
    QUORUM,
    QuorumPacket,
)
from tests.node.leading import create, elected, serving, types
from tests.node.probe import z


def test_learners_are_pinged_twice_a_tick() -> None:
    """Section 5.8."""
    probe, conn = serving()
    pings = probe.packets(conn, probe.advance(400))
    assert [(p.type, p.data) for p in pings] == [(PING, None)] * 4


def test_nobody_is_pinged_before_its_newleader() -> None:
    """Section 5.8: a learner would take it for LEADERINFO, or for its synchronisation."""
    probe = elected(5, 5)
    conns = [probe.learner(1), probe.learner(2)]
    probe.ack_epoch(conns[0], 0)
    probe.advance(500)
    assert [types(probe.packets(conn)) for conn in conns] == [[LEADERINFO], [LEADERINFO]]


def test_a_timer_that_is_told_too_soon_is_not_due() -> None:
    probe, conn = serving()
    assert not probe.step(TimerDue("leader"))
    assert not probe.step(TimerDue("no such timer"))
    assert not probe.hung_up(conn)


def test_a_leader_whose_followers_fell_silent_steps_down_within_sync_limit_and_a_tick() -> None:
    """Section 5.8; to the tick here, as its ticks began with the silence."""
    probe, _ = serving()
    probe.advance(999)
    assert probe.server.role == LEADING
    probe.advance(1)
    assert probe.server.role == LOOKING
    assert probe.reports()[-1]["evidence"] == {"synced": [3]}


def test_the_quorum_is_counted_once_a_tick() -> None:
    """Section 5.8: who comes again between two counts was never missed."""
    probe, conn = serving()
    for _ in range(2):
        probe.advance(200)
        probe.lose(conn)
        probe.advance(199)
        assert probe.server.role == LEADING
        conn = probe.learner(1, accepted=1)
        probe.ack_epoch(conn, -1)
        probe.packet(conn, ACK, z(1, 0))
        probe.advance(1)
    probe.lose(conn)
    probe.advance(200)
    assert probe.server.role == LOOKING
    assert "quorum-lost-while-leading" in probe.marks()


def test_a_follower_that_acknowledges_what_it_is_sent_is_kept() -> None:
    probe, conn = serving()
    create(probe, 1)
    probe.packet(conn, ACK, z(1, 1))
    for _ in range(30):
        probe.advance(100)
        probe.packet(conn, PING, 0, b"")
    assert not probe.hung_up(conn)


def test_a_leader_that_hears_its_followers_leads_on() -> None:
    probe, conn = serving()
    for _ in range(50):
        probe.advance(100)
        probe.packet(conn, PING, 0, b"")
    assert probe.server.role == LEADING


def test_an_idle_connection_is_nobody_and_observers_do_not_count() -> None:
    """Trap 9 (server 0) and ZOOKEEPER-1294: neither keeps a leader without followers in place."""
    probe, conn = serving()
    observer = probe.learner(8, accepted=1, kind=OBSERVERINFO)
    probe.ack_epoch(observer, -1)
    probe.packet(observer, ACK, z(1, 0))
    probe.accept(QUORUM)
    probe.lose(conn)
    for _ in range(5):
        probe.advance(100)
        probe.packet(observer, PING, 0, b"")
    assert probe.server.role == LOOKING
    assert probe.reports()[-1]["evidence"] == {"synced": [3]}


def test_a_learner_that_waits_for_uptodate_may_be_silent_for_init_limit() -> None:
    """A 3.8 learner answers no PING before UPTODATE; it waits here for the others' acknowledgements."""
    probe = elected(5, 5)
    conns = [probe.learner(sid) for sid in (1, 2)]
    for conn in conns:
        probe.ack_epoch(conn, 0)
    probe.packet(conns[0], ACK, z(1, 0))
    probe.advance(1800)
    probe.packet(conns[1], ACK, z(1, 0))
    assert not probe.hung_up(conns[0])
    assert probe.server.serving
    probe.advance(900)
    assert not probe.hung_up(conns[0]), "and its syncLimit begins with UPTODATE"
    probe.advance(200)
    assert probe.hung_up(conns[0])


def test_learners_that_are_not_in_the_configuration_are_bounded() -> None:
    probe = elected()
    for sid in range(1000, 1400):
        probe.learner(sid)
    assert probe.server.leading is not None
    assert len(probe.server.leading.handlers) == 256
    probe.learner(1)
    assert probe.server.learners[1] == "ACKEPOCH"


def test_a_follower_that_acknowledges_nothing_is_closed_though_it_answers_pings() -> None:
    """testTxnTimeout."""
    probe, conn = serving()
    create(probe, 1)
    for _ in range(12):
        probe.advance(100)
        probe.packet(conn, PING, 0, b"")
    assert probe.hung_up(conn)
    assert "transaction-timeout" in probe.marks()


def test_what_was_sent_during_a_synchronisation_is_to_be_acknowledged_within_sync_limit_of_uptodate() -> None:
    """A learner acknowledges no proposal before; ZooKeeper counts none that it sent before (LearnerHandler)."""
    probe, conn = serving()
    late = probe.learner(2, accepted=1)
    probe.ack_epoch(late, -1)
    create(probe, 1)
    probe.packet(conn, ACK, z(1, 1))
    for _ in range(11):
        probe.advance(100)
        probe.packet(conn, PING, 0, b"")
    probe.packet(late, ACK, z(1, 0))
    for _ in range(10):
        assert not probe.hung_up(late)
        probe.advance(100)
        probe.packet(late, PING, 0, b"")
    assert probe.hung_up(late)


def test_a_leader_that_steps_down_closes_every_learner() -> None:
    probe, conn = serving()
    late = probe.learner(2)
    probe.advance(5000)
    assert probe.hung_up(conn)
    assert probe.hung_up(late)


def test_a_packet_of_a_connection_that_was_closed_is_not_heard() -> None:
    probe, conn = serving()
    create(probe, 1)
    probe.learner(1, accepted=1)
    probe.step(Received(conn, QuorumPacket(ACK, z(1, 1), None)))
    assert probe.server.outstanding == 1
