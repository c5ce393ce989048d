"""A run's record: its history, and the clock that its times are read from.

Run time is nanoseconds since the record was opened, on the controller's monotonic clock.  Whatever is learned is
written when it is learned; what a host reports carries the host's own time, mapped by whoever knows the mapping.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from checker.history import Op, OpType, Writer


class Record:
    """Writes ops with run times; safe to use from any thread."""

    def __init__(self, path: Path) -> None:
        self.writer = Writer(path)
        self.origin_ns = time.monotonic_ns()

    def now(self) -> int:
        """The run time now, in nanoseconds."""
        return time.monotonic_ns() - self.origin_ns

    def now_s(self) -> float:
        return self.now() / 1e9

    def note(self, process: int | str, kind: OpType, f: str, value: Any, *, error: str | None = None) -> Op:
        """An op of this very moment."""
        return self.writer.append(process, kind, f, value, time=self.now(), error=error)

    def heard(self, host: str, f: str, value: Any, *, controller_ns: int, host_time: int, error_ns: int) -> Op:
        """What a host reported: `controller_ns` is its `host_time` on our monotonic clock, give or take `error_ns`."""
        return self.writer.append(
            host,
            "info",
            f,
            value,
            time=max(0, controller_ns - self.origin_ns),
            host_time=host_time,
            time_error=error_ns,
        )

    def close(self) -> None:
        self.writer.sync()
        self.writer.close()
