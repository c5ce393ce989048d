"""What clients do in a simulated run: `harness.workloads.registers` without sockets, op for op.

Some workers, each with one session on one server, take turns: a write of the next unused number, or a read.  An
operation that is not answered in time is `info`, and so is one whose server closes the session; the worker goes on as
a new process then, at the next server.  At the end every server is read whole after a sync on it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from harness.simulator.clock import MS, SECOND
from harness.simulator.ground import ClientRead, SimulatedProcess
from harness.simulator.knobs import Knobs
from harness.simulator.recorder import MemoryRecorder
from harness.simulator.world import World
from harness.workloads.registers import RECENT, ranges
from harness.workloads.zookeeper import ROOT, path_of
from node.protocol.events import ClientRequest, Reply
from node.wire import packets

DEADLINE = 2 * SECOND
PAUSE = 200 * MS
"""Between two attempts of a worker to find a server that gives it a session."""
TIMEOUT_MS = 10_000


class _Call:
    """A request that waits for its reply: `done(error)` is told once; None: nobody knows."""

    __slots__ = ("done", "over", "process")

    def __init__(self, process: SimulatedProcess, done: Callable[[int | None], None]) -> None:
        self.process = process
        self.done = done
        self.over = False

    def end(self, error: int | None) -> None:
        if not self.over:
            self.over = True
            self.done(error)


class SimulatedClients:
    """The clients of one run."""

    def __init__(self, world: World, record: MemoryRecorder, knobs: Knobs, seed: int) -> None:
        self.world = world
        self.record = record
        self.random = random.Random(f"clients {seed}")
        self.names = list(world.hosts)
        self.period = round(knobs.workers / knobs.client_rate * SECOND)
        self.workers = [_SimulatedWorker(self, number) for number in range(knobs.workers)]
        self.next_value = 1
        self.next_process = knobs.workers
        self.root_made = False
        self.going = False
        self.calls: dict[tuple[int, int], _Call] = {}
        self.of_process: dict[SimulatedProcess, dict[tuple[int, int], None]] = {}
        self.sessions: dict[SimulatedProcess, list[_SimulatedWorker]] = {}
        self.next_session = 1
        self.cxid = 0
        world.reply = self.on_reply
        world.stopped_serving = self.on_stopped_serving

    def begin(self) -> None:
        self.going = True
        for worker in self.workers:
            self.world.at(self.world.now + round(self.random.random() * self.period), worker.turn)

    def stop(self) -> None:
        """What is under way ends as unknown."""
        self.going = False
        for call in list(self.calls.values()):
            call.end(None)
        self.calls.clear()

    # ---- requests --------------------------------------------------------------------------------------------------

    def ask(
        self, process: SimulatedProcess, session: int, kind: int, payload: bytes, done: Callable[[int | None], None]
    ) -> None:
        """Hand a request to a server; `done` is told its error code (0 is well), or None when nobody knows."""
        self.cxid += 1
        key = (session, self.cxid)
        call = self.calls[key] = _Call(process, done)
        self.of_process.setdefault(process, {})[key] = None
        self.world.at(self.world.now + DEADLINE, self.end, key, None)
        wall_ms = process.host.clock.read(self.world.now) // MS
        self.world.tell(process, ClientRequest(session, self.cxid, kind, payload, wall_ms))
        if not call.over and not process.alive:
            self.end(key, None)

    def end(self, key: tuple[int, int], error: int | None) -> None:
        call = self.calls.pop(key, None)
        if call is not None:
            self.of_process[call.process].pop(key, None)
            call.end(error)

    def on_reply(self, process: SimulatedProcess, reply: Reply) -> None:
        self.end((reply.session, reply.cxid), None if reply.error == packets.CONNECTION_LOSS else reply.error)

    def on_stopped_serving(self, process: SimulatedProcess) -> None:
        """Its sessions are closed, and what they asked for has an unknown outcome."""
        for worker in self.sessions.pop(process, ()):
            worker.closed(process)
        for key in list(self.of_process.pop(process, ())):
            call = self.calls.pop(key, None)
            if call is not None:
                call.end(None)

    # ---- the end ---------------------------------------------------------------------------------------------------

    def read_all(self, name: str) -> None:
        """Read everything from this server after a sync; again until it answers."""
        process = self.world.hosts[name].process
        if process is None or process.held or not process.server.serving:
            self.world.at(self.world.now + PAUSE, self.read_all, name)
            return
        number = self.new_process()
        self.record.operation(number, "invoke", "read-all", None, name)

        def synced(error: int | None) -> None:
            if error is None:
                self.record.operation(number, "info", "read-all", None, name, "no answer")
                self.world.at(self.world.now + PAUSE, self.read_all, name)
                return
            head = ROOT + "/"
            found = (path[len(head) :] for path in process.server.database.nodes if path.startswith(head))
            self.record.operation(number, "ok", "read-all", ranges(map(int, found)), name)
            self.unread.discard(name)

        self.ask(process, self.new_session(), packets.SYNC_OP, packets.encode_path(ROOT), synced)

    def read_everything(self, deadline: int) -> list[str]:
        """The servers that did not answer up to the deadline."""
        self.unread = set(self.names)
        for name in self.names:
            self.read_all(name)
        self.world.run_while(lambda: bool(self.unread), deadline)
        return [name for name in self.names if name in self.unread]

    def new_process(self) -> int:
        self.next_process += 1
        return self.next_process - 1

    def new_session(self) -> int:
        self.next_session += 1
        return self.next_session - 1


class _SimulatedWorker:
    """One client after the other: a process number, and a session on a server, if there is one."""

    def __init__(self, clients: SimulatedClients, number: int) -> None:
        self.clients = clients
        self.number = number
        self.at_host = number
        self.process: SimulatedProcess | None = None
        self.session = 0
        self.busy = False

    @property
    def host(self) -> str:
        return self.clients.names[self.at_host % len(self.clients.names)]

    def closed(self, process: SimulatedProcess) -> None:
        if self.process is process:
            self.process = None
            self.at_host += 1

    def later(self, after: int) -> None:
        self.clients.world.at(self.clients.world.now + after, self.turn)

    def turn(self) -> None:
        clients = self.clients
        if not clients.going:
            return
        if self.process is None or not self.process.alive:
            self.find()
        elif clients.random.random() < 0.5 and clients.next_value > 1:
            self.read(self.process)
        else:
            self.create(self.process)

    # ---- a session -------------------------------------------------------------------------------------------------

    def find(self) -> None:
        """A session on a server, the present one first."""
        clients = self.clients
        process = clients.world.hosts[self.host].process
        if process is None or not process.server.serving:
            self.at_host += 1
            self.later(PAUSE)
            return
        self.session = clients.new_session()

        def begun(error: int | None) -> None:
            if error is None or not process.alive or not process.server.serving:
                self.at_host += 1
                self.later(PAUSE)
                return
            self.process = process
            clients.sessions.setdefault(process, []).append(self)
            if clients.root_made:
                self.later(1)
                return
            payload = packets.encode_create_request(packets.CreateRequest(ROOT, b""))
            clients.ask(process, self.session, packets.CREATE, payload, rooted)

        def rooted(error: int | None) -> None:
            clients.root_made = error in (packets.OK, packets.NODE_EXISTS)
            if not clients.root_made:
                self.process = None
            self.later(1 if clients.root_made else PAUSE)

        clients.ask(process, self.session, packets.CREATE_SESSION, packets.encode_int32(TIMEOUT_MS), begun)

    # ---- operations ------------------------------------------------------------------------------------------------

    def create(self, process: SimulatedProcess) -> None:
        clients = self.clients
        value = clients.next_value
        clients.next_value += 1
        self.begin("create", value)
        payload = packets.encode_create_request(packets.CreateRequest(path_of(value), b"%d" % value))
        server = self.host
        clients.ask(
            process, self.session, packets.CREATE, payload, lambda error: self.end("create", value, server, error)
        )

    def read(self, process: SimulatedProcess) -> None:
        clients = self.clients
        last = clients.next_value - 1
        value = clients.random.randint(max(1, last + 1 - RECENT), last)
        self.begin("read", [value, None])
        server, path = self.host, path_of(value)
        clients.cxid += 1
        key = (self.session, clients.cxid)

        def answer(process: SimulatedProcess) -> None:
            data = process.server.database.nodes.get(path)
            call.value = [value, None if data is None else int(data)]
            clients.end(key, 0)

        call = _Read(process, lambda error: self.end("read", call.value, server, error), [value, None])
        clients.calls[key] = call
        clients.of_process.setdefault(process, {})[key] = None
        clients.world.tell(process, ClientRead(answer))
        if not call.over:
            clients.world.at(clients.world.now + DEADLINE, clients.end, key, None)

    def begin(self, f: str, value: Any) -> None:
        self.clients.record.operation(self.number, "invoke", f, value, self.host)

    def end(self, f: str, value: Any, server: str, error: int | None) -> None:
        clients = self.clients
        if error is None:
            clients.record.operation(self.number, "info", f, value, server, "no answer")
            self.number = clients.new_process()
            if self.process is not None:
                self.process = None
                self.at_host += 1
        elif error:
            clients.record.operation(self.number, "fail", f, value, server, f"error {error}")
        else:
            clients.record.operation(self.number, "ok", f, value, server)
        if clients.going:
            self.later(clients.period)


class _Read(_Call):
    __slots__ = ("value",)

    def __init__(self, process: SimulatedProcess, done: Callable[[int | None], None], value: list[int | None]) -> None:
        super().__init__(process, done)
        self.value = value
