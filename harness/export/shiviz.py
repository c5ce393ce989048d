"""The messages of a run as a log with vector clocks, for ShiViz (https://bestchai.bitbucket.io/shiviz/).

    (?<host>\\S+) (?<clock>\\{\\S*\\}) (?<time>\\S+) (?<event>.*)
                                                        <- no second execution in this file
    n2 {"n2":1} 2.482870s to n4: vote 2, round 1
    n4 {"n4":1,"n2":1} 2.488910s from n2: vote 2, round 1

The model.  A line is an event of one server: it sent a message, a message arrived, or its state changed.  A vector
clock says of each server how many of its events this one may have been caused by.  The rules:

1.  The events of a server are in the order of its journal; an arrival comes before what it made the server send.
    A transition is placed among them by its time.
2.  Each event adds one to its server's own part of the clock, and an arrival takes over the clock of its sending, which
    therefore stands before it in the file.
3.  ShiViz wants each server's count to begin with 1 and to leave nothing out.  So the clocks are those of what is
    exported, and a message whose sending is left out (it was sent before `since`) is an event of its receiver alone.
4.  Pings are left out: they are most of what is sent, and carry nothing but life.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from checker.history import Op
from harness.replay.messages import Message

HEADER = "(?<host>\\S+) (?<clock>\\{\\S*\\}) (?<time>\\S+) (?<event>.*)\n\n"
_ARRIVAL, _STATE, _SENDING = 0, 1, 2


class _ShivizEvent(NamedTuple):
    """Compared by its place in its server's life: what a line of the journal brought in comes before what it sent."""

    line: int
    kind: int
    place: int
    """Among what the same line sent, and at the same time the message's number."""
    time: int
    text: str


@dataclass
class _Server:
    events: list[_ShivizEvent] = field(default_factory=list)
    done: int = 0
    clock: dict[str, int] = field(default_factory=dict)


def shiviz(messages: Iterable[Message], states: Iterable[Op], since_ns: int, until_ns: int) -> Iterator[str]:
    """The lines of the log: of messages sent and arrived, and of states, in this part of the run, both ends included.

    `states` are the `state` ops of hosts, by time.
    """
    servers: dict[str, _Server] = {}
    arrows: set[int] = set()  # messages of which both ends are exported
    for number, message in enumerate(messages):
        if message.kind == "PING":
            continue
        if since_ns <= message.sent_ns <= until_ns:
            lost = "" if message.received_ns is not None else ", which never arrived"
            text = f"to {message.receiver}: {message.label}{lost}"
            event = _ShivizEvent(message.sent_line, _SENDING, number, message.sent_ns, text)
            servers.setdefault(message.sender, _Server()).events.append(event)
            if message.received_ns is not None and message.received_ns <= until_ns:
                arrows.add(number)
        if message.received_ns is not None and since_ns <= message.received_ns <= until_ns:
            text = f"from {message.sender}: {message.label}"
            event = _ShivizEvent(message.received_line or 0, _ARRIVAL, number, message.received_ns, text)
            servers.setdefault(message.receiver, _Server()).events.append(event)
    for server in servers.values():
        server.events.sort()
    changes: dict[str, list[_ShivizEvent]] = {}
    for op in states:
        if isinstance(op.process, str) and since_ns <= op.time <= until_ns:
            changes.setdefault(op.process, []).append(_ShivizEvent(0, _STATE, -1, op.time, _state(op)))
    for host, changed in changes.items():
        server = servers.setdefault(host, _Server())
        server.events = _placed(server.events, changed)
    yield HEADER
    yield from _lines(servers, arrows)


def _placed(events: list[_ShivizEvent], changes: list[_ShivizEvent]) -> list[_ShivizEvent]:
    """Each change before the first event that is later, or that is a sending at the same time."""
    placed: list[_ShivizEvent] = []
    at = 0
    for change in changes:
        while at < len(events) and (events[at].time, events[at].kind) < (change.time, _STATE):
            placed.append(events[at])
            at += 1
        placed.append(change)
    return placed + events[at:]


def _lines(servers: dict[str, _Server], arrows: set[int]) -> Iterator[str]:
    """One event after another, the earliest first, an arrival when its sending has been."""
    clocks: dict[int, dict[str, int]] = {}
    waiting: dict[int, str] = {}
    ready = [(server.events[0].time, host) for host, server in servers.items() if server.events]
    heapq.heapify(ready)
    while ready or waiting:
        if ready:
            _, host = heapq.heappop(ready)
        else:
            # A circle, which no real run makes: whoever has waited longest goes on without its sender's clock.
            number, host = next(iter(waiting.items()))
            del waiting[number]
            arrows.discard(number)
        server = servers[host]
        event = server.events[server.done]
        if event.kind == _ARRIVAL and event.place in arrows:
            cause = clocks.pop(event.place, None)
            if cause is None:
                waiting[event.place] = host
                continue
            for other, count in cause.items():
                server.clock[other] = max(server.clock.get(other, 0), count)
        server.clock[host] = server.clock.get(host, 0) + 1
        if event.kind == _SENDING and event.place in arrows:
            clocks[event.place] = dict(server.clock)
            if event.place in waiting:
                blocked = waiting.pop(event.place)
                heapq.heappush(ready, (event.time, blocked))
        yield _line(host, server.clock, event)
        server.done += 1
        if server.done < len(server.events):
            heapq.heappush(ready, (server.events[server.done].time, host))


def _line(host: str, clock: dict[str, int], event: _ShivizEvent) -> str:
    told = ",".join(f'"{name}":{count}' for name, count in sorted(clock.items()))
    text = " ".join(event.text.split()) or "-"
    return f"{host} {{{told}}} {event.time / 1e9:.6f}s {text}\n"


def _state(op: Op) -> str:
    value = op.value if isinstance(op.value, dict) else {}
    said = [str(value.get("role")), str(value.get("phase") or "")]
    if value.get("epoch") is not None:
        said.append(f"epoch {value['epoch']}")
    if value.get("established"):
        said.append("established")
    return ", ".join(word for word in said if word)
