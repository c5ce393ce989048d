"""Promise `stepping-down`: a leader that lost its quorum stops leading within its bound.

The rule.  An established leader has *lost its quorum* while the voters that may still be talking with it, and itself,
hold no quorum.  A voter surely does not talk with it if it is surely down or paused, or surely cut from it in at least
one direction.  One direction is enough: a follower that does not hear the leader's pings goes away, and a leader that
does not hear the follower's answers gives it up.

The clock of the promise runs while the leader is fit: a paused leader cannot step down, and our clock must not measure
one whose own is slow.  It starts again when the leader resumes, since the leader first has to read what had arrived.

The bound is the run's `bounds.stepping_down_s`.  In a history that does not state it (version 0.1) it is

    (max(init_limit, sync_limit) + 2) * tick + 1 s

A leader gives a follower up `sync_limit` ticks after its last packet, or `init_limit` ticks while that follower was
still being synchronized (LearnerHandler's read timeout).  The ticks are whole, and Leader.lead counts the synced
followers once a tick, hence two more.  The last second is for a busy host.

Clock errors: the loss counts from `Availability.settled`, and ends at the earliest instant that the op allows in which
the leader no longer leads without a quorum.  Only that op, or the end of the history, tells how long it lasted.

Memory: one entry a host.
"""

from __future__ import annotations

from checker.availability import Availability
from checker.history import Op
from checker.promises.base import Result, Violations, seconds
from checker.vocabulary import EVERY, RunOp


def bound_ns(run: RunOp) -> int:
    if run.bounds.stepping_down_s is not None:
        return round(run.bounds.stepping_down_s * 1e9)
    settings = run.settings
    ticks = max(settings.init_limit, settings.sync_limit) + 2
    return ticks * settings.tick_ms * 1_000_000 + 1_000_000_000


class Loss:
    """The time in which one leader leads without a quorum."""

    def __init__(self, world: Availability, host: str, op: Op) -> None:
        state = world.states[host]
        self.since = world.settled(op, (host,))
        self.op = op.index
        """The index of the op that took the quorum."""
        self.state_op = world.state_ops[host]
        """The index of the report that it leads."""
        self.epoch = state.epoch if state is not None else None
        self.faults = world.faults_now()


class SteppingDown:
    name = "stepping-down"
    takes: tuple[type, ...] = EVERY

    def __init__(self, world: Availability) -> None:
        self.world = world
        self.bound_ns = bound_ns(world.run)
        self.violations = Violations(self.name)
        self.lost: dict[str, Loss] = {}
        self._seen: tuple[int, list[str]] = (-1, [])
        """The world's revision, and the leaders, when last no leader had lost its quorum."""
        self.losses = 0
        self.longest_ns = 0

    def feed(self, op: Op) -> None:
        world = self.world
        leading = world.leading()
        if not self.lost:
            revision, seen = self._seen
            if not leading or (revision == world.revision and seen is leading):
                return
        lost = [host for host in leading if world.fit(host) and not world.may_have_quorum(host)]
        for host in list(self.lost):
            if host not in lost:
                self._judge(host, op.earliest, op.index)
                del self.lost[host]
        for host in lost:
            if host not in self.lost:
                self.losses += 1
                self.lost[host] = Loss(world, host, op)
        self._seen = (world.revision, leading)

    def _judge(self, host: str, now: int, op_index: int | None) -> None:
        loss = self.lost[host]
        lasted = min(now, self.world.knowledge_ends) - loss.since
        self.longest_ns = max(self.longest_ns, lasted)
        if lasted > self.bound_ns:
            message = (
                f"{host} leads epoch {loss.epoch} without a quorum since op {loss.op}, and did not step down "
                f"within {seconds(self.bound_ns)} s (it was still leading {seconds(lasted)} s later)"
            )
            ops = [loss.state_op, loss.op] + ([op_index] if op_index is not None else [])
            self.violations.add(message, ops, [host], loss.faults, loss.since + self.bound_ns)

    def finish(self) -> Result:
        for host in list(self.lost):
            self._judge(host, self.world.now, None)
        stats = {
            "bound_s": seconds(self.bound_ns),
            "leaders_without_quorum": self.losses,
            "longest_s": seconds(self.longest_ns),
        }
        return self.violations.result(stats)
