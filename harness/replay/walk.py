"""A walk through one server's inputs, so that a person can watch a bug happen.

At each input stands what the server was told, what it asked for, and what changed in its state; at a start, and at the
end, the whole state.  On a terminal the walk waits after each input:

    Enter   the next input                  t       on to the next transition
    w       the whole state                 c       on to the end
    q       leave
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from harness import UsageError
from harness.replay.run import replay_run
from harness.replay.server import JOURNAL, Moment, Times, input_in_words, moments
from node.agent.journal import Entry, JournalError, Start, digest
from node.protocol import describe
from node.protocol.events import Report

Ask = Callable[[str], str]


class Bound:
    """A place in a journal: a run time ("12.5s" or "12.5"), or a line ("line:812")."""

    def __init__(self, text: str, option: str) -> None:
        self.text = text
        self.line: int | None = None
        self.ns = 0
        try:
            if text.startswith("line:"):
                self.line = int(text.removeprefix("line:"))
            else:
                self.ns = round(float(text.removesuffix("s")) * 1e9)
        except (ValueError, OverflowError):
            raise UsageError(f"{option} {text!r}: give a run time such as 12.5s, or a line such as line:812") from None
        if self.line is not None and self.line < 1:
            raise UsageError(f"{option} {text!r}: a journal's first line is line:1; give that or a later one")
        if self.ns < 0:
            raise UsageError(f"{option} {text!r}: a run begins at 0 s; give a run time from there on, such as 12.5s")

    def is_before(self, line: int, time: int | None) -> bool:
        """Whether the place lies before the input at `line`, whose run time is `time`."""
        if self.line is not None:
            return self.line < line
        return time is not None and self.ns < time


def walk(
    run: Path,
    host: str,
    *,
    since: Bound | None,
    until: Bound | None,
    step: bool,
    whole: bool,
    bug: str | None,
    say: Callable[[str], None],
    ask: Ask | None,
) -> bool:
    """Says the walk, line by line; whether all effects came out as recorded.  `ask` is None where nobody can answer.

    Without `step` only the state at its end is said.  Raises UsageError for a damaged journal.
    """
    replayed = replay_run(run, host).servers[0]
    if replayed.damage and not replayed.inputs:
        raise UsageError(replayed.damage)  # there is nothing to walk through
    times = replayed.times
    if any(bound is not None and bound.line is None for bound in (since, until)) and times.at(1, 0) is None:
        raise UsageError(f"{run}: no run time is known of {host}'s inputs", remedy="Give lines, such as line:812.")

    def past(line: int, entry: Entry) -> bool:
        return until is not None and until.is_before(line, times.at(line, entry.now))

    person = _Person(ask, say) if ask is not None else None
    origin_ns = 0
    before: dict[str, str] = {}
    last: Moment | None = None
    same = True
    try:
        for seen in moments(run / host / JOURNAL, bug, until=past):
            same = same and digest(seen.effects) == seen.entry.effects
            begins = isinstance(seen.entry, Start)
            if begins:
                origin_ns, before = seen.entry.now, {}
            last = seen
            if not step or (since is not None and not _reached(since, seen, times)):
                continue
            state = describe.state(seen.server, origin_ns)
            for line in _told(seen, times, before, state, whole or not before):
                say(line)
            before = state
            if person is not None and not person.goes_on(seen, state):
                return same
    except JournalError as error:
        raise UsageError(str(error)) from None
    if last is None:
        say(f"{host}: no input lies before {until.text if until else 'the end'}")
        return same
    say("")
    say(f"{host} after line {last.line}{_clock(times.at(last.line, last.entry.now))}, its whole state:")
    for name, value in describe.state(last.server, origin_ns).items():
        say(f"  {name}: {value}")
    return same


def _reached(since: Bound, seen: Moment, times: Times) -> bool:
    return not (since.line is not None and seen.line < since.line) and not (
        since.line is None and (times.at(seen.line, seen.entry.now) or 0) < since.ns
    )


def _clock(time: int | None) -> str:
    return "" if time is None else f", {time / 1e9:.3f} s"


def _told(seen: Moment, times: Times, before: dict[str, str], state: dict[str, str], whole: bool) -> list[str]:
    """An input, what the core asked for, and its state or what changed in it."""
    lines = ["", f"line {seen.line}{_clock(times.at(seen.line, seen.entry.now))}  {input_in_words(seen)}"]
    lines += [f"    => {describe.effect(effect, seen.names, seen.entry.now)}" for effect in seen.effects]
    if digest(seen.effects) != seen.entry.effects:
        lines.append("    !! these effects are not the recorded ones")
    if whole:
        return lines + [f"       {name}: {value}" for name, value in state.items()]
    return lines + [f"       {change}" for change in describe.changes(before, state)]


class _Person:
    """Who walks along, on a terminal; answers decide where the walk waits next."""

    def __init__(self, ask: Ask, say: Callable[[str], None]) -> None:
        self._ask = ask
        self._say = say
        self._waits_for = "Enter"

    def goes_on(self, seen: Moment, state: dict[str, str]) -> bool:
        """Waits after the input, if it is one to wait at; False to leave."""
        transition = any(isinstance(effect, Report) for effect in seen.effects)
        if self._waits_for == "c" or (self._waits_for == "t" and not transition):
            return True
        while True:
            answer = self._ask("[Enter, w, t, c, q] ").strip().lower()
            if answer != "w":
                self._waits_for = answer
                return answer != "q"
            for name, value in state.items():
                self._say(f"       {name}: {value}")
