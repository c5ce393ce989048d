"""Writes a history, so that a crash at any moment leaves one that can be read.

1.  `append` writes an op whole, with one `write` to a file opened for appending, before it returns.  Nothing is
    buffered here, so a `kill -9` of the controller loses no op that `append` returned.
2.  `append` takes back a write that fails half-way (the disk is full), so that a later op never lands on half a line;
    it raises the error, and the index is not used up.

    >>> with Writer(path) as history:
    ...     history.append("controller", "info", "run", {"name": "demo", ...}, time=0)
    >>> [op.f for op in read(path)]
    ['run']
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from checker.history.op import Op, OpType, encode


class Writer:
    """Writes a new history.  `append` may be called from any thread; indexes follow the order of the calls."""

    def __init__(self, path: str | Path) -> None:
        """Creates the file.  Raises FileExistsError when there is one: a history is written once."""
        self.path = Path(path)
        self._lock = threading.Lock()
        self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        self._size = 0
        self._next = 0

    def append(
        self,
        process: int | str,
        type: OpType,
        f: str,
        value: Any = None,
        *,
        time: int,
        host_time: int | None = None,
        time_error: int | None = None,
        server: str | None = None,
        error: str | None = None,
        more: dict[str, Any] | None = None,
    ) -> Op:
        """Writes one op and returns it with its index.  It is in the file (not yet on the disk) when this returns.

        Raises OSError when it cannot be written, and then nothing of it is in the file.
        """
        with self._lock:
            op = Op(self._next, time, process, type, f, value, host_time, time_error, server, error, more)
            line = encode(op)
            try:
                left = memoryview(line)
                while left:
                    left = left[os.write(self._fd, left) :]
            except OSError:
                os.ftruncate(self._fd, self._size)
                raise
            self._size += len(line)
            self._next += 1
            return op

    def sync(self) -> None:
        """Puts on the disk what was written so far: at the end of a phase, not for each op."""
        with self._lock:
            os.fdatasync(self._fd)

    def close(self) -> None:
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
