"""The way out to a terminal: standard output and standard error, as every command writes to them.

Text of hosts and files may hold what a terminal obeys: escape sequences, new titles, marks that turn the direction of
writing.  The rules:

1.  `EscapingStream` takes the place of both streams for as long as a command runs, so nothing that is printed passes it
    by: it writes such characters as `\\u001b`, which is also how JSON has them.  What draws on the terminal itself, and
    sends escape sequences of its own, writes to `plain(stream)`, and escapes what it quotes with `printable`.
2.  A stream that cannot be written to raises `OutputLost`, which says so by the stream's name.  It carries no `errno`:
    a reader that went away must not be mixed up with a pipe that broke anywhere else in the program.

    >>> printable("n1\\x1b[31m says \\u202eolleh")
    'n1\\\\u001b[31m says \\\\u202eolleh'
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TextIO

_KEPT = "\n\t"
"""Characters that move the cursor, and do no harm."""


def printable(text: str) -> str:
    """`text`, where every character that a terminal would obey or not show is written as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in _KEPT else _escape(c) for c in text)


def _escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


class OutputLost(OSError):
    """Standard output or standard error cannot be written to."""

    def __init__(self, stream: TextIO, name: str, error: OSError) -> None:
        super().__init__(f"{name}: {(error.strerror or str(error)).lower()}")
        self.stream = stream
        self.reader_gone = isinstance(error, BrokenPipeError)
        """Whoever read it has enough, as in `onethrone check | head`."""


class EscapingStream:
    """A text stream that writes `printable` text to the stream that it stands for."""

    encoding = "utf-8"
    """Any text is taken: what the stream itself has no code for is escaped.  (click goes round a stream that says
    "ascii", and writes to its buffer.)"""

    def __init__(self, stream: TextIO, name: str) -> None:
        self.plain = stream
        self._name = name

    def write(self, text: str) -> int:
        shown = printable(text)
        codec = self.plain.encoding or "utf-8"
        try:
            self.plain.write(shown.encode(codec, "backslashreplace").decode(codec))
        except OSError as error:
            raise OutputLost(self.plain, self._name, error) from error
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        try:
            self.plain.flush()
        except OSError as error:
            raise OutputLost(self.plain, self._name, error) from error

    def __getattr__(self, name: str) -> Any:
        return getattr(self.plain, name)


def plain(stream: TextIO) -> TextIO:
    """The stream itself, for what draws."""
    return stream.plain if isinstance(stream, EscapingStream) else stream
