"""The schedule's faults, carried out in a simulated world: the second interpreter beside the injectors on real hosts.

The model is the conductor's (`harness.runs.conductor`): a fault that is due is resolved with what is known of the
ensemble at that instant, written as `invoke`, carried out on each host a little later (each host at its own instant),
and written as `ok` when it is in effect on all of them; and in the same way when it is over.  The rules are the
injector's:

1.  What two faults hold is given back when the last of them is over.
2.  A host that dies (`host-kill`) is cut off before its server is gone, so nobody is told.
3.  A server that is started while a fault pauses it begins when that is over.
4.  A server that is stopped gracefully while it stands still is killed.

What a server is killed at may be the worst instant for it (`Knobs.worst_instant`), and one that starts again may die
soon after, and be started once more, before the fault is said to be over.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from harness.runs.observer import Observer
from harness.simulator.clock import MS, ORDINARY, SECOND
from harness.simulator.knobs import Knobs
from harness.simulator.recorder import MemoryRecorder
from harness.simulator.world import SimulatedHost, World
from nemesis.faults import JUMP, SKEW, STROBE, Fault, Resolved, resolve
from nemesis.schedule import Schedule

DEGRADING = ("loss", "rate", "slow", "delay", "reorder", "duplicate", "corrupt")

Evidence = dict[str, Any]


class _Begun:
    """A fault that was begun: `in_force` once it is `ok`, `over` called as soon as it is to end and is in force."""

    def __init__(self, resolved: Resolved) -> None:
        self.resolved = resolved
        self.in_force = False
        self.ends = False


class SimulatedNemesis:
    """Carries one schedule out; `begin` puts its steps into the world's queue, `phase` is told of each phase."""

    def __init__(
        self,
        world: World,
        schedule: Schedule,
        knobs: Knobs,
        record: MemoryRecorder,
        observer: Observer,
        phase: Callable[[str], None],
    ) -> None:
        self._world = world
        self._schedule = schedule
        self._knobs = knobs
        self._record = record
        self._observer = observer
        self._on_phase = phase
        self._random = random.Random(f"nemesis {schedule.seed}")
        self._begun: dict[str, _Begun] = {}
        self._broken: dict[str, tuple[str, ...]] = {}
        self._flaps: dict[tuple[str, str], bool] = {}
        """Flaps in force, by fault and host: whether they are cut now."""

    def begin(self) -> None:
        """The schedule's time 0 is now."""
        timeline: list[tuple[float, str | tuple[str, Fault]]] = [
            *((at_s, name) for at_s, name in self._schedule.phases()),
            *((step.at_s, (step.step, step.fault)) for step in self._schedule.steps()),
        ]
        timeline.sort(key=lambda entry: (entry[0], _order(entry[1])))
        for at_s, what in timeline:
            when = self._world.now + round(at_s * SECOND)
            if isinstance(what, str):
                self._world.at(when, self._phase, what)
            elif what[0] == "start":
                self._world.at(when, self._start, what[1])
            else:
                self._world.at(when, self._end, what[1].id)

    def _phase(self, name: str) -> None:
        self._record.note("controller", "info", "phase", {"phase": name})
        self._on_phase(name)

    # ---- one fault -------------------------------------------------------------------------------------------------

    def _start(self, fault: Fault) -> None:
        broken = [server for held in self._broken.values() for server in held]
        resolved = resolve(fault, self._observer.view(broken), self._schedule.seed)
        if fault.for_s is None:
            self._broken[fault.id] = resolved.targets or resolved.hosts
        value = resolved.value("start")
        self._record.note("nemesis", "invoke", fault.kind, value)
        if not resolved.hosts:
            self._record.note("nemesis", "fail", fault.kind, value, error=f"nobody to hit: {resolved.reason}")
            return
        begun = self._begun[fault.id] = _Begun(resolved)
        asked = self._world.now
        began: dict[str, int] = {}

        def all_done(evidence: dict[str, Evidence]) -> None:
            about = {"evidence": evidence, "began": began, "in_place_ms": round((self._world.now - asked) / 1e6, 3)}
            self._record.note("nemesis", "ok", fault.kind, value | about)
            begun.in_force = True
            if begun.ends:
                self._undo(begun)

        self._everywhere(resolved, lambda host, done: self._apply(resolved, host, began, done), all_done)

    def _end(self, fault_id: str) -> None:
        begun = self._begun.get(fault_id)
        if begun is None:
            self._broken.pop(fault_id, None)
        elif begun.in_force:
            self._undo(begun)
        else:
            begun.ends = True

    def _undo(self, begun: _Begun) -> None:
        resolved = begun.resolved
        value = resolved.value("stop")
        self._record.note("nemesis", "invoke", resolved.fault.kind, value)

        def all_done(evidence: dict[str, Evidence]) -> None:
            self._record.note("nemesis", "ok", resolved.fault.kind, value | {"evidence": evidence})
            self._broken.pop(resolved.fault.id, None)
            self._begun.pop(resolved.fault.id, None)

        self._everywhere(resolved, lambda host, done: self._give_back(resolved, host, done), all_done)

    def _everywhere(
        self,
        resolved: Resolved,
        do: Callable[[SimulatedHost, Callable[[Evidence], None]], None],
        all_done: Callable[[dict[str, Evidence]], None],
    ) -> None:
        """On each of its hosts, each at its own instant; `all_done` when the last one is done."""
        evidence: dict[str, Evidence] = {}

        def one_done(name: str, seen: Evidence) -> None:
            evidence[name] = seen
            if len(evidence) == len(resolved.hosts):
                all_done({host: evidence[host] for host in resolved.hosts})

        for name in resolved.hosts:
            host = self._world.hosts[name]
            latency = round(self._random.random() * self._knobs.fault_latency)
            self._world.at(self._world.now + latency, do, host, lambda seen, name=name: one_done(name, seen))

    # ---- on one host -----------------------------------------------------------------------------------------------

    def _apply(
        self, resolved: Resolved, host: SimulatedHost, began: dict[str, int], done: Callable[[Evidence], None]
    ) -> None:
        fault, world = resolved.fault, self._world
        began[host.name] = world.now
        if fault.kind in ("kill", "stop", "host-kill"):
            self._put_down(fault, host, done)
        elif fault.kind == "pause":
            host.paused[fault.id] = None
            world.pause(host)
            done({"states": ["T"]})
        elif fault.kind == "clock":
            host.bends[fault.id] = dict(fault.params)
            self._bend(host, fault.id)
            done({"rate": self._rate_of(host), "reads_ns": host.clock.read(world.now)})
        else:
            done({"links": self._cut(resolved, host)})

    def _give_back(self, resolved: Resolved, host: SimulatedHost, done: Callable[[Evidence], None]) -> None:
        fault, world = resolved.fault, self._world
        if fault.kind in ("kill", "stop", "host-kill"):
            if fault.kind == "host-kill":
                self._isolate(host, -1)
            self._bring_up(fault, host, done)
        elif fault.kind == "pause":
            del host.paused[fault.id]
            world.resume(host)
            done({"states": ["T" if host.paused else "R"]})
        elif fault.kind == "clock":
            del host.bends[fault.id]
            self._unbend(host)
            done({"rate": self._rate_of(host), "reads_ns": host.clock.read(world.now)})
        else:
            done({"links": self._mend(resolved, host)})

    # ---- servers down ----------------------------------------------------------------------------------------------

    def _put_down(self, fault: Fault, host: SimulatedHost, done: Callable[[Evidence], None]) -> None:
        world, process = self._world, host.process
        host.down[fault.id] = None
        if fault.kind == "host-kill":
            self._isolate(host, +1)
        if process is None:
            done({"gone": True, "already": True})
            return
        process.on_death.append(lambda: done({"gone": True}))
        if fault.kind == "stop":
            world.kill(process) if process.held else world.stop(process)
        elif self._random.random() < self._knobs.worst_instant:
            world.doom_to_die(process)
        else:
            world.kill(process)

    def _bring_up(self, fault: Fault, host: SimulatedHost, done: Callable[[Evidence], None]) -> None:
        world = self._world
        del host.down[fault.id]
        if host.down:
            done({"held_down_by": list(host.down)})
            return
        crashes = 1 + (self._random.random() < 0.3) if self._random.random() < self._knobs.restart_crashes else 0

        def start(crashes: int) -> None:
            if host.down:  # another fault has it by now
                done({"held_down_by": list(host.down)})
                return
            world.start(host)
            process = host.process
            if crashes and process is not None:
                process.on_death.append(lambda: again(crashes - 1))
                world.doom_to_die(process)
            else:
                done({"lives": host.lives})

        def again(crashes: int) -> None:
            world.at(world.now + 1 + round(self._random.random() * self._knobs.start_latency), start, crashes)

        again(crashes)

    def _isolate(self, host: SimulatedHost, change: int) -> None:
        for (a, b), path in self._world.network.paths.items():
            if host.name in (a, b):
                path.blocked += change

    # ---- links -----------------------------------------------------------------------------------------------------

    def _cut(self, resolved: Resolved, host: SimulatedHost) -> int:
        fault, paths = resolved.fault, self._world.network.paths
        others = resolved.grudge.get(host.name, [])
        if fault.kind == "flap":
            self._toggle(resolved, host, True)
        for other in others:
            path = paths[other, host.name]
            if fault.kind == "partition":
                path.blocked += 1
            elif fault.kind in DEGRADING:
                path.faults[fault.id] = (fault.kind, fault.params)
                path.add_up()
        return len(others)

    def _mend(self, resolved: Resolved, host: SimulatedHost) -> int:
        fault, paths = resolved.fault, self._world.network.paths
        others = resolved.grudge.get(host.name, [])
        if fault.kind == "flap":
            self._toggle(resolved, host, None)
        for other in others:
            path = paths[other, host.name]
            if fault.kind == "partition":
                path.blocked -= 1
            elif fault.kind in DEGRADING:
                del path.faults[fault.id]
                path.add_up()
        return len(others)

    def _toggle(self, resolved: Resolved, host: SimulatedHost, cut: bool | None) -> None:
        """A flap is cut, or whole; None: it is over."""
        fault, world = resolved.fault, self._world
        key = (fault.id, host.name)
        was_cut = self._flaps.get(key, False)
        if cut is None:
            self._flaps.pop(key, None)
        elif key not in self._flaps and not cut:
            return  # it was over before this toggle was due
        else:
            self._flaps[key] = cut
        change = int(bool(cut)) - int(was_cut)
        for other in resolved.grudge.get(host.name, []):
            world.network.paths[other, host.name].blocked += change
        if cut is not None:
            world.tell_of(host, "toggle", {"fault": fault.id, "cut": cut})
            lasts = fault.params["cut_ms"] if cut else fault.params["whole_ms"]
            world.at(world.now + round(lasts * MS), self._next_toggle, resolved, host, not cut)

    def _next_toggle(self, resolved: Resolved, host: SimulatedHost, cut: bool) -> None:
        if (resolved.fault.id, host.name) in self._flaps:
            self._toggle(resolved, host, cut)

    # ---- clocks ----------------------------------------------------------------------------------------------------

    def _bend(self, host: SimulatedHost, fault_id: str) -> None:
        world, clock = self._world, host.clock
        params = host.bends[fault_id]
        change = params["change"]
        if change == JUMP:
            clock.bend(world.now, clock.rate, round(params["offset_ms"] * MS))
            clock.lead += round(params["offset_ms"] * MS)
        elif change == SKEW:
            clock.bend(world.now, clock.rate_ordinary * round(params["rate"] * 1000) // 1000)
        else:
            clock.bend(world.now, 0)
            if change == STROBE:
                world.at(world.now + round(params["period_ms"] * MS), self._strobe, host, fault_id)
        world.clock_changed(host)

    def _strobe(self, host: SimulatedHost, fault_id: str) -> None:
        if next(reversed(host.bends), None) == fault_id:
            host.clock.leap(self._world.now)
            self._world.clock_changed(host)
        if fault_id in host.bends:
            period = round(host.bends[fault_id]["period_ms"] * MS)
            self._world.at(self._world.now + period, self._strobe, host, fault_id)

    def _unbend(self, host: SimulatedHost) -> None:
        world = self._world
        last = next(reversed(host.bends), None)
        if last is None or host.bends[last]["change"] == JUMP:
            host.clock.straighten(world.now)
        elif host.bends[last]["change"] == SKEW:
            rate = host.bends[last]["rate"]
            host.clock.bend(world.now, host.clock.rate_ordinary * round(rate * 1000) // 1000)
        else:
            host.clock.bend(world.now, 0)
        world.clock_changed(host)

    def _rate_of(self, host: SimulatedHost) -> float:
        return host.clock.rate / ORDINARY


def _order(what: str | tuple[str, Fault]) -> int:
    """At one time: first what ends, then the phase, then what begins (as the conductor does)."""
    if isinstance(what, str):
        return 1
    return 0 if what[0] == "stop" else 2
