"""Promise `convergence`: a majority that is up and can talk has one established leader within a stated bound.

The rule.  `Availability.majority` is the majority M that has to have a leader: all of M are fit, every pair in M hears
each other both ways, and every other voter is down, paused, or cut from all of M in both directions.  M has *converged*
when one member of M is established as leader, in broadcast, and every other member follows it, in broadcast and in its
epoch, as far as they say.  As long as M has to have a leader, it is never without one for longer than the bound:

    window:        |------------ M = {n1,n2,n3} has to have a leader -------|
    converged:             |====================|             |============|
    without:       |<-- a->|                    |<---- b ---->|                  a <= bound and b <= bound

A *window* is the time in which one M has to have a leader without a break.  A window that ended before its bound, and
without convergence, proves nothing and is counted as `short`.

Clock errors: a window begins at `Availability.settled`.  M *may have converged* while possibly current states of its
members (`Spell`) make it so.  A stretch without a leader is a part of the window in which it never may have, so no
error makes it longer, and an op that has nothing to do with M proves nothing.

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
seen converged while they had to have a leader: while no op of the nemesis was under way, after the last fault that
began in the act, and in `everyone` when no fault had an effect any more.  Otherwise the run showed little (an ensemble
that nothing has broken yet), and the result is unknown.

Memory: one window, and the last states of each server.
"""

from __future__ import annotations

from checker.availability import Availability
from checker.history import Op
from checker.promises.base import Result, Violations, seconds
from checker.servers import FOR_EVER, Servers
from checker.vocabulary import EVERY, FaultOp, RunOp

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
        self.without_since = start
        """The run time, in ns, at which the last stretch without a leader began."""
        self.without_op = op_index
        self.led_op: int | None = None
        """The op that ended that stretch; None while it goes on."""
        self.ever = False
        """Whether it may have converged at some time."""
        self.accused = False


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
        """The acts of the end in which a majority was seen converged after the act's faults held."""
        self._revision = -1
        self._leaders_revision = -1
        self._converged = False
        """Whether the majority had converged at `_leaders_revision`."""

    def feed(self, op: Op) -> None:
        world = self.world
        if isinstance(op.value, FaultOp) and op.type == "invoke" and op.value.step == "start":
            self.shown.discard(str(world.phase))
        if self._revision != world.revision:
            self._revision = world.revision
            self._open_or_close(op)
        window = self.window
        if window is None:
            return
        if self._leaders_revision != world.leaders_revision:
            self._leaders_revision = world.leaders_revision
            self._converged = world.leader_of(window.majority) is not None
            self._look(window, op)
        if (
            self._converged
            and not world.under_way
            and (
                world.phase == "majority"
                or (world.phase == "everyone" and len(window.majority) == len(world.voters) and world.without_effects())
            )
        ):
            self.shown.add(world.phase)

    def _look(self, window: Window, op: Op) -> None:
        """After some server's state changed: does the stretch without a leader go on, or did one end?"""
        times = self._times(window)
        if times:
            window.ever = True
            if window.led_op is None:
                window.led_op = op.index
                self.world.picture_due = FOR_EVER
        if window.led_op is not None and not self._converged:
            self._account(window, times)
            window.without_op, window.led_op = op.index, None
            self._begin(window)

    def _times(self, window: Window) -> list[tuple[int, int]]:
        """When it may have converged since the last stretch without a leader began."""
        self.world.forget(window.without_since)
        return sorted(self.world.may_have_converged(window.majority, window.without_since))

    def _account(self, window: Window, times: list[tuple[int, int]]) -> None:
        """Judges the stretches before and between these times; the next one begins at the last of them."""
        for first, last in times:
            self._judge(window, first, window.led_op, "it had one only {} s later")
            window.without_since = max(window.without_since, last)

    def _begin(self, window: Window) -> None:
        """A stretch without a leader begins."""
        self.world.before = None
        self.world.picture_due = window.without_since + self.bound_ns

    def _open_or_close(self, op: Op) -> None:
        majority = self.world.majority()
        if self.window is not None and self.window.majority != majority:
            how = "it was still without one when it was no longer owed one, {} s later"
            self._close(self.window, op.earliest, op.index, how)
        if self.window is None and majority is not None:
            self.window = Window(majority, self.world.settled(op, majority), op.index)
            self.windows += 1
            self._leaders_revision = -1
            self._begin(self.window)

    def _judge(self, window: Window, now: int, op_index: int | None, how: str) -> None:
        """Reports the stretch without a leader that lasted until `now`, if it is longer than the bound."""
        lasted = min(now, self.world.knowledge_ends) - window.without_since
        self.longest_ns = max(self.longest_ns, lasted)
        if lasted <= self.bound_ns:
            return
        window.accused = True
        members = sorted(window.majority, key=self.world.run.sid)
        servers, faults = self.world.before or (self.world.picture(), self.world.faults_now())
        message = (
            f"{', '.join(members)} were owed a leader since op {window.without_op} and did not all have one within "
            f"{seconds(self.bound_ns)} s ({how.format(seconds(lasted))}): {_why(servers, members)}"
        )
        ops = [window.without_op] + [servers.state_ops[h] for h in members if h in servers.state_ops]
        if op_index is not None:
            ops.append(op_index)
        self.violations.add(message, ops, members, faults, window.without_since + self.bound_ns)

    def _close(self, window: Window, now: int, op_index: int | None, how: str) -> None:
        self._account(window, [(first, min(last, now)) for first, last in self._times(window) if first <= now])
        self._judge(window, now, op_index, how)
        if window.ever:
            self.proving += 1
        elif not window.accused:
            self.short += 1
        self.window = None
        self.world.before = None
        self.world.picture_due = FOR_EVER

    def finish(self) -> Result:
        if self.window is not None:
            how = "it was still without one at the end of the history, {} s later"
            self._close(self.window, self.world.now, None, how)
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
