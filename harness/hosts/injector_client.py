"""The controller's side of one host's injector: a resident program on the host, asked through one SSH channel.

    injector = Injector(remote, "/run/onethrone", lease_s=30, on_lines=..., on_event=...)
    injector.start(build("nemesis.injector"))
    injector.request("start", server={...}).expect()

The model.  An `Injector` has a channel to its host's resident (see `nemesis.injector` for the protocol), a thread that
reads it, and a table of requests that are not answered yet.  Times of the host are mapped to ours by a `HostClock`.

The rules:

1.  A request has an id and a deadline.  When the channel breaks it is sent again, under the same id, on the next one;
    the host does it once.  What is not answered in time is *unknown*, never done and never not done.
2.  A channel that breaks or falls silent is made anew.  The streams are taken up at the offset that was reached, the
    events at their number: nothing is lost and nothing comes twice.  When that fails for two leases, the host has
    healed itself and is *lost*: every request to it fails at once.
"""

from __future__ import annotations

import itertools
import json
import logging
import shlex
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness import DeadlinePassed, HostError
from harness.hosts.host_clock import HostClock
from harness.hosts.ssh.process import RemoteProcess
from harness.hosts.ssh.remote import Remote

LOG = logging.getLogger(__name__)

OnLines = Callable[[str, str, list[str]], None]
OnEvent = Callable[[str, dict[str, Any]], None]

HEARTBEAT_S = 0.5
SEND_DEADLINE_S = 2.0


@dataclass(frozen=True)
class Answer:
    """What a host answered to a request.  `began_ns` and `done_ns` are on the controller's monotonic clock."""

    ok: bool
    verified: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    unknown: bool = False
    """Nobody knows whether it was done: the host did not answer in time, or could not tell either."""
    began_ns: int = 0
    done_ns: int = 0
    time_error_ns: int = 0
    host: str = ""

    def expect(self) -> dict[str, Any]:
        """What was verified.  HostError when it was not done, DeadlinePassed when nobody knows."""
        if self.unknown:
            raise DeadlinePassed(self.host, self.error)
        if not self.ok:
            raise HostError(self.host, self.error)
        return self.verified


class _Pending:
    """A request that is under way."""

    def __init__(self, number: int, line: bytes) -> None:
        self.number = number
        self.line = line
        self.sent_ns = 0
        self.sendings = 0
        self.answer: Answer | None = None
        self.answered = threading.Event()

    def settle(self, answer: Answer) -> None:
        self.answer = answer
        self.answered.set()


class Injector:
    """One host's injector.  Threads may share it."""

    def __init__(
        self,
        remote: Remote,
        directory: str,
        *,
        lease_s: float = 30.0,
        privilege: str = "",
        python: str = "python3",
        on_lines: OnLines | None = None,
        on_event: OnEvent | None = None,
    ) -> None:
        """`privilege` is what a command begins with to run as root: "" or "sudo -n ".

        `on_lines(host, stream, lines)` and `on_event(host, event)` are called by the thread that reads.
        """
        self.host = remote.name
        self.clock = HostClock()
        self.lost = ""
        """Why the host is given up; empty while it is not."""
        self.received: dict[str, int] = {}
        """By stream: how many lines came."""
        self._remote = remote
        self._lease_s = lease_s
        self._directory = directory
        self._archive = f"{directory}/onethrone-injector.pyz"
        # sudo keeps nothing of the environment, and the injector has to know what never to cut.
        keep = 'env SSH_CONNECTION="$SSH_CONNECTION" ' if privilege else ""
        self._command = f"{privilege}{keep}{shlex.quote(python)} {shlex.quote(self._archive)}"
        self._on_lines = on_lines
        self._on_event = on_event
        self._lock = threading.Lock()
        # Ids rise over controllers too, so that a resident never takes a request for one of the last controller's.
        self._ids = itertools.count(time.time_ns() // 1000)
        self._pending: dict[int, _Pending] = {}
        self._pings: deque[int] = deque()
        self._streams: dict[str, tuple[str, int]] = {}
        self._next_event = 0
        self._process: RemoteProcess | None = None
        self._reader: threading.Thread | None = None
        self._heard_ns = 0
        self._closing = threading.Event()

    # ---- life ------------------------------------------------------------------------------------------------------

    def start(self, archive: bytes, deadline_s: float = 30.0) -> None:
        """Put the program on the host, start its resident, and attach to it.  Raises HostError."""
        self._remote.put(archive, self._archive, 0o644, deadline_s=deadline_s)
        serve = f"{self._command} serve --dir {shlex.quote(self._directory)} --lease {self._lease_s:g}"
        said = json.loads(self._remote.run(serve, deadline_s=deadline_s).stdout)
        self._attach(deadline_s, first=not said["already"])
        self._reader = threading.Thread(target=self._read, name=f"injector-{self.host}", daemon=True)
        self._reader.start()
        for _ in range(3):
            self.request("ping", deadline_s).expect()

    def close(self) -> None:
        """Leave the channel.  The resident heals the host when its lease runs out."""
        self._closing.set()
        process = self._process
        if process is not None:
            process.close()
        if self._reader is not None and self._reader is not threading.current_thread():
            self._reader.join(timeout=20)
        self._give_up("the controller has left")

    def shutdown(self, deadline_s: float = 30.0, *, gracefully: bool = True) -> Answer:
        """Undo every fault, stop the servers, and end the resident."""
        answer = self.request("shutdown", deadline_s, gracefully=gracefully)
        self.close()
        return answer

    # ---- requests --------------------------------------------------------------------------------------------------

    def request(self, do: str, deadline_s: float = 10.0, **fields: Any) -> Answer:
        """Ask, and wait for the answer at most `deadline_s`."""
        pending = self.prepare({"do": do, **fields})
        self.send(pending)
        return self.wait(pending, time.monotonic() + deadline_s)

    def prepare(self, order: Mapping[str, Any], at_ns: int | None = None) -> _Pending:
        """The request's line, not yet sent.  `at_ns`: not before this instant of our clock."""
        number = next(self._ids)
        record: dict[str, Any] = {"id": number, **order}
        if at_ns is not None and self.clock.known:
            record["at"] = self.clock.to_host_time(at_ns)[0]
        return _Pending(number, json.dumps(record).encode())

    def send(self, pending: _Pending) -> None:
        """Never raises: what cannot be sent now is sent again when there is a channel again."""
        with self._lock:
            if self.lost:
                pending.settle(Answer(False, error=self.lost, host=self.host))
                return
            self._pending[pending.number] = pending
            process = self._process
        self._transmit(process, pending)

    def wait(self, pending: _Pending, until: float) -> Answer:
        """The answer, or one that says that it is unknown at `until` (time.monotonic(), s)."""
        pending.answered.wait(max(0.0, until - time.monotonic()))
        with self._lock:
            self._pending.pop(pending.number, None)
        return pending.answer or Answer(
            False, error=f"{self.host} did not answer in time to {pending.line[:200]!r}", unknown=True, host=self.host
        )

    def ping(self) -> None:
        """Send a heartbeat; its answer is read whenever it comes, or never."""
        with self._lock:
            process = self._process
            if process is None:
                return
            pending = self.prepare({"do": "ping"})
            self._pings.append(pending.number)
            self._pending[pending.number] = pending
            if len(self._pings) > 4:
                self._pending.pop(self._pings.popleft(), None)
        self._transmit(process, pending)

    def to_controller_time(self, host_ns: int) -> tuple[int, int]:
        """(our monotonic clock's ns, error bound in ns) of the host's."""
        return self.clock.to_controller_time(host_ns)

    # ---- streams -----------------------------------------------------------------------------------------------------

    def tail(self, stream: str, path: str, offset: int = 0, deadline_s: float = 10.0) -> None:
        """Have `on_lines` told of every line of the host's file from `offset` on, as it grows."""
        with self._lock:
            self._streams[stream] = (path, offset)
            self.received.setdefault(stream, 0)
        self.request("tail", deadline_s, stream=stream, path=path, offset=offset).expect()

    def drain(self, deadline_s: float = 30.0) -> dict[str, dict[str, int]]:
        """By stream: how many lines the file holds ("sent") and how many came ("received"), after all that were there.

        Raises HostError.
        """
        streams = self.request("drain", deadline_s).expect()["streams"]
        return {
            stream: {"sent": found["lines"], "received": self.received.get(stream, 0)}
            for stream, found in streams.items()
        }

    # ---- the channel -------------------------------------------------------------------------------------------------

    def _transmit(self, process: RemoteProcess | None, pending: _Pending) -> None:
        if process is None:
            return
        pending.sendings += 1
        pending.sent_ns = time.monotonic_ns()
        try:
            process.send_line(pending.line, SEND_DEADLINE_S)
        except HostError as error:
            LOG.info("%s: a request waits for a new channel: %s", self.host, error)
            process.close()

    def _attach(self, deadline_s: float, *, first: bool) -> None:
        """A new channel, streams and events taken up, unanswered requests sent again.  Raises HostError."""
        until = time.monotonic() + deadline_s
        process = self._remote.spawn(
            f"exec {self._command} attach --dir {shlex.quote(self._directory)}", deadline_s=deadline_s
        )
        try:
            hello = self.prepare({"do": "hello"} | ({} if first else {"events_from": self._next_event}))
            hello.sent_ns, hello.sendings = time.monotonic_ns(), 1
            with self._lock:
                self._pending[hello.number] = hello
            process.send_line(hello.line, deadline_s)
            while not hello.answered.is_set():
                line = process.read_line(max(0.001, until - time.monotonic()))
                if line is None:
                    raise HostError(self.host, f"the injector cannot be reached: {process.stderr or 'it is gone'}")
                self._hear(line)
            found = hello.answer.expect() if hello.answer is not None else {}
            if first:
                self._next_event = found["events"]
            with self._lock:
                self._pending.pop(hello.number, None)
                streams = dict(self._streams)
                waiting = [self._pending[number] for number in sorted(self._pending)]
                self._process = process
            for stream, (path, offset) in streams.items():
                self._transmit(process, self.prepare({"do": "tail", "stream": stream, "path": path, "offset": offset}))
            for pending in waiting:
                self._transmit(process, pending)
        except BaseException:
            process.close()
            raise

    def _read(self) -> None:
        silent_ns = int(max(4 * HEARTBEAT_S, min(10.0, self._lease_s / 3)) * 1e9)
        while not self._closing.is_set():
            process = self._process
            line: bytes | None = None
            try:
                if process is not None:
                    line = process.read_line(0.5)
            except DeadlinePassed:
                if time.monotonic_ns() - self._heard_ns < silent_ns:
                    continue
                LOG.warning("%s: nothing was heard for %.1f s", self.host, silent_ns / 1e9)
            except HostError as error:
                LOG.warning("%s", error)
            if line is None:
                if not self._again(process):
                    return
            else:
                self._hear(line)

    def _again(self, process: RemoteProcess | None) -> bool:
        """Make a new channel; False when that is over: closing, or the host is lost."""
        if process is not None:
            process.close()
        with self._lock:
            self._process = None
        until = time.monotonic() + 2 * self._lease_s
        pause_s = 0.05
        silent = process is not None and time.monotonic_ns() - self._heard_ns > 1e9
        while not self._closing.is_set():
            try:
                if silent:
                    self._remote.reconnect()
                self._attach(min(15.0, max(2.0, self._lease_s / 2)), first=False)
            except HostError as error:
                LOG.warning("%s", error)
                silent = not self._remote.connected or isinstance(error, DeadlinePassed)
                if time.monotonic() > until or "there is no injector" in str(error):
                    self._give_up(f"the injector is lost: {error}")
                    return False
                self._closing.wait(pause_s)
                pause_s = min(1.0, 2 * pause_s)
            else:
                LOG.warning("%s: there is a new channel", self.host)
                return True
        return False

    def _give_up(self, reason: str) -> None:
        with self._lock:
            self.lost = self.lost or reason
            pending, self._pending = list(self._pending.values()), {}
            process, self._process = self._process, None
        if process is not None:
            process.close()
        for one in pending:
            one.settle(Answer(False, error=reason, unknown=True, host=self.host))
        if not self._closing.is_set():
            self._tell(self._on_event, {"event": "lost", "reason": reason})

    # ---- what comes --------------------------------------------------------------------------------------------------

    def _hear(self, line: bytes) -> None:
        received = self._heard_ns = time.monotonic_ns()
        try:
            message = json.loads(line)
        except ValueError:
            LOG.error("%s: the injector said what is not JSON: %r", self.host, line[:200])
            return
        if "stream" in message:
            self._stream(message)
        elif "event" in message:
            if message["seq"] >= self._next_event:
                self._next_event = message["seq"] + 1
                self._tell(self._on_event, message)
        elif message.get("id") is None:
            LOG.error("%s: the injector did not understand: %s", self.host, message.get("error"))
        else:
            self._answered(message, received)

    def _stream(self, push: dict[str, Any]) -> None:
        stream = push["stream"]
        with self._lock:
            path, expected = self._streams.get(stream, ("", 0))
            if push["offset"] != expected:
                known = push["offset"] < expected
                if not known:
                    LOG.error("%s: %s leaps from %d to %d", self.host, stream, expected, push["offset"])
                return
            self._streams[stream] = (path, push["next"])
            self.received[stream] = self.received.get(stream, 0) + len(push["lines"])
        if self._on_lines is not None:
            try:
                self._on_lines(self.host, stream, push["lines"])
            except Exception:
                LOG.exception("%s: lines of %s could not be used", self.host, stream)

    def _answered(self, message: dict[str, Any], received: int) -> None:
        with self._lock:
            pending = self._pending.pop(message["id"], None)
        if pending is None:
            return
        if pending.sendings == 1:  # of a request sent twice nobody knows which sending was answered
            self.clock.exchange(pending.sent_ns, message["heard"], message["sent"], received)
        began, error = self.to_controller_time(message.get("began") or message["heard"]) if self.clock.known else (0, 0)
        done, _ = self.to_controller_time(message.get("done") or message["sent"]) if self.clock.known else (0, 0)
        if pending.sendings == 1:  # whatever clocks say, nothing is done before it is asked for, or after the answer
            began, done = (min(max(ns, pending.sent_ns), received) for ns in (began, done))
        pending.settle(
            Answer(
                ok=message["ok"],
                verified=message.get("verified") or {},
                error=message.get("error", ""),
                unknown=message.get("unsure", False),
                began_ns=began,
                done_ns=done,
                time_error_ns=error,
                host=self.host,
            )
        )

    def _tell(self, whom: OnEvent | None, event: dict[str, Any]) -> None:
        if whom is None:
            return
        try:
            whom(self.host, event)
        except Exception:
            LOG.exception("%s: the event %s could not be used", self.host, event)
