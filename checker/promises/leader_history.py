"""Promise `leader-history`: the history of an elected leader is at least as good as that of some quorum.

The rule.  A leader reports its `own` (current epoch, last zxid) at its election, and the `epoch_acks` of the servers
that acknowledged its epoch, each with its (current epoch, last zxid).  Pairs compare by epoch, then by zxid.  The
servers whose pair is not better than `own`, and the leader itself, hold a quorum:

    own (2, 7), acks {1: (2, 7), 2: (1, 9), 3: (2, 8)}      kept: 1 and 2 are a quorum of three
    own (2, 7), acks {1: (2, 8), 2: (2, 7), 3: (2, 8)}      broken if 2 leads: 1 and 3 are better

It makes the leader's history contain every committed transaction: a quorum has each of those, and two quorums meet.

Judged are leaderships (`checker.promises.leadership`) that are established at some time: a server that only won a vote
leads nobody.  An ack whose epoch or zxid is unknown is not held against the leader.  Acks that hold no quorum at all
prove nothing here; `evidence` judges them.

One report is judged by itself, so no clock error matters.  Memory: one entry for each leader and epoch, and the first
hundred reports of each leadership under way that are worse than its quorum.
"""

from __future__ import annotations

from typing import Any

from checker.availability import Availability
from checker.history import Op
from checker.promises.base import VIOLATIONS_MAX, Result, Violations
from checker.promises.leadership import Leadership, Leaderships, sids_of
from checker.vocabulary import Started, State, Stopped


class _ComparedLeadership(Leadership):
    def __init__(self) -> None:
        super().__init__()
        self.shows_acks = False
        self.compared = False
        self.worse: list[tuple[str, int, list[str], list[dict[str, Any]], int]] = []
        """Reports of it that are worse than its quorum, while it is not established."""


class LeaderHistory:
    name = "leader-history"
    takes: tuple[type, ...] = (State, Started, Stopped)

    def __init__(self, world: Availability) -> None:
        self.world = world
        self.violations = Violations(self.name)
        self.leaderships = Leaderships(_ComparedLeadership)
        self.judged: set[tuple[str, int | None]] = set()
        """Established leaders that showed their own pair, with the epoch."""
        self.leaders = 0
        """Reports of established leaders with epoch acks."""

    def feed(self, op: Op) -> None:
        _, leadership = self.leaderships.take(op)
        if leadership is None:
            return
        evidence = op.value.evidence or {}
        leadership.shows_acks = leadership.shows_acks or "epoch_acks" in evidence
        self._compare(op, evidence, leadership)
        if leadership.established is not None:
            self.leaders += leadership.shows_acks
            if leadership.compared:
                self.judged.add((str(op.process), leadership.epoch))
            for message, index, servers, faults, time in leadership.worse:
                self.violations.add(message, [index], servers, faults, time)
            leadership.worse.clear()

    def _compare(self, op: Op, evidence: dict[str, Any], leadership: _ComparedLeadership) -> None:
        own, acks = _pair(evidence.get("own")), evidence.get("epoch_acks")
        if own is None or not isinstance(acks, dict):
            return
        host = str(op.process)
        leadership.compared = True
        pairs = {sid: _pair(acks.get(str(sid))) for sid in sids_of(acks)}
        if not self.world.quorums.of(pairs):
            return  # `evidence` says so
        not_better = {sid for sid, pair in pairs.items() if pair is None or pair <= own}
        if self.world.quorums.of(not_better | {self.world.run.sid(host)}):
            return
        better = {self.world.run.host(sid): pair for sid, pair in pairs.items() if pair is not None and pair > own}
        names = ", ".join(f"{name} ({epoch}, 0x{zxid:x})" for name, (epoch, zxid) in better.items())
        epoch = f" epoch {leadership.epoch}" if leadership.epoch is not None else ""
        message = (
            f"{host} leads{epoch} from (current epoch {own[0]}, zxid 0x{own[1]:x}), which is not at "
            f"least as good as a quorum's: better are {names} (op {op.index})"
        )
        if leadership.established is not None or len(leadership.worse) < VIOLATIONS_MAX:
            leadership.worse.append((message, op.index, [host, *better], self.world.faults_now(), op.time))

    def finish(self) -> Result:
        reasons = []
        if self.leaders and not self.judged:
            reasons.append("no leader showed its own (current epoch, last zxid)")
        return self.violations.result({"leaders_judged": len(self.judged)}, reasons)


def _pair(shown: Any) -> tuple[int, int] | None:
    """(current epoch, last zxid), or None where either is unknown."""
    if type(shown) is list and len(shown) == 2:
        epoch, zxid = shown
        if type(epoch) is int and type(zxid) is int:
            return epoch, zxid
    return None
