"""Votes: whom a server wants as its leader, which of two votes is the better one, and when two are for the same thing.

The model.  A vote names a leader, with that leader's last zxid and current epoch, and the round of the voter.

1.  *Order.*  Votes are ordered by (epoch, zxid, sid) of the named leader.  No two different servers compare equal, so
    servers that have heard the same votes stand for the same one.  The round is not part of the order.
2.  *Equality.*  While one of the two voters is LOOKING, two votes are for the same thing if they agree in everything.
    Between servers that follow or lead, the leader and its epoch decide: an established leader's servers report
    different zxids and rounds (ZOOKEEPER-1732, 1805, 1817).  Votes of different message versions are compared by the
    leader alone, because their epochs differ (ZOOKEEPER-1808).

Example: a longer history beats a higher sid, and a higher epoch beats a longer history:

    beats(Vote(leader=1, zxid=9, round=1, epoch=4), Vote(leader=3, zxid=8, round=1, epoch=4))  ->  True
    beats(Vote(leader=1, zxid=9, round=1, epoch=4), Vote(leader=3, zxid=0, round=1, epoch=5))  ->  False
"""

from __future__ import annotations

from typing import Any, Dict, Iterable, NamedTuple

from node.protocol.messages import LOOKING, STATE_NAMES, Notification


class Vote(NamedTuple):
    """Whom a server wants as its leader: that server's sid, last zxid and current epoch, and the voter's round."""

    leader: int
    zxid: int
    round: int
    epoch: int


class Ballot(NamedTuple):
    """A vote as it was received: with its voter's state, and the version of the message."""

    leader: int
    zxid: int
    round: int
    epoch: int
    state: int
    version: int


def beats(a: Vote, b: Vote) -> bool:
    """Is `a` better than `b` (totalOrderPredicate)?"""
    return (a.epoch, a.zxid, a.leader) > (b.epoch, b.zxid, b.leader)


def ballot_of(n: Notification, version: int) -> Ballot:
    return Ballot(n.leader, n.zxid, n.round, n.peer_epoch, n.state, version)


def same_vote(a: Ballot, b: Ballot) -> bool:
    """Are two votes for the same thing (Vote.equals; section 3.3)?"""
    if LOOKING in (a.state, b.state):
        return a[:4] == b[:4]
    if (a.version > 0) != (b.version > 0):
        return a.leader == b.leader
    return a.leader == b.leader and a.epoch == b.epoch


def votes_evidence(votes: Iterable[Any]) -> Dict[str, Any]:
    """Pairs of a voter and its ballot, as a report names them."""
    return {
        str(sid): {"round": b.round, "epoch": b.epoch, "zxid": b.zxid, "state": STATE_NAMES[b.state]}
        for sid, b in sorted(votes)
    }
