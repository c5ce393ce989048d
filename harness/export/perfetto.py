"""A run as a trace for a trace viewer: Chrome's trace-event JSON, as https://ui.perfetto.dev opens it.

    {"displayTimeUnit":"ms","traceEvents":[
    {"ph":"B","pid":2,"tid":3,"ts":512000.000,"name":"LEADING epoch 4"},
    ...

What is where, from the top (each is a *process* to the viewer, with *threads* in it):

    run         the phases, and an instant for each broken promise
    servers     a track each: its role, and in it its phase, with all that it reported
    faults      a track a kind: from when it may have been in force, and in it, while it surely was, whom it hit
    messages    a track a server: what it sent and what arrived, with an arrow between the two
    clients     a track each: its operations

The rules:

1.  Times are microseconds of the run.  The slices of a track are begun and ended (B, E) in the order of time, one
    within another, as the format wants it; where a report's time is before that of the one before it (by no more than
    its error), it is put at the same time.
2.  Messages leave and arrive at one instant, but an arrow needs a slice at either end: each gets a microsecond, after
    the one before it.  The exact times are in its arguments.
3.  Nothing is held back but what is going on: the open slices, and the faults and operations that have not ended.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from checker.history import Op, ordered
from checker.promises.base import Violation
from harness.replay.messages import Message

RUN, SERVERS, FAULTS, MESSAGES, CLIENTS = 1, 2, 3, 4, 5
_PROCESSES = {RUN: "run", SERVERS: "servers", FAULTS: "faults", MESSAGES: "messages", CLIENTS: "clients"}
_FIRST_TID = 101
"""No thread has the number of a process: that one would be shown as its main thread."""
_PHASES, _PROMISES = _FIRST_TID, _FIRST_TID + 1
_SLICE_NS = 1_000

Event = dict[str, Any]


def perfetto(
    ops: Iterable[Op], messages: Iterable[Message] = (), violations: Iterable[Violation] = ()
) -> Iterator[str]:
    """The lines of the trace of a history, with the messages between its servers and with what broke, where known."""
    yield '{"displayTimeUnit":"ms","traceEvents":[\n'
    between = ""
    for event in _events(ops, messages, violations):
        yield between + json.dumps(event, separators=(",", ":"))
        between = ",\n"
    yield "\n]}\n"


def _events(ops: Iterable[Op], messages: Iterable[Message], violations: Iterable[Violation]) -> Iterator[Event]:
    for place, (pid, name) in enumerate(_PROCESSES.items()):
        yield {"ph": "M", "pid": pid, "name": "process_name", "args": {"name": name}}
        yield {"ph": "M", "pid": pid, "name": "process_sort_index", "args": {"sort_index": place}}
    yield from _thread(RUN, _PHASES, "phases")
    yield from _thread(RUN, _PROMISES, "promises broken")
    told = _History()
    for op in ordered(ops):
        yield from told.feed(op)
    yield from told.finish()
    for violation in violations:
        said = {"message": violation.message, "ops": violation.ops, "servers": violation.servers}
        yield _event("i", RUN, _PROMISES, violation.time, violation.promise, said) | {"s": "g"}
    yield from _messages(messages, told.servers)


def _event(ph: str, pid: int, tid: int, ns: int, name: str, args: Mapping[str, Any] | None = None) -> Event:
    event: Event = {"ph": ph, "pid": pid, "tid": tid, "ts": round(ns / 1000, 3), "name": name or "-"}
    if args:
        event["args"] = args
    return event


def _thread(pid: int, tid: int, name: str) -> Iterator[Event]:
    yield {"ph": "M", "pid": pid, "tid": tid, "name": "thread_name", "args": {"name": name}}
    yield {"ph": "M", "pid": pid, "tid": tid, "name": "thread_sort_index", "args": {"sort_index": tid}}


class _Track:
    """Slices in slices, begun and ended in the order of time."""

    def __init__(self, pid: int, tid: int) -> None:
        self.pid, self.tid = pid, tid
        self.now = 0
        self.open: list[str] = []

    def show(self, ns: int, names: list[str], args: Mapping[str, Any] | None = None) -> Iterator[Event]:
        """From now on it is in these slices, the outermost first; the innermost is begun anew."""
        self.now = max(self.now, ns)
        kept = 0
        while kept < min(len(names) - 1, len(self.open)) and names[kept] == self.open[kept]:
            kept += 1
        for name in reversed(self.open[kept:]):
            yield _event("E", self.pid, self.tid, self.now, name)
        for place, name in enumerate(names[kept:], kept + 1):
            yield _event("B", self.pid, self.tid, self.now, name, args if place == len(names) else None)
        self.open = names


class _Fault:
    def __init__(self, place: int, kind: str) -> None:
        self.place, self.kind = place, kind
        self.open: list[str] = []

    def event(self, ph: str, ns: int, name: str, args: Mapping[str, Any] | None = None) -> Event:
        return _event(ph, FAULTS, 0, ns, name, args) | {"id2": {"local": f"{self.place:#x}"}, "cat": "fault"}

    def begin(self, ns: int, name: str, args: Mapping[str, Any]) -> Iterator[Event]:
        self.open.append(name)
        yield self.event("b", ns, name, args)

    def end(self, ns: int, depth: int, args: Mapping[str, Any] | None = None) -> Iterator[Event]:
        while len(self.open) > depth:
            yield self.event("e", ns, self.open.pop(), args)


class _History:
    """Takes ops by time; gives events."""

    def __init__(self) -> None:
        self.servers: dict[str, _Track] = {}
        self.now = 0
        self._phases = _Track(RUN, _PHASES)
        self._faults: dict[str, _Fault] = {}
        self._clients: set[int] = set()
        self._asked: dict[int, Op] = {}
        self._count = 0

    def feed(self, op: Op) -> Iterator[Event]:
        self.now = max(self.now, op.time)
        value = op.value if isinstance(op.value, dict) else {}
        if isinstance(op.process, int):
            yield from self._client(op, op.process)
        elif op.process == "nemesis":
            yield from self._nemesis(op, value)
        elif op.process == "controller":
            if op.f == "run" and isinstance(value.get("ensemble"), dict):
                for host in value["ensemble"]:
                    yield from self._server(host)
            elif op.f == "phase":
                yield from self._phases.show(op.time, [str(value.get("phase"))], value)
        elif op.f in ("state", "started", "stopped"):
            yield from self._server(op.process)
            yield from self.servers[op.process].show(op.time, _slices(op.f, value), {"op": op.index, **value})

    def finish(self) -> Iterator[Event]:
        """Everything that goes on ends where the history does."""
        yield from self._phases.show(self.now, [])
        for track in self.servers.values():
            yield from track.show(self.now, [])
        for fault in self._faults.values():
            yield from fault.end(self.now, 0)
        for process, asked in self._asked.items():
            yield self._operation(process, asked, None)

    def _server(self, host: str) -> Iterator[Event]:
        if host not in self.servers:
            tid = _FIRST_TID + len(self.servers)
            self.servers[host] = _Track(SERVERS, tid)
            yield from _thread(SERVERS, tid, host)
            yield from _thread(MESSAGES, tid, host)

    def _nemesis(self, op: Op, value: dict[str, Any]) -> Iterator[Event]:
        name = str(value.get("fault") or op.index)
        if name not in self._faults:
            self._count += 1
            self._faults[name] = _Fault(self._count, op.f)
        fault, step = self._faults[name], value.get("step", "start")
        args = {"op": op.index, "type": op.type, **value} | ({"error": op.error} if op.error else {})
        if step == "start" and op.type == "invoke":
            yield from fault.begin(op.time, fault.kind, args)
        elif step == "start" and op.type == "ok":
            if not fault.open:
                yield from fault.begin(op.time, fault.kind, args)
            hosts = value.get("hosts")
            whom = ", ".join(map(str, hosts)) if isinstance(hosts, list) else name
            yield from fault.begin(op.time, whom, args)
            for host in _taken_down(value):
                if host in self.servers and self.servers[host].open[:1] != ["down"]:
                    yield from self.servers[host].show(op.time, ["down"], {"op": op.index, "reason": fault.kind})
        elif step == "stop" and op.type == "invoke":
            yield from fault.end(op.time, 1)
        elif (step == "stop" and op.type == "ok") or (step == "start" and op.type == "fail"):
            yield from fault.end(op.time, 0, args)
            del self._faults[name]
        elif fault.open:
            yield fault.event("n", op.time, fault.open[-1], args)

    def _client(self, op: Op, process: int) -> Iterator[Event]:
        if process not in self._clients:
            self._clients.add(process)
            yield from _thread(CLIENTS, _FIRST_TID + process, f"client {process}")
        asked = self._asked.pop(process, None)
        if op.type == "invoke":
            if asked is not None:
                yield self._operation(process, asked, None)
            self._asked[process] = op
        elif asked is not None:
            yield self._operation(process, asked, op)

    def _operation(self, process: int, asked: Op, ended: Op | None) -> Event:
        until = ended.time if ended is not None else self.now
        args = {"op": asked.index, "value": asked.value, "server": asked.server, "type": "never answered"}
        if ended is not None:
            args |= {"type": ended.type, "value": ended.value} | ({"error": ended.error} if ended.error else {})
        name = asked.f if ended is not None and ended.type == "ok" else f"{asked.f}: {args['type']}"
        event = _event("X", CLIENTS, _FIRST_TID + process, asked.time, name, args)
        return event | {"dur": round(max(0, until - asked.time) / 1000, 3)}


def _slices(f: str, value: dict[str, Any]) -> list[str]:
    """The slices that a server is in after this report."""
    if f != "state":
        return ["down" if f == "stopped" else "starting"]
    role = str(value.get("role"))
    if role == "LEADING":
        role += f" epoch {value.get('epoch')}" if value.get("established") else ", not established"
    elif role != "LOOKING" and value.get("leader") is not None:
        role += f" server {value['leader']}"
    return [role, str(value.get("phase") or "-")]


def _taken_down(value: dict[str, Any]) -> Iterator[str]:
    effects = value.get("effects")
    for effect in effects if isinstance(effects, list) else []:
        down = effect.get("down") if isinstance(effect, dict) else None
        yield from (host for host in down if isinstance(host, str)) if isinstance(down, list) else ()


def _messages(messages: Iterable[Message], servers: Mapping[str, _Track]) -> Iterator[Event]:
    """A slice for each sending and each arrival, those of a server one after another, and the arrows."""
    free: dict[str, int] = {}
    arriving: list[tuple[int, int, Message]] = []

    def slice_(host: str, ns: int, name: str, message: Message) -> tuple[int, Event]:
        at = max(ns, free.get(host, 0))
        free[host] = at + _SLICE_NS
        says = {"says": message.text, "sent_ns": message.sent_ns, "received_ns": message.received_ns}
        event = _event("X", MESSAGES, servers[host].tid, at, name, says)
        return at, event | {"dur": _SLICE_NS / 1000}

    def arrivals(until: int | None) -> Iterator[Event]:
        while arriving and (until is None or arriving[0][0] <= until):
            ns, number, message = heapq.heappop(arriving)
            at, event = slice_(message.receiver, ns, f"{message.label} from {message.sender}", message)
            yield event
            arrow = _event("f", MESSAGES, servers[message.receiver].tid, at, message.kind)
            yield arrow | {"id": number, "cat": "message", "bp": "e"}

    for number, message in enumerate(messages, 1):
        if message.sender not in servers or message.receiver not in servers:
            continue  # of a host that the history does not know
        yield from arrivals(message.sent_ns - 1)
        lost = "" if message.received_ns is not None else ", lost"
        at, event = slice_(message.sender, message.sent_ns, f"{message.label} to {message.receiver}{lost}", message)
        yield event
        if message.received_ns is not None:
            arrow = _event("s", MESSAGES, servers[message.sender].tid, at, message.kind)
            yield arrow | {"id": number, "cat": "message"}
            heapq.heappush(arriving, (max(message.received_ns, at + _SLICE_NS), number, message))
    yield from arrivals(None)
