"""Promise `convergence`: a majority that is up and can talk has one established leader within a stated bound.

The rule.  `Availability.majority` is the majority M that has to have a leader: all of M are fit, every pair in M hears
each other both ways, and every other voter is down, paused, or cut from all of M in both directions.  M has *converged*
when one member of M is established as leader, in broadcast, and every other member follows it, in broadcast and in its
epoch.  As long as M has to have a leader, it is never without one for longer than the bound:

    window:        |------------ M = {n1,n2,n3} has to have a leader -------|
    converged:             |====================|             |============|
    without:       |<-- a->|                    |<---- b ---->|                  a <= bound and b <= bound

A *window* is the time in which one M has to have a leader without a break.  A window that ended before its bound, and
without convergence, proves nothing and is counted as `short`.

Clock errors: a window begins at `Availability.settled_at`.  A stretch without a leader begins at the latest instant
that its first op allows and ends at the earliest that its last one allows, so no error makes it longer.

A degraded link (loss, rate, delay, ...) between members of M suspends the promise: no window is open while one may be
in force.  A degraded link between M and the rest changes nothing, since they are cut anyway.

The bound is the run's `bounds.convergence_s`.  In a history that does not state it (version 0.1) it is

    3 * init_limit * tick + sync_limit * tick + max_notification_interval + 1 s

The servers need `sync_limit` ticks to notice that an old leader or an old quorum is gone.  The longest pause between
two notifications of one LOOKING server follows; after it each has heard the vote of each other.  Then come discovery,
its acknowledgement and that of NEWLEADER, each of which waits at most `init_limit` ticks before the attempt is given
up.  The last second is for finalizeWait (200 ms) and busy hosts.  An attempt that fails for one straggler is covered by
the same three waits.

The end's two acts.  In phase `majority` some majority, and in phase `everyone` all voters together, must have been
seen converged while they had to have a leader.  Otherwise the run showed little, and the result is unknown.

Memory: one window.
"""

from __future__ import annotations

from checker.availability import FOR_EVER, Availability, Servers
from checker.history import Op
from checker.promises.base import Result, Violations, seconds
from checker.vocabulary import EVERY, RunOp

ACTS = ("majority", "everyone")


def bound_ns(run: RunOp) -> int:
    if run.bounds.convergence_s is not None:
        return round(run.bounds.convergence_s * 1e9)
    settings = run.settings
    ticks = 3 * settings.init_limit + settings.sync_limit
    return (ticks * settings.tick_ms + settings.max_notification_interval_ms) * 1_000_000 + 1_000_000_000


class Window:
    """The time in which one majority has to have a leader."""

    def __init__(self, majority: frozenset[str], start: int, op_index: int) -> None:
        self.majority = majority
        self.start = start
        self.without_since: int | None = start
        """The run time, in ns, since which it has no leader; None while it has one."""
        self.without_op = op_index
        self.ever = False
        """Whether it has converged at some time."""
        self.accused = False
        """Whether the present stretch without a leader was reported."""


class Convergence:
    name = "convergence"
    takes: tuple[type, ...] = EVERY

    def __init__(self, world: Availability) -> None:
        self.world = world
        self.bound_ns = bound_ns(world.run)
        self.violations = Violations(self.name)
        self.window: Window | None = None
        self.windows = 0
        self.short = 0
        self.proving = 0
        self.longest_ns = 0
        self.shown: set[str] = set()
        """The acts of the end in which a majority was seen converged."""
        self._revision = -1
        self._leaders_revision = -1
        self._converged = False
        """Whether the majority had converged at `_leaders_revision`."""

    def feed(self, op: Op) -> None:
        world = self.world
        if self._revision != world.revision:
            self._revision = world.revision
            self._open_or_close(op)
        window = self.window
        if window is None:
            return
        if self._leaders_revision != world.leaders_revision:
            self._leaders_revision = world.leaders_revision
            self._converged = world.leader_of(window.majority) is not None
        if self._converged:
            if window.without_since is not None:
                self._judge(op.earliest, op.index, "it had one only {} s later")
                window.without_since = None
                window.ever = True
                window.accused = False
                world.picture_due = FOR_EVER
            if world.phase in ACTS and (world.phase == "majority" or len(window.majority) == len(world.voters)):
                self.shown.add(world.phase)
        elif window.without_since is None:
            window.without_since = op.latest
            window.without_op = op.index
            world.picture_due = op.latest + self.bound_ns
        elif op.time > world.picture_due:
            self._judge(op.earliest, op.index, "it was still without one {} s later")

    def _open_or_close(self, op: Op) -> None:
        majority = self.world.majority()
        if self.window is not None and self.window.majority != majority:
            self._judge(op.earliest, op.index, "it was still without one when it was no longer owed one, {} s later")
            self._close()
        if self.window is None and majority is not None:
            self.window = Window(majority, self.world.settled_at, op.index)
            self.windows += 1
            self._leaders_revision = -1
            self.world.picture_due = self.window.start + self.bound_ns

    def _judge(self, now: int, op_index: int | None, how: str) -> None:
        """Reports the stretch without a leader that lasts until `now`, once, if it is longer than the bound."""
        window = self.window
        if window is None or window.without_since is None:
            return
        lasted = min(now, self.world.knowledge_ends) - window.without_since
        self.longest_ns = max(self.longest_ns, lasted)
        if lasted <= self.bound_ns or window.accused:
            return
        window.accused = True
        self.world.picture_due = FOR_EVER
        members = sorted(window.majority, key=self.world.run.sid)
        servers, faults = self.world.picture(), self.world.faults_now()
        if op_index is not None and self.world.before is not None:
            servers, faults = self.world.before  # the op is the one that ended it
        message = (
            f"{', '.join(members)} were owed a leader since op {window.without_op} and did not all have one within "
            f"{seconds(self.bound_ns)} s ({how.format(seconds(lasted))}): {_why(servers, members)}"
        )
        ops = [window.without_op] + [servers.state_ops[h] for h in members if h in servers.state_ops]
        if op_index is not None:
            ops.append(op_index)
        self.violations.add(message, ops, members, faults, window.without_since + self.bound_ns)

    def _close(self) -> None:
        window = self.window
        assert window is not None
        if window.ever:
            self.proving += 1
        elif not window.accused:
            self.short += 1
        self.window = None
        self.world.picture_due = FOR_EVER

    def finish(self) -> Result:
        if self.window is not None:
            self._judge(self.world.now, None, "it was still without one at the end of the history, {} s later")
            self._close()
        reasons = [f"in phase {act!r} {who} was seen with an established leader while it was owed one"
                   for act, who in zip(ACTS, ("no majority", "no ensemble with all voters fit"), strict=True)
                   if act not in self.shown]  # fmt: skip
        stats = {
            "bound_s": seconds(self.bound_ns),
            "windows": self.windows,
            "proving": self.proving,
            "short": self.short,
            "longest_without_leader_s": seconds(self.longest_ns),
        }
        return self.violations.result(stats, reasons)


def _why(servers: Servers, members: list[str]) -> str:
    leaders = [host for host in servers.leading() if host in members]
    if len(leaders) == 1:
        apart = [host for host in members if not servers.follows(host, leaders[0])]
        return f"{servers.describe(leaders[0])}, but " + "; ".join(
            f"{host} did not join ({servers.describe(host)})" for host in apart if host != leaders[0]
        )
    head = "no leader" if not leaders else f"{len(leaders)} leaders"
    return f"{head}: " + "; ".join(servers.describe(host) for host in members)
