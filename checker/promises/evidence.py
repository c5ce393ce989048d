"""Promise `evidence`: every established leader shows a quorum of distinct voters, and a quorum of epoch acks.

The rule.  While a server leads, its reports carry `evidence`:

================  ======================================================  ============================================
`votes`           sids (a list, or an object by sid) that voted for it    owed by an established leader
`epoch_acks`      sid -> [current epoch, last zxid] of who acknowledged   owed by an established leader
`newleader_acks`  sids that acknowledged NEWLEADER                        owed by one that is established in broadcast
================  ======================================================  ============================================

`checker.quorums` decides what a quorum is, not the server: only voters count, and each once.

*   A leadership (`checker.promises.leadership`) may show its evidence in any of its reports, and in pieces: the sids of
    each kind count together.  So it is judged when the leadership is over.
*   Too little of what it owes, or none of it, is a violation.  Votes are judged of a server that was never established
    too, if it showed any: nobody leads who was not elected.
*   A server leads because it was elected, so votes that it names once it is established count only where it had shown
    none before: some servers then give those who acknowledged the epoch, and they may be more than elected it.
*   A vote for somebody else, or of an older round than the leader's, is no evidence.  The round of a voter that already
    followed or led is that of an earlier election and is not compared.  What a vote does not say counts as given.
*   A leadership that still lasts when knowledge ends may show the rest in a report that nobody has: what it lacks is a
    reason for unknown, unless it was established a second before (in a history that was cut: 30 s before).

Only reports of one server are compared, in that server's own order, so no clock error matters.  Memory: one leadership
a host.
"""

from __future__ import annotations

from typing import Any

from checker.availability import Availability
from checker.history import Op, Process
from checker.promises.base import Result, Violations
from checker.promises.leadership import Leadership, Leaderships, sids_of
from checker.servers import FOR_EVER
from checker.vocabulary import Started, State, Stopped

NEEDED = {"votes": "votes", "epoch_acks": "epoch acks", "newleader_acks": "NEWLEADER acks"}

FRESH_NS = 1_000_000_000
"""A leader that was established this shortly before the end of the history may not have come to show its evidence."""

STRANGERS_MAX = 100
"""Maximum number of sids that are kept of those who are no voters."""


class EvidenceShown:
    """What a leadership has shown of one kind."""

    def __init__(self, op: Op, faults: list[dict[str, Any]]) -> None:
        self.sids: set[int] = set()
        self.first = op.index
        self.last, self.time, self.faults = op.index, op.time, faults


class _ShowingLeadership(Leadership):
    def __init__(self) -> None:
        super().__init__()
        self.shown: dict[str, EvidenceShown] = {}
        self.elected_before = False
        """It showed votes before it was established."""
        self.claims: dict[str, Op] = {}
        """Kind of evidence that it has to show -> the op since which it has to."""


class Evidence:
    name = "evidence"
    takes: tuple[type, ...] = (State, Started, Stopped)

    def __init__(self, world: Availability) -> None:
        self.world = world
        self.violations = Violations(self.name)
        self.leaderships = Leaderships(_ShowingLeadership)
        self.judged = 0
        self.unfinished: list[str] = []
        """What nobody can know, in words."""

    def feed(self, op: Op) -> None:
        ended, now = self.leaderships.take(op)
        if ended is not None:
            self._end(op.process, ended)
        if now is not None:
            self._look(op, op.process, op.value, now)

    def _look(self, op: Op, host: Process, state: State, leadership: _ShowingLeadership) -> None:
        if state.established:
            leadership.claims.setdefault("votes", op)
            leadership.claims.setdefault("epoch_acks", op)
            if state.phase == "broadcast":
                leadership.claims.setdefault("newleader_acks", op)
        if not state.evidence:
            return
        for kind in NEEDED:
            given = state.evidence.get(kind)
            if given is None or (kind == "votes" and leadership.elected_before and leadership.established is not None):
                continue
            if kind == "votes" and isinstance(given, dict):
                sid = self.world.run.sid(str(host))
                given = {voter: vote for voter, vote in given.items() if _is_for(vote, sid, state)}
            if kind not in leadership.shown:
                leadership.shown[kind] = EvidenceShown(op, self.world.faults_now())
                if kind == "votes" and leadership.established is None:
                    leadership.elected_before = True
            shown = leadership.shown[kind]
            new = [sid for sid in sids_of(given) if sid not in shown.sids]
            voters = self.world.quorums.voters
            if new and not self.world.quorums.of(shown.sids):
                shown.last, shown.time, shown.faults = op.index, op.time, self.world.faults_now()
            room = STRANGERS_MAX - len(shown.sids - voters)
            shown.sids.update(voters.intersection(new), [sid for sid in new if sid not in voters][:room])

    def _end(self, host: Process, leadership: _ShowingLeadership, ended: bool = True) -> None:
        """Judges a leadership that is over, or (not `ended`) lasts when the history ends."""
        quorums, claims, shown = self.world.quorums, leadership.claims, leadership.shown
        self.judged += bool(claims)
        owed = list(claims) if claims or not ended or "votes" not in shown else ["votes"]
        lacking = [kind for kind in owed if kind not in shown or not quorums.of(shown[kind].sids)]
        if not lacking:
            return
        if not ended and claims[lacking[0]].time > self._known_until():
            words = " and ".join(NEEDED[kind] for kind in lacking)
            op = claims[lacking[0]]
            self.unfinished.append(f"the history ends before {host}, established at op {op.index}, showed its {words}")
            return
        for kind in lacking:
            if kind in shown:
                self._too_few(host, leadership.epoch, NEEDED[kind], shown[kind])
        missing = [kind for kind in lacking if kind not in shown]
        if missing:
            op = claims[missing[0]]
            words = " and ".join(NEEDED[kind] for kind in missing)
            message = f"{host} was established in epoch {op.value.epoch} (op {op.index}) and never showed its {words}"
            self.violations.add(message, [op.index], [str(host)], self.world.faults_now(), op.time)

    def _too_few(self, host: Process, of_epoch: int | None, words: str, shown: EvidenceShown) -> None:
        quorums = self.world.quorums
        voters = sorted(quorums.voters & shown.sids)
        others = sorted(shown.sids - quorums.voters)
        beside = f" (beside {others}, who are no voters)" if others else ""
        epoch = f" epoch {of_epoch}" if of_epoch is not None else ""
        message = (
            f"{host} leads{epoch} with {words} of {voters}{beside}: "
            f"not a quorum of {sorted(quorums.voters)} (op {shown.last})"
        )
        self.violations.add(message, [shown.first, shown.last], [str(host)], shown.faults, shown.time)

    def _known_until(self) -> int:
        """Who was established after this time, in ns, may have shown its evidence in a report that nobody has."""
        ends = self.world.knowledge_ends
        return ends if ends != FOR_EVER else self.world.now - FRESH_NS

    def finish(self) -> Result:
        for host, leadership in self.leaderships.under_way.items():
            self._end(host, leadership, ended=False)
        reasons = self.unfinished + ([] if self.judged else ["no established leader, so no evidence to look at"])
        return self.violations.result({"leaderships": self.judged}, reasons)


def _is_for(vote: Any, sid: int, state: State) -> bool:
    """Whether this vote is for the leader `sid` in its round, as far as it says."""
    if not isinstance(vote, dict):
        return True
    leader, cast = vote.get("leader"), vote.get("round")
    if leader is not None and leader != sid:
        return False
    if type(cast) is not int or state.round is None or vote.get("state") in ("FOLLOWING", "LEADING"):
        return True
    return cast >= state.round
