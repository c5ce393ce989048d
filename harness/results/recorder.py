"""A run's record: its history, and the clock that its times are read from.

Run time is nanoseconds since the record was opened, on the controller's monotonic clock.  Whatever is learned is
written when it is learned; what a host reports carries the host's own time, mapped by whoever knows the mapping.

A history that cannot be written (the disk is full) ends the run: nothing may happen that is not recorded.  The first
failure is kept in `failure`, `failed` wakes whoever waits for it, and every op after it raises.
"""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from typing import Any

from checker.history import Op, OpType, Writer
from harness import HarnessError


class Recorder(Writer):
    """Writes ops with run times; safe to use from any thread."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.origin_ns = time.monotonic_ns()
        self.failure = ""
        self.failed = threading.Event()

    def now(self) -> int:
        """The run time now, in nanoseconds."""
        return time.monotonic_ns() - self.origin_ns

    def append(self, process: int | str, type: OpType, f: str, value: Any = None, *, time: int, **about: Any) -> Op:
        """One op.  Raises HarnessError when it cannot be written, now or since an earlier one could not."""
        try:
            if not self.failure:
                return super().append(process, type, f, value, time=time, **about)
        except OSError as problem:
            self.failure = f"{self.path}: the history cannot be written: {problem.strerror}"
            self.failed.set()
        raise HarnessError(self.failure, remedy="Make room there, or keep results elsewhere with --results.")

    def note(self, process: int | str, kind: OpType, f: str, value: Any, *, error: str | None = None) -> Op:
        """An op of this very moment."""
        return self.append(process, kind, f, value, time=self.now(), error=error)

    def heard(self, host: str, f: str, value: Any, *, controller_ns: int, host_time: int | None, error_ns: int) -> Op:
        """What a host reported: `controller_ns` is its `host_time` on our monotonic clock, give or take `error_ns`."""
        return self.append(
            host,
            "info",
            f,
            value,
            time=max(0, controller_ns - self.origin_ns),
            host_time=host_time,
            time_error=None if host_time is None else error_ns,
        )

    def close(self) -> None:
        with contextlib.suppress(OSError):  # what could not be written has been said
            self.sync()
        super().close()
