"""A history, read as it grows: the scene of its run, and what of the promises is already broken.

The rules:

1.  Only what was added is read, so much at a time as the caller allows; a line that is not whole yet is left for later.
2.  A file that has become shorter is another file: it is read from its beginning.
3.  A line that is no op is counted, and passed over.  `onethrone check` is where it is an error.

The verdict so far.  The checkers are fed as `onethrone check` feeds them, but they wait `ORDER_NS` for late reports
instead of two minutes: who looks on wants to know now.  What they have found is a list of violations, never "valid":
final reads, the end's acts and the count of what arrived come last.  A violation that rests on silence (nobody led,
nobody stepped down) may be taken back by a late report: it is called suspected until the run is judged.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import msgspec

from checker.counted import counted
from checker.history import LINE_BYTES_MAX, Op, Ordered, decode
from checker.promises.base import Violation
from checker.routing import Routing
from checker.vacuity import SILENCE
from checker.vocabulary import ValueProblem
from harness.watch.scene import Scene

ORDER_NS = 2 * 1_000_000_000


class SoFar:
    """The violations that are found while a run goes on."""

    def __init__(self) -> None:
        self._routing = Routing()
        self._routing.order = Ordered(ORDER_NS)
        self.trouble = ""
        """Why nothing more is judged; empty while it is."""

    def feed(self, ops: list[Op]) -> None:
        """Takes the next ops, whose values become typed ones."""
        if self.trouble:
            return
        try:
            self._routing.feed(ops)
            self._routing.pass_on()
        except ValueProblem as problem:
            self.trouble = f"op {self._routing.at}: {problem}"

    @property
    def late(self) -> bool:
        """Reports came later than was waited for."""
        return bool(self._routing.order.late)

    @property
    def found(self) -> list[Violation]:
        """What no later report can take back, by time."""
        return self._violations(silent=False)

    @property
    def suspected(self) -> list[Violation]:
        """What rests on silence, by time; nothing once reports came too late for silence to mean anything."""
        return [] if self.late else self._violations(silent=True)

    def _violations(self, *, silent: bool) -> list[Violation]:
        run = self._routing.run
        return sorted(
            (
                violation
                for promise in self._routing.promises
                if run is not None and promise.name not in run.unjudged and (promise.name in SILENCE) is silent
                for violation in getattr(promise, "violations", _NONE).kept
            ),
            key=lambda violation: violation.time,
        )

    @property
    def sentence(self) -> str:
        """For a person: what was found so far, and no more than that."""
        found, suspected = self.found, self.suspected
        if self.trouble:
            said = f"it cannot be judged while it goes on: {self.trouble}"
        elif found:
            said = f"{counted(len(found), 'violation')} found so far; the first: {found[0].message}"
        else:
            said = "no violation found so far"
        if suspected:
            said += f"; {len(suspected)} suspected: {suspected[0].message}"
        elif self.late and not self.trouble:
            said += "; reports came late, so silence is not judged before the end"
        return said


class _None:
    kept: tuple[Violation, ...] = ()


_NONE = _None()


class Follower:
    """Follows one history.  `read` when something may have been added; the fields say what is known then."""

    def __init__(self, history: Path, opener: Callable[[], BinaryIO] | None = None) -> None:
        """`opener` opens the file for reading, if not the path itself; either may raise OSError, also later."""
        self.history = history
        self._opener = opener or (lambda: history.open("rb"))
        self._start_over()

    def _start_over(self) -> None:
        self.scene = Scene()
        self.so_far = SoFar()
        self.unreadable = 0
        self.behind = 0
        """Bytes that are there and were not read yet."""
        self.heard_at = 0.0
        """The wall clock, in seconds, when the history last grew."""
        self.offset = 0
        """Bytes that were read."""
        self._tail = b""
        self._file: tuple[int, int] | None = None

    def read(self, bytes_max: int = 1 << 20) -> bool:
        """Take in what was added, at most so many bytes of it.  True when there was something.

        Raises OSError when the file cannot be read, FileNotFoundError when it is not there (yet).
        """
        with self._opener() as file:
            about = os.fstat(file.fileno())
            if self._file is not None and (self._file != (about.st_dev, about.st_ino) or about.st_size < self.offset):
                self._start_over()
            self._file = (about.st_dev, about.st_ino)
            self.heard_at = about.st_mtime
            file.seek(self.offset)
            added = file.read(min(bytes_max, max(0, about.st_size - self.offset)))
        self.offset += len(added)
        self.behind = about.st_size - self.offset
        whole, newline, self._tail = (self._tail + added).rpartition(b"\n")
        if len(self._tail) > LINE_BYTES_MAX:
            self._tail = b""
            self.unreadable += 1
        if newline:
            self._take(whole.split(b"\n"))
        return bool(added)

    def _take(self, lines: list[bytes]) -> None:
        ops = []
        for line in lines:
            try:
                op = decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                self.unreadable += 1
                continue
            self.scene.feed(op)
            ops.append(op)
        self.so_far.feed(ops)

    @property
    def now(self) -> int:
        """The run time now, in nanoseconds, by this machine's clock: time goes on while nothing is said."""
        if self.scene.ended or not self.heard_at:
            return self.scene.now
        return self.scene.now + max(0, int((time.time() - self.heard_at) * 1e9))
