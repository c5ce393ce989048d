"""Fast leader election, one server against scripted peers: the cases of protocol.md sections 2.6, 3, 11.1 and 11.2."""

from __future__ import annotations

import pytest

from node.config import Config, Member
from node.protocol.core import MAX_EPOCH, MS
from node.protocol.election import MAX_ROUND, config_text
from node.protocol.events import Durable
from node.protocol.messages import FOLLOWING, LEADING, LOOKING, OBSERVING
from node.protocol.server import Server
from node.protocol.votes import Vote
from tests.node.probe import EMPTY, Probe, durable, z
from tests.node.world import configs


def better(new: tuple[int, int, int], current: tuple[int, int, int]) -> bool:
    """FLEPredicateTest writes votes as (id, zxid, peerEpoch)."""
    servers = configs(5)
    server = Server(servers[1], EMPTY)
    server.voters = server.verifier.voters = frozenset(range(6))
    return server.better(*(Vote(leader, zxid, 0, epoch) for leader, zxid, epoch in (new, current)))


@pytest.mark.parametrize(
    ("new", "current", "expected"),
    [
        ((4, 0, 0), (3, 0, 2), False),
        ((0, 0, 1), (1, 0, 0), True),
        ((0, 1, 0), (1, 0, 0), True),
        ((1, 1, 0), (0, 1, 0), True),
        ((1, 1, 1), (1, 1, 1), False),
    ],
)
def test_votes_are_ordered_by_epoch_then_zxid_then_sid(
    new: tuple[int, int, int], current: tuple[int, int, int], expected: bool
) -> None:
    """Section 11.1, FLEPredicateTest; ZOOKEEPER-1419."""
    assert better(new, current) is expected


def test_a_settled_leader_is_joined_out_of_election_from_another_round() -> None:
    """Section 11.1, testOutofElection: the joiner's own round is 1, the ensemble's is 10; versions and zxids differ."""
    probe = Probe(3, servers=5, disk=durable(0x17, 0x17, z(0x17, 1)))
    probe.vote(1, FOLLOWING, 5, z(0x17, 1), 10, 0x17, version=0)
    probe.vote(2, FOLLOWING, 5, z(0x17, 1), 10, 0x17, version=0)
    probe.vote(4, FOLLOWING, 5, z(0x17, 2), 10, 0x18, version=1)
    assert probe.server.role == LOOKING, "the leader itself has said nothing"
    probe.vote(5, LEADING, 5, z(0x17, 2), 10, 0x18, version=1)
    assert probe.server.role == FOLLOWING
    assert probe.server.round == 10
    assert probe.server.vote.leader == 5


def test_a_quorum_of_equal_votes_decides_after_the_finalize_wait_and_not_before() -> None:
    """Section 3.5: 200 ms."""
    probe = Probe(3)
    probe.vote(1, LOOKING, 3)
    probe.advance(199)
    assert probe.server.role == LOOKING
    probe.advance(1)
    assert probe.server.role == LEADING
    evidence = {sid: {"round": 1, "epoch": 0, "zxid": 0, "state": "LOOKING"} for sid in ("1", "3")}
    assert probe.reports()[-1]["evidence"] == {"votes": evidence}


def test_equal_votes_do_not_prolong_the_finalize_wait() -> None:
    """Deviation from trap 6: ZooKeeper decides 2.23 s late when a vote comes every 100 ms."""
    probe = Probe(3)
    probe.vote(1, LOOKING, 3)
    for _ in range(4):
        probe.advance(49)
        probe.vote(1, LOOKING, 3)
        probe.vote(2, LOOKING, 3)
    probe.advance(4)
    assert probe.server.role == LEADING


def test_a_better_vote_of_an_older_round_does_not_cancel_the_decision() -> None:
    """Deviation from trap 6: ZooKeeper abandons its wait for a vote that it then ignores, 1.1 s in all."""
    probe = Probe(2)
    probe.vote(1, LOOKING, 2, round=5)
    probe.vote(1, LOOKING, 2, round=5)
    assert probe.server.round == 5
    probe.advance(100)
    effects = probe.vote(3, LOOKING, 3, zxid=z(9, 9), round=2, epoch=9)
    assert probe.told(3, effects)[-1].round == 5, "it is answered"
    probe.advance(100)
    assert probe.server.role == LEADING


def test_a_higher_round_in_the_finalize_wait_is_joined_and_not_lost() -> None:
    """Deviation from trap 6: ZooKeeper throws it away."""
    probe = Probe(2)
    probe.vote(1, LOOKING, 2)
    probe.advance(100)
    probe.vote(3, LOOKING, 1, round=7)
    assert probe.server.round == 7
    probe.advance(150)
    assert probe.server.role == LOOKING


def test_a_better_vote_in_the_finalize_wait_is_taken() -> None:
    probe = Probe(2)
    probe.vote(1, LOOKING, 2)
    probe.advance(100)
    probe.vote(3, LOOKING, 3)
    assert probe.server.proposal.leader == 3
    assert "better-vote-in-finalize-wait" in probe.marks()
    assert "quorum-lost-in-finalize-wait" not in probe.marks(), "1 and 3 stand for what we left"
    probe.advance(199)
    assert probe.server.role == LOOKING
    probe.advance(1)
    assert probe.server.role == FOLLOWING


def test_a_vote_that_leaves_the_quorum_ends_the_finalize_wait() -> None:
    probe = Probe(3, servers=5)
    probe.vote(1, LOOKING, 3)
    probe.vote(2, LOOKING, 3)
    probe.vote(2, LOOKING, 2)
    assert "quorum-lost-in-finalize-wait" in probe.marks()
    assert "finalize" not in probe.timers
    probe.advance(400)
    assert probe.server.role == LOOKING


def test_a_higher_round_is_joined_with_the_better_of_its_vote_and_our_own() -> None:
    """Section 3.5, first row; ZOOKEEPER-275."""
    probe = Probe(2)
    probe.vote(1, LOOKING, 1, round=4)
    assert (probe.server.round, probe.server.proposal.leader) == (4, 2)
    probe.vote(3, LOOKING, 3, round=6)
    assert (probe.server.round, probe.server.proposal.leader) == (6, 3)
    assert set(probe.server.recvset) == {2, 3}, "votes of the round before are gone"


def test_a_lower_round_is_answered_and_not_counted() -> None:
    """Section 2.6 rule 2."""
    probe = Probe(2)
    probe.vote(3, LOOKING, 3, round=6)
    effects = probe.vote(1, LOOKING, 3, round=1)
    answer = probe.told(1, effects)[-1]
    assert (answer.state, answer.leader, answer.round) == (LOOKING, 3, 6)
    assert 1 not in probe.server.recvset


def test_a_voter_that_enters_our_round_late_is_told_our_better_vote_once() -> None:
    """It dropped what we told it while it followed; ZooKeeper makes it wait for 200 ms."""
    probe = Probe(3)
    probe.connect(1)
    answer = probe.told(1, probe.vote(1, LOOKING, 1, round=1))[-1]
    assert (answer.state, answer.leader, answer.round) == (LOOKING, 3, 1)
    assert probe.told(1, probe.vote(1, LOOKING, 1, round=1)) == []
    assert probe.told(1, probe.vote(1, LOOKING, 3, round=1)) == []
    assert "late-voter-told" in probe.marks()


@pytest.mark.parametrize("leader", [99, 0, -(1 << 63)])
def test_a_vote_for_a_stranger_is_ignored(leader: int) -> None:
    """ZOOKEEPER-2988; testLeaderOutOfView."""
    probe = Probe(2)
    probe.vote(3, LOOKING, leader, zxid=z(9, 9), epoch=9)
    probe.vote(1, FOLLOWING, leader, round=1)
    assert probe.server.proposal.leader == 2
    assert set(probe.server.recvset) == {2}


def test_a_server_with_a_fresh_disk_is_not_counted() -> None:
    """zxid -1, ZOOKEEPER-261."""
    probe = Probe(3)
    probe.vote(2, LOOKING, 2, zxid=-1)
    assert 2 not in probe.server.recvset


@pytest.mark.parametrize("state", [OBSERVING, 4, -1])
def test_states_that_cannot_vote_are_ignored(state: int) -> None:
    probe = Probe(2)
    probe.vote(3, state, 3)
    assert probe.server.proposal.leader == 2


def test_followers_of_an_earlier_round_do_not_make_a_leader() -> None:
    """Section 11.2, FLEBackwardElectionRoundTest; ZOOKEEPER-1514."""
    probe = Probe(3)
    probe.vote(1, FOLLOWING, 3, round=1)
    probe.vote(2, FOLLOWING, 3, round=1)
    assert probe.server.role == LEADING, "in its round 1 they do"
    probe.advance(3000)
    assert probe.server.role == LOOKING
    assert probe.server.round == 2
    probe.vote(1, FOLLOWING, 3, round=1)
    probe.vote(2, FOLLOWING, 3, round=1)
    assert probe.server.role == LOOKING


def test_a_lost_looking_vote_is_made_up_by_a_following_one() -> None:
    """Section 11.2, FLELostMessageTest; ZOOKEEPER-480."""
    probe = Probe(2)
    probe.vote(1, LOOKING, 1)
    probe.vote(1, FOLLOWING, 2, round=1)
    assert probe.server.role == LEADING


def test_a_server_joins_a_leader_whose_followers_report_other_zxids_and_rounds() -> None:
    """Section 11.2, testJoinInconsistentEnsemble; ZOOKEEPER-1732."""
    probe = Probe(2)
    probe.vote(1, FOLLOWING, 3, zxid=100, round=101, epoch=1)
    probe.vote(3, LEADING, 3, zxid=0, round=1, epoch=1)
    assert probe.server.role == FOLLOWING


def test_a_leader_that_nobody_hears_is_not_followed() -> None:
    """ZOOKEEPER-131: followers elect a dead leader from each other's memory."""
    probe = Probe(2, servers=5)
    for sid in (1, 3, 4):
        probe.vote(sid, FOLLOWING, 5)
    assert probe.server.role == LOOKING


def test_what_a_server_said_as_follower_is_forgotten_when_it_looks_again() -> None:
    """Deviation: ZooKeeper keeps a voter's last settled vote for the whole call of lookForLeader."""
    probe = Probe(1, servers=5)
    probe.vote(3, FOLLOWING, 5, round=7)
    probe.vote(4, FOLLOWING, 5, round=7)
    probe.vote(3, LOOKING, 3, round=1)
    probe.vote(5, LEADING, 5, round=7)
    assert probe.server.role == LOOKING


def test_a_settled_server_answers_looking_ones_with_its_final_vote_and_round() -> None:
    """Section 2.6 rule 3; rule 4: nobody else is answered."""
    probe = Probe(3)
    probe.vote(1, LOOKING, 3)
    probe.advance(200)
    effects = probe.vote(2, LOOKING, 2, round=9)
    answer = probe.told(2, effects)[-1]
    assert (answer.state, answer.leader, answer.round) == (LEADING, 3, 1)
    assert probe.told(1, probe.vote(1, FOLLOWING, 3)) == []


def test_the_final_vote_gets_the_new_epoch_once_the_leader_serves() -> None:
    """updateElectionVote, section 3.8; ZOOKEEPER-1732."""
    probe = Probe(3)
    probe.elect_self()
    conn = probe.learner(1)
    probe.ack_epoch(conn, 0)
    probe.packet(conn, 3, z(1, 0))
    answer = probe.told(2, probe.vote(2, LOOKING, 2))[-1]
    assert (answer.leader, answer.zxid, answer.round, answer.peer_epoch) == (3, 0, 1, 1)


def test_a_non_voter_that_asks_is_answered_and_changes_nothing() -> None:
    """Section 2.6 rule 1."""
    probe = Probe(2)
    before = probe.server.proposal
    for state in (FOLLOWING, LEADING, OBSERVING):
        probe.vote(9, state, 9, zxid=z(9, 9), round=9, epoch=9)
    assert probe.told(9) == [], "who has a leader does not ask"
    (answer,) = probe.told(9, probe.vote(9, LOOKING, 9, zxid=z(9, 9), round=9, epoch=9))
    assert (answer.state, answer.leader, answer.round) == (LOOKING, 2, 1)
    assert probe.server.proposal == before
    assert probe.server.round == 1


def test_an_observer_asks_and_answers_nobody() -> None:
    """Nobody counts what it says; and a voter would answer it, and so on."""
    probe = Probe(1)
    probe.replace(Server(configs(2, 2)[3], EMPTY))
    for sid in (1, 2, 4):
        probe.connect(sid)
    probe.server.round = 5
    seen = {sid: len(probe.told(sid)) for sid in (1, 4)}
    probe.vote(1, LOOKING, 2, round=1)
    probe.vote(4, LOOKING, 2, round=1)
    probe.vote(1, FOLLOWING, 2, round=4)
    probe.vote(2, LEADING, 2, round=4)
    assert probe.server.role == OBSERVING
    probe.vote(1, LOOKING, 2, round=5)
    probe.vote(4, LOOKING, 2, round=5)
    assert {sid: len(probe.told(sid)) for sid in (1, 4)} == seen


def test_the_interval_between_notifications_doubles_up_to_its_maximum() -> None:
    """Section 3.4: 0.2, 0.6, 1.4, 3.0 s ... after the start."""
    probe = Probe(1, servers=5, max_notification_interval_ms=1600)
    probe.vote(2, LOOKING, 2)
    began, times = probe.now, []
    for _ in range(80):
        if probe.told(2, probe.advance(100)):
            times.append((probe.now - began) // MS)
        probe.vote(2, LOOKING, 2)
    assert times == [200, 600, 1400, 3000, 4600, 6200, 7800]


def test_something_new_takes_the_interval_back() -> None:
    """Deviation: ZooKeeper's back-off never shrinks within one election, so that a quorum can wait a minute."""
    probe = Probe(2, servers=5)
    probe.vote(1, LOOKING, 2)
    for _ in range(20):
        probe.advance(1000)
        probe.vote(1, LOOKING, 2)
    assert probe.server.interval > 5000 * MS
    probe.vote(3, LOOKING, 1)
    assert "back-off-reset" in probe.marks()
    assert not probe.told(1, probe.advance(199))
    assert probe.told(1, probe.advance(1))


def test_something_new_does_not_put_off_what_is_due_sooner() -> None:
    probe = Probe(2, servers=5)
    probe.vote(1, LOOKING, 2)
    assert "back-off-reset" not in probe.marks(), "the interval is the shortest there is"
    for _ in range(20):
        probe.advance(1000)
        probe.vote(1, LOOKING, 2)
    probe.advance((probe.timers["election"] - probe.now) / MS - 50)
    probe.vote(1, LOOKING, 2)
    probe.vote(3, LOOKING, 1)
    assert not probe.told(1, probe.advance(49))
    assert probe.told(1, probe.advance(1))


def test_a_settled_vote_takes_the_interval_back_once() -> None:
    """It is new when it was not heard before; a follower that says it again is not."""
    probe = Probe(2, servers=5)
    probe.vote(1, LOOKING, 2)
    for expected in (True, False):
        probe.advance(10_000)
        interval = probe.server.interval
        probe.conns.pop(3, None)  # it was silent for so long that its connection is another now
        probe.vote(3, FOLLOWING, 5, round=9)
        assert (probe.server.interval < interval) is expected


def test_a_vote_heard_before_does_not_take_the_interval_back() -> None:
    """Or two servers without a quorum would keep each other talking for ever."""
    probe = Probe(2, servers=5)
    probe.vote(1, LOOKING, 2)
    probe.advance(20_000)
    interval = probe.server.interval
    probe.conns.pop(1)  # it was silent for so long that its connection is another now
    probe.vote(1, LOOKING, 2)
    assert probe.server.interval == interval
    probe.vote(1, LOOKING, 1)
    assert probe.server.interval < interval


def test_the_initial_vote_is_the_last_logged_zxid_and_the_current_epoch() -> None:
    """Section 3.1; ZOOKEEPER-596: what was loaded, not what the file's name says."""
    probe = Probe(2, disk=durable(7, 5, z(4, 1), z(5, 3)))
    assert probe.server.proposal == Vote(2, z(5, 3), 1, 5)


def test_a_server_of_weight_zero_is_never_elected_and_votes() -> None:
    """Section 11.2, FLEZeroWeightTest; ZOOKEEPER-491, 498."""
    members = tuple(Member(sid, f"s{sid}", 2888, 3888) for sid in range(9))
    groups = tuple((g, frozenset(range(3 * g, 3 * g + 3))) for g in range(3))
    config = Config(0, members, groups=groups, weights=tuple((sid, 0) for sid in range(3, 9)), tick_ms=200)
    server = Server(config, EMPTY)
    server.start(0)
    assert not server.better(Vote(8, z(9, 9), 1, 9), Vote(0, 0, 1, 0))
    assert server.better(Vote(2, 0, 1, 0), Vote(1, 0, 1, 0))
    assert server.is_quorum({0, 1})
    assert not server.is_quorum({3, 4, 5, 6, 7, 8})


@pytest.mark.parametrize(("round_", "joined"), [((1 << 63) - 1, False), ((1 << 62) + 1, False), (1 << 62, True)])
def test_a_round_at_the_end_of_the_number_line_is_not_joined(round_: int, joined: bool) -> None:
    """A round that cannot be counted up from would stop elections for good."""
    probe = Probe(2)
    probe.vote(3, LOOKING, 3, round=round_)
    assert (probe.server.round == round_) is joined


def test_who_is_led_to_the_last_round_stays_in_it_and_is_elected_there() -> None:
    """One round further on its votes would be heard by nobody."""
    probe = Probe(3)
    probe.vote(2, LOOKING, 2, round=MAX_ROUND)
    assert probe.server.round == MAX_ROUND
    probe.elect_self()
    while probe.server.role == LEADING:  # nobody follows
        probe.advance(100)
    assert (probe.server.role, probe.server.round) == (LOOKING, MAX_ROUND)
    probe.elect_self()
    assert probe.server.role == LEADING


@pytest.mark.parametrize("state", [LOOKING, FOLLOWING, LEADING])
@pytest.mark.parametrize(
    ("zxid", "round_", "epoch"), [(0, MAX_ROUND + 1, 0), (0, 9, MAX_EPOCH + 1), (z(MAX_EPOCH + 1, 0), 9, 1)]
)
def test_votes_with_numbers_that_lead_nowhere_are_not_heard(state: int, zxid: int, round_: int, epoch: int) -> None:
    probe = Probe(2)
    before = (probe.server.round, probe.server.proposal)
    for sid in (1, 3):
        probe.vote(sid, state if sid == 3 else min(state, FOLLOWING), 3, zxid, round_, epoch)
    assert (probe.server.role, probe.server.round, probe.server.proposal) == (LOOKING, *before)


def test_followers_of_our_round_count_whatever_their_epoch() -> None:
    """Section 3.8: a leader in service votes with its new epoch, a follower that does not serve yet with the old."""
    probe = Probe(2)
    probe.vote(1, FOLLOWING, 3, epoch=0)
    probe.vote(3, LEADING, 3, epoch=1)
    assert probe.server.role == FOLLOWING
    assert "joined-in-round" in probe.marks()


def test_a_notification_with_a_higher_config_version_changes_nothing() -> None:
    """Traps 1 and 2, deviation: a 3.8 server restarts its election, or goes deaf."""
    probe = Probe(2)
    before = (probe.server.round, probe.server.peers[3].conn)
    probe.vote(3, LOOKING, 3, config="server.abc=\nversion=100000001")
    assert probe.server.round == before[0]
    assert probe.server.proposal.leader == 3


def test_our_notifications_carry_the_configuration_at_version_zero() -> None:
    """Section 2.4, trap 1."""
    probe = Probe(2)
    probe.connect(3)
    message = probe.told(3)[0]
    assert message.version == 2
    assert message.config is not None
    assert message.config.split("\n") == [
        "server.1=s1:2888:3888:participant", "server.2=s2:2888:3888:participant",
        "server.3=s3:2888:3888:participant", "version=0",
    ]  # fmt: skip


def test_our_notifications_carry_groups_weights_and_client_addresses() -> None:
    members = (Member(1, "a", 2888, 3888, client=("c", 2181)), Member(2, "b", 2889, 3889))
    config = Config(1, members, groups=((1, frozenset({2, 1})),), weights=((1, 3), (2, 4)))
    assert config_text(config).split("\n") == [
        "server.1=a:2888:3888:participant;c:2181", "server.2=b:2889:3889:participant",
        "group.1=1:2", "weight.1=3", "weight.2=4", "version=0",
    ]  # fmt: skip


def test_an_observer_asks_again_at_least_every_400_ms() -> None:
    """Section 3.2: nobody tells it by himself."""
    probe = Probe(1)
    probe.replace(Server(configs(2, 1)[3], EMPTY))
    for _ in range(80):
        probe.vote(1, LOOKING, 2)
        probe.advance(100)
    seen = len(probe.told(1))
    for _ in range(40):
        probe.vote(1, LOOKING, 2)
        probe.advance(100)
    assert len(probe.told(1)) - seen == 10


def test_an_observer_learns_the_leader_by_asking() -> None:
    """Section 3.2: nobody notifies an observer; it proposes nobody."""
    probe = Probe(3, servers=3)
    config = configs(2, 1)[3]
    server = Server(config, Durable(3, 3, 0, b"", ()))
    probe.replace(server)
    for sid in (1, 2):
        probe.connect(sid)
    asked = probe.told(1)[0]
    assert (asked.state, asked.leader, asked.peer_epoch) == (LOOKING, -(1 << 63), -(1 << 63))
    probe.vote(1, FOLLOWING, 2, round=4)
    probe.vote(2, LEADING, 2, round=4)
    assert server.role == OBSERVING
