"""`partial-connectivity`: reported, not judged.

Nothing is promised to an ensemble in which a majority is connected only in part: a ring, a bridge, a one-way cut.
ZooKeeper's protocol may elect there or may go round for ever.  How the ensemble fares is worth knowing, so it is
measured.

A *partial window* is the time in which no majority has to have a leader (`Availability.majority` is None), and yet some
fit voters that reach each other, directly or through each other, over links that surely work both ways and are not
degraded, hold a quorum.  It is *empty* while no established leader has a quorum of voters that follow it in broadcast.

A fault that is just beginning or ending, or whose outcome is unknown, ends the window, and so does a server that has
not told its state since it started: nobody knows who hears whom then.

Memory: one window.
"""

from __future__ import annotations

from checker.availability import Availability
from checker.history import Op
from checker.promises.base import Result, seconds
from checker.vocabulary import EVERY


class PartialConnectivity:
    name = "partial-connectivity"
    takes: tuple[type, ...] = EVERY

    def __init__(self, world: Availability) -> None:
        self.world = world
        self.since: int | None = None
        self.empty_since: int | None = None
        self._partial = False
        self._revision = -1
        self._has_leader = False
        self._leaders_revision = -1
        self.windows = 0
        self.total_ns = 0
        self.empty_ns = 0
        self.longest_empty_ns = 0

    def feed(self, op: Op) -> None:
        if self._revision != self.world.revision:
            self._revision = self.world.revision
            self._partial = self.world.majority() is None and self._settled() and self.world.connected_quorum()
        if not self._partial:
            if self.since is not None:
                self._close(op.time)
            return
        if self.since is None:
            self.since = op.time
            self.windows += 1
        if self._leaders_revision != self.world.leaders_revision:
            self._leaders_revision = self.world.leaders_revision
            self._has_leader = self._look_for_leader()
        if self._has_leader:
            self._fill(op.time)
        elif self.empty_since is None:
            self.empty_since = op.time

    def _settled(self) -> bool:
        world = self.world
        told = all(runs is False or (runs and world.states[host] is not None) for host, runs in world.running.items())
        return told and not world.in_doubt()

    def _look_for_leader(self) -> bool:
        world = self.world
        return any(
            world.quorums.of(world.sids([voter for voter in world.voters if world.follows(voter, leader)]))
            for leader in world.leading()
        )

    def _fill(self, now: int) -> None:
        if self.empty_since is not None:
            empty = max(0, now - self.empty_since)
            self.empty_ns += empty
            self.longest_empty_ns = max(self.longest_empty_ns, empty)
            self.empty_since = None

    def _close(self, now: int) -> None:
        if self.since is not None:
            self.total_ns += max(0, now - self.since)
            self.since = None
        self._fill(now)

    def finish(self) -> Result:
        self._close(self.world.now)
        stats = {
            "windows": self.windows,
            "total_s": seconds(self.total_ns),
            "without_leader_s": seconds(self.empty_ns),
            "longest_without_leader_s": seconds(self.longest_empty_ns),
        }
        return Result(self.name, True, stats=stats, judged=False)
