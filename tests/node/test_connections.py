"""Connections of the election port, by rule: protocol.md section 1, and 11.3 as far as it needs no socket."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from node.protocol.core import MS
from node.protocol.events import Connected, Dial, Effect, HangUp, Lost, Received, Send
from node.protocol.messages import ELECTION, FOLLOWING, LEADING, LOOKING, QUORUM, InitialMessage, Notification
from tests.node.probe import Probe


def dials(effects: Sequence[Effect], sid: int | None = None) -> list[Dial]:
    return [e for e in effects if isinstance(e, Dial) and e.port == ELECTION and sid in (None, e.sid)]


def introduce(probe: Probe, sid: int, *addresses: tuple[str, int], version: int = -65536) -> tuple[int, list[Effect]]:
    conn = probe.accept(ELECTION)
    return conn, probe.step(Received(conn, InitialMessage(version, sid, addresses)))


def test_a_server_that_starts_dials_every_voter_once() -> None:
    probe = Probe(2)
    assert [(d.sid, d.address) for d in dials(probe.effects)] == [(1, ("s1", 3888)), (3, ("s3", 3888))]


def test_no_two_dials_to_one_peer_are_in_flight() -> None:
    """Section 1.3; ZOOKEEPER-362."""
    probe = Probe(2)
    probe.advance(10_000)
    assert len(dials(probe.effects, 1)) == 1
    probe.step(Lost(dials(probe.effects, 1)[0].conn, "refused"))
    probe.advance(1000)
    assert len(dials(probe.effects, 1)) == 2


def test_the_larger_sid_keeps_what_it_dialled() -> None:
    """Section 1.2: initial message, then the notification that was queued."""
    probe = Probe(3)
    effects = probe.connect(1)
    sent = [e.message for e in effects if isinstance(e, Send)]
    assert sent[0] == InitialMessage(-65536, 3, (("s3", 3888),))
    assert isinstance(sent[1], Notification)
    assert not probe.hung_up(probe.conns[1])


def test_the_smaller_sid_introduces_itself_hangs_up_and_waits_to_be_dialled_back() -> None:
    probe = Probe(1)
    dial = dials(probe.effects, 3)[0]
    effects = probe.step(Connected(dial.conn))
    assert effects == [Send(dial.conn, InitialMessage(-65536, 1, (("s1", 3888),))), HangUp(dial.conn)]
    assert not dials(probe.advance(499), 3), "the peer has half a second to dial back"
    assert not dials(probe.vote(2, LOOKING, 2), 3)
    probe.advance(1)
    assert dials(probe.vote(2, LOOKING, 2, zxid=1), 3), "as soon as there is something to say"


def test_a_smaller_dialler_is_dialled_back_at_the_address_that_it_names() -> None:
    probe = Probe(3)
    probe.step(Lost(dials(probe.effects, 1)[0].conn, "refused"))
    conn, effects = introduce(probe, 1, ("elsewhere", 99))
    assert HangUp(conn) in effects
    assert [d.address for d in dials(effects, 1)] == [("elsewhere", 99)]


@pytest.mark.parametrize("wildcard", ["0.0.0.0", "::", "[::]", "0:0:0:0:0:0:0:0", ""])
def test_a_wildcard_address_is_replaced_by_the_configured_one(wildcard: str) -> None:
    """ZOOKEEPER-2164."""
    probe = Probe(3)
    probe.step(Lost(dials(probe.effects, 1)[0].conn, "refused"))
    _, effects = introduce(probe, 1, (wildcard, 3888))
    assert [d.address for d in dials(effects, 1)] == [("s1", 3888)]


def test_a_dial_back_waits_for_the_dial_in_flight() -> None:
    """A dial that was begun before the peer was up must not cost its whole time-out once more."""
    probe = Probe(3)
    old = dials(probe.effects, 1)[0]
    _, effects = introduce(probe, 1, ("s1", 3888))
    assert not dials(effects, 1)
    assert len(dials(probe.step(Lost(old.conn, "timed out")), 1)) == 1


def test_a_dial_back_that_waited_goes_to_the_address_that_was_named() -> None:
    probe = Probe(3)
    introduce(probe, 1, ("elsewhere", 99))
    again = dials(probe.step(Lost(dials(probe.effects, 1)[0].conn, "timed out")), 1)
    assert [d.address for d in again] == [("elsewhere", 99)]
    assert not dials(probe.step(Lost(again[0].conn, "refused")), 1), "and once"


def test_a_stranger_that_cannot_be_dialled_back_is_forgotten() -> None:
    probe = Probe(2)
    introduce(probe, 0, ("s0", 3888))
    dial = dials(probe.effects, 0)[0]
    assert 0 in probe.server.peers
    probe.step(Lost(dial.conn, "refused"))
    assert 0 not in probe.server.peers


def test_a_stranger_is_told_nothing_before_it_asks() -> None:
    probe = Probe(2)
    _, effects = introduce(probe, 77)
    assert not [e for e in effects if isinstance(e, Send)]
    assert "stranger" in probe.marks()


def test_a_voter_that_could_not_be_told_our_vote_is_told_where_we_ended() -> None:
    """Section 1.6: the message that was queued waits for a connection, whatever became of the election."""
    probe = Probe(2)
    probe.vote(1, LOOKING, 2)
    probe.advance(200)
    assert probe.server.role == LEADING
    probe.conns[3], effects = introduce(probe, 3)
    assert [(n.state, n.leader) for n in probe.told(3, effects)] == [(LEADING, 2)]


def test_a_new_connection_replaces_the_older_one() -> None:
    """Section 1.3; ZOOKEEPER-822: losing the old one does not take the new one's place away."""
    probe = Probe(1)
    first, _ = introduce(probe, 3)
    second, effects = introduce(probe, 3)
    assert HangUp(first) in effects
    assert probe.server.peers[3].conn == second
    probe.step(Lost(first, "closed"))
    assert probe.server.peers[3].conn == second


def test_a_dial_that_a_larger_peer_overtook_is_hung_up_without_a_word() -> None:
    """An introduction would make the peer end the good connection and dial again."""
    probe = Probe(1)
    dial = dials(probe.effects, 3)[0]
    introduce(probe, 3)
    assert probe.step(Connected(dial.conn))[-1] == HangUp(dial.conn)
    assert "dial-overtaken" in probe.marks()
    assert Send(dial.conn, probe.server.introduction) not in probe.effects


def test_only_the_newest_message_waits_for_a_connection() -> None:
    """Section 1.6; ZOOKEEPER-975."""
    probe = Probe(2)
    probe.vote(3, LOOKING, 3, round=5)
    probe.vote(3, LOOKING, 3, round=6)
    effects = probe.connect(1)
    assert [(n.leader, n.round) for n in probe.told(1, effects)] == [(3, 6)]


def test_a_message_that_may_be_lost_is_told_again_on_the_next_connection() -> None:
    """Section 1.6; ZOOKEEPER-481."""
    probe = Probe(1)
    first, _ = introduce(probe, 3)
    probe.step(Lost(first, "reset"))
    second, effects = introduce(probe, 3)
    assert [e.conn for e in effects if isinstance(e, Send)] == [second]


def test_a_settled_server_greets_a_returning_peer_with_its_present_vote() -> None:
    """Trap 5, deviation: ZooKeeper delivers the stale LOOKING vote that it sent last."""
    probe = Probe(1)
    probe.vote(2, FOLLOWING, 3)
    probe.vote(3, LEADING, 3)
    probe.conns[2], effects = introduce(probe, 2)
    told = probe.told(2, effects)
    assert [(n.state, n.leader) for n in told] == [(FOLLOWING, 3)]


def test_a_message_from_a_connection_that_was_replaced_is_not_heard() -> None:
    probe = Probe(1)
    first, _ = introduce(probe, 3)
    introduce(probe, 3)
    probe.step(Received(first, Notification(LOOKING, 3, 99, 1, 9, 2, None)))
    assert probe.server.proposal.leader == 1


def test_whoever_does_not_introduce_itself_is_closed_after_sync_limit() -> None:
    """Section 1.4, testSocketTimeout."""
    probe = Probe(2)
    conn = probe.accept(ELECTION)
    probe.advance(999)
    assert not probe.hung_up(conn)
    probe.advance(1)
    assert probe.hung_up(conn)
    assert not probe.server.pending


def test_a_longer_wait_that_is_over_prolongs_no_other() -> None:
    probe = Probe(2)
    probe.lose(probe.accept(QUORUM))
    conn = probe.accept(ELECTION)
    assert list(probe.server.pending) == [conn]
    probe.advance(999)
    assert not probe.hung_up(conn)
    probe.advance(1)
    assert probe.hung_up(conn)


def test_a_learner_has_init_limit_to_introduce_itself() -> None:
    """Section 5.3: as long as the leader waits for it."""
    probe = Probe(2)
    conn = probe.accept(QUORUM)
    probe.advance(1999)
    assert not probe.hung_up(conn)
    probe.advance(1)
    assert probe.hung_up(conn)
    assert "handshake-timed-out" in probe.marks()


def test_silent_connections_do_not_pile_up() -> None:
    probe = Probe(2)
    for _ in range(700):
        probe.accept(ELECTION)
    assert len(probe.server.pending) == 512
    assert probe.hung_up(2)
    assert "too-many-unidentified" in probe.marks()


def test_a_stranger_with_our_own_sid_is_closed() -> None:
    """Section 1.2, deviation: ZooKeeper leaks the socket."""
    probe = Probe(2)
    conn, effects = introduce(probe, 2)
    assert HangUp(conn) in effects
    assert 2 not in probe.server.peers
    assert not probe.server.pending


def test_an_observer_without_a_sid_gets_one_below_zero_and_is_dialled_back() -> None:
    """Section 1.9."""
    probe = Probe(2)
    _, effects = introduce(probe, (1 << 63) - 1, ("obs", 3888))
    assert [(d.sid, d.address) for d in dials(effects)] == [(-1, ("obs", 3888))]
    _, effects = introduce(probe, (1 << 63) - 1, ("obs2", 3888))
    assert [d.sid for d in dials(effects)] == [-2]


def test_a_stranger_without_an_address_cannot_be_dialled_back() -> None:
    """testCnxManagerNPE, ZOOKEEPER-1789."""
    probe = Probe(2)
    conn, effects = introduce(probe, 0, version=0)
    assert HangUp(conn) in effects
    assert not dials(effects, 0)
    assert 0 not in probe.server.peers


def test_an_unknown_larger_sid_is_served_and_forgotten_when_it_leaves() -> None:
    """Section 1.2; and nothing of it is left behind."""
    probe = Probe(2)
    conn, _ = introduce(probe, 77)
    answered = probe.step(Received(conn, Notification(LOOKING, 77, 0, 1, 0, 2, None)))
    assert [e.conn for e in answered if isinstance(e, Send)] == [conn]
    probe.step(Lost(conn, "closed"))
    assert 77 not in probe.server.peers


def test_strangers_are_bounded() -> None:
    probe = Probe(2)
    for sid in range(100, 400):
        refused, _ = introduce(probe, sid)
    assert len(probe.server.peers) == 3 + 64
    assert probe.hung_up(refused)
    assert refused not in probe.server.pending
    conn, _ = introduce(probe, 3)
    assert probe.server.peers[3].conn == conn, "a member is served all the same"


def test_an_initial_message_on_the_quorum_port_introduces_nobody() -> None:
    probe = Probe(1)
    conn = probe.accept(QUORUM)
    probe.step(Received(conn, InitialMessage(-65536, 3, ())))
    assert probe.server.peers[3].conn is None


@pytest.mark.parametrize(("tick_ms", "silent_ms"), [(500, 2000), (2000, 2000), (100, 400)])
def test_a_voter_that_stays_silent_is_dialled_again(tick_ms: int, silent_ms: int) -> None:
    """A connection that a partition has stalled: deviation, ZooKeeper leaves it to TCP."""
    probe = Probe(3, tick_ms=tick_ms)
    probe.connect(1)
    old = probe.conns[1]
    probe.advance(silent_ms - 1)
    assert not probe.hung_up(old)
    probe.advance(1)
    assert probe.hung_up(old), "at the first look after the silence"
    assert len(dials(probe.effects, 1)) == 2
    assert "silent-connection" in probe.marks()
    late = Probe(3, tick_ms=tick_ms)
    late.advance(silent_ms / 4)
    late.connect(1)
    late.advance(silent_ms * 5 / 4)
    assert late.hung_up(late.conns[1]), "there are two looks to a silence"


def test_voters_on_both_sides_of_our_own_sid_are_looked_after() -> None:
    probe = Probe(2)
    for sid in (1, 3):
        probe.connect(sid)
    probe.advance(2000)
    assert [probe.hung_up(probe.conns[sid]) for sid in (1, 3)] == [True, True]


def test_a_voter_that_answers_is_left_alone() -> None:
    probe = Probe(3, servers=5)
    probe.connect(1)
    for _ in range(100):
        probe.advance(100)
        probe.vote(1, LOOKING, 3)
    assert not probe.hung_up(probe.conns[1])


def test_connections_are_looked_after_only_while_looking() -> None:
    """A settled server has nothing to say, and no reason to dial."""
    probe = Probe(3)
    probe.vote(1, LOOKING, 3)
    probe.vote(2, LOOKING, 3)
    probe.advance(200)
    seen = len(dials(probe.effects))
    probe.advance(1500)
    assert len(dials(probe.effects)) == seen


def test_a_dial_takes_no_longer_than_a_second_or_a_tick() -> None:
    assert dials(Probe(2).effects)[0].timeout_ms == 1000
    assert dials(Probe(2, tick_ms=3000).effects)[0].timeout_ms == 3000
    assert dials(Probe(2, connect_timeout_ms=700).effects)[0].timeout_ms == 700
    assert MS == 1_000_000
