"""What a client port counts of its clients' requests, for the four-letter words to print.

Example: `traffic.latencies.add(0.7)` after a request that took 0.7 ms; `mntr` then prints the new average.
"""

from __future__ import annotations

from typing import Optional


class Latencies:
    """Latencies of requests, in milliseconds."""

    def __init__(self) -> None:
        self.count, self.sum_ms, self.min_ms, self.max_ms = 0, 0.0, 0.0, 0.0

    def add(self, took_ms: float) -> None:
        self.min_ms = took_ms if self.count == 0 else min(self.min_ms, took_ms)
        self.max_ms = max(self.max_ms, took_ms)
        self.sum_ms += took_ms
        self.count += 1

    @property
    def average_ms(self) -> float:
        return self.sum_ms / self.count if self.count else 0.0


class Traffic:
    """Messages received and sent, and their latencies.  `led_since` is in seconds of the event loop's clock."""

    def __init__(self) -> None:
        self.received = 0
        self.sent = 0
        self.led_since: Optional[float] = None
        self.latencies = Latencies()
