"""A space-time diagram: a line down the page for each server, an arrow for each message between them.

The model.  Everything comes from a run's folder.  The journals are replayed (`harness.replay`), which gives all that
each server sent and received; times come from the history.  The rules:

1.  A connection is two numbers, one at either end.  An accepted connection belongs to that dial of its peer whose
    messages begin with those that came in on it: TCP keeps their order.  So each message sent has its arrival, or none.
2.  A message without an arrival was lost, with its connection or its receiver: its arrow ends half-way, in a cross.
3.  Time goes down the page.  Idle time is pressed together; instants with something to read get room.

The drawing is SVG with nothing but its own attributes: it can be opened by itself, and stands in the report as it is.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from checker.history import read
from checker.promise import Violation
from harness import words
from harness.replay.run import journals, replay_run
from harness.replay.server import JOURNAL, moments
from node import packets
from node.core import epoch_of
from node.events import (
    ACKEPOCH,
    FOLLOWERINFO,
    LEADERINFO,
    NEWLEADER,
    OBSERVERINFO,
    PACKET_NAMES,
    PING,
    Accepted,
    Dial,
    InitialMessage,
    Message,
    Notification,
    QuorumPacket,
    Received,
    Send,
)
from node.journal import Start, Step
from node.wire import WireError

FILE = "space-time.svg"
MESSAGES_MAX = 300
"""The most arrows: pings are left out first, then what came before."""
CLOCKS_NS = 50_000_000
"""How far apart the clocks of two hosts may seem when a dial is looked for."""
MARGIN_NS = 300_000_000

_LANE, _LEFT, _TOP, _LINE = 190, 110, 70, 13
_COLOURS = {"LOOKING": "#c9c9c9", "FOLLOWING": "#7fb3e6", "LEADING": "#e8b23a", "OBSERVING": "#a8d5ba"}
_INK, _FAINT, _ALARM = "#222222", "#888888", "#c0271a"


class Sent(NamedTuple):
    """A message: who sent it to whom, when, and when it arrived (None: never)."""

    source: str
    target: str
    sent: int
    arrived: int | None
    message: Message


@dataclass
class _Connection:
    """One end of a connection, in one life of a server."""

    host: str
    dialled: str
    """Whom we dialled; "" if we were dialled."""
    port: str
    since: int
    peer: str = ""
    sent: list[tuple[int, Message]] = field(default_factory=list)
    received: list[tuple[int, Message]] = field(default_factory=list)
    paired: bool = False


# ---- the messages ----------------------------------------------------------------------------------------------------


def messages(run: Path) -> list[Sent]:
    """All messages between the servers of the run's folder, by the time when they were sent.  Raises UsageError."""
    names = _names(run)
    ends: list[_Connection] = []
    for host in journals(run):
        ends += _connections(run, host, names)
    found: list[Sent] = []
    dials = [end for end in ends if end.dialled]
    for accepted in sorted((end for end in ends if not end.dialled), key=lambda end: end.since):
        dial = _dial_of(accepted, dials)
        if dial is not None:
            dial.paired = True
            found += _matched(dial.host, accepted.host, dial.sent, accepted.received)
            found += _matched(accepted.host, dial.host, accepted.sent, dial.received)
        elif accepted.peer:
            found += _matched(accepted.host, accepted.peer, accepted.sent, [])
    for dial in dials:
        if not dial.paired:
            found += _matched(dial.host, dial.dialled, dial.sent, [])
    return sorted(found, key=lambda sent: (sent.sent, sent.source, sent.target))


def _names(run: Path) -> dict[int, str]:
    for op in read(run):
        if op.f == "run" and isinstance(op.value, dict):
            return {int(about["sid"]): host for host, about in op.value["ensemble"].items()}
    return {}


def _connections(run: Path, host: str, names: dict[int, str]) -> list[_Connection]:
    times = replay_run(run, host).servers[0].times
    ends: list[_Connection] = []
    here: dict[int, _Connection] = {}
    for seen in moments(run / host / JOURNAL):
        at = times.at(seen.line, seen.entry.now)
        if at is None:
            continue  # a life without a transition: it said nothing that any history heard of
        if isinstance(seen.entry, Start):
            here = {}
        told = seen.entry.event if isinstance(seen.entry, Step) else None
        if isinstance(told, Accepted):
            here[told.conn] = _Connection(host, "", told.port, at)
            ends.append(here[told.conn])
        elif isinstance(told, Received) and told.conn in here:
            end = here[told.conn]
            end.received.append((at, told.message))
            end.peer = end.peer or names.get(_sid(told.message), "")
        for effect in seen.effects:
            if isinstance(effect, Dial):
                here[effect.conn] = _Connection(host, names.get(effect.sid, ""), effect.port, at)
                ends.append(here[effect.conn])
            elif isinstance(effect, Send) and effect.conn in here:
                here[effect.conn].sent.append((at, effect.message))
    return ends


def _sid(message: Message) -> int:
    """Who introduces himself with it; -1: nobody."""
    if isinstance(message, InitialMessage):
        return message.sid
    if isinstance(message, QuorumPacket) and message.type in (FOLLOWERINFO, OBSERVERINFO) and message.data:
        try:
            return packets.decode_learner_info(message.data).sid
        except WireError:
            return -1
    return -1


def _dial_of(accepted: _Connection, dials: Sequence[_Connection]) -> _Connection | None:
    fits = [
        dial
        for dial in dials
        if not dial.paired
        and dial.port == accepted.port
        and dial.dialled == accepted.host
        and (not accepted.peer or dial.host == accepted.peer)
        and dial.since <= accepted.since + CLOCKS_NS
        and _begins_with(dial.sent, accepted.received)
        and _begins_with(accepted.sent, dial.received)
    ]
    return max(fits, key=lambda dial: dial.since) if fits else None


def _begins_with(sent: Sequence[tuple[int, Message]], received: Sequence[tuple[int, Message]]) -> bool:
    return len(received) <= len(sent) and all(_same(a, b) for (_, a), (_, b) in zip(sent, received, strict=False))


def _same(a: Message, b: Message) -> bool:
    if isinstance(a, Notification) and isinstance(b, Notification):
        return a[:5] == b[:5]
    if isinstance(a, QuorumPacket) and isinstance(b, QuorumPacket):
        return a[:2] == b[:2]
    return type(a) is type(b)


def _matched(
    source: str, target: str, sent: Sequence[tuple[int, Message]], received: Sequence[tuple[int, Message]]
) -> Iterable[Sent]:
    arrivals = deque(at for at, _ in received)
    for at, message in sent:
        arrived = max(at, arrivals.popleft()) if arrivals else None
        yield Sent(source, target, at, arrived, message)


# ---- what is drawn ---------------------------------------------------------------------------------------------------


class _Mark(NamedTuple):
    """Something that happened to one server (or to none: `host` ""), in words."""

    at: int
    host: str
    text: str
    title: str
    colour: str


def draw(run: Path, violation: Violation | None) -> str:
    """The SVG of the messages around the violation; of the run's beginning, without one.  Raises UsageError."""
    states, marks, end = _told(run)
    if violation is not None:
        marks.append(_Mark(violation.time, "", f"{violation.promise} is broken", violation.message, _ALARM))
    begin, end = _window(run, violation, end)
    sent = [m for m in messages(run) if m.target and begin <= m.sent <= end]
    left_out = ""
    if len(sent) > MESSAGES_MAX:
        fewer = [m for m in sent if not (isinstance(m.message, QuorumPacket) and m.message.type == PING)]
        left_out = f"{len(sent) - len(fewer)} pings are left out. "
        sent = fewer
    if len(sent) > MESSAGES_MAX:
        sent = sent[-MESSAGES_MAX:]
        begin = sent[0].sent
        left_out += f"What came before {begin / 1e9:.3f} s is left out. "
    marks = [mark for mark in marks if begin <= mark.at <= end]
    return _svg(list(states), states, marks, sent, (begin, end), left_out)


def _window(run: Path, violation: Violation | None, end: int) -> tuple[int, int]:
    """From the first op that proves the violation, or the fault before it, to a little after."""
    if violation is None:
        return 0, min(end, 3_000_000_000)
    times = [violation.time]
    faults = {fault["fault"] for fault in violation.faults}
    for op in read(run):
        value = op.value if isinstance(op.value, dict) else {}
        if op.index in violation.ops or (op.process == "nemesis" and value.get("fault") in faults):
            times.append(op.time)
    return max(0, min(times) - MARGIN_NS), violation.time + MARGIN_NS


_States = dict[str, list[tuple[int, str, str]]]
"""By server: from when on it is in which role ("" is down), and the transition in words."""


def _told(run: Path) -> tuple[_States, list[_Mark], int]:
    states: _States = {}
    marks: list[_Mark] = []
    end = 0
    for op in read(run):
        value: dict[str, Any] = op.value if isinstance(op.value, dict) else {}
        end = max(end, op.time)
        if op.f == "run":
            states = {host: [] for host in value.get("ensemble") or ()}
        elif op.f == "state" and op.process in states:
            host, text = str(op.process), words.transition(value)
            role = str(value.get("role"))
            states[host].append((op.time, role, text))
            short = role if value.get("phase") == "election" else f"{role}, {value.get('phase')}"
            epoch = value.get("epoch")
            colour = _ALARM if value.get("established") else _INK
            marks.append(_Mark(op.time, host, short + (f", epoch {epoch}" if epoch is not None else ""), text, colour))
        elif op.f in ("started", "stopped") and op.process in states:
            states[str(op.process)].append((op.time, "", op.f))
        elif op.process == "nemesis" and op.type == "ok":
            step = "is over" if value.get("step") == "stop" else "begins"
            for host in value.get("hosts") or ():
                if value.get("step") == "start" and any("down" in effect for effect in value.get("effects") or ()):
                    states.get(host, []).append((op.time, "", op.f))
                marks.append(_Mark(op.time, host, f"{op.f} {step}", f"{value.get('fault')} {op.f} {step}", _ALARM))
    for known in states.values():
        known.sort(key=lambda state: state[0])
    return states, marks, end


# ---- the drawing -----------------------------------------------------------------------------------------------------


class _Scale:
    """Maps time to height: instants with words apart, idle time pressed together."""

    def __init__(self, instants: Iterable[tuple[int, bool]]) -> None:
        self._points: list[tuple[int, float]] = []
        y, before = float(_TOP), 0
        for at, has_words in sorted(instants, key=lambda instant: (instant[0], instant[1])):
            gap_ms = (at - before) / 1e6 if self._points else 0.0
            room = _LINE if has_words else 2.0
            y += max(room, min(40.0, 8 * math.log1p(gap_ms)))
            if self._points and self._points[-1][0] == at:
                self._points[-1] = (at, y)
            else:
                self._points.append((at, y))
            before = at
        self.bottom = y + 30

    def __call__(self, at: int) -> float:
        """The height of an instant that is one of its own."""
        low, high = 0, len(self._points)
        while low < high:
            middle = (low + high) // 2
            if self._points[middle][0] < at:
                low = middle + 1
            else:
                high = middle
        return self._points[min(low, len(self._points) - 1)][1] if self._points else _TOP

    def times(self) -> Iterable[tuple[int, float]]:
        """Instants to be written at the side, not too near to each other."""
        last = -100.0
        for at, y in self._points:
            if y - last >= 3 * _LINE:
                last = y
                yield at, y


def _svg(
    hosts: Sequence[str],
    states: _States,
    marks: Sequence[_Mark],
    sent: Sequence[Sent],
    window: tuple[int, int],
    left_out: str,
) -> str:
    begin, end = window
    instants = [(begin, True), (end, True)] + [(mark.at, True) for mark in marks]
    for m in sent:
        instants.append((m.sent, True))
        if m.arrived is not None and m.arrived <= end:
            instants.append((m.arrived, False))
    scale = _Scale(instants)
    width = _LEFT + _LANE * len(hosts)
    x = {host: _LEFT + _LANE * n + 30 for n, host in enumerate(hosts)}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {scale.bottom:.0f}" width="{width}" '
        f'height="{scale.bottom:.0f}" font-family="sans-serif" font-size="10" role="img">',
        f"<title>Messages from {begin / 1e9:.3f} s to {end / 1e9:.3f} s</title>",
        f'<rect width="{width}" height="{scale.bottom:.0f}" fill="#ffffff"/>',
        _text(10, 18, f"Messages from {begin / 1e9:.3f} s to {end / 1e9:.3f} s. {left_out}", _INK),
        _text(10, 32, "Time goes down, not to scale. A cross: it never arrived. Hover for the words.", _FAINT),
    ]
    for at, y in scale.times():
        parts.append(_text(8, y + 3, f"{at / 1e9:.3f} s", _FAINT))
        parts.append(_line(60, y, width, y, "#eeeeee", 1))
    for host in hosts:
        parts.append(_text(x[host], 54, host, _INK, 'text-anchor="middle" font-size="14" font-weight="bold"'))
        parts += _lane(x[host], states[host], scale, begin, end)
    for m in sent:
        if m.source in x and m.target in x:
            parts += _arrow(m, x[m.source], x[m.target], scale, end)
    for mark in marks:
        y = scale(mark.at)
        if not mark.host:
            parts.append(_line(_LEFT - 20, y, width, y, mark.colour, 2))
            parts.append(_titled(_text(_LEFT - 10, y - 3, mark.text, mark.colour, 'font-weight="bold"'), mark.title))
        elif mark.host in x:
            dot = f'<circle cx="{x[mark.host]}" cy="{y:.1f}" r="4" fill="{mark.colour}"/>'
            label = _text(x[mark.host] - 8, y - 4, mark.text, mark.colour, 'text-anchor="end" font-weight="bold"')
            parts.append(_titled(dot + label, mark.title))
    return "\n".join(parts) + "\n</svg>\n"


def _lane(x: float, states: list[tuple[int, str, str]], scale: _Scale, begin: int, end: int) -> Iterable[str]:
    role, since = "", begin
    for at, now, _ in [*states, (end, "", "")]:
        if at > begin and since < end:
            top, bottom = scale(max(since, begin)), scale(min(at, end))
            colour = _COLOURS.get(role)
            if colour is None:
                yield _line(x, top, x, bottom, "#bbbbbb", 1, 'stroke-dasharray="2 4"')
            else:
                yield _titled(f'<rect x="{x - 4}" y="{top:.1f}" width="8" height="{bottom - top:.1f}" '
                              f'fill="{colour}"/>', role)  # fmt: skip
        role, since = now, at


def _arrow(m: Sent, source: float, target: float, scale: _Scale, end: int) -> Iterable[str]:
    election = isinstance(m.message, Notification | InitialMessage)
    colour = "#4a6fa5" if election else "#2f7d4f"
    y = scale(m.sent)
    right = target > source
    arrives = m.arrived is not None and m.arrived <= end
    if arrives:
        assert m.arrived is not None
        x2, y2 = target + (-5 if right else 5), scale(m.arrived)
    else:
        x2, y2 = source + (70 if right else -70), y + 8
        colour = _FAINT if m.arrived is not None else "#b56a62"
    x1 = source + (5 if right else -5)
    drawn = _line(x1, y, x2, y2, colour, 1)
    angle = math.atan2(y2 - y, x2 - x1)
    if arrives:
        points = [(x2, y2)] + [
            (x2 - 7 * math.cos(angle + turn), y2 - 7 * math.sin(angle + turn)) for turn in (0.35, -0.35)
        ]
        drawn += f'<polygon points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in points)}" fill="{colour}"/>'
    elif m.arrived is None:
        drawn += _line(x2 - 3, y2 - 3, x2 + 3, y2 + 3, colour, 1) + _line(x2 - 3, y2 + 3, x2 + 3, y2 - 3, colour, 1)
    place = f'text-anchor="{"start" if right else "end"}"'
    drawn += _text(x1 + (6 if right else -6), y - 2, _label(m.message), colour, place)
    when = f"arrives at {m.arrived / 1e9:.4f} s" if m.arrived is not None else "never arrives"
    title = f"{m.source} to {m.target}, {m.sent / 1e9:.4f} s: {words.message(m.message)}; {when}"
    yield _titled(drawn, title)


def _label(message: Message) -> str:
    if isinstance(message, Notification):
        return f"vote {message.leader}, round {message.round}"
    if isinstance(message, QuorumPacket):
        name = PACKET_NAMES.get(message.type, str(message.type))
        if message.type in (FOLLOWERINFO, OBSERVERINFO, LEADERINFO, NEWLEADER):
            return f"{name} {epoch_of(message.zxid)}"
        return name if message.type in (PING, ACKEPOCH) else f"{name} {words.zxid(message.zxid)}"
    return "hello" if isinstance(message, InitialMessage) else "snapshot"


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: int, more: str = "") -> str:
    place = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {place} stroke="{colour}" stroke-width="{width}" {more}/>'


def _text(x: float, y: float, text: str, colour: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" {more}>{escape(text)}</text>'


def _titled(drawn: str, title: str) -> str:
    return f"<g><title>{escape(title)}</title>{drawn}</g>"
