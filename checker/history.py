"""The history: one file, one JSON object a line, which is the only thing that a checker reads.

The format
----------

    {"index":17,"time":12345678901,"process":"n3","type":"info","f":"state","value":{...},"host_time":9,"time_error":40}

One such object, an *op*, a line; UTF-8; every line ends with a newline.  `docs/history.md` gives every `f` and its
value.

=============  ========================================================================================================
`index`        0, 1, 2, ... in the order in which the controller learned of things.  It names the op for ever.
`time`         nanoseconds since the run began, on the controller's monotonic clock: when it happened, not when it
               was learned.  So `time` is not monotonic over indexes: what a host reports arrives late.
`process`      a host's name for what its server reports, "nemesis", "controller", or a number for a client.
`type`         "invoke", then one of "ok", "fail" (it did not happen), "info" (unknown); or "info" for a plain report.
`f`            what is done or reported.
`value`        what `f` says of it; absent is null.
`host_time`    for what a host reported: nanoseconds of that host's own monotonic clock.
`time_error`   for the same: `time` is `host_time` mapped to the controller's clock, and the truth is within
               `time` - `time_error` .. `time` + `time_error`.  Absent is 0.
`server`       for a client's op: the host whose server it talked to.
`error`        why it failed, in words.
=============  ========================================================================================================

A field not named here is kept, in `Op.more`, and written again by `encode`.

Crash rules
-----------

1.  An op is written whole, with one `write` to a file opened for appending, before `append` returns.  Nothing is
    buffered here, so a `kill -9` of the controller loses no op that `append` returned.
2.  A write that fails half-way (the disk is full) is taken back, so that a later op never lands on half a line; the
    index is not used up, and the error is raised.
3.  A last line that is cut (no newline at its end, and not a whole object) is what a crash leaves: the reader leaves it
    out and says so in `History.notes`.  A cut line anywhere else is not something that this writer leaves: an error.
4.  Any other line that is not an op is a `HistoryError` that names file and line.  Nothing is skipped silently.
5.  Indexes rise.  A gap in them is lines that somebody took out: noted in `History.notes` and `History.missing`, and
    the verdict on such a history is at best `unknown`.

Ordering
--------

The file is in the order of learning; most promises are about the order of happening.  `ordered` gives the second from
the first: it sorts by `time` over a bounded window.  Two rules keep it honest:

*   Ops of one process that came in the order of its own clock (`host_time`) stay in that order, whatever the mapping's
    jitter did to their `time`.
*   Nothing is held back longer than `REORDER_WINDOW_NS` of history (or `REORDER_OPS_MAX` ops).  An op that comes later
    than that is given out at once, out of its order, and counted in `Ordered.late`; a verdict with late ops is at best
    `unknown`.

Sorted is not ordered: two ops of different hosts are ordered only if their error bounds are apart.  `Op.earliest` and
`Op.latest` are those bounds, and `surely_before` is the only comparison of two hosts' times that a checker may trust.

Example:

    >>> with Writer(path) as history:
    ...     history.append("controller", "info", "run", {"name": "demo", ...}, time=0)
    >>> [op.f for op in read(path)]
    ['run']
"""

from __future__ import annotations

import bisect
import contextlib
import gzip
import io
import os
import threading
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, cast

import msgspec

LINE_BYTES_MAX = 16 << 20
"""No op is longer: a file without newlines is not read into memory to find that out."""

REORDER_WINDOW_NS = 120 * 1_000_000_000
"""Longer than a lost SSH connection may stay lost (the lease, 30 s by default, twice) before its host is given up."""

REORDER_OPS_MAX = 100_000
"""The most ops held back for sorting.  Only what servers and the nemesis report is sorted: a minute of it is ~2,000."""

NAMES = ("history.jsonl", "history.jsonl.gz")
"""Of a run's history in its folder; the second is what a campaign makes of that of a run that passed."""

_CHUNK_BYTES = 1 << 15
"""The ops of so much text fit into a processor's cache: they are read while they are in it."""

Process = int | str
"""Whose op it is: a client's number, or a name."""

NO_OP = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What `decode` raises; the last one where brackets are nested thousands deep."""

OpType = Literal["invoke", "ok", "fail", "info"]


class HistoryError(Exception):
    """A history that cannot be read: which file, which line (None: the file as a whole), and why."""

    def __init__(self, path: str | Path, line: int | None, why: str) -> None:
        super().__init__(f"{path}:{line}: {why}" if line is not None else f"{path}: {why}")
        self.path = Path(path)
        self.line = line
        self.why = why


class Op(msgspec.Struct, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """One line of the history; the module's docstring gives the fields."""

    index: int
    time: int
    process: Process
    type: OpType
    f: str
    value: Any = None
    host_time: int | None = None
    time_error: int | None = None
    server: str | None = None
    error: str | None = None
    more: dict[str, Any] | None = msgspec.field(default=None, name="*")

    @property
    def earliest(self) -> int:
        """The earliest run time, in nanoseconds, at which this can have happened."""
        return self.time - (self.time_error or 0)

    @property
    def latest(self) -> int:
        """The latest run time, in nanoseconds, at which this can have happened."""
        return self.time + (self.time_error or 0)


def surely_before(a: Op, b: Op) -> bool:
    """True when `a` happened before `b`, whatever the clocks' errors were (not the negation of the reverse)."""
    if a.process == b.process and a.host_time is not None and b.host_time is not None:
        return a.host_time < b.host_time
    return a.latest < b.earliest


_decoder = msgspec.json.Decoder(Op)
_any_decoder = msgspec.json.Decoder(dict[str, Any])
_encoder = msgspec.json.Encoder()
_known = frozenset(f.encode_name for f in msgspec.structs.fields(Op))


def encode(op: Op) -> bytes:
    """One line of the history, with its newline."""
    if op.more is None:
        return _encoder.encode(op) + b"\n"
    more, op = op.more, msgspec.structs.replace(op, more=None)
    return _encoder.encode(msgspec.to_builtins(op) | more) + b"\n"


def decode(line: bytes) -> Op:
    """The op of one line.  Raises `msgspec.DecodeError` (which `msgspec.ValidationError` is) with what is wrong."""
    try:
        return _decoder.decode(line)
    except msgspec.ValidationError as error:
        if "unknown field" not in str(error):
            raise
    fields = _any_decoder.decode(line)
    more = {name: fields.pop(name) for name in list(fields) if name not in _known}
    op = msgspec.convert(fields, Op)
    op.more = more
    return op


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
            if self.path.suffix == ".gz":
                return cast(IO[bytes], gzip.open(self.path))
            return self.path.open("rb", buffering=0)
        except OSError as error:
            raise HistoryError(self.path, None, f"cannot be read: {error.strerror}") from None

    def _read(self, file: IO[bytes], size: int = _CHUNK_BYTES) -> bytes:
        try:
            return file.read(size)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise HistoryError(self.path, None, f"cannot be unpacked: {error}") from None
        except OSError as error:  # a disk that fails, a network file system that is gone
            raise HistoryError(self.path, None, f"cannot be read: {error.strerror}") from None

    def last(self) -> Op | None:
        """The last op, as far as one is whole and not far from the file's end.  Raises OSError, HistoryError."""
        with self.open() as file:
            if self.path.suffix == ".gz":
                size = sum(map(len, iter(lambda: self._read(file, 1 << 20), b"")))
            else:
                size = file.seek(0, 2)
            length = 1 << 16
            while size:
                file.seek(max(0, size - length))
                lines = self._read(file, length).split(b"\n")
                for line in reversed(lines if length >= size else lines[1:]):
                    with contextlib.suppress(*NO_OP):
                        return decode(line)
                if length >= size or length > 2 * LINE_BYTES_MAX:
                    break
                length *= 4
        return None

    def _decode(self, whole: bytes, first_line: int) -> list[Op]:
        try:
            ops = _decoder.decode_lines(whole)
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
        except NO_OP:
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


class Ordered:
    """Sorts a stream of ops by `time` over a bounded window: `push` each, `pop_ready` after it, `pop_all` last."""

    def __init__(self, window_ns: int = REORDER_WINDOW_NS, ops_max: int = REORDER_OPS_MAX) -> None:
        self.window_ns = window_ns
        self.ops_max = ops_max
        self.late: list[int] = []
        """Indexes of the first hundred ops that came too late to be given out in their order."""
        self._held: list[tuple[int, int, Op]] = []
        """Sorted.  Ops come nearly in their order, so a new one belongs at the end or close to it."""
        self._ready: list[Op] = []
        self._now = -(1 << 62)
        self._given = -(1 << 62)
        self._last: dict[int | str, tuple[int, int]] = {}

    def push(self, op: Op) -> None:
        key = op.time
        host_time = op.host_time
        if host_time is not None:
            last = self._last.get(op.process)
            if last is None or host_time >= last[0]:
                if last is not None and key < last[1]:
                    key = last[1]
                self._last[op.process] = (host_time, key)
        held = self._held
        if key > self._now:
            self._now = key
            held.append((key, op.index, op))
        else:
            if key < self._given and len(self.late) < 100:
                self.late.append(op.index)
            bisect.insort(held, (key, op.index, op))
        limit = self._now - self.window_ns
        while held[0][0] < limit or len(held) > self.ops_max:
            key, _, op = held.pop(0)
            if key > self._given:  # noqa: PLR1730 - twice as fast as max
                self._given = key
            self._ready.append(op)

    def pop_ready(self) -> list[Op]:
        """The ops that are old enough for nothing to come before them any more."""
        ready, self._ready = self._ready, []
        return ready

    def pop_all(self) -> list[Op]:
        ready = self.pop_ready() + [op for _, _, op in self._held]
        self._held.clear()
        return ready


def ordered(ops: Iterable[Op], window_ns: int = REORDER_WINDOW_NS, ops_max: int = REORDER_OPS_MAX) -> Iterator[Op]:
    """`ops` in the order of `time`, as far as a bounded window can tell; see *Ordering* above."""
    order = Ordered(window_ns, ops_max)
    for op in ops:
        order.push(op)
        yield from order.pop_ready()
    yield from order.pop_all()
