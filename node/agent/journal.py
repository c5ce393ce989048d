"""A server's journal: every input of its core, from which all that the core did can be repeated exactly.

A journal is JSON Lines.  Every line begins with a CRC that covers all before it too, so that a changed, lost or swapped
line is noticed:

    {"crc":"8 hex digits",<body>}    crc = CRC-32(the crc of the line before, as text, + this body); first "00000000"

Two kinds of bodies:

    "start": {config, durable, disk, bug, code}, "now": ns, "effects": digest
    "event": {"Received": [2, {"Notification": [0, 3, ...]}]}, "now": ns, "effects": digest[, "behind": true]

A NamedTuple is an object with its name and its fields in order, bytes are {"hex": "..."}, a tuple is a list.  `effects`
is a digest of what the core answered, so that a replay is compared step by step.  `bug` names the core ("" is the true
one), `code` is a digest of the program.  `disk` is a digest of what the server found on its disk; `durable`, the thing
itself, stands in a journal's first line only: what a later start found follows from the storage effects before it, of
which those of the last line may have been performed in part.  A line that is `behind` was written while the appends of
transactions in the lines before it still waited for the sync that they share (group commit, `agent.py`).

Crash rules.  A line is written, with its newline, before any of its effects is let go; it is handed to the operating
system, not synced, so it outlives the process (kill -9) but perhaps not its host.  A last line without newline is cut
off: none of its effects was let go.  A server that starts again appends to the same file, and the chain goes on.

    for entry, effects in repeat(read("journal")): ...
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from dataclasses import asdict
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple, Union

from node.agent.storage import STORAGE_EFFECTS, Disk, StorageError
from node.config import Config, Member
from node.protocol import events, messages
from node.protocol.events import Durable, Effect, Event

_CRC_END = len('{"crc":"01234567",')


class JournalError(Exception):
    """The journal is not what was written, or does not repeat: which file and line, and what is wrong."""


class Start(NamedTuple):
    """The server process began.  `durable` is None where it follows from the entries before."""

    now: int
    config: Config
    durable: Optional[Durable]
    disk: str
    bug: str
    code: str
    effects: str


class JournalStep(NamedTuple):
    """The core was told `event`.  `behind`: appends before it were not performed yet."""

    now: int
    event: Event
    effects: str
    behind: bool = False


Entry = Union[Start, JournalStep]


def digest(value: object) -> str:
    """Of effects, or of a `Durable`: plain values whose repr is the same on every Python and every machine."""
    return hashlib.blake2b(repr(value).encode(), digest_size=8).hexdigest()


# ---- writing -----------------------------------------------------------------------------------------------------


class Journal:
    """Appends to the journal at `path`; repairs a cut last line first."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        end, self._crc = _last_line(self._fd)
        os.ftruncate(self._fd, end)
        self._empty = end == 0

    def start(self, now: int, effects: List[Effect], *, config: Config, durable: Durable, bug: str, code: str) -> None:
        body = {
            "config": _encode_config(config),
            "durable": _encode(durable) if self._empty else None,
            "disk": digest(durable),
            "bug": bug,
            "code": code,
        }
        self._write({"start": body, "now": now, "effects": digest(effects)})
        self._empty = False

    def step(self, now: int, event: Event, effects: List[Effect], behind: bool = False) -> None:
        more = {"behind": True} if behind else {}
        self._write({"event": _encode(event), "now": now, "effects": digest(effects), **more})

    def close(self) -> None:
        os.close(self._fd)

    def _write(self, body: Dict[str, Any]) -> None:
        text = json.dumps(body, separators=(",", ":"))[1:]
        self._crc = _chain(self._crc, text)
        line = ('{"crc":"%s",%s\n' % (self._crc, text)).encode("ascii")
        if os.write(self._fd, line) != len(line):
            raise OSError("journal: short write, is the disk full?")


def _chain(crc: str, body: str) -> str:
    return "%08x" % zlib.crc32((crc + body).encode("ascii"))


def _last_line(fd: int) -> Tuple[int, str]:
    """Where the last whole line ends, and its CRC."""
    size = os.fstat(fd).st_size
    tail, at = b"", size
    while at > 0 and tail.count(b"\n") < 2:
        step = min(at, 1 << 16)
        at -= step
        tail = os.pread(fd, step, at) + tail
    whole = tail[: tail.rfind(b"\n") + 1]
    if not whole:
        return 0, "00000000"
    last = whole[whole[:-1].rfind(b"\n") + 1 :]
    return at + len(whole), last[8:16].decode("ascii", "replace")


# ---- reading -----------------------------------------------------------------------------------------------------


def read(path: str, note: Callable[[str], None] = lambda text: None) -> Iterator[Entry]:
    """The entries, one at a time; `note` is told of a cut last line.  `JournalError` at the first changed byte."""
    crc = "00000000"
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            where = "%s:%d" % (path, number)
            if not line.endswith(b"\n"):
                note("%s: the last line is cut; its effects were never let go" % where)
                return
            text = line[_CRC_END:-1].decode("ascii", "replace")
            crc = _chain(crc, text) if text.isascii() else ""
            if line[:_CRC_END] != ('{"crc":"%s",' % crc).encode():
                raise JournalError("%s: changed, or a line before it is missing: its CRC is not %s" % (where, crc))
            try:
                yield _entry(json.loads("{" + text))
            except (ValueError, KeyError, TypeError) as error:
                raise JournalError("%s: whole, but no entry: %s: %s" % (where, type(error).__name__, error)) from None


def _entry(body: Dict[str, Any]) -> Entry:
    if "event" in body:
        return JournalStep(body["now"], _decode(body["event"]), body["effects"], body.get("behind", False))
    start = body["start"]
    durable = None if start["durable"] is None else _decode(start["durable"])
    config = _decode_config(start["config"])
    return Start(body["now"], config, durable, start["disk"], start["bug"], start["code"], body["effects"])


# ---- repeating ---------------------------------------------------------------------------------------------------


def repeat(
    entries: Iterable[Entry], begun: Callable[[Any], None] = lambda server: None
) -> Iterator[Tuple[Entry, List[Effect]]]:
    """Feeds the entries to a fresh core, and gives each with what the core answers now.

    `begun` is handed each `Server` that a start makes, to be looked at.  The caller compares `digest(effects)` with
    `entry.effects`.  `JournalError` where a start found on its disk what does not follow from the entries before it:
    the journal was lost with its host, or another hand changed the disk.
    """
    from node import bugs  # they import the core, and only a replay needs them
    from node.protocol.server import Server

    disk: Optional[Disk] = None
    pending: List[Effect] = []  # storage effects, in order, of which a crash may have cut off the last
    server: Any = None
    for entry in entries:
        if isinstance(entry, Start):
            disk, durable = _disk_at_start(entry, disk, pending)
            server = (bugs.load(entry.bug) if entry.bug else Server)(entry.config, durable)
            begun(server)
            effects = server.start(entry.now)
        elif server is None:
            raise JournalError("the first entry is no start")
        else:
            effects = server.step(entry.now, entry.event)
        assert disk is not None
        for effect in _performed(pending, isinstance(entry, JournalStep) and entry.behind):
            disk.perform(effect)  # type: ignore[arg-type]
        pending += [effect for effect in effects if isinstance(effect, STORAGE_EFFECTS)]
        yield entry, effects


def _performed(pending: List[Effect], behind: bool) -> List[Effect]:
    """Takes out of `pending` what was performed before the next event: all, or all but the appends at its end."""
    count = len(pending)
    while behind and count > 0 and isinstance(pending[count - 1], events.AppendTxns):
        count -= 1
    performed = pending[:count]
    del pending[:count]
    return performed


def _disk_at_start(start: Start, disk: Optional[Disk], pending: List[Effect]) -> Tuple[Disk, Durable]:
    """The disk that the start found, with as many of the `pending` effects performed as explains its digest."""
    if start.durable is not None:
        pending.clear()
        return Disk(start.durable), start.durable
    if disk is None:
        raise JournalError("the first start does not say what was on the disk")
    left = list(pending)
    pending.clear()
    for count in range(len(left), -1, -1):  # a server that ends between two turns has performed all
        found = disk.copy()
        for effect in left[:count]:
            found.perform(effect)  # type: ignore[arg-type]
        try:
            durable = found.load()
        except StorageError:
            continue  # the server could not have started from here: another prefix must explain it
        if digest(durable) == start.disk:
            return Disk(durable), durable
    raise JournalError(
        "start at %d: what was on the disk (%s) does not follow from the journal" % (start.now, start.disk)
    )


# ---- values as JSON ----------------------------------------------------------------------------------------------

_TYPES: Dict[str, Any] = {
    name: value
    for module in (messages, events)
    for name, value in vars(module).items()
    if isinstance(value, type) and hasattr(value, "_fields")
}


def _encode(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if hasattr(value, "_fields"):
        return {type(value).__name__: [_encode(getattr(value, name)) for name in value._fields]}
    return [_encode(item) for item in value] if isinstance(value, tuple) else value


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        ((name, content),) = value.items()
        return bytes.fromhex(content) if name == "hex" else _TYPES[name](*map(_decode, content))
    return tuple(map(_decode, value)) if isinstance(value, list) else value


def _encode_config(config: Config) -> Dict[str, Any]:
    return {
        key: sorted(value) if isinstance(value, frozenset) else value
        for key, value in {**asdict(config), "groups": [(g, sorted(sids)) for g, sids in config.groups]}.items()
    }


def _decode_config(fields: Dict[str, Any]) -> Config:
    def address(value: Optional[List[Any]]) -> Any:
        return None if value is None else tuple(value)

    words = fields["four_letter_words"]
    return Config(
        **{
            **fields,
            "members": tuple(Member(**{**m, "client": address(m["client"])}) for m in fields["members"]),
            "groups": tuple((group, frozenset(sids)) for group, sids in fields["groups"]),
            "weights": tuple((sid, weight) for sid, weight in fields["weights"]),
            "client_address": address(fields["client_address"]),
            "four_letter_words": None if words is None else frozenset(words),
        }
    )
