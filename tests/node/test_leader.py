"""A leader against scripted learners: protocol.md sections 5.3 to 5.8 and 11.4."""

from __future__ import annotations

from typing import Any

import pytest

from node.protocol.events import Durable, Received, Send, StoreEpoch, TimerDue
from node.protocol.messages import (
    ACK,
    ACKEPOCH,
    COMMIT,
    DIFF,
    ELECTION,
    FOLLOWERINFO,
    INFORM,
    LEADERINFO,
    LEADING,
    LOOKING,
    NEWLEADER,
    OBSERVERINFO,
    PING,
    PROPOSAL,
    QUORUM,
    SNAP,
    TRUNC,
    UPTODATE,
    QuorumPacket,
    SnapshotStream,
)
from node.wire import packets
from tests.node.leading import create, elected, serving, types
from tests.node.probe import Probe, durable, shape, txn, z

# ---- discovery -----------------------------------------------------------------------------------------------------


def test_the_new_epoch_is_above_every_accepted_one_and_on_disk_before_it_is_told() -> None:
    """testLeaderBehind; ZOOKEEPER-1291."""
    probe = elected()
    seen = len(probe.effects)
    conn = probe.learner(1, accepted=20)
    assert shape(probe.effects[seen:]) == [StoreEpoch("acceptedEpoch", 21), LEADERINFO]
    info = probe.packets(conn)[0]
    assert (info.zxid, info.data) == (z(21, 0), packets.encode_int32(0x10000))


def test_an_equal_accepted_epoch_is_not_proposed_again() -> None:
    """testLastAcceptedEpoch; ZOOKEEPER-1343."""
    probe = elected(disk=durable(5, 5))
    conn = probe.learner(1, accepted=6)
    assert probe.packets(conn)[0].zxid == z(7, 0)


def test_followers_alone_make_no_epoch_and_those_that_left_stay_counted() -> None:
    """testLeaderInConnectingFollowers."""
    probe = Probe(3, disk=durable(5, 5))
    lost = probe.learner(1, accepted=5)
    probe.elect_self()
    assert probe.server.accepted_epoch == 6, "the learner that was held counts as soon as we lead"
    probe.lose(lost)
    assert probe.server.role == LEADING


def test_observers_and_strangers_are_not_counted() -> None:
    """ZOOKEEPER-2959, LeaderWithObserverTest."""
    probe = elected(5, 5)
    strange = [probe.learner(9, accepted=3), probe.learner(8, accepted=3, kind=OBSERVERINFO)]
    assert probe.server.accepted_epoch == 0
    conns = [probe.learner(1), probe.learner(2)]
    assert probe.server.accepted_epoch == 1, "nor do strangers raise the epoch"
    for conn in (*strange, *conns):
        assert probe.server.phase == "discovery"
        probe.ack_epoch(conn, 0)
    for conn in (*strange, *conns):
        assert not probe.server.serving
        probe.packet(conn, ACK, z(1, 0))
    assert probe.server.serving
    evidence: dict[str, Any] = {}
    for report in probe.reports():
        evidence.update(report["evidence"])
    assert evidence["electors"] == evidence["votes"] == evidence["newleader_acks"] == [1, 2, 5]


def test_a_leader_that_gets_no_quorum_gives_up_after_init_limit() -> None:
    probe = elected()
    probe.advance(1999)
    assert probe.server.role == LEADING
    probe.advance(1)
    assert probe.server.role == LOOKING
    assert probe.server.round == 2
    assert "epoch from quorum" in probe.reports()[-1]["reason"]


def test_each_wait_for_a_quorum_lasts_for_an_init_limit_of_its_own() -> None:
    """Section 5.3: getEpochToPropose, waitForEpochAck, waitForNewLeaderAck."""
    probe = elected()
    probe.advance(1500)
    conn = probe.learner(1)
    probe.advance(1500)
    probe.ack_epoch(conn, 0)
    probe.advance(1999)
    assert probe.server.phase == "synchronization"
    probe.advance(1)
    assert probe.server.role == LOOKING
    assert probe.reports()[-1]["reason"].endswith("only synced with sids: [3]")
    waiting = elected(5, 5)
    for sid in (1, 2):
        waiting.learner(sid)
    waiting.advance(2000)
    assert "epoch to be acked by quorum" in waiting.reports()[-1]["reason"]


def test_a_server_alone_in_its_ensemble_needs_nobody() -> None:
    probe = elected(1, 1)
    assert probe.server.serving
    assert [r["phase"] for r in probe.reports()[1:]] == ["discovery", "discovery", "synchronization", "broadcast"]


def test_a_learner_that_has_no_history_at_all_promises_nothing() -> None:
    """zxid -1, section 5.3: waitForEpochAck does not count it."""
    probe = elected()
    probe.ack_epoch(probe.learner(1), 0, -1)
    assert probe.server.phase == "discovery"


@pytest.mark.parametrize(("kind", "data"), [(ACK, packets.encode_int32(0)), (77, None), (ACKEPOCH, b"123")])
def test_anything_but_an_ackepoch_after_leaderinfo_ends_the_connection(kind: int, data: bytes | None) -> None:
    probe = elected(5, 5)
    conns = [probe.learner(1), probe.learner(2)]
    probe.packet(conns[0], kind, 0, data)
    assert [probe.hung_up(conn) for conn in conns] == [True, False]
    assert probe.server.learners == {2: "ACKEPOCH"}


def test_a_learner_that_speaks_before_the_quorum_is_sent_away() -> None:
    probe = elected(5, 5)
    conns = [probe.learner(1), probe.learner(2)]
    probe.ack_epoch(conns[0], 0)
    probe.packet(conns[0], ACK, z(1, 0))
    assert [probe.hung_up(conn) for conn in conns] == [True, False]


def test_a_follower_that_leaves_before_its_ack_is_not_counted_for_it() -> None:
    """testAbandonBeforeACKEpoch."""
    probe = elected()
    probe.lose(probe.learner(1))
    assert probe.server.phase == "discovery"
    probe.advance(2100)
    assert probe.server.role == LOOKING


def test_a_quorum_of_promises_establishes_the_leader() -> None:
    """Section 5.3, waitForEpochAck; current epoch on disk, then the evidence, then the synchronisation."""
    probe = elected(disk=durable(4, 4, z(4, 1)))
    conn = probe.learner(1, accepted=4)
    effects = probe.ack_epoch(conn, 4, z(4, 1))
    assert shape(effects) == [StoreEpoch("currentEpoch", 5), DIFF, NEWLEADER]
    report = probe.reports()[-1]
    assert (report["established"], report["epoch"], report["phase"]) == (True, 5, "synchronization")
    evidence = report["evidence"]
    assert (evidence["votes"], evidence["own"]) == ([1, 3], [4, z(4, 1)])
    assert evidence["epoch_acks"] == {"1": [4, z(4, 1)], "3": [4, z(4, 1)]}


@pytest.mark.parametrize(("own", "epoch", "zxid"), [(4, 5, 0), (4, 4, z(4, 2)), (0, 1, 0)])
def test_a_follower_with_a_better_history_is_sent_away(own: int, epoch: int, zxid: int) -> None:
    probe = elected(disk=durable(own, own, z(own, 1)))
    conn = probe.learner(1, accepted=5)
    probe.ack_epoch(conn, epoch, zxid)
    assert probe.hung_up(conn)
    assert probe.server.phase == "discovery"
    assert "follower-ahead" in probe.marks()


def test_minus_one_counts_for_nobody_and_is_synchronised_all_the_same() -> None:
    """Section 5.3."""
    probe = elected(5, 5)
    first, second, third = (probe.learner(sid) for sid in (1, 2, 4))
    probe.ack_epoch(first, -1)
    probe.ack_epoch(second, 0)
    assert probe.server.phase == "discovery"
    probe.ack_epoch(third, 0)
    assert probe.server.phase == "synchronization"
    assert types(probe.packets(first))[1:] == [DIFF, NEWLEADER]


def test_an_epoch_that_a_needed_voter_had_accepted_before_is_given_up_at_once() -> None:
    """Deviation from the price of -1 (section 5.3): ZooKeeper waits until initLimit ends."""
    probe = elected()
    conn = probe.learner(1)
    probe.ack_epoch(conn, -1)
    assert probe.server.role == LOOKING
    assert probe.hung_up(conn)
    assert "epoch-burnt" in probe.marks()


def test_the_fixed_epoch_is_told_to_late_comers_however_high_theirs_is() -> None:
    """Section 5.3: they will refuse it, if they are no members that we would do without for ever."""
    probe = elected()
    probe.learner(1, accepted=0)
    for sid, accepted in ((2, 1), (9, 40)):
        late = probe.learner(sid, accepted=accepted)
        assert probe.packets(late)[0].zxid == z(1, 0)


@pytest.mark.parametrize("phase", ["discovery", "broadcast"])
def test_a_member_that_accepted_a_higher_epoch_makes_us_elect_again_and_go_above_it(phase: str) -> None:
    """Of an attempt that came to nothing.  It would refuse our epoch as long as we lead."""
    if phase == "discovery":
        probe = elected()
        probe.learner(1, accepted=0)
    else:
        probe, _ = serving()
    late = probe.learner(2, accepted=7)
    assert probe.server.role == LOOKING
    assert probe.hung_up(late)
    probe.elect_self()
    conn = probe.learner(1, accepted=1)
    assert probe.packets(conn)[0].zxid == z(8, 0), "also if it is not among those who choose the epoch"


def test_a_learner_that_came_while_we_were_looking_is_held_until_we_lead() -> None:
    probe = Probe(3)
    probe.vote(1, LOOKING, 3)
    silent = probe.accept(QUORUM)
    conn = probe.learner(1)
    assert not probe.packets(conn)
    probe.advance(200)
    assert types(probe.packets(conn)) == [LEADERINFO]
    assert list(probe.server.pending) == [silent], "who has said nothing is no learner yet"


def test_a_learner_that_is_held_prolongs_nobody_elses_wait() -> None:
    probe = Probe(3)
    silent = probe.accept(ELECTION)
    probe.advance(500)
    held = probe.learner(1)
    probe.advance(500)
    assert (probe.hung_up(silent), probe.hung_up(held)) == (True, False)


def test_a_learner_is_not_held_for_ever() -> None:
    probe = Probe(3)
    conn = probe.learner(1)
    probe.advance(999)
    assert not probe.hung_up(conn)
    probe.advance(1)
    assert probe.hung_up(conn)


def test_a_learner_that_is_held_and_does_not_wait_is_closed() -> None:
    probe = Probe(3)
    conn = probe.learner(1)
    probe.packet(conn, FOLLOWERINFO, 0, packets.encode_learner_info(packets.LearnerInfo(2, 0x10000, 0)))
    assert probe.hung_up(conn)


def test_a_learner_on_the_election_port_is_closed() -> None:
    probe = elected()
    conn = probe.accept(ELECTION)
    probe.packet(conn, FOLLOWERINFO, 0, packets.encode_learner_info(packets.LearnerInfo(1, 0x10000, 0)))
    assert probe.hung_up(conn)


def test_a_learner_that_was_held_is_sent_away_when_we_follow() -> None:
    probe = Probe(2)
    conn = probe.learner(1)
    probe.follow(3)
    assert probe.hung_up(conn)
    assert probe.hung_up(probe.learner(1)), "and one that comes later too"


def test_disloyal_voters_end_the_attempt_when_no_quorum_is_left_without_them() -> None:
    """ZOOKEEPER-3109, always on: deviation."""
    probe = elected(5, 5)
    probe.advance(499)
    for sid in (1, 2, 3, 4):
        probe.vote(sid, LOOKING, sid, round=2)
    probe.advance(1)
    for sid in (1, 2):
        probe.vote(sid, LOOKING, sid, round=2)
        assert probe.server.role == LEADING, "what was said within half a second is the election's"
    probe.vote(4, LOOKING, 4, round=2)
    assert probe.server.role == LOOKING
    assert "disloyal-voters" in probe.marks()
    assert probe.reports()[-1]["evidence"] == {"looking": [1, 2, 4]}


def test_a_leader_in_service_is_not_ended_by_who_looks() -> None:
    """It counts whom it hears, once a tick; a voter that restarts is LOOKING, and joins."""
    probe, conn = serving()
    probe.advance(600)
    probe.packet(conn, PING, 0, b"")
    probe.lose(conn)
    for sid in (1, 2):
        probe.vote(sid, LOOKING, sid, round=2)
    assert probe.server.role == LEADING


def test_a_voter_that_follows_after_all_is_not_disloyal() -> None:
    """Its LOOKING messages may come late, or from before it changed its mind once more."""
    probe = elected()
    probe.advance(600)
    probe.vote(1, LOOKING, 1, round=2)
    conn = probe.learner(1)
    probe.vote(1, LOOKING, 1, round=2)
    probe.vote(2, LOOKING, 2, round=2)
    assert probe.server.role == LEADING
    probe.lose(conn)
    probe.vote(1, LOOKING, 1, round=3)
    assert probe.server.role == LOOKING


def test_an_epoch_is_not_given_up_while_too_few_are_here_to_choose_another() -> None:
    probe = elected(5, 5)
    gone, here = probe.learner(1), probe.learner(2)
    probe.lose(gone)
    probe.ack_epoch(here, -1)
    assert probe.server.role == LEADING


def test_a_voter_still_in_its_finalize_wait_is_not_disloyal() -> None:
    probe = elected()
    for sid in (1, 2):
        probe.vote(sid, LOOKING, 3)
    assert probe.server.role == LEADING


@pytest.mark.parametrize(
    ("kind", "zxid", "data"),
    [
        (ACK, 0, packets.encode_learner_info(packets.LearnerInfo(1, 0x10000, 0))),
        (FOLLOWERINFO, 0, None),
        (FOLLOWERINFO, 0, b"1234567"),
        (FOLLOWERINFO, 0, packets.encode_learner_info(packets.LearnerInfo(3, 0x10000, 0))),
        (FOLLOWERINFO, 0, packets.encode_learner_info(packets.LearnerInfo(1, 1, 0))),
        (FOLLOWERINFO, 0, packets.encode_learner_info(packets.LearnerInfo(1, 0x10000, 1))),
        (FOLLOWERINFO, z(-2, 0), packets.encode_learner_info(packets.LearnerInfo(1, 0x10000, 0))),
        (FOLLOWERINFO, z(0x7FFFFFFF, 0), packets.encode_learner_info(packets.LearnerInfo(1, 0x10000, 0))),
    ],
)
def test_a_first_packet_of_no_learner_of_ours_ends_its_connection(kind: int, zxid: int, data: bytes | None) -> None:
    probe = elected()
    conn = probe.accept(QUORUM)
    probe.packet(conn, kind, zxid, data)
    assert probe.hung_up(conn)
    assert probe.server.leading is not None
    assert probe.server.leading.electors == {3}
    assert not probe.server.pending


@pytest.mark.parametrize(("accepted", "epoch"), [(-1, 1), (0x7FFFFFFE, 0x7FFFFFFF)])
def test_accepted_epochs_up_to_the_last_but_one_leave_room_for_another(accepted: int, epoch: int) -> None:
    probe = elected()
    assert probe.packets(probe.learner(1, accepted))[0].zxid == z(epoch, 0)


# ---- synchronisation (LearnerHandlerTest) ---------------------------------------------------------------------------

HISTORY = (z(2, 1), z(2, 2), z(4, 1), z(4, 2))


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        (z(4, 2), [(DIFF, z(4, 2))]),
        (0, [(DIFF, z(4, 2)), *((PROPOSAL, x) for x in HISTORY)]),
        (z(2, 2), [(DIFF, z(4, 2)), (PROPOSAL, z(4, 1)), (PROPOSAL, z(4, 2))]),
        (z(4, 9), [(TRUNC, z(4, 2))]),
        (z(5, 9), [(TRUNC, z(4, 2))]),
        (z(2, 7), [(TRUNC, z(2, 2)), (PROPOSAL, z(4, 1)), (PROPOSAL, z(4, 2))]),
        (z(4, 0), [(DIFF, z(4, 2)), (PROPOSAL, z(4, 1)), (PROPOSAL, z(4, 2))]),
        (z(6, 0), [(DIFF, z(6, 0))]),
        (z(3, 7), [(SNAP, z(4, 2))]),
        (z(7, 0), [(SNAP, z(4, 2))]),
    ],
)
def test_the_sync_decision(theirs: int, expected: list[tuple[int, int]]) -> None:
    """Section 5.5, the table, for a leader of epoch 6 in broadcast; every PROPOSAL of history has its COMMIT."""
    probe, _ = serving(disk=durable(5, 5, *HISTORY))
    conn = probe.learner(2, accepted=5)
    probe.ack_epoch(conn, 3, theirs)
    sent = probe.packets(conn)[1:]
    assert [(p.type, p.zxid) for p in sent if p.type != COMMIT] == [*expected, (NEWLEADER, z(6, 0))]
    proposed = [p.zxid for p in sent if p.type == PROPOSAL]
    assert [p.zxid for p in sent if p.type == COMMIT] == proposed
    for p in sent:
        if p.type == PROPOSAL:
            assert packets.decode_txn(p.data) == txn(p.zxid)


def test_a_learner_from_before_our_snapshot_gets_ours_and_what_followed() -> None:
    nodes = packets.encode_snapshot({"/": b"", "/old": b"1"})
    disk = Durable(5, 5, z(4, 7), nodes, (txn(z(5, 1)),))
    probe, _ = serving(disk=disk)
    create(probe, 1)
    probe.packet(2, ACK, z(6, 1))
    conn = probe.learner(2, accepted=0)
    effects = probe.ack_epoch(conn, 0, z(3, 1))
    assert (SNAP, z(6, 1)) in [(p.type, p.zxid) for p in probe.packets(conn, effects)]
    stream = next(e.message for e in effects if isinstance(e, Send) and isinstance(e.message, SnapshotStream))
    assert set(packets.decode_snapshot(stream.stream)) == {"/", "/old", f"/{z(5, 1):x}", "/c1"}


def test_newleader_carries_the_configuration_and_uptodate_no_zxid() -> None:
    """Sections 5.5 and 5.6: a 3.8 learner reads the one, and a real leader's UPTODATE has zxid -1."""
    probe, conn = serving()
    sent = {p.type: p for p in probe.packets(conn)}
    assert sent[NEWLEADER].data == probe.server.config_text.encode()
    assert sent[UPTODATE] == QuorumPacket(UPTODATE, -1, None)


def test_what_a_learner_has_logged_and_nobody_committed_is_taken_back_and_proposed_again() -> None:
    """Section 5.5: it is beyond our last committed one, though not beyond our history."""
    probe, _ = serving()
    create(probe, 1)
    late = probe.learner(2, accepted=1)
    probe.ack_epoch(late, -1, z(1, 1))
    sent = probe.packets(late)[1:]
    assert [(p.type, p.zxid) for p in sent] == [(TRUNC, 0), (PROPOSAL, z(1, 1)), (NEWLEADER, z(1, 0))]
    assert packets.decode_txn(sent[1].data).cxid == 1


def test_the_start_of_the_new_epoch_is_no_history_before_service() -> None:
    probe = elected(disk=durable(5, 5, z(5, 1)))
    conn = probe.learner(1, accepted=5)
    probe.ack_epoch(conn, 4, z(6, 0))
    assert types(probe.packets(conn))[1] == SNAP


def test_outstanding_proposals_come_without_commit_and_their_acks_count_anew() -> None:
    """Trap 8, ZOOKEEPER-4394: no COMMIT between NEWLEADER and UPTODATE."""
    probe, first = serving()
    create(probe, 1)
    late = probe.learner(2)
    probe.ack_epoch(late, 0)
    assert types(probe.packets(late)) == [LEADERINFO, DIFF, PROPOSAL, NEWLEADER]
    probe.packet(first, ACK, z(1, 1))
    assert types(probe.packets(late))[-1] == NEWLEADER, "the COMMIT is held"
    assert "commit-held" in probe.marks()
    probe.packet(late, ACK, z(1, 0))
    assert types(probe.packets(late))[-2:] == [UPTODATE, COMMIT]


def test_an_observer_hears_of_a_transaction_when_it_is_committed() -> None:
    """Section 5.5: outstanding proposals are for participants only; section 5.6: INFORM."""
    probe, first = serving()
    create(probe, 1)
    observer = probe.learner(9, accepted=1, kind=OBSERVERINFO)
    probe.ack_epoch(observer, -1)
    probe.packet(observer, ACK, z(1, 0))
    create(probe, 2)
    assert types(probe.packets(observer)) == [LEADERINFO, DIFF, NEWLEADER, UPTODATE]
    probe.packet(first, ACK, z(1, 1))
    informed = probe.packets(observer)[-1]
    assert (informed.type, packets.decode_txn(informed.data).zxid) == (INFORM, z(1, 1))


def test_what_a_learner_acknowledged_before_it_came_again_does_not_count() -> None:
    """Its synchronisation may cut the transaction off and log it again; in between it must not be committed by it."""
    probe, first = serving(servers=5)
    create(probe, 1)
    probe.packet(first, ACK, z(1, 1))
    again = probe.learner(1, accepted=1)
    assert probe.hung_up(first)
    probe.ack_epoch(again, -1, z(1, 1))
    assert probe.server.leading is not None
    assert probe.server.leading.outstanding[z(1, 1)].acks == {5}


def test_an_ack_of_another_epoch_is_not_counted_for_newleader() -> None:
    probe = elected()
    conn = probe.learner(1)
    probe.ack_epoch(conn, 0)
    probe.packet(conn, ACK, z(9, 0))
    assert not probe.server.serving


def test_anything_but_an_ack_after_newleader_ends_the_connection() -> None:
    probe = elected()
    conn = probe.learner(1)
    probe.ack_epoch(conn, 0)
    probe.packet(conn, PING)
    assert probe.hung_up(conn)


# ---- liveness ------------------------------------------------------------------------------------------------------


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
