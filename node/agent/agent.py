"""The TCP agent: one server of the ensemble as a process, around the protocol core.

The model.  Everything runs in one thread.  `Agent.tell(event)` steps the core with the event, writes the input to the
journal, and performs the effects.

1.  Effects are performed one at a time, in their order.  A storage effect is durable before the next effect begins
    (`events.py`).  Events that come up meanwhile wait until all effects are performed.
    Group commit is the one liberty, and nobody can see it: the transactions of one turn (`turns.py`) share a sync.
    They are kept back, and so is every message and answer after the first of them.  At the end of the turn, before any
    other kind of effect, or when there are `MAX_BATCH` of them, they are appended as one record and synced, and then
    the rest goes out, in order.  So a transaction may be on disk before a message that comes before it is out; no
    message that comes after it is out before it is on disk.
2.  Nothing is performed before its input is in the journal.
3.  A failure ends the process at once, and no further effect is performed (fail-stop).
4.  The exit code says why the process ended: SIGTERM or SIGINT (0); wrong usage, configuration or a damaged disk (254);
    a port that cannot be listened on (14, as ZooKeeper); a failed write, be it to the disk, the log or the events file
    (10, as ZooKeeper); a failure of the core (1).

The events file is JSON Lines: {"host_time": ns, "f": "started" | "state" | "stopped", "value": {...}}, where
`host_time` is the host's true monotonic clock.

Example: server 3 sends its vote, and it is better than ours.

    tell(Received(4, Notification(...)))  ->  the journal's line, then a frame on each election connection
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import sys
import time
import traceback
from collections import deque
from typing import Any, Deque, Dict, List, Optional, Tuple, Type

import node
from node.agent.client_port import ClientPort
from node.agent.clock import host_monotonic_ns
from node.agent.complaints import Complaints
from node.agent.journal import Journal
from node.agent.links import BindError, Links
from node.agent.storage import Storage
from node.agent.turns import Turns
from node.config import Config
from node.protocol.events import (
    AppendTxns,
    Dial,
    Effect,
    Event,
    HangUp,
    Log,
    Reached,
    Reply,
    Report,
    Send,
    SetTimer,
    TimerDue,
)
from node.protocol.messages import Txn
from node.protocol.server import Server

EXIT_OK, EXIT_FAILED, EXIT_DISK, EXIT_PORT, EXIT_USAGE = 0, 1, 10, 14, 254
STDERR = 2
MAX_BATCH, MAX_BATCH_BYTES = 64, 4 * 1024 * 1024


def log(level: str, text: str) -> None:
    """One line on standard error; `OSError` if it cannot be written.

    Past Python's buffer: what is left in there when a write fails is tried again at the exit, and makes its code 120.
    """
    now = time.time()
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(now)) + ",%03d" % (now % 1 * 1000)
    line = ("%s %-5s %s\n" % (stamp, level, text.replace("\n", " | "))).encode("utf-8", "backslashreplace")
    if sys.stderr is None:  # it was closed before we began, and its number may be that of any file of ours
        raise OSError("log: standard error is closed")
    if os.write(STDERR, line) != len(line):
        raise OSError("log: short write, is the disk full?")


class EventsFile:
    """Appends whole lines; a last line that a crash has cut is removed first."""

    def __init__(self, path: Optional[str]) -> None:
        self._fd = -1
        if path is not None:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            size = os.fstat(self._fd).st_size
            tail = os.pread(self._fd, 1 << 16, max(0, size - (1 << 16)))
            os.ftruncate(self._fd, size - len(tail) + tail.rfind(b"\n") + 1)

    def write(self, f: str, value: Dict[str, Any]) -> None:
        if self._fd >= 0:
            line = json.dumps({"host_time": host_monotonic_ns(), "f": f, "value": value}, separators=(",", ":")) + "\n"
            if os.write(self._fd, line.encode()) != len(line):  # the line is ASCII
                raise OSError("events: short write, is the disk full?")


class Agent:
    def __init__(
        self, config: Config, server_class: Type[Server], *, bug: str, events: EventsFile, journal: Optional[Journal]
    ) -> None:
        self.config = config
        self.bug = bug
        self.events = events
        self.journal = journal
        self.storage = Storage(config.data_dir, log)
        self.durable = self.storage.load()
        self.server = server_class(config, self.durable)
        self.complaints = Complaints(log)
        self.links = Links(config, self.tell, self.log, self._turns(), self._wake_clients)
        self.client_port = ClientPort(
            self.server, self.tell, self.log, self._turns(), lambda: not self.links.slow, self.settle_for_reads
        )
        self.ended: Optional[int] = None
        self._end: Optional[asyncio.Future[None]] = None
        self._timers: Dict[str, asyncio.TimerHandle] = {}
        self._inbox: Deque[Event] = deque()
        self._batch: List[AppendTxns] = []
        self._batch_bytes = 0
        self._kept_back: List[Effect] = []
        """Messages and answers that go out when the batch is on disk."""
        self._in_turn = False
        self._stepping = True  # until the core has started: a peer may dial as soon as we listen
        self._now = 0

    async def run(self) -> int:
        """Serves until the end; the process's exit code."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._on_stray_exception)
        self._end = loop.create_future()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop, EXIT_OK, "signal %d" % number)
        listening = loop.create_task(self.listen())
        await asyncio.wait({listening, self._end}, return_when=asyncio.FIRST_COMPLETED)
        if listening.done():
            listening.result()  # it may have failed
        listening.cancel()  # it may still wait for a port, or for its own name
        await self._end
        self.client_port.close()
        self.links.close()
        await asyncio.sleep(0)  # what is closing gets its turn
        self.storage.close()
        assert self.ended is not None
        return self.ended

    async def listen(self) -> None:
        """Listens on the ports, and begins."""
        try:
            await self.links.start()
            await self.client_port.start()
        except BindError as error:
            self.stop(EXIT_PORT, str(error))
        if self.ended is None:
            self.begin()

    def begin(self) -> None:
        value = {"pid": os.getpid(), "sid": self.config.sid, "bug": self.bug}
        now = self.now()
        try:
            self.events.write("started", value)
            effects = self.server.start(now)
            if self.journal is not None:
                self.journal.start(
                    now, effects, config=self.config, durable=self.durable, bug=self.bug, code=code_version()
                )
            self.perform(effects)
        except Exception as error:  # noqa: BLE001 - whatever it is, this server must not go on (fail-stop)
            self.fail(error)
        self._stepping = False
        self._go_on()

    def stop(self, code: int, reason: str) -> None:
        """Ends the process; no further effect is performed.

        That it ends does not depend on what can still be written: of log and events file each is told what it can be
        told, and if it cannot be written, the other one says so, and an end that was in order is a failed write.
        """
        if self.ended is not None:
            return
        self.ended = code
        if self._end is not None:
            self._end.set_result(None)
        try:
            log("INFO" if code == EXIT_OK else "ERROR", "stopping: %s" % reason)
        except OSError as error:
            reason += "; the log cannot be written: %s" % error
            self.ended = code = code or EXIT_DISK
        try:
            self.events.write("stopped", {"how": "exit", "code": code, "reason": reason})
        except OSError as error:
            self.ended = code or EXIT_DISK
            with contextlib.suppress(OSError):  # it is all the same now: the exit code says that a write failed
                log("ERROR", "the events file cannot be written: %s" % error)

    def fail(self, error: Exception) -> None:
        if isinstance(error, OSError):
            self.stop(EXIT_DISK, "a write failed: %s" % error)
        else:
            text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
            self.stop(EXIT_FAILED, "the core failed: %s" % text)

    def log(self, level: str, text: str) -> None:
        """For connections, whose callbacks asyncio runs: an `OSError` in there would cost no more than a connection."""
        try:
            self.complaints.log(level, text)
        except OSError as error:
            self.fail(error)

    def _on_stray_exception(self, loop: asyncio.AbstractEventLoop, context: Dict[str, Any]) -> None:
        """What a callback raised, or asyncio itself met with."""
        error = context.get("exception")
        if isinstance(error, OSError) and "socket" in context:
            # A listener out of file descriptors, which tries again a second later: strangers can bring that about.
            self.log("WARN", "%s: %s" % (context["message"], error))
        elif isinstance(error, Exception):
            self.fail(error)
        else:
            self.log("WARN", context["message"])

    # ---- events and effects --------------------------------------------------------------------------------------

    def now(self) -> int:
        self._now = max(self._now, time.monotonic_ns())
        return self._now

    def tell(self, event: Event) -> None:
        """Steps the core with `event`, after those that wait."""
        self._inbox.append(event)
        self._go_on()

    def _go_on(self) -> None:
        if self._stepping or self.ended is not None:
            return
        self._stepping = True
        try:
            self.work_off()
        except Exception as error:  # noqa: BLE001 - whatever it is, this server must not go on (fail-stop)
            self.fail(error)
        self._stepping = False

    def work_off(self) -> None:
        self.complaints.tell_left_out()
        while self.ended is None and (self._inbox or (self._batch and not self._in_turn)):
            if not self._inbox:
                self.settle()
                continue
            event = self._inbox.popleft()
            now = self.now()
            effects = self.server.step(now, event)
            if self.journal is not None:
                self.journal.step(now, event, effects, behind=bool(self._batch))
            self.perform(effects)
        self.client_port.follow_server()

    # ---- group commit (rule 1) -------------------------------------------------------------------------------------

    def _turns(self) -> Turns:
        return Turns(self._begin_turn, self._end_turn)

    def _wake_clients(self) -> None:
        self.client_port.wake()

    def _begin_turn(self) -> None:
        self._in_turn = True

    def _end_turn(self) -> None:
        self._in_turn = False
        self._go_on()

    def settle_for_reads(self) -> bool:
        """In a turn: puts on disk what clients may see in the tree; whether it is there."""
        if self._batch:
            self._end_turn()
            self._begin_turn()
        return self.ended is None

    def settle(self) -> None:
        """The batch is durable; then what was kept back goes out."""
        batch, kept_back = self._batch, self._kept_back
        self._batch, self._kept_back, self._batch_bytes = [], [], 0
        if batch:
            txns: Tuple[Txn, ...] = tuple(txn for effect in batch for txn in effect.txns)
            self.storage.perform(AppendTxns(txns))
        self.perform(kept_back)

    def perform(self, effects: List[Effect]) -> None:
        for effect in effects:
            if self.ended is not None:
                return
            if isinstance(effect, AppendTxns):
                self._batch.append(effect)
                self._batch_bytes += sum(len(txn.record) for txn in effect.txns)
                if len(self._batch) >= MAX_BATCH or self._batch_bytes >= MAX_BATCH_BYTES:
                    self.settle()
            elif self._batch and isinstance(effect, (Send, Reply)):
                self._kept_back.append(effect)
            elif isinstance(effect, (SetTimer, Log, Reached)):
                self._perform(effect)
            else:
                self.settle()
                self._perform(effect)

    def _perform(self, effect: Effect) -> None:
        if isinstance(effect, Send):
            self.links.send(effect)
        elif isinstance(effect, SetTimer):
            self.set_timer(effect)
        elif isinstance(effect, HangUp):
            self.links.hang_up(effect)
        elif isinstance(effect, Dial):
            self.links.dial(effect)
        elif isinstance(effect, Reply):
            self.client_port.reply(effect)
        elif isinstance(effect, Report):
            self.report(effect.value)
        elif isinstance(effect, Log):
            self.complaints.log(effect.level, effect.text)
        elif not isinstance(effect, Reached):
            self.storage.perform(effect)

    def report(self, value: Dict[str, Any]) -> None:
        self.events.write("state", value)
        shown = {key: value[key] for key in value if key not in ("evidence", "reason")}
        log("INFO", "%s: %s evidence %s" % (value.get("reason"), shown, value.get("evidence")))

    def set_timer(self, effect: SetTimer) -> None:
        old = self._timers.pop(effect.name, None)
        if old is not None:
            old.cancel()
        if effect.due is not None:
            loop = asyncio.get_running_loop()
            self._timers[effect.name] = loop.call_at(effect.due / 1e9, self._timer_due, effect)

    def _timer_due(self, effect: SetTimer) -> None:
        assert effect.due is not None
        if self.now() < effect.due:  # the loop's clock is a float, and may be early by its resolution
            self.set_timer(effect)
            return
        del self._timers[effect.name]
        self.tell(TimerDue(effect.name))


def code_version() -> str:
    """A digest of this program: of its archive, or of its source files."""
    digest = hashlib.blake2b(digest_size=8)
    archive = getattr(getattr(node, "__loader__", None), "archive", None)
    folder = os.path.dirname(os.path.abspath(node.__file__))
    sources = [os.path.join(at, name) for at, _, names in os.walk(folder) for name in names if name.endswith(".py")]
    files: List[str] = sorted(sources) if archive is None else [archive]
    for path in files:
        with open(path, "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


def serve(config: Config, server_class: Type[Server], bug: str, paths: Tuple[Optional[str], Optional[str]]) -> int:
    """Runs a server until it ends; `paths` are those of the events file and of the journal."""
    events_path, journal_path = paths
    journal = Journal(journal_path) if journal_path is not None else None
    for note in config.other.values():
        log("WARN", note)

    async def main() -> int:
        agent = Agent(config, server_class, bug=bug, events=EventsFile(events_path), journal=journal)
        return await agent.run()

    return asyncio.run(main())
