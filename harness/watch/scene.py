"""A run as its history shows it so far: who leads, who is down, which faults are in force, what happened last.

The model.  `Scene` is fed the ops of a history in the file's order, as they are learned, and remembers what the last op
of each server, fault and client said.  It is for people who look on: it concludes nothing.  The rules:

1.  The first op names the servers.  A value that is not what its `f` promises changes nothing; a watcher does not fail.
2.  A server is up from its `started` (or its first report) to its `stopped`, or to a verified fault that has it down.
3.  A fault is in force from its `invoke` until its end is verified, or the run's; what did not happen (`fail`) is none.
4.  It leads whose last report says that it leads an established epoch; of several, the one of the highest epoch.
5.  What is older than `WINDOW_NS` is forgotten, but for counts: a night costs no more memory than a minute.

Example:

    scene = Scene()
    for op in read("results/current"):
        scene.feed(op)
    scene.leader        ->  "n3"
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from checker.history import Op
from checker.vocabulary import PHASES_OF_0_1

WINDOW_NS = 90 * 1_000_000_000
"""How far back the strips of servers and faults reach."""

EVENTS_MAX = 200
STRETCHES_MAX = 2000
"""Of one server; a server that flutters a hundred times a second loses the far end of its strip, nothing else."""

PHASES = {
    "calm": "calm: nothing goes wrong yet",
    "storm": "storm: faults overlap",
    "majority": "act one: some stay broken, the majority must converge",
    "everyone": "act two: everything is healed, everybody must converge",
    "end": "the schedule is over",
}


@dataclass(frozen=True)
class Event:
    """Something that a reader would want to be told; `kind` is "leader", "fault", "server", "phase" or "run"."""

    index: int
    time: int
    kind: str
    text: str


@dataclass
class SceneStretch:
    """A server was `kind` from `since` on: "leading", "elected", "following", "observing", "looking" or "down"."""

    since: int
    kind: str
    epoch: int | None


@dataclass
class SceneServer:
    """What is known of one server now."""

    host: str
    sid: int
    observer: bool
    up: bool | None = None
    """None: it has said nothing yet."""
    role: str = ""
    phase: str = ""
    epoch: int | None = None
    leader: int | None = None
    """The sid of whom it follows; its own when it leads."""
    established: bool = False
    reason: str = ""
    strip: deque[SceneStretch] = field(default_factory=lambda: deque(maxlen=STRETCHES_MAX))

    @property
    def kind(self) -> str:
        """As a stretch calls it; "" before it has said anything."""
        if not self.up:
            return "" if self.up is None else "down"
        if self.role == "LEADING":
            return "leading" if self.established else "elected"
        return self.role.lower()


@dataclass
class FaultSeen:
    """A fault, from the moment that it is asked for; `state` is "asked", "in force", "ending" or "over"."""

    id: str
    kind: str
    hosts: tuple[str, ...]
    """Its targets, or where it has none, everybody whom it touches."""
    since: int
    state: str = "asked"
    until: int | None = None
    in_doubt: bool = False
    """Nobody knows whether it is in force (or whether it is over)."""


class Scene:
    """Feed it ops; read its fields.  Not safe to feed and read from two threads at once."""

    def __init__(self) -> None:
        self.name = ""
        self.system = ""
        self.seed = ""
        self.bug = ""
        self.servers: dict[str, SceneServer] = {}
        self.faults: dict[str, FaultSeen] = {}
        """Those in force, and those that were within the window."""
        self.verified = 0
        self.kinds: set[str] = set()
        self.clients: dict[str, Counter[str]] = {}
        """By operation: how often "invoke", "ok", "fail" and "info" were seen."""
        self.epochs: set[int] = set()
        self.events: deque[Event] = deque(maxlen=EVENTS_MAX)
        self.phase = ""
        self.began: int | None = None
        """Run time, in ns, of the first phase: the schedule's beginning."""
        self.duration_s: float | None = None
        """How long the schedule lasts, from the first phase on; whoever knows it says so here.  0 is not known."""
        self.now = 0
        """The latest time, in ns, that an op has."""
        self.ops = 0
        self.ended = False
        self.end_reason = ""
        """Why it ended before its time."""
        self._sids: dict[int, str] = {}

    # ---- reading it ----------------------------------------------------------------------------------------------

    @property
    def leader(self) -> str | None:
        leading = [(server.epoch or 0, host) for host, server in self.servers.items() if server.kind == "leading"]
        return max(leading)[1] if leading else None

    @property
    def in_force(self) -> list[FaultSeen]:
        """Those that are, or may be; none after the end, when hosts have been left as they were found."""
        if self.ended:
            return []
        return [fault for fault in self.faults.values() if fault.state != "over"]

    def left_s(self, now: int) -> float | None:
        """Seconds from `now` (run time, in ns) to the schedule's end; None when that is not known."""
        if not self.duration_s or self.began is None or self.ended:
            return None
        return max(0.0, self.duration_s - (now - self.began) / 1e9)

    def hits(self, host: str) -> list[FaultSeen]:
        """The faults in force that hit this host."""
        return [fault for fault in self.in_force if host in fault.hosts]

    def name_of(self, sid: int | None) -> str:
        """The host of that sid, or how to call a server that is nobody's."""
        return "" if sid is None else self._sids.get(sid, f"server {sid}")

    def stretches(self, host: str, since: int, until: int) -> Iterator[tuple[int, int, SceneStretch]]:
        """What the server was, from when to when, within that part of the run."""
        strip = self.servers[host].strip
        for n, stretch in enumerate(strip):
            begins = max(stretch.since, since)
            ends = min(strip[n + 1].since if n + 1 < len(strip) else until, until)
            if begins < ends:
                yield begins, ends, stretch

    # ---- feeding it ----------------------------------------------------------------------------------------------

    def feed(self, op: Op) -> None:
        self.ops += 1
        self.now = max(self.now, op.time)
        value = op.value if isinstance(op.value, dict) else {}
        if isinstance(op.process, int):
            self.clients.setdefault(op.f, Counter())[op.type] += 1
        elif op.process == "controller":
            self._controller(op, value)
        elif op.process == "nemesis":
            self._nemesis(op, value)
        elif op.process in self.servers:
            self._server(self.servers[op.process], op, value)

    def _controller(self, op: Op, value: dict[str, Any]) -> None:
        if op.f == "run" and not self.servers:
            self.name, self.system, self.seed, self.bug = (
                _text(value.get(k)) for k in ("name", "system", "seed", "bug")
            )
            ensemble = value.get("ensemble")
            for host, about in ensemble.items() if isinstance(ensemble, dict) else ():
                sid = _whole(about.get("sid")) if isinstance(about, dict) else None
                if sid is not None:
                    self.servers[host] = SceneServer(host, sid, about.get("role") == "observer")
                    self._sids[sid] = host
        elif op.f == "phase":
            self.phase = _text(value.get("phase"))
            self.phase = PHASES_OF_0_1.get(self.phase, self.phase)
            if self.began is None:
                self.began = op.time
            self._say(op, "phase", PHASES.get(self.phase, self.phase))
        elif op.f == "end":
            self.ended, self.end_reason = True, _text(value.get("reason"))
            self._say(op, "run", f"the run ended before its time: {self.end_reason}" if self.end_reason else "the end")

    def _nemesis(self, op: Op, value: dict[str, Any]) -> None:
        name, step = _text(value.get("fault")), value.get("step")
        if not name:
            return
        fault = self.faults.get(name)
        if step == "start" and op.type == "invoke":
            self._forget(op.time)
            kind = f"{op.f} {_text(value.get('shape'))}".rstrip()
            hosts = _texts(value.get("targets")) or _texts(value.get("hosts"))
            self.faults[name] = FaultSeen(name, kind, hosts, op.time)
        elif fault is None:
            return
        elif step == "stop":
            self._stop(fault, op)
        elif op.type == "ok":
            if fault.state == "asked":
                fault.state, fault.in_doubt = "in force", False
                self.verified += 1
                self.kinds.add(op.f)
                self._say(op, "fault", f"{name} {fault.kind} of {', '.join(fault.hosts)}")
            self._down(value, op.time)
        elif op.type == "fail" and step == "start":
            fault.state, fault.until = "over", op.time
            self._say(op, "fault", f"{name} {fault.kind} did not happen: {op.error or 'no reason given'}")
        elif op.type == "info":
            fault.in_doubt = True
            self._say(op, "fault", f"{name} {fault.kind} is in doubt: {op.error or 'no reason given'}")

    def _stop(self, fault: FaultSeen, op: Op) -> None:
        if op.type == "invoke":
            fault.state = "ending"
        elif op.type == "ok":
            fault.state, fault.until, fault.in_doubt = "over", op.time, False
            self._say(op, "fault", f"{fault.id} {fault.kind} is over")
        elif op.type == "info":
            fault.in_doubt = True
            self._say(op, "fault", f"{fault.id} {fault.kind} is not surely over: {op.error or 'no reason given'}")

    def _down(self, value: dict[str, Any], time: int) -> None:
        effects = value.get("effects")
        for effect in effects if isinstance(effects, list) else ():
            for host in _texts(effect.get("down")) if isinstance(effect, dict) else ():
                if host in self.servers and self.servers[host].up:
                    self._set_up(self.servers[host], False, time)

    def _server(self, server: SceneServer, op: Op, value: dict[str, Any]) -> None:
        if op.f == "started":
            self._set_up(server, True, op.time)
        elif op.f == "stopped":
            if server.up is not False:
                self._say(op, "server", f"{server.host} is down")
            self._set_up(server, False, op.time)
        elif op.f == "state":
            self._state(server, op, value)
        elif op.f == "healed":
            self._say(op, "server", f"{server.host} undid its faults by itself")

    def _set_up(self, server: SceneServer, up: bool, time: int) -> None:
        server.up = up
        server.role = server.phase = server.reason = ""
        server.epoch = server.leader = None
        server.established = False
        self._stretch(server, time)

    def _state(self, server: SceneServer, op: Op, value: dict[str, Any]) -> None:
        before = (server.kind, server.epoch)
        server.up = True
        server.role, server.phase, server.reason = (_text(value.get(k)) for k in ("role", "phase", "reason"))
        server.epoch, server.leader = _whole(value.get("epoch")), _whole(value.get("leader"))
        server.established = value.get("established") is True
        if server.kind == "leading" and before != ("leading", server.epoch):
            if server.epoch is not None:
                self.epochs.add(server.epoch)
            self._say(op, "leader", f"{server.host} leads epoch {server.epoch}")
        elif before[0] == "leading" and server.kind != "leading":
            self._say(op, "leader", f"{server.host} leads no more: {server.reason or server.role}")
        self._stretch(server, op.time)

    def _stretch(self, server: SceneServer, time: int) -> None:
        strip = server.strip
        if not strip or (strip[-1].kind, strip[-1].epoch) != (server.kind, server.epoch):
            strip.append(SceneStretch(time, server.kind, server.epoch))
        while len(strip) > 1 and strip[1].since < self.now - WINDOW_NS:
            strip.popleft()

    def _forget(self, now: int) -> None:
        for name in [
            n for n, fault in self.faults.items() if fault.until is not None and fault.until < now - WINDOW_NS
        ]:
            del self.faults[name]

    def _say(self, op: Op, kind: str, text: str) -> None:
        self.events.append(Event(op.index, op.time, kind, text))


def _text(value: object) -> str:
    return "" if value is None else str(value)[:500]


def _texts(value: object) -> tuple[str, ...]:
    return tuple(_text(item) for item in value) if isinstance(value, list) else ()


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
