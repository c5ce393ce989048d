"""A terminal to look at: a real pty, and what a person would see on it.

Understands what our programs and a shell's line editor send: text with automatic wrapping, newline, return, backspace,
tab, and the control sequences for moving, erasing and colours.  What has scrolled away is kept.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

_CONTROL = re.compile(r"\x1b\[([?>=]?)([0-9;]*)([@-~])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[()][A-Z0-9]|\x1b[=>78c]")

_END = "\x1b]0;end\x07"
"""A title, which no row shows."""


class Terminal:
    """Runs one program on a pty of that size."""

    def __init__(
        self, words: Sequence[str], *, columns: int = 80, rows: int = 24, env: Mapping[str, str] | None = None
    ) -> None:
        self.columns, self.rows = columns, rows
        self.lines: list[str] = [""]
        """Everything that stands there, with what scrolled away."""
        self.sent = ""
        """Every character that the program wrote."""
        self._row = self._column = 0
        self._pending = ""
        self._bytes = b""
        self.master, self.slave = pty.openpty()
        self.resize(columns, rows)
        self.modes = termios.tcgetattr(self.slave)
        """The terminal's modes before the program began."""
        self.process = subprocess.Popen(
            list(words), stdin=self.slave, stdout=self.slave, stderr=self.slave, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - its controlling terminal
            env={**os.environ, "TERM": "xterm", **(env or {})},
        )  # fmt: skip

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)

    def resize(self, columns: int, rows: int) -> None:
        """Another size; what stands there is wrapped anew, as terminals do."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        if columns < self.columns:
            wrapped: list[str] = []
            for n, line in enumerate(self.lines):
                pieces = [line[at : at + columns] for at in range(0, max(1, len(line)), columns)]
                if n == self._row:
                    self._row = len(wrapped) + self._column // columns
                    self._column %= columns
                wrapped += pieces
            self.lines = wrapped
        self.columns, self.rows = columns, rows

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def read(self, for_s: float) -> None:
        """Take in what is written within that time."""
        end = time.monotonic() + for_s
        while (left := end - time.monotonic()) > 0:
            if not select.select([self.master], [], [], left)[0]:
                return
            try:
                got = os.read(self.master, 65536)
            except OSError:
                return
            self._bytes += got
            text = self._bytes.decode("utf-8", "ignore")
            self._bytes = b"" if text.encode() == self._bytes else self._bytes[len(text.encode()) :]
            self.sent += text
            self._feed(text)

    def until(self, what: Callable[[], object], why: str, deadline_s: float = 60) -> None:
        """Wait for something to be seen."""
        end = time.monotonic() + deadline_s
        while not what():
            assert time.monotonic() < end, f"{why}; the terminal shows:\n" + "\n".join(self.lines)
            self.read(0.05)
        for _ in range(20):  # what is being written, such as the rest of a frame
            sent = len(self.sent)
            self.read(0.05)
            if len(self.sent) == sent:
                break

    def ended(self, deadline_s: float = 60) -> int:
        """Wait for the program to end; its exit code."""
        self.until(lambda: self.process.poll() is not None, "the program did not end", deadline_s)
        os.write(self.slave, _END.encode())  # behind all that the program wrote
        self.until(lambda: self.sent.endswith(_END), "the last of what it wrote", deadline_s)
        self.sent = self.sent.removesuffix(_END)
        return self.process.returncode

    @property
    def screen(self) -> list[str]:
        """The rows that a person sees, without empty ones at the end."""
        seen = [line.rstrip() for line in self.lines[-self.rows :]]
        while seen and not seen[-1]:
            seen.pop()
        return seen

    def shows(self, text: str) -> bool:
        return any(text in line for line in self.screen)

    # ---- the emulation -------------------------------------------------------------------------------------------

    def _feed(self, text: str) -> None:
        text, self._pending = self._pending + text, ""
        at = 0
        while at < len(text):
            c = text[at]
            if c == "\x1b":
                control = _CONTROL.match(text, at)
                if control is None:
                    if len(text) - at < 32:
                        self._pending = text[at:]
                        return
                    raise AssertionError(f"the terminal does not know {text[at : at + 20]!r}")
                if control[3]:
                    self._control(control[2], control[3])
                at = control.end()
                continue
            self._put(c)
            at += 1

    def _put(self, c: str) -> None:
        if c == "\n":
            self._row += 1
        elif c == "\r":
            self._column = 0
        elif c == "\b":
            self._column = max(0, self._column - 1)
        elif c == "\t":
            self._column = min(self.columns - 1, (self._column // 8 + 1) * 8)
        elif c >= " ":
            if self._column >= self.columns:
                self._row, self._column = self._row + 1, 0
            self._grow()
            line = self.lines[self._row].ljust(self._column)
            self.lines[self._row] = line[: self._column] + c + line[self._column + 1 :]
            self._column += 1
        self._grow()

    def _grow(self) -> None:
        while len(self.lines) <= self._row:
            self.lines.append("")

    def _control(self, numbers: str, what: str) -> None:
        number = int(numbers) if numbers.isdecimal() else 0
        if what == "A":
            self._row = max(0, len(self.lines) - self.rows, self._row - (number or 1))
        elif what == "B":
            self._row += number or 1
        elif what == "C":
            self._column += number or 1
        elif what == "D":
            self._column = max(0, self._column - (number or 1))
        elif what == "G":
            self._column = max(0, number - 1)
        elif what == "H":
            self._row, self._column = max(0, len(self.lines) - self.rows), 0
        elif what == "J":
            if number == 0:
                self.lines[self._row] = self.lines[self._row][: self._column]
                del self.lines[self._row + 1 :]
            else:
                self.lines = [""]
                self._row = self._column = 0
        elif what == "K" and number == 0:
            self.lines[self._row] = self.lines[self._row][: self._column]
        self._grow()
