"""A server's clock: a straight line over true time, which faults bend.

    reading = base + (true - since) * rate / 1,000,000          rate in millionths; 1,000,000 is ordinary, 0 is frozen

A bent clock never runs backwards (`nemesis.injector.clocks`): when the bend is over, one that fell behind leaps to
where it would have been, and one that got ahead stays ahead until its server starts again.
"""

from __future__ import annotations

from typing import Final

US: Final = 1_000
MS: Final = 1_000_000
SECOND: Final = 1_000_000_000

ORDINARY: Final = 1_000_000


class SimulatedClock:
    """All times in nanoseconds; `drift_ppm` is how much its ordinary rate is off."""

    __slots__ = ("base", "lead", "rate", "rate_ordinary", "since")

    def __init__(self, base: int, drift_ppm: int) -> None:
        self.rate_ordinary = ORDINARY + drift_ppm
        self.lead = base
        """What the unbent clock reads at true time 0."""
        self.since, self.base, self.rate = 0, base, self.rate_ordinary

    def read(self, true: int) -> int:
        if self.rate == ORDINARY:
            return self.base + true - self.since
        return self.base + (true - self.since) * self.rate // ORDINARY

    def when(self, reading: int) -> int | None:
        """The first true time at which it reads at least this; None: never, it is frozen."""
        if reading <= self.base:
            return self.since
        if not self.rate:
            return None
        return self.since - (self.base - reading) * ORDINARY // self.rate + 1

    def unbent(self, true: int) -> int:
        """What it would read if it had never been bent, but for jumps that are over."""
        return self.lead + true * self.rate_ordinary // ORDINARY

    def bend(self, true: int, rate: int, ahead: int = 0) -> None:
        """From now on it runs at `rate`, and is `ahead` by so much more."""
        self.base = self.read(true) + ahead
        self.since, self.rate = true, rate

    def leap(self, true: int) -> None:
        """Catch up with where it would be, and stay at the present rate."""
        self.base, self.since = max(self.read(true), self.unbent(true)), true

    def straighten(self, true: int) -> None:
        """The bend is over."""
        self.leap(true)
        self.rate = self.rate_ordinary
        self.lead += self.base - self.unbent(true)

    def restart(self, true: int, base: int) -> None:
        """Its server starts again, with the host's own clock."""
        self.lead = base
        self.base, self.since, self.rate = self.unbent(true), true, self.rate_ordinary
