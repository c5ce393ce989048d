"""Fast leader election (FastLeaderElection; protocol sections 2 and 3).

The model.  A LOOKING server is in a numbered *round* and stands for one *proposal*: at first itself.  It tells all
voters.  Votes are ordered (`votes.py`); a server that hears of a better one stands for that from then on, and tells all
voters again.  When a quorum stands for the same proposal in the same round, and 200 ms pass without a better one, the
server leaves the election: LEADING if the proposal is itself, else FOLLOWING (or OBSERVING).

1.  Votes count for one round.  A higher round heard of is joined at once, with an empty ballot box; a lower one is
    answered with our vote and not counted.
2.  A server that is not LOOKING answers LOOKING ones with its final vote.  If a quorum of such answers names one
    leader, and that leader itself says that it leads, there is nothing to elect: the server joins.
3.  A server that hears nothing tells again, after 200, 400, 800 ... ms, up to maxNotificationInterval; anything new
    that it hears takes the interval back to 200 ms.
4.  Observers, and everybody who is not a voter, are told our vote when they ask, and do not count.

The election is not an agreement: two servers may come out of it LEADING.  What makes a leader unique is the epoch that
a quorum promises it (`leadership.py`).

Example: 1, 2, 3 start on empty disks.  1 hears 3's vote (0, 0, 3), better than its own (0, 0, 1), takes it, tells 2 and
3; so does 2.  Everybody counts three votes for 3; 200 ms later 3 leads, 1 and 2 follow.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from node.config import Config
from node.protocol.connections import Connections
from node.protocol.core import DISCOVERY, ELECTION_PHASE, INT64_MIN, MAX_EPOCH, MS, epoch_of
from node.protocol.events import Durable
from node.protocol.messages import FOLLOWING, LEADING, LOOKING, OBSERVING, Notification
from node.protocol.votes import Ballot, Vote, ballot_of, beats, same_vote, votes_evidence

FINALIZE_WAIT_MS = 200
NON_VOTER_INTERVAL_MS = 400
"""Maximum time between two notifications of a server that is only told when it asks, such as an observer."""
MAX_ROUND = 1 << 62
"""Votes of higher rounds are not heard, and there is none: who is led to this one stays in it, and elections go on."""
NOTIFICATION_VERSION = 2


def config_text(config: Config) -> str:
    """The configuration as notifications carry it (section 2.4).  Version 0: any other upsets 3.8 servers (trap 1)."""
    lines = []
    for m in config.members:
        client = "" if m.client is None else ";%s:%d" % m.client
        address = "%s:%d:%d" % (m.host, m.quorum_port, m.election_port)
        lines.append("server.%d=%s:%s%s" % (m.sid, address, m.role, client))
    lines += ["group.%d=%s" % (group, ":".join(map(str, sorted(sids)))) for group, sids in config.groups]
    lines += ["weight.%d=%d" % weight for weight in config.weights]
    return "\n".join([*lines, "version=0"])


class Election(Connections):
    def __init__(self, config: Config, durable: Durable) -> None:
        super().__init__(config, durable)
        self.config_text = config_text(config)
        self.vote = Vote(self.sid, self.database.last_zxid, -1, self.current_epoch)
        """The final vote of the last election: what LOOKING servers are answered while we follow or lead."""
        self.proposal = self.vote
        self.recvset: Dict[int, Ballot] = {}
        """The newest vote of each voter in this round."""
        self.outofelection: Dict[int, Ballot] = {}
        """The newest vote of each voter that says it follows or leads, of any round."""
        self.finalize_at: Optional[int] = None
        self.interval = 0

    # ---- what the layers above do ----------------------------------------------------------------------------------

    def start_role(self) -> None:
        """The election is over: lead, or follow `self.vote.leader`."""
        raise NotImplementedError

    def on_looking_while_leading(self, sid: int) -> None:
        """A voter tells us, the leader, that it is LOOKING."""
        raise NotImplementedError

    # ---- a round ---------------------------------------------------------------------------------------------------

    def look_for_leader(self, reason: str, evidence: Optional[Dict[str, Any]] = None) -> None:
        """Begin a new round, standing for ourselves (lookForLeader)."""
        self.role = LOOKING
        self.phase = ELECTION_PHASE
        self.round = min(self.round + 1, MAX_ROUND)
        self.recvset, self.outofelection = {}, {}
        self.finalize_at = None
        self.proposal = self.initial_proposal()
        self.interval = self.first_interval()
        self.report(reason, evidence)
        for peer in self.peers.values():
            peer.unanswered_since = 0
        self.look_after_connections()
        self.tell_all()
        self.count_own_vote()

    def initial_proposal(self) -> Vote:
        """What a server stands for before it heard of anything better (section 3.1)."""
        if self.config.is_observer:
            return Vote(INT64_MIN, INT64_MIN, self.round, INT64_MIN)
        leader = self.sid if self.is_voter else INT64_MIN
        return Vote(leader, self.database.last_zxid, self.round, self.current_epoch)

    def notification(self, vote: Vote, round_: int) -> Notification:
        return Notification(
            self.role, vote.leader, vote.zxid, round_, vote.epoch, NOTIFICATION_VERSION, self.config_text
        )

    def tell_all(self) -> None:
        """Tell every voter our proposal, and again after the interval (section 3.2)."""
        message = self.notification(self.proposal, self.round)
        for sid in self.peers_to_tell():
            self.send_to(sid, message)
        self.set_timer("election", self.now + self.interval)

    def peers_to_tell(self) -> List[int]:
        return [sid for sid in self.peers if sid in self.voters]

    def on_election_timer(self) -> None:
        """Nothing came of it: tell again, and be slower the next time (section 3.4)."""
        self.interval = self.next_interval(self.interval)
        self.tell_all()

    def first_interval(self) -> int:
        return self.config.min_notification_interval_ms * MS

    def next_interval(self, interval: int) -> int:
        longest = self.config.max_notification_interval_ms
        if not self.is_voter:
            longest = min(longest, NON_VOTER_INTERVAL_MS)
        return min(2 * interval, longest * MS)

    def hurry(self) -> None:
        """Something new was heard: ask again soon, however long the interval has grown."""
        shortest = self.first_interval()
        if self.interval > shortest:
            self.reached("back-off-reset")
            self.interval = shortest
            self.set_timer("election", min(self.timers.get("election", self.now + shortest), self.now + shortest))

    # ---- order -----------------------------------------------------------------------------------------------------

    def better(self, a: Vote, b: Vote) -> bool:
        """Does a vote beat another?  A server of weight 0 never wins (ZOOKEEPER-491)."""
        if self.verifier.weight(a.leader) == 0:
            return False
        return beats(a, b)

    # ---- notifications ---------------------------------------------------------------------------------------------

    def present_notification(self, sid: int) -> Notification:
        if self.role == LOOKING:
            return self.notification(self.proposal, self.round)
        return self.notification(self.vote, self.vote.round if sid in self.voters else self.round)

    def on_notification(self, sid: int, n: Notification) -> None:
        """Dispatch (section 2.6): answer a server that must be answered, and vote if we are LOOKING."""
        self.peers[sid].unanswered_since = 0
        if not LOOKING <= n.state <= OBSERVING:
            return
        if sid not in self.voters:
            if n.state == LOOKING:
                self.reached("non-voter-asks")
                self.tell_vote(sid)
        elif self.role == LOOKING:
            if n.state == LOOKING and n.round < self.round:
                self.reached("lower-round-answered")
                self.tell_vote(sid)
            self.on_vote(sid, n)
        elif n.state == LOOKING:
            if self.role == LEADING:
                self.on_looking_while_leading(sid)
            self.tell_vote(sid)

    def tell_vote(self, sid: int) -> None:
        """Tell a server that is LOOKING our vote, if anybody counts it.

        In ZooKeeper's dispatch observers answer, too, and are answered whatever their state: an observer and a voter
        that is LOOKING talk as fast as the network lets them, until there is a quorum that elects somebody.
        """
        if self.is_voter:
            self.send_to(sid, self.present_notification(sid))

    def on_vote(self, sid: int, n: Notification) -> None:
        """A voter's notification, while we are LOOKING (section 3.5)."""
        if n.leader not in self.voters:
            self.log("WARN", "Ignoring notification for non-cluster member sid %d from sid %d" % (n.leader, sid))
            return
        if n.round > MAX_ROUND or n.peer_epoch > MAX_EPOCH or epoch_of(n.zxid) > MAX_EPOCH:
            self.reached("vote-out-of-range")
            return
        if n.state == LOOKING:
            self.on_looking_vote(sid, n)
        elif n.state in (FOLLOWING, LEADING):
            self.on_settled_vote(sid, n)

    def on_looking_vote(self, sid: int, n: Notification) -> None:
        self.outofelection.pop(sid, None)
        if n.zxid == -1 or n.round < self.round:
            return
        heard = Vote(n.leader, n.zxid, n.round, n.peer_epoch)
        if n.round > self.round:
            self.reached("round-jump")
            self.join_round(heard)
        elif self.better(heard, self.proposal):
            if self.finalize_at is not None:
                self.reached("better-vote-in-finalize-wait")
            self.propose(heard)
        elif sid not in self.recvset and self.better(self.proposal, heard):
            # It enters our round only now: while it still followed, it dropped the vote that we told it.  ZooKeeper
            # leaves it at that, and loses 200 ms until the vote is told again.
            self.reached("late-voter-told")
            self.send_to(sid, self.present_notification(sid))
        self.record(sid, ballot_of(n, 0))

    def join_round(self, heard: Vote) -> None:
        """Take part in a higher round, with its vote or our own, whichever is better."""
        self.round = heard.round
        self.recvset = {}
        own = self.initial_proposal()
        self.propose(heard if self.better(heard, own) else own)

    def propose(self, vote: Vote) -> None:
        self.proposal = vote._replace(round=self.round)
        self.finalize_at = None
        self.interval = self.first_interval()
        self.tell_all()
        self.count_own_vote()

    def count_own_vote(self) -> None:
        if self.is_voter:
            self.record(self.sid, self.own_ballot())

    def own_ballot(self) -> Ballot:
        return Ballot(self.proposal.leader, self.proposal.zxid, self.round, self.proposal.epoch, LOOKING, 0)

    def record(self, sid: int, ballot: Ballot) -> None:
        """Count a vote of this round.  The wait begins when a quorum stands for our proposal, and ends if none does.

        ZooKeeper begins the 200 ms anew with any message, and drops those that come in between (trap 6); here a vote
        that changes nothing prolongs nothing, and none is dropped.
        """
        if self.recvset.get(sid) != ballot:
            self.recvset[sid] = ballot
            if sid != self.sid:
                self.hurry()
        if not self.is_quorum(self.supporters(self.recvset, self.own_ballot())):
            if self.finalize_at is not None:
                self.reached("quorum-lost-in-finalize-wait")
                self.finalize_at = None
                self.set_timer("finalize", None)
        elif self.finalize_at is None:
            self.finalize_at = self.now + FINALIZE_WAIT_MS * MS
            self.set_timer("finalize", self.finalize_at)

    def supporters(self, votes: Dict[int, Ballot], reference: Ballot) -> List[int]:
        return [sid for sid, ballot in votes.items() if same_vote(ballot, reference)]

    def on_finalize_timer(self) -> None:
        if self.finalize_at is not None:
            votes = {sid: self.recvset[sid] for sid in self.supporters(self.recvset, self.own_ballot())}
            self.decide(self.proposal, votes, "a quorum stands for server %d" % self.proposal.leader)

    # ---- joining what is settled -----------------------------------------------------------------------------------

    def on_settled_vote(self, sid: int, n: Notification) -> None:
        """The vote of a server that follows or leads (the FOLLOWING / LEADING rows of section 3.5)."""
        reference = ballot_of(n, n.version)
        if self.outofelection.get(sid) != reference:
            self.hurry()
        if n.round == self.round:
            self.record(sid, ballot_of(n, 0))
            if self.is_settled(self.recvset, reference):
                self.reached("joined-in-round")
                self.join(self.recvset, reference)
                return
        self.outofelection[sid] = reference
        if self.is_settled(self.outofelection, reference):
            self.reached("joined-out-of-election")
            self.round = n.round
            self.join(self.outofelection, reference)

    def is_settled(self, votes: Dict[int, Ballot], reference: Ballot) -> bool:
        return self.is_quorum(self.supporters(votes, reference)) and self.leader_confirms(votes, reference)

    def leader_confirms(self, votes: Dict[int, Ballot], reference: Ballot) -> bool:
        """Its own word that it leads; our own if we are meant, and then only for this round (ZOOKEEPER-1514)."""
        if reference.leader == self.sid:
            return reference.round == self.round
        ballot = votes.get(reference.leader)
        return ballot is not None and ballot.state == LEADING

    def join(self, votes: Dict[int, Ballot], reference: Ballot) -> None:
        vote = Vote(reference.leader, reference.zxid, reference.round, reference.epoch)
        supporters = {sid: votes[sid] for sid in self.supporters(votes, reference)}
        self.decide(vote, supporters, "a quorum already follows server %d" % vote.leader)

    # ---- the end ---------------------------------------------------------------------------------------------------

    def decide(self, vote: Vote, votes: Dict[int, Ballot], reason: str) -> None:
        self.vote = vote
        self.finalize_at = None
        for timer in ("election", "finalize", "connections"):
            self.set_timer(timer, None)
        if vote.leader == self.sid:
            self.role = LEADING
        else:
            self.role = OBSERVING if not self.is_voter else FOLLOWING
        self.phase = DISCOVERY
        self.recvset, self.outofelection = {}, {}
        self.report(reason, {"votes": votes_evidence(votes.items())})
        self.start_role()

    def update_election_vote(self, epoch: int) -> None:
        """An established leader's servers vote for it with its new epoch (ZOOKEEPER-1732; section 3.8)."""
        self.vote = self.vote._replace(epoch=epoch)
