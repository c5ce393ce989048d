"""Reads a history as a stream.

1.  A last line that is cut (no newline at its end, and not a whole object) is what a crash leaves: the reader leaves it
    out and says so in `History.notes`.  The writer leaves no cut line anywhere else, so that is an error; and so is a
    cut line that is the only one, since nothing then shows that the file is a history at all.
2.  Any other line that is not an op is a `HistoryError` that names file and line.  Nothing is skipped silently.
3.  Indexes rise.  A gap in them is lines that somebody took out: the reader counts it in `History.missing` and
    describes it in `History.notes`, and the verdict on such a history is at best `unknown`.
4.  A history is a regular file.  A packed one is unpacked as it is read, and refused as soon as it unpacks to more than
    `RATIO_MAX` times what was read of it: no history does, and nobody has to wait for ten gigabytes of nothing.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import io
import os
import stat
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, cast

from checker.history.op import NO_OP, Op, decode, decoder

LINE_BYTES_MAX = 16 << 20
"""Maximum length of a line.  A file without newlines is not read into memory as one line."""

NAMES = ("history.jsonl", "history.jsonl.gz")
"""Names that a history has in the folder of a run; a campaign packs the histories of runs that passed."""

RATIO_MAX = 200
"""Maximum ratio of a history's size to that of its packed file.  Those of our runs have a ratio of 10 to 30."""
_RATIO_AFTER_BYTES = 64 << 20
"""Bytes that any packed file may unpack to: a few lines may be alike."""

_PACKED_BYTES = 1 << 20
"""Bytes of a packed file that are unpacked at a time where only its end is looked for."""

_CHUNK_BYTES = 1 << 15
"""Bytes read at a time.  Their ops fit into a processor's cache, and are checked while they are in it."""


class HistoryError(Exception):
    """A history that cannot be read: which file, which line (None: the file as a whole), and why."""

    def __init__(self, path: str | Path, line: int | None, why: str) -> None:
        super().__init__(f"{path}:{line}: {why}" if line is not None else f"{path}: {why}")
        self.path = Path(path)
        self.line = line
        self.why = why


_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


def open_file(path: str | Path, buffering: int = 0) -> IO[bytes]:
    """A file to read; `buffering` as `open` takes it.

    Raises OSError, also for what is no regular file: a pipe may never begin, or never end.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    file = open(fd, "rb", buffering)  # noqa: SIM115 - it is returned
    kind = stat.S_IFMT(os.fstat(file.fileno()).st_mode)
    if kind != stat.S_IFREG:
        file.close()
        raise OSError(errno.EINVAL, f"it is {_KINDS.get(kind, 'something else')}, not a file", str(path))
    return file


class _Packed(gzip.GzipFile):
    """A packed file, read to its end once.  Raises OSError where it unpacks to far more than any history does."""

    def __init__(self, packed: IO[bytes]) -> None:
        super().__init__(fileobj=packed)
        self._packed = packed

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        if self.tell() > _RATIO_AFTER_BYTES and self.tell() > RATIO_MAX * self._packed.tell():
            raise OSError(errno.EFBIG, f"it unpacks to more than {RATIO_MAX} times its size, which no history does")
        return data

    def close(self) -> None:
        super().close()
        self._packed.close()


class History(Iterable[Op]):
    """A history file, read as a stream: `for op in read(path)`.  What was noted is complete when the loop has ended."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.notes: list[str] = []
        """What was found wrong with the file and put right, in words."""
        self.cut = False
        """The last line was cut, and left out."""
        self.missing = 0
        """How many indexes are missing."""

    def __iter__(self) -> Iterator[Op]:
        for ops in self.chunks():
            yield from ops

    def chunks(self) -> Iterator[list[Op]]:
        """The same ops, some hundreds at a time: what is fastest to loop over."""
        self.notes, self.cut, self.missing = [], False, 0
        with self.open() as file:
            line, after, tail = 1, -1, b""
            while chunk := self._read(file):
                end = chunk.rfind(b"\n") + 1
                if not end:
                    tail += chunk
                    if len(tail) > LINE_BYTES_MAX:
                        raise HistoryError(
                            self.path, line, f"the line is longer than {LINE_BYTES_MAX} bytes: not a history"
                        )
                    continue
                whole, tail = tail + chunk[:end], chunk[end:]
                ops = self._decode(whole, line)
                line += len(ops)
                after = self._check_indexes(ops, after, line - len(ops))
                yield ops
                del ops  # two of them at a time fit into no cache
            if tail:
                ops = self._decode_last(tail, line)
                self._check_indexes(ops, after, line)
                yield ops

    def open(self) -> IO[bytes]:
        """The history's text, from its beginning; unpacked, where a campaign packed it."""
        try:
            file = open_file(self.path)
        except OSError as error:
            raise HistoryError(self.path, None, f"cannot be read: {error.strerror}") from None
        return cast(IO[bytes], _Packed(file)) if self.path.suffix == ".gz" else file

    def _read(self, file: IO[bytes], size: int = _CHUNK_BYTES) -> bytes:
        try:
            return file.read(size)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise HistoryError(self.path, None, f"cannot be unpacked: {error}") from None
        except OSError as error:  # a disk that fails, a network file system that is gone, a packed file that is a trap
            raise HistoryError(self.path, None, f"cannot be read: {error.strerror}") from None

    def last(self) -> Op | None:
        """The last op, as far as one is whole and not far from the file's end.  Raises OSError, HistoryError."""
        for tail, whole in self._tails():
            lines = tail.split(b"\n")
            for line in reversed(lines if whole else lines[1:]):
                with contextlib.suppress(*NO_OP):
                    return decode(line)
        return None

    def _tails(self) -> Iterator[tuple[bytes, bool]]:
        """Longer and longer ends of the text, and of each whether it is all; of a packed file, read once, only one."""
        with self.open() as file:
            if isinstance(file, _Packed):
                chunks, count = deque[bytes](maxlen=2 * LINE_BYTES_MAX // _PACKED_BYTES), 0
                while chunk := self._read(file, _PACKED_BYTES):
                    chunks.append(chunk)
                    count += 1
                yield b"".join(chunks), count == len(chunks)
                return
            size = file.seek(0, os.SEEK_END)
            length = 1 << 16
            while True:
                file.seek(max(0, size - length))
                yield self._read(file, length), length >= size
                if length >= size or length > 2 * LINE_BYTES_MAX:
                    return
                length *= 4

    def _decode(self, whole: bytes, first_line: int) -> list[Op]:
        try:
            ops = decoder.decode_lines(whole)
            # decode_lines passes over blank lines.  To count them this way takes half as long as `whole.count(b"\n")`.
            if len(ops) == len(io.BytesIO(whole).readlines()):
                return ops
        except NO_OP:
            pass  # find the line, or the field that is new to us
        return [self._decode_line(text, first_line + n) for n, text in enumerate(whole[:-1].split(b"\n"))]

    def _decode_line(self, text: bytes, line: int) -> Op:
        if not text.strip():
            raise HistoryError(self.path, line, "the line is empty; every line is one op")
        try:
            return decode(text)
        except NO_OP as error:
            raise HistoryError(self.path, line, f"not an op: {error}") from None

    def _decode_last(self, tail: bytes, line: int) -> list[Op]:
        try:
            return [decode(tail)]
        except NO_OP as error:
            if line == 1:
                raise HistoryError(self.path, line, f"not an op: {error}") from None
            self.cut = True
            self.notes.append(f"line {line} is cut ({len(tail)} bytes of it are there) and was left out")
            return []

    def _check_indexes(self, ops: list[Op], after: int, first_line: int) -> int:
        fitting = range(after + 1, after + 1 + len(ops))
        if [op.index for op in ops] == list(fitting):
            return fitting.stop - 1
        for n, op in enumerate(ops):
            if op.index <= after:
                raise HistoryError(
                    self.path, first_line + n, f"index {op.index} comes after index {after}; indexes rise by one a line"
                )
            if op.index > after + 1:
                self.missing += op.index - after - 1
                if len(self.notes) < 100:
                    self.notes.append(f"indexes {after + 1} to {op.index - 1} are missing before line {first_line + n}")
            after = op.index
        return after

    def line_of(self, index: int) -> int:
        """The number of the line that holds the op `index`, for error messages (reads the file again)."""
        for line, op in enumerate(History(self.path), 1):
            if op.index == index:
                return line
        raise KeyError(index)


def read(path: str | Path) -> History:
    """The ops of the history at `path` (the file, or a run's folder), in the file's order, as a stream.

    Raises HistoryError, when the loop reaches it, at the first line that is not an op.
    """
    return History(locate(path))


def locate(path: str | Path) -> Path:
    """The history that `path` means: the file itself, or `history.jsonl` (or `history.jsonl.gz`) in that folder."""
    path = Path(path)
    if path.is_dir():
        folder = path
        for name in NAMES:
            if (folder / name).exists():
                return folder / name
        if (folder / "campaign.jsonl").exists():
            raise HistoryError(folder, None, "this is the folder of a campaign; give one of its runs, below `runs`")
        path = folder / NAMES[0]
        raise HistoryError(path, None, "there is no history in this folder; give a run's folder or a history file")
    if not path.exists():
        raise HistoryError(path, None, "no such file; give a run's folder or a history file")
    return path
