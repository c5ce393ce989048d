"""Votes: their total order, and when two are for the same thing (protocol.md sections 3.1, 3.3 and 11.1)."""

from __future__ import annotations

from itertools import product

from node.protocol.messages import FOLLOWING, LEADING, LOOKING
from node.protocol.votes import Ballot, Vote, beats, same_vote, votes_evidence
from tests.node.probe import z

VOTES = [
    Vote(leader, zxid, round, epoch)
    for leader, zxid, round, epoch in product((1, 2, 3), (0, z(1, 1), z(1, 2)), (1, 2), (0, 1, 2))
]


def test_of_two_votes_one_beats_the_other_unless_they_are_for_the_same_server_and_history() -> None:
    """A total order: servers that have heard the same votes stand for the same one.  The round is no part of it."""
    for a, b in product(VOTES, VOTES):
        same = (a.epoch, a.zxid, a.leader) == (b.epoch, b.zxid, b.leader)
        assert beats(a, b) + beats(b, a) == (0 if same else 1)


def test_what_beats_a_better_vote_beats_the_lesser_one() -> None:
    votes = [vote for vote in VOTES if vote.round == 1]
    for a, b, c in product(votes, votes, votes):
        if beats(a, b) and beats(b, c):
            assert beats(a, c)


def test_a_report_names_each_voter_with_its_ballot_in_the_order_of_sids() -> None:
    evidence = votes_evidence([(2, Ballot(3, z(1, 1), 4, 1, LOOKING, 0)), (1, Ballot(3, 0, 5, 2, LEADING, 2))])
    assert list(evidence.items()) == [
        ("1", {"round": 5, "epoch": 2, "zxid": 0, "state": "LEADING"}),
        ("2", {"round": 4, "epoch": 1, "zxid": z(1, 1), "state": "LOOKING"}),
    ]


def ballots(*votes: tuple[int, int, int, int, int, int, int]) -> dict[int, Ballot]:
    """sid, leader, zxid, round, epoch, state, version."""
    return {sid: Ballot(*rest) for sid, *rest in votes}


def counted(votes: dict[int, Ballot], reference: Ballot) -> int:
    return sum(same_vote(ballot, reference) for ballot in votes.values())


def test_settled_votes_agree_whatever_their_zxid_and_round() -> None:
    """Section 11.1, testIgnoringZxidElectionEpoch; ZOOKEEPER-1732."""
    votes = ballots(
        (0, 4, z(1, 1), 1, 2, FOLLOWING, 1), (1, 4, z(1, 2), 1, 2, FOLLOWING, 1),
        (3, 4, z(2, 1), 2, 2, FOLLOWING, 1), (4, 4, z(2, 1), 2, 2, LEADING, 1),
    )  # fmt: skip
    assert counted(votes, Ballot(4, z(2, 1), 2, 2, FOLLOWING, 0)) == 4
    assert counted(votes, Ballot(4, z(2, 1), 2, 2, FOLLOWING, 1)) == 4
    assert counted(votes, Ballot(4, z(2, 1), 2, 3, FOLLOWING, 1)) == 0


def test_votes_of_different_versions_agree_on_the_leader_alone() -> None:
    """Section 11.1, testElectionWIthDifferentVersion; ZOOKEEPER-1808."""
    votes = ballots(
        (0, 4, 0, 1, 1, FOLLOWING, 1), (1, 4, 0, 1, 1, FOLLOWING, 1),
        (3, 4, 0, 1, 2, FOLLOWING, 0), (4, 4, 0, 1, 2, LEADING, 0),
    )  # fmt: skip
    assert counted(votes, Ballot(4, 0, 1, 2, FOLLOWING, 0)) == 4
    assert counted(votes, Ballot(4, 0, 1, 2, FOLLOWING, 1)) == 2, "epochs count between servers of one version"


def test_looking_votes_agree_only_in_the_same_round() -> None:
    """Section 11.1, testLookingNormal and testLookingDiffRounds."""
    same = ballots(*((sid, 4, 0, 1, 1, LOOKING, 0) for sid in range(4)))
    assert counted(same, Ballot(4, 0, 1, 1, LOOKING, 0)) == 4
    rounds = ballots(*((sid, 4, 0, round_, 1, LOOKING, 0) for sid, round_ in enumerate((1, 2, 3, 3))))
    assert counted(rounds, Ballot(4, 0, 2, 1, LOOKING, 0)) == 1
