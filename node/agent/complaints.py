"""A log that strangers cannot fill: warnings have a budget, and what is over it is counted.

The first `BURST` warnings of each `WINDOW_S` are written.  The others are counted, and the count is written when the
next window begins.  Lines of every other level are written always: no stranger causes one.

Example, with 200 bad connections in a second:

    20 lines "closing election connection of ...", and ten seconds later "180 more warnings were left out, ..."
"""

from __future__ import annotations

import time
from typing import Callable

BURST = 20
WINDOW_S = 10.0


class Complaints:
    """`log(level, text)` with the budget above; `clock` gives seconds."""

    def __init__(self, log: Callable[[str, str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._ends_at = 0.0
        self._count = 0

    def log(self, level: str, text: str) -> None:
        if level != "WARN":
            self._log(level, text)
            return
        self.tell_left_out()
        self._count += 1
        if self._count <= BURST:
            self._log(level, text)

    def tell_left_out(self) -> None:
        """To be called now and then: a window that is over, and what was left out in it."""
        now = self._clock()
        if now >= self._ends_at:
            left_out, self._count, self._ends_at = self._count - BURST, 0, now + WINDOW_S
            if left_out > 0:
                self._log("WARN", "%d more warnings were left out, to keep this log short" % left_out)
