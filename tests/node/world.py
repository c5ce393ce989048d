"""A small world for whole ensembles of the core: virtual time, links that can be cut, crashes between any two effects.

    world = SmallWorld(3)
    world.start_all()
    world.run_until(world.settled, limit_s=5)

Its network keeps a connection's messages in order; a cut link holds them back (as TCP does) and makes dials time out.
A storage effect is on the disk when it is performed; a crash drops the effects that follow.  While it runs, the world
asserts the promises of the protocol (`tests.node.promises`): it raises `Broken` with the name of the one that does not
hold.

Why it is not the simulator (`harness.simulator.world`):

1.  It is a second, independent implementation of the rules of every world (`node/protocol/events.py`).  A mistake in
    the simulator's network cannot hide a mistake of the core from these tests.
2.  Its referee looks into the servers after every step.  The simulator's judges read nothing but the history.
3.  A test chooses the instant of a crash: after exactly N effects, for every N.  The simulator draws it from the seed.
4.  Tests of the core need no `harness`, so they say what is broken when `harness` is broken as well.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from node.agent.storage import STORAGE_EFFECTS, Disk
from node.config import OBSERVER, PARTICIPANT, Config, Member
from node.protocol.core import BROADCAST, MS
from node.protocol.events import (
    Accepted,
    ClientRequest,
    Connected,
    Dial,
    Durable,
    Effect,
    Event,
    HangUp,
    Lost,
    Reached,
    Received,
    Reply,
    Report,
    Send,
    SetTimer,
    TimerDue,
)
from node.protocol.messages import FOLLOWING, LEADING, OBSERVING
from node.protocol.server import Server
from node.wire import packets
from tests.node.promises import Broken, Promises

SECOND = 1000 * MS
EMPTY = Durable(0, 0, 0, b"", ())


def configs(servers: int, observers: int = 0, **settings: Any) -> dict[int, Config]:
    """Configurations of servers 1..n, the last ones observers; the addresses are names, for the world to look up."""
    members = tuple(
        Member(sid, f"s{sid}", 2888, 3888, OBSERVER if sid > servers else PARTICIPANT)
        for sid in range(1, servers + observers + 1)
    )
    settings = {"tick_ms": 200, "init_limit": 10, "sync_limit": 5, **settings}
    return {m.sid: Config(m.sid, members, **settings) for m in members}


@dataclass
class SmallLink:
    """One connection: who has its two ends, under which id, and what is under way (by direction: 0 is the dialer's)."""

    port: str
    sids: tuple[int, int]
    lives: tuple[int, int]
    conns: list[int]
    up: bool = False
    told: list[bool] = field(default_factory=lambda: [False, False])
    queues: tuple[list[Any], list[Any]] = field(default_factory=lambda: ([], []))


@dataclass
class SmallHost:
    disk: Disk = field(default_factory=lambda: Disk(EMPTY))
    server: Server | None = None
    life: int = 0
    links: dict[int, tuple[SmallLink, int]] = field(default_factory=dict)
    timers: dict[str, int] = field(default_factory=dict)
    next_accept: int = 2
    paused: bool = False
    backlog: list[Event] = field(default_factory=list)
    crash_in: int | None = None


class SmallWorld:
    """An ensemble.  `delay_ms` is the range of a message's time on the wire."""

    def __init__(
        self,
        servers: int = 3,
        observers: int = 0,
        seed: int = 0,
        server_class: type[Server] = Server,
        delay_ms: tuple[float, float] = (0.1, 1.0),
        **settings: Any,
    ) -> None:
        self.configs = configs(servers, observers, **settings)
        self.random = random.Random(seed)
        self.classes = dict.fromkeys(self.configs, server_class)
        self.delay_ms = delay_ms
        self.now = 0
        self.hosts = {sid: SmallHost() for sid in self.configs}
        self.cut: set[tuple[int, int]] = set()
        self.queue: list[tuple[int, int, Callable[[], None]]] = []
        self.sequence = 0
        self.promises = Promises(self.hosts)
        self.marks: set[str] = set()
        self.replies: list[Reply] = []
        self.reports: list[tuple[int, int, dict[str, Any]]] = []
        self.trace: list[tuple[int, int, Effect]] | None = None
        self.effects_done = 0
        self.cxid = 0

    # ---- time -------------------------------------------------------------------------------------------------

    def at(self, when: int, action: Callable[[], None]) -> None:
        self.sequence += 1
        heapq.heappush(self.queue, (when, self.sequence, action))

    def run(self, seconds: float) -> None:
        end = self.now + int(seconds * SECOND)
        queue = self.queue
        while queue and queue[0][0] <= end:
            self.now, _, action = heapq.heappop(queue)
            action()
        self.now = end

    def run_until(self, condition: Callable[[], bool], limit_s: float) -> float:
        """Run until the condition holds; returns after how many seconds.  Broken("convergence") at the limit."""
        began = self.now
        end = began + int(limit_s * SECOND)
        if condition():
            return 0.0
        while self.queue and self.queue[0][0] <= end:
            self.now, _, action = heapq.heappop(self.queue)
            action()
            if condition():
                return (self.now - began) / SECOND
        raise Broken("convergence", f"not within {limit_s} s: {self.describe()}")

    def describe(self) -> str:
        return "; ".join(
            f"{sid}: down" if server is None else f"{sid}: {server.role}/{server.phase} {server.stated_vote()}"
            for sid, server in ((sid, host.server) for sid, host in self.hosts.items())
        )

    # ---- servers ------------------------------------------------------------------------------------------------

    def start(self, sid: int) -> None:
        host = self.hosts[sid]
        assert host.server is None
        host.life += 1
        host.links, host.timers, host.next_accept = {}, {}, 2
        host.paused, host.backlog, host.crash_in = False, [], None
        durable = host.disk.load()
        host.disk = Disk(durable)
        host.server = self.classes[sid](self.configs[sid], durable)
        self.promises.on_started(sid)
        self.perform(sid, host.server.start(self.now))

    def start_all(self) -> None:
        for sid in self.hosts:
            if self.hosts[sid].server is None:
                self.start(sid)

    def crash(self, sid: int) -> None:
        host = self.hosts[sid]
        host.server = None
        links, host.links, host.timers = host.links, {}, {}
        for link, end in links.values():
            link.told[end] = True
            self.post(link, end, None)

    def restart(self, sid: int) -> None:
        if self.hosts[sid].server is not None:
            self.crash(sid)
        self.start(sid)

    def pause(self, sid: int, seconds: float) -> None:
        host, life = self.hosts[sid], self.hosts[sid].life
        host.paused = True
        self.at(self.now + int(seconds * SECOND), lambda: self.resume(sid, life))

    def resume(self, sid: int, life: int) -> None:
        host = self.hosts[sid]
        if host.life != life or not host.paused:
            return
        host.paused = False
        backlog, host.backlog = host.backlog, []
        for event in backlog:
            self.tell(sid, life, event)

    def tell(self, sid: int, life: int, event: Event) -> None:
        host = self.hosts[sid]
        server = host.server
        if server is None or host.life != life:
            return
        if host.paused:
            host.backlog.append(event)
            return
        if isinstance(event, TimerDue):
            due = host.timers.get(event.name)
            if due is None or due > self.now:
                return
            del host.timers[event.name]
        elif isinstance(event, (Received, Lost)) and event.conn not in host.links:
            return
        elif isinstance(event, Lost):
            del host.links[event.conn]
        self.perform(sid, server.step(self.now, event))

    def perform(self, sid: int, effects: list[Effect]) -> None:
        host = self.hosts[sid]
        server = host.server
        assert server is not None
        for effect in effects:
            if host.crash_in is not None:
                if host.crash_in == 0:
                    host.crash_in = None
                    self.crash(sid)
                    return
                host.crash_in -= 1
            self.promises.on_effect(sid, effect)
            self.effects_done += 1
            if self.trace is not None:
                self.trace.append((self.now, sid, effect))
            self.do(sid, host, effect)
        self.promises.on_step(sid, server)

    def do(self, sid: int, host: SmallHost, effect: Effect) -> None:
        if isinstance(effect, Send):
            if effect.conn in host.links:
                link, end = host.links[effect.conn]
                self.post(link, end, effect.message)
        elif isinstance(effect, SetTimer):
            self.set_timer(sid, host, effect)
        elif isinstance(effect, Dial):
            self.dial(sid, host, effect)
        elif isinstance(effect, HangUp):
            if effect.conn in host.links:
                link, end = host.links.pop(effect.conn)
                link.told[end] = True
                self.post(link, end, None)
        elif isinstance(effect, Report):
            self.reports.append((self.now, sid, effect.value))
        elif isinstance(effect, Reached):
            self.marks.add(effect.mark)
        elif isinstance(effect, Reply):
            self.replies.append(effect)
        elif isinstance(effect, STORAGE_EFFECTS):
            host.disk.perform(effect)

    def set_timer(self, sid: int, host: SmallHost, effect: SetTimer) -> None:
        if effect.due is None:
            host.timers.pop(effect.name, None)
            return
        host.timers[effect.name] = effect.due
        life, event = host.life, TimerDue(effect.name)
        self.at(max(effect.due, self.now), lambda: self.tell(sid, life, event))

    # ---- network ------------------------------------------------------------------------------------------------

    def delay(self) -> int:
        return int(self.random.uniform(*self.delay_ms) * MS)

    def dial(self, sid: int, host: SmallHost, dial: Dial) -> None:
        target = int(dial.address[0][1:])
        other = self.hosts[target]
        link = SmallLink(dial.port, (sid, target), (host.life, other.life), [dial.conn, 0])
        host.links[dial.conn] = (link, 0)
        life = host.life

        def arrive() -> None:
            if self.hosts[sid].life != life or dial.conn not in self.hosts[sid].links:
                return
            if (sid, target) in self.cut or (target, sid) in self.cut:
                lost = Lost(dial.conn, "timed out")
                self.at(self.now + dial.timeout_ms * MS, lambda: self.tell(sid, life, lost))
            elif other.server is None:
                self.at(self.now + self.delay(), lambda: self.tell(sid, life, Lost(dial.conn, "refused")))
            else:
                conn = other.next_accept
                other.next_accept += 2
                link.up, link.conns[1], link.lives = True, conn, (life, other.life)
                other.links[conn] = (link, 1)
                self.at(self.now + self.delay(), lambda: self.tell(sid, life, Connected(dial.conn)))
                self.tell(target, other.life, Accepted(conn, dial.port))

        self.at(self.now + self.delay(), arrive)

    def post(self, link: SmallLink, end: int, message: object) -> None:
        """Put a message (None: the end of the connection) under way from `end` of the link."""
        if not link.up:
            return
        link.queues[end].append(message)
        if len(link.queues[end]) == 1:
            self.at(self.now + self.delay(), lambda: self.deliver(link, end))

    def deliver(self, link: SmallLink, end: int) -> None:
        """Hand over the first message, and see to the next."""
        queue = link.queues[end]
        if not queue or (link.sids[end], link.sids[1 - end]) in self.cut:
            return
        message = queue.pop(0)
        sid, life, conn = link.sids[1 - end], link.lives[1 - end], link.conns[1 - end]
        if queue:
            self.at(self.now + self.delay(), lambda: self.deliver(link, end))
        if link.told[1 - end]:
            return
        if message is None:
            link.told[1 - end] = True
            self.tell(sid, life, Lost(conn, "closed by the peer"))
        else:
            self.tell(sid, life, Received(conn, message))

    def cut_link(self, a: int, b: int) -> None:
        """Nothing gets from a to b."""
        self.cut.add((a, b))

    def isolate(self, sids: Iterable[int]) -> None:
        inside = set(sids)
        for a in inside:
            for b in set(self.hosts) - inside:
                self.cut |= {(a, b), (b, a)}

    def heal(self) -> None:
        healed, self.cut = self.cut, set()
        seen = set()
        for host in self.hosts.values():
            for link, _ in host.links.values():
                for end in (0, 1):
                    if (link.sids[end], link.sids[1 - end]) in healed and (id(link), end) not in seen:
                        seen.add((id(link), end))
                        if link.queues[end]:
                            self.at(self.now + self.delay(), partial(self.deliver, link, end))

    def reset_connections(self, a: int, b: int) -> None:
        for link, _ in list(self.hosts[a].links.values()):
            if set(link.sids) == {a, b} and link.up:
                for end in (0, 1):
                    if not link.told[end]:
                        link.told[end] = True
                        link.queues[end].clear()
                        self.tell(link.sids[end], link.lives[end], Lost(link.conns[end], "reset"))

    # ---- what is going on -----------------------------------------------------------------------------------------

    def server(self, sid: int) -> Server:
        server = self.hosts[sid].server
        assert server is not None
        return server

    def leader(self) -> Server | None:
        """The established leader in broadcast of the highest epoch."""
        leaders = [
            host.server
            for host in self.hosts.values()
            if host.server is not None and host.server.role == LEADING and host.server.phase == BROADCAST
        ]
        return max(leaders, key=lambda server: server.current_epoch, default=None)

    def settled(self, among: Iterable[int] | None = None) -> bool:
        """Every server (of `among`) leads or follows one and the same leader, in broadcast."""
        servers = [self.hosts[sid].server for sid in (self.hosts if among is None else among)]
        if any(server is None or server.phase != BROADCAST for server in servers):
            return False
        votes = {server.vote.leader for server in servers if server is not None}
        roles = [server.role for server in servers if server is not None]
        if len(votes) != 1 or roles.count(LEADING) != 1:
            return False
        epochs = {server.current_epoch for server in servers if server is not None}
        return len(epochs) == 1 and all(role in (LEADING, FOLLOWING, OBSERVING) for role in roles)

    def create(self, sid: int, path: str | None = None) -> int:
        """A client of server `sid` creates a node; returns the request's cxid."""
        self.cxid += 1
        payload = packets.encode_create_request(packets.CreateRequest(path or f"/n{self.cxid}", b"x"))
        request = ClientRequest(sid << 32, self.cxid, packets.CREATE, payload, 0)
        self.tell(sid, self.hosts[sid].life, request)
        return self.cxid

    def sync(self, sid: int) -> int:
        self.cxid += 1
        request = ClientRequest(sid << 32, self.cxid, packets.SYNC_OP, packets.encode_path("/"), 0)
        self.tell(sid, self.hosts[sid].life, request)
        return self.cxid

    def reply(self, cxid: int) -> Reply | None:
        return next((reply for reply in self.replies if reply.cxid == cxid), None)


def established(servers: int = 3, observers: int = 0, **settings: Any) -> SmallWorld:
    """A world in which all servers follow one leader."""
    world = SmallWorld(servers, observers, **settings)
    world.start_all()
    world.run_until(world.settled, 2)
    return world
