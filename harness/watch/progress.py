"""What a person sees while a run goes on: one line for each thing that happened, on standard error.

Each line begins with the run time in seconds.  A line is also what `controller.log` keeps, with more beside it.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from harness.watch.terminal import plain, printable

LOG = logging.getLogger("onethrone")


class Progress:
    """Says lines; `quiet` keeps them for the log alone."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._start = time.monotonic()
        self._lock = threading.Lock()
        self._diverted: Callable[[str], object] | None = None

    @property
    def terminal(self) -> TextIO | None:
        """Where lines are said and a view may be drawn; None when nothing is said."""
        return None if self._quiet else plain(sys.stderr)

    def divert(self, to: Callable[[str], object] | None) -> None:
        """Hand each line to `to` instead of printing it, until this is called with None; `to` returns at once."""
        with self._lock:
            self._diverted = to

    def restart_clock(self) -> None:
        """Count from now: the run begins."""
        self._start = time.monotonic()

    def say(self, text: str) -> None:
        LOG.info("%s", text)
        if self._quiet:
            return
        line = f"{time.monotonic() - self._start:7.2f}s  {printable(text)}"
        with self._lock:
            if self._diverted is not None:
                self._diverted(line)
            else:
                self.print(line)

    def print(self, line: str) -> None:
        """Print a line as it is.  A terminal that has gone is no reason to end a run: the log has it."""
        with contextlib.suppress(OSError):
            print(line, file=sys.stderr, flush=True)


class _Handler(logging.FileHandler):
    def handleError(self, record: logging.LogRecord) -> None:
        """A log that cannot be written (the disk is full) is no reason to print tracebacks: the history says so."""


class LogFile:
    """Sends what is logged to `path`, for as long as the block lasts."""

    def __init__(self, path: Path) -> None:
        self._handler = _Handler(path, encoding="utf-8")
        self._handler.setFormatter(
            logging.Formatter("%(asctime)s.%(msecs)03d %(levelname)s %(name)s: %(message)s", "%H:%M:%S")
        )

    def __enter__(self) -> None:
        root = logging.getLogger()
        self._level = root.level
        root.addHandler(self._handler)
        root.setLevel(logging.INFO)
        # Each connection of paramiko's says ten lines at INFO; what matters of it reaches us as an error.
        for name in ("paramiko", "onethrone.ssh"):
            logging.getLogger(name).setLevel(logging.WARNING)

    def __exit__(self, *_: object) -> None:
        root = logging.getLogger()
        root.removeHandler(self._handler)
        root.setLevel(self._level)
        with contextlib.suppress(OSError):
            self._handler.close()
