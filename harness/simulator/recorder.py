"""A simulated run's record: ops in memory, with the times of the world."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from checker.history import Op, OpType, encode


class MemoryRecorder:
    """The same ops as `harness.results.recorder.Record` writes; `now` gives the world's time in nanoseconds."""

    def __init__(self, now: Callable[[], int]) -> None:
        self.now = now
        self.ops: list[Op] = []

    def note(self, process: int | str, kind: OpType, f: str, value: Any, *, error: str | None = None) -> None:
        """An op of this very moment."""
        self.ops.append(Op(len(self.ops), self.now(), process, kind, f, value, None, None, None, error))

    def heard(self, host: str, f: str, value: Any, *, controller_ns: int, host_time: int | None, error_ns: int) -> None:
        """What a host reported."""
        self.ops.append(Op(len(self.ops), controller_ns, host, "info", f, value, host_time, error_ns))

    def operation(self, process: int, kind: OpType, f: str, value: Any, server: str, error: str | None = None) -> None:
        """A client's."""
        self.ops.append(Op(len(self.ops), self.now(), process, kind, f, value, None, None, server, error))

    def encoded(self) -> bytes:
        """The history file."""
        return b"".join(map(encode, self.ops))
