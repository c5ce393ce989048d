"""The resident: one loop over the controller's connection, timers, streams and the end of children.

The model.  One thread.  A request becomes an *operation*, a generator that yields how many seconds it wants to wait and
returns what it verified (`nemesis.injector.operations`).  So a stop that takes ten seconds delays no other request.
Every wait here has a bound.

The rules:

1.  A request's answer is kept (the last 4,096), so that the same id, sent again after a reconnect, is answered from the
    record.  An operation goes on when the connection is lost; its answer is there when the controller is back.
2.  There is one connection; a new one replaces the old one.  Its streams have to be asked for again, from the offsets
    that the controller has.  Events are numbered and kept (the last 4,096) for the same reason.
3.  What cannot be sent is not collected: above a bound no stream is read, and above a larger one the connection is cut.
"""

from __future__ import annotations

import collections
import contextlib
import heapq
import itertools
import json
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from typing import Any, Callable, Deque, Dict, Generator, List, Optional, Tuple

from nemesis.injector import PROTOCOL, net
from nemesis.injector.errors import Refused, Unsure
from nemesis.injector.guardian import Guard
from nemesis.injector.host import Host
from nemesis.injector.operations import Operations
from nemesis.injector.tails import Tail, count

LINE_MAX_BYTES = 1 << 20
"""Maximum length of a request."""
KEPT = 4096
"""Maximum number of answers, and of events, that are kept for a controller that reconnects."""
STREAMS_PAUSE_BYTES = 1 << 20
"""Read no stream while more than this waits to be sent."""
CONNECTION_CUT_BYTES = 16 << 20
"""Close the connection when more than this waits to be sent."""
TAIL_PERIOD_S = 0.02
"""Seconds between two looks at the files that are streamed."""
AT_MOST_AHEAD_NS = 1_000_000_000
"""How far ahead `at` of a request may be."""

Operation = Generator[float, None, Dict[str, Any]]


class ControlConnection:
    """The controller's end, through its relay."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.incoming = b""
        self.outgoing = bytearray()
        self.tails: Dict[str, Tail] = {}
        self.too_long = False  # we are inside a line that is too long, and drop it


class Resident:
    """Serves a host until it receives `shutdown` or a signal, or its lease has run out twice."""

    def __init__(self, folder: str, listener: socket.socket, guard: Guard, lease_s: float) -> None:
        self.folder = folder
        self.lease_s = lease_s
        self.guard = guard
        self.selector = selectors.DefaultSelector()
        self.listener = listener
        self.connection: Optional[ControlConnection] = None
        self.timers: List[Tuple[float, int, Callable[[], None]]] = []
        self.numbers = itertools.count()
        self.answers: "collections.OrderedDict[int, Optional[bytes]]" = collections.OrderedDict()
        self.forgotten = 0
        self.events: Deque[Dict[str, Any]] = collections.deque(maxlen=KEPT)
        self.event_seq = 0
        self.heard_at = time.monotonic()
        self.leases_lost = 0
        self.running = True
        self.host = Host(folder, self.notify, self.later, self.guard_state)
        self.operations = Operations(self.host)

    # ---- the loop --------------------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Returns when all is undone and everybody has ended."""
        self.listener.setblocking(False)
        self.selector.register(self.listener, selectors.EVENT_READ, self._accept)
        woken, waker = socket.socketpair()
        for end in (woken, waker):
            end.setblocking(False)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self.selector.register(woken, selectors.EVENT_READ, lambda: self._woken(woken))
        self.later(0.1, self._watch_lease)
        self.later(TAIL_PERIOD_S, self._read_tails)
        try:
            while self.running:
                self._turn()
        finally:
            self.host.end()
            self._send_all(deadline_s=2)
            self.guard.dismiss()

    def _turn(self) -> None:
        wait = max(0.0, self.timers[0][0] - time.monotonic()) if self.timers else 1.0
        for key, _ in self.selector.select(min(wait, 1.0)):
            key.data()
        while self.timers and self.timers[0][0] <= time.monotonic():
            heapq.heappop(self.timers)[2]()

    def later(self, delay_s: float, call: Callable[[], None]) -> None:
        heapq.heappush(self.timers, (time.monotonic() + delay_s, next(self.numbers), call))

    def _end(self, *_: object) -> None:
        self.running = False

    def _woken(self, woken: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            woken.recv(4096)
        self.host.reap()

    def _watch_lease(self) -> None:
        self.later(min(0.1, self.lease_s / 10), self._watch_lease)
        silent_s = time.monotonic() - self.heard_at
        if self.leases_lost == 0 and silent_s > self.lease_s:
            self.leases_lost = 1
            log("no request for %.1f s: undoing every fault" % silent_s)
            self._start(
                self.operations.undo_all(), lambda done: self.notify("healed", faults=done["faults"], why="lease")
            )
        elif self.leases_lost == 1 and silent_s > 2 * self.lease_s:
            log("no request for %.1f s: exiting" % silent_s)
            self.running = False

    def guard_state(self, state: Dict[str, Any]) -> None:
        """Before a deed: tell the guardian what would have to be undone."""
        try:
            self.guard.tell(state)
        except OSError as error:
            raise Refused("the guardian is gone (%s), so no fault is begun that nobody would heal" % error) from None

    # ---- operations ------------------------------------------------------------------------------------------------

    def _start(
        self,
        operation: Operation,
        then: Callable[[Dict[str, Any]], None],
        failed: Callable[[str, bool], None] = lambda error, unsure: log(error),
    ) -> None:
        """Run an operation to its end, step by step between other work; `failed` is told why, and whether something of
        it may be in force."""

        def step() -> None:
            try:
                delay = next(operation)
            except StopIteration as stop:
                then(stop.value)
            except (Refused, OSError) as error:
                failed(str(error), isinstance(error, Unsure))
            except Exception as error:  # noqa: BLE001 - the host must stay healed and answering, whatever is wrong here
                traceback.print_exc()
                failed("the injector itself failed: %r" % error, True)
            else:
                self.later(delay, step)

        step()

    def _request(self, line: bytes, heard: int) -> None:
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise ValueError("not an object")
        except ValueError as error:
            self._push(
                {"id": None, "ok": False, "error": "this line is not a JSON object (%s): %r" % (error, line[:80])}
            )
            return
        number = request.get("id")
        if not isinstance(number, int) or isinstance(number, bool):
            self._push({"id": None, "ok": False, "error": "a request needs an id, a whole number: %r" % line[:80]})
            return
        if number in self.answers:
            recorded = self.answers[number]
            if recorded is not None:
                self._write(recorded)
            return  # still under way: it is answered when it is done
        if number <= self.forgotten:
            self._answer(number, heard, error="the answer to a request this old is not kept any more")
            return
        self.answers[number] = None
        while len(self.answers) > KEPT:
            self.forgotten = max(self.forgotten, self.answers.popitem(last=False)[0])
        self._postpone(number, request, heard)

    def _postpone(self, number: int, request: Dict[str, Any], heard: int) -> None:
        at = request.pop("at", None)
        ahead = at - time.monotonic_ns() if isinstance(at, int) else 0
        if ahead > AT_MOST_AHEAD_NS:
            self._answer(number, heard, error="at: %d is %.3f s ahead; at most a second is allowed" % (at, ahead / 1e9))
        elif ahead > 0:
            self.later(ahead / 1e9, lambda: self._do(number, request, heard))
        else:
            self._do(number, request, heard)

    def _do(self, number: int, request: Dict[str, Any], heard: int) -> None:
        began = time.monotonic_ns()

        def then(verified: Dict[str, Any]) -> None:
            self._answer(number, heard, verified=verified, began=began, done=time.monotonic_ns())

        def failed(error: str, unsure: bool) -> None:
            self._answer(number, heard, error=error, unsure=unsure)

        self._start(self._operation(request), then, failed)

    def _operation(self, request: Dict[str, Any]) -> Operation:
        do = request.get("do")
        own: Dict[object, Callable[[Dict[str, Any]], Operation]] = {
            "ping": self._ping, "hello": self._hello, "tail": self._tail, "drain": self._drain,
            "shutdown": self._shutdown,
        }  # fmt: skip
        if not isinstance(do, str):
            raise Refused('a request needs a word in "do", not %r' % (do,))
        return (yield from own[do](request) if do in own else self.operations.operation(request))

    def _answer(
        self,
        number: int,
        heard: int,
        verified: Optional[Dict[str, Any]] = None,
        began: int = 0,
        done: int = 0,
        error: str = "",
        unsure: bool = False,
    ) -> None:
        answer: Dict[str, Any] = {"id": number, "ok": not error, "heard": heard}
        answer.update({"unsure": True} if unsure else {})
        answer.update({"error": error} if error else {"verified": verified, "began": began, "done": done})
        answer["sent"] = time.monotonic_ns()
        line = json.dumps(answer).encode() + b"\n"
        if number in self.answers:
            self.answers[number] = line
        self._write(line)

    # ---- requests about the connection itself ------------------------------------------------------------------------

    def _ping(self, request: Dict[str, Any]) -> Operation:
        yield from ()
        return {}

    def _hello(self, request: Dict[str, Any]) -> Operation:
        """`events_from`: the number of the first event that the controller does not have."""
        yield from ()
        first = request.get("events_from", self.event_seq)
        for event in list(self.events):
            if event["seq"] >= first:
                self._push(event)
        return {"protocol": PROTOCOL, "pid": os.getpid(), "events": self.event_seq, **self.operations.status()}

    def _tail(self, request: Dict[str, Any]) -> Operation:
        yield from ()
        stream, path, offset = request.get("stream"), request.get("path"), request.get("offset", 0)
        if not isinstance(stream, str) or not isinstance(path, str) or not isinstance(offset, int) or offset < 0:
            raise Refused("a tail needs a stream and a path, and an offset that is not below 0")
        if self.connection is not None:
            self.connection.tails[stream] = Tail(stream, path, offset)
        return {}

    def _drain(self, request: Dict[str, Any]) -> Operation:
        """Everything that the streams hold now has been pushed when this is answered."""
        connection = self.connection
        until = time.monotonic() + 60
        while connection is not None and connection is self.connection and time.monotonic() < until:
            if len(connection.outgoing) <= STREAMS_PAUSE_BYTES and not self._read_tails_once():
                break
            yield 0.005
        tails = connection.tails if connection is not None else {}
        return {"streams": {tail.stream: {"offset": tail.offset, **count(tail.path)} for tail in tails.values()}}

    def _shutdown(self, request: Dict[str, Any]) -> Operation:
        """Undo everything, end the servers (`stop_s` for them to go by themselves), and go."""
        undone = yield from self.operations.undo_all()
        ended = yield from self.operations.end_servers(bool(request.get("gracefully", True)))
        self.later(0, self._end)
        return {**undone, "servers": ended}

    # ---- the connection --------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        try:
            sock, _ = self.listener.accept()
        except OSError:
            return
        self._drop()
        sock.setblocking(False)
        self.connection = ControlConnection(sock)
        self.selector.register(sock, selectors.EVENT_READ, self._ready)

    def _drop(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            self.selector.unregister(connection.sock)
            connection.sock.close()

    def _ready(self) -> None:
        connection = self.connection
        if connection is None:
            return
        self._flush(connection)
        try:
            data = connection.sock.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            if connection is self.connection:
                self._drop()
            return
        heard = time.monotonic_ns()
        connection.incoming += data
        *lines, connection.incoming = connection.incoming.split(b"\n")
        if lines and connection.too_long:
            connection.too_long = False
            lines = lines[1:]
        if len(connection.incoming) > LINE_MAX_BYTES:
            if not connection.too_long:
                self._push({"id": None, "ok": False, "error": "a line is longer than %d bytes" % LINE_MAX_BYTES})
            connection.too_long, connection.incoming = True, b""
        for line in lines:
            self.heard_at = time.monotonic()
            self.leases_lost = 0
            if line.startswith(b'{"attach"'):
                self._attached(line)
            elif line.strip():
                self._request(line, heard)

    def _attached(self, line: bytes) -> None:
        """The relay's first line: the SSH connection that it came through."""
        try:
            path = net.control_path(str(json.loads(line)["attach"]))
        except (ValueError, KeyError):
            return
        if path is not None and path not in self.host.rules.control:
            self.host.rules.control = [*self.host.rules.control[-7:], path]
            try:
                self.host.rules.refresh()
            except Refused as error:
                log(str(error))

    def notify(self, event: str, **fields: Any) -> None:
        """Something happened that was not asked for just now."""
        fields.setdefault("host_time", time.monotonic_ns())
        self.events.append({"event": event, "seq": self.event_seq, **fields})
        self.event_seq += 1
        self._push(self.events[-1])

    def _push(self, message: Dict[str, Any]) -> None:
        self._write(json.dumps(message).encode() + b"\n")

    def _write(self, line: bytes) -> None:
        connection = self.connection
        if connection is None:
            return
        connection.outgoing += line
        self._flush(connection)
        if len(connection.outgoing) > CONNECTION_CUT_BYTES:
            log("the controller does not read: its connection is cut")
            self._drop()

    def _flush(self, connection: ControlConnection) -> None:
        try:
            while connection.outgoing:
                sent = connection.sock.send(connection.outgoing[: 1 << 18])
                del connection.outgoing[:sent]
        except BlockingIOError:
            pass
        except OSError:
            if connection is self.connection:
                self._drop()
            return
        if connection is self.connection:
            interest = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.outgoing else 0)
            self.selector.modify(connection.sock, interest, self._ready)

    def _send_all(self, deadline_s: float) -> None:
        until = time.monotonic() + deadline_s
        while self.connection is not None and self.connection.outgoing and time.monotonic() < until:
            self._flush(self.connection)
            time.sleep(0.005)

    def _read_tails(self) -> None:
        self.later(TAIL_PERIOD_S, self._read_tails)
        self._read_tails_once()

    def _read_tails_once(self) -> bool:
        """Push what is new; whether there was anything."""
        anything = False
        connection = self.connection
        if connection is None:
            return False
        for tail in list(connection.tails.values()):
            while connection is self.connection and len(connection.outgoing) < STREAMS_PAUSE_BYTES:
                try:
                    push = tail.read()
                except OSError as error:
                    connection.tails.pop(tail.stream, None)
                    self.notify("tail-failed", stream=tail.stream, error=str(error))
                    break
                if push is None:
                    break
                anything = True
                self._push(push)
        return anything


def log(text: str) -> None:
    """To the injector's own log; never a reason to fail."""
    try:
        print("%s %s" % (time.strftime("%H:%M:%S"), text), file=sys.stderr, flush=True)
    except OSError:
        return
