"""A leader against scripted learners: the epoch and its promises (protocol.md section 5.3)."""

from __future__ import annotations

from typing import Any

import pytest

from node.protocol.core import MAX_EPOCH
from node.protocol.events import StoreEpoch
from node.protocol.leadership import MAX_EPOCH_JUMP
from node.protocol.messages import (
    ACK,
    ACKEPOCH,
    DIFF,
    ELECTION,
    FOLLOWERINFO,
    LEADERINFO,
    LEADING,
    LOOKING,
    NEWLEADER,
    OBSERVERINFO,
    PING,
    QUORUM,
)
from node.wire import packets
from tests.node.leading import elected, serving, types
from tests.node.probe import Probe, durable, shape, z


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


@pytest.mark.parametrize(("own", "accepted", "epoch"), [(0, -1, 1), (MAX_EPOCH - 9, MAX_EPOCH - 1, MAX_EPOCH)])
def test_accepted_epochs_up_to_the_last_but_one_leave_room_for_another(own: int, accepted: int, epoch: int) -> None:
    probe = elected(disk=durable(own, own))
    assert probe.packets(probe.learner(1, accepted))[0].zxid == z(epoch, 0)


def test_the_last_epoch_is_the_last_one_of_the_learner_and_of_the_leader() -> None:
    probe = elected(disk=durable(MAX_EPOCH - 9, MAX_EPOCH - 9))
    assert probe.hung_up(probe.learner(1, MAX_EPOCH))
    assert not probe.server.leading or probe.server.leading.epoch == MAX_EPOCH - 8
    spent = elected(disk=durable(MAX_EPOCH, MAX_EPOCH))
    spent.learner(1, 5)
    assert spent.server.accepted_epoch == MAX_EPOCH
    assert spent.server.role == LOOKING


def test_a_jump_of_epochs_is_refused_and_deposes_nobody() -> None:
    """One packet in a member's name must not use up the epochs, nor cost a leader its throne."""
    probe = elected()
    assert probe.hung_up(probe.learner(1, MAX_EPOCH_JUMP + 1))
    assert not probe.hung_up(probe.learner(1, MAX_EPOCH_JUMP))
    assert probe.server.leading is not None
    assert probe.server.leading.epoch == MAX_EPOCH_JUMP + 1
    leader = serving()[0]
    epoch = leader.server.accepted_epoch
    for accepted in (MAX_EPOCH - 1, epoch + MAX_EPOCH_JUMP + 1):
        assert leader.hung_up(leader.learner(1, accepted))
        assert leader.server.serving
        assert leader.server.accepted_epoch == epoch
