"""One server's journal through the same core again.

The model.  A journal holds all that a server was told, in order, with a digest of what it answered.  It is fed to a
fresh core, start by start and input by input.  Two things must come out again:

*   the *effects* of each input, by their digest: every message, timer and write, to the byte;
*   the *transitions*: the reports among these effects, one by one, as the host's `events.jsonl` and the run's history
    have them.

The rules:

1.  A server's replay ends at its first difference: after it, its state is not what it was.
2.  The effects of an input that a crash followed may have been cut short anywhere, so transitions of a server's last
    input before a start (or before the end) may be missing from the records.  Nothing else may.
3.  A journal that was changed by one byte is an error that names the file and the line, not a difference.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from checker.history import Op
from harness import UsageError
from harness.results import files
from node.agent import journal
from node.agent.journal import Entry, JournalError, JournalStep, Start, digest
from node.protocol import describe
from node.protocol.events import Effect, Report
from node.protocol.server import Server

JOURNAL = "journal.jsonl"


@dataclass
class Difference:
    """The first thing that did not come out again, in words."""

    host: str
    line: int
    time_s: float | None
    input: str
    what: str
    recorded: list[str]
    repeated: list[str]

    def lines(self) -> list[str]:
        when = "" if self.time_s is None else f" ({self.time_s:.3f} s)"
        shown = [f"{self.host}: {self.what}, at {self.host}/{JOURNAL}:{self.line}{when}", f"  input:    {self.input}"]
        for name, told in (("recorded", self.recorded), ("repeated", self.repeated)):
            first, *rest = told or ["nothing"]
            shown += [f"  {name}: {first}", *(f"            {line}" for line in rest)]
        return shown


class Times:
    """Maps a server's own clock to run time, by the transitions whose run time the history has.

    A clock that a fault bent in the middle of a life is followed from transition to transition.
    """

    def __init__(self) -> None:
        self._lives: list[tuple[int, list[tuple[int, int]]]] = []

    def begin(self, line: int) -> None:
        """A server process began at `line` of the journal."""
        self._lives.append((line, []))

    def add(self, now: int, time: int) -> None:
        if self._lives:
            self._lives[-1][1].append((now, time))

    def at(self, line: int, now: int) -> int | None:
        """The run time (ns) of the entry at `line`, whose server's clock showed `now`; None: the history is silent."""
        life = bisect_right(self._lives, line, key=lambda life: life[0]) - 1
        points = self._lives[life][1] if life >= 0 else []
        if not points:
            return None
        after = bisect_right(points, now, key=lambda point: point[0])
        if 0 < after < len(points):
            (now_a, time_a), (now_b, time_b) = points[after - 1], points[after]
            return time_a + (now - now_a) * (time_b - time_a) // max(1, now_b - now_a)
        near_now, near_time = points[max(0, after - 1)]
        return near_time + now - near_now


@dataclass
class Replayed:
    """How one server's journal fared."""

    host: str
    inputs: int = 0
    starts: int = 0
    effects: int = 0
    transitions: int = 0
    cut_short: int = 0
    """Transitions of inputs that a crash followed, and of which no record is: their effects were never let go."""
    difference: Difference | None = None
    damage: str = ""
    """Why the journal cannot be read on, with file and line."""
    notes: list[str] = field(default_factory=list)
    codes: set[str] = field(default_factory=set)
    """Digests of the programs that wrote it."""
    repeated: dict[int, Any] = field(default_factory=dict)
    """By the index of a `state` op of the history: the value that came out again."""
    times: Times = field(default_factory=Times)

    @property
    def same(self) -> bool:
        return self.difference is None and not self.damage


class _Entries(Iterator[Entry]):
    """The entries of a journal, with the line of the one that was given last, and whether a life ends with it."""

    def __init__(self, path: Path, note: Callable[[str], None]) -> None:
        self._path = path
        self._read = self._entries(note)
        self._next: Entry | None = None
        self._error: JournalError | None = None
        self.line = 0
        self._advance()

    def _entries(self, note: Callable[[str], None]) -> Iterator[Entry]:
        files.open_file(self._path).close()  # what reads a journal would wait for a pipe
        yield from journal.read(str(self._path), note)

    def _advance(self) -> None:
        try:
            self._next = next(self._read, None)
        except JournalError as error:
            self._next, self._error = None, error
        except OSError as error:
            raise UsageError(
                f"cannot be read: {error.strerror}",
                where=str(self._path),
                remedy=f"A server's {JOURNAL} is a file; fetch it again from the run that wrote it.",
            ) from None

    def __next__(self) -> Entry:
        if self._next is None:
            if self._error is not None:
                raise self._error
            raise StopIteration
        entry = self._next
        self.line += 1
        self._advance()
        return entry

    @property
    def ends_a_life(self) -> bool:
        return isinstance(self._next, Start) or self._next is None


class Records:
    """The transitions that a file recorded of one server: they must come out again, in their order."""

    def __init__(self, name: str, states: list[tuple[Any, Op | None]], *, holes: bool = False) -> None:
        self.name = name
        self._states = states
        self._holes = holes
        self._at = 0

    def take(self, value: Any, *, may_be_missing: bool) -> tuple[bool, Op | None]:
        """Whether `value` may come out now, and the op that recorded it."""
        if self._at < len(self._states) and self._states[self._at][0] == value:
            self._at += 1
            return True, self._states[self._at - 1][1]
        return may_be_missing or self._holes, None

    @property
    def next(self) -> Any:
        """What is recorded next, or None."""
        return self._states[self._at][0] if self._at < len(self._states) else None


# ---- one server ------------------------------------------------------------------------------------------------------


@dataclass
class Moment:
    """One input of a server, repeated: the server is as it was after it."""

    line: int
    entry: Entry
    effects: list[Effect]
    server: Server
    names: describe.Names
    ends_a_life: bool


def moments(
    path: Path,
    bug: str | None = None,
    *,
    until: Callable[[int, Entry], bool] = lambda line, entry: False,
    note: Callable[[str], None] = lambda text: None,
) -> Iterator[Moment]:
    """A journal's inputs, repeated one at a time, as long as they are not past `until`.

    `bug` puts another core in the place of the one that ran ("" is the correct one).  Raises JournalError, with file
    and line; UsageError where there is no file that can be read.
    """
    entries = _Entries(path, note)

    def told() -> Iterator[Entry]:
        for entry in entries:
            if until(entries.line, entry):
                return
            yield entry._replace(bug=bug) if bug is not None and isinstance(entry, Start) else entry

    begun: list[Server] = []
    repeated = journal.repeat(told(), begun.append)
    names: describe.Names | None = None
    while True:
        try:
            entry, effects = next(repeated)
        except StopIteration:
            return
        except JournalError as error:
            where = f"{path}:"
            raise error if str(error).startswith(where) else JournalError(f"{where}{entries.line}: {error}") from None
        if isinstance(entry, Start) or names is None:
            names = describe.Names(begun[-1])
        names.learn()
        yield Moment(entries.line, entry, effects, begun[-1], names, entries.ends_a_life)


def replay_host(
    folder: Path,
    host: str,
    records: list[Records],
    bug: str | None = None,
    look: Callable[[Moment], None] = lambda seen: None,
) -> Replayed:
    """One server's journal, held against the records.  `look` is shown every moment that came out the same."""
    result = Replayed(host)
    path = folder / host / JOURNAL
    seen: Moment | None = None
    walk = moments(path, bug, note=result.notes.append)
    while True:
        try:
            seen = next(walk)
        except StopIteration:
            break
        except JournalError as error:
            result.damage = str(error)
            return result
        except UsageError:
            raise
        except Exception as error:  # noqa: BLE001 - the core itself fails on an input on which it did not fail before
            line = seen.line + 1 if seen else 1
            result.difference = Difference(
                host, line, None, "of this line", "the core fails", [], [f"{type(error).__name__}: {error}"]
            )
            return result
        result.inputs += 1
        result.effects += len(seen.effects)
        if isinstance(seen.entry, Start):
            result.starts += 1
            result.codes.add(seen.entry.code)
            result.times.begin(seen.line)
        result.difference = _effects_differ(path, seen, result) or _transitions_differ(seen, records, result)
        if result.difference is not None:
            return result
        look(seen)
    if result.inputs == 0:
        empty = path.stat().st_size == 0
        result.damage = f"{path}: " + (
            "the journal is empty; fetch it again, or take it away" if empty else "there is no whole line in it"
        )
        return result  # the records have transitions, and there is no input that they could be missing after
    for record in records:
        if record.next is not None and result.difference is None:
            assert seen is not None  # there were inputs
            result.difference = _difference(
                seen, result, f"a transition of {record.name} never came out", [describe.transition(record.next)], []
            )
    return result


def _effects_differ(path: Path, seen: Moment, result: Replayed) -> Difference | None:
    if digest(seen.effects) == seen.entry.effects:
        return None
    recorded = _recorded_effects(path, seen)
    repeated = [describe.effect(effect, seen.names, seen.entry.now) for effect in seen.effects]
    return _difference(seen, result, "the effects differ", recorded, repeated)


def _recorded_effects(path: Path, differs: Moment) -> list[str]:
    """What the recorded core answered.  A journal has but its digest; the core itself, if it is at hand, the words."""
    try:
        for seen in moments(path):
            if seen.line == differs.line:
                if digest(seen.effects) == seen.entry.effects:
                    return [describe.effect(effect, seen.names, seen.entry.now) for effect in seen.effects]
                break
    except Exception:  # noqa: BLE001 - another version of the core, on inputs that were not made for it
        pass
    return [f"effects with the digest {differs.entry.effects}; which they were, the journal does not say"]


def _transitions_differ(seen: Moment, records: list[Records], result: Replayed) -> Difference | None:
    for effect in seen.effects:
        if not isinstance(effect, Report):
            continue
        value = json.loads(json.dumps(effect.value))
        result.transitions += 1
        missing = False
        for record in records:
            expected = record.next
            fits, op = record.take(value, may_be_missing=seen.ends_a_life)
            if not fits:
                recorded = [
                    f"{record.name}: " + ("nothing more" if expected is None else describe.transition(expected))
                ]
                return _difference(seen, result, "a transition differs", recorded, [describe.transition(value)])
            if op is not None:
                result.repeated[op.index] = value
                result.times.add(seen.entry.now, op.time)
            elif seen.ends_a_life and expected != value:
                missing = True
        result.cut_short += missing
    return None


def _difference(seen: Moment, result: Replayed, what: str, recorded: list[str], repeated: list[str]) -> Difference:
    time = result.times.at(seen.line, seen.entry.now)
    return Difference(
        result.host,
        seen.line,
        None if time is None else round(time / 1e9, 3),
        input_in_words(seen),
        what,
        recorded,
        repeated,
    )


def input_in_words(seen: Moment) -> str:
    if isinstance(seen.entry, JournalStep):
        return describe.event(seen.entry.event, seen.names)
    bug = f" with the bug {seen.entry.bug}" if seen.entry.bug else ""
    return f"the server starts{bug}"
