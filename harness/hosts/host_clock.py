"""A host's monotonic clock mapped to ours, with an error bound, from the stamps that requests and answers carry.

The model.  We send a request at `sent` and receive its answer at `received`, by our clock; the host hears it at `heard`
and answers at `answered`, by its own.  Whatever the two ways take, each for itself, the host was ahead of us by

    ((heard - sent) + (answered - received)) / 2,   give or take half of the round trip without the host's own time,

as NTP does it.  Such a *sample* ages: two clocks may run apart by DRIFT, so its error grows with the distance in time
from the instant at which it was taken.  A mapping takes the sample with the least error at that distance.

The rules:

1.  The true time lies within the bound, whatever the ways take and however the clocks drift within DRIFT.
2.  Bounds are whole nanoseconds, rounded up.  Nothing is mapped before the first sample.

Example: sent 0, heard 100, answered 100, received 10 (ms).  The host is 95 ms ahead, give or take 5 ms and the drift.
"""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

from harness import HarnessError

DRIFT = 500e-6
"""How far two clocks may run apart, as a fraction: the kernel steers CLOCK_MONOTONIC by at most this much."""
SAMPLES_MAX = 120
"""Maximum number of samples that are kept: those of the last minute, at two heartbeats a second."""


class _Sample(NamedTuple):
    at: int
    ahead: int
    error: int


class HostClock:
    """A host's monotonic clock against ours, from exchanges of stamps."""

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque(maxlen=SAMPLES_MAX)

    def exchange(self, sent: int, heard: int, answered: int, received: int) -> None:
        """We sent and received by our clock; the host heard and answered by its own.  Nanoseconds."""
        ahead = ((heard - sent) + (answered - received)) // 2
        # The clocks run apart while the host answers, too.  Stamps, and halves of them, are whole nanoseconds: each
        # rounding takes up to one.
        error = max(0, (received - sent) - (answered - heard)) // 2 + math.ceil(DRIFT * (received - sent)) + 4
        self._samples.append(_Sample((sent + received) // 2, ahead, error))

    @property
    def known(self) -> bool:
        return bool(self._samples)

    def to_controller_time(self, host_ns: int) -> tuple[int, int]:
        """Our time of the host's, and its error bound, in nanoseconds."""
        # When that was by our clock is known only as well as the sample: it may lie that much further from it.
        error, ahead = min(
            (sample.error + DRIFT * (abs(host_ns - sample.ahead - sample.at) + sample.error), sample.ahead)
            for sample in self._known_samples()
        )
        return host_ns - ahead, math.ceil(error)

    def to_host_time(self, controller_ns: int) -> tuple[int, int]:
        """The host's time of ours, and its error bound, in nanoseconds."""
        error, ahead = min(
            (sample.error + DRIFT * abs(controller_ns - sample.at), sample.ahead) for sample in self._known_samples()
        )
        return controller_ns + ahead, math.ceil(error)

    def _known_samples(self) -> list[_Sample]:
        if not self._samples:
            raise HarnessError("a host's clock was asked for before anything was heard from the host")
        return list(self._samples)

    def way_ns(self) -> int:
        """The usual way there of late: half of a round trip (the median of eight)."""
        late = sorted(sample.error for sample in list(self._samples)[-8:])
        return late[len(late) // 2] if late else 0
