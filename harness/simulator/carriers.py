"""What each kind of fault does to a simulated world, and how it is taken back.

The model.  A `Carrier` is to the world what an injector is to a host: it carries out its kind on one host, and calls
`done` with the evidence when that is in effect.  `CARRIERS` has one for each kind, under the kind's name; a kind that
is not in it cannot be simulated.  The rules are the injector's:

1.  What two faults hold is given back when the last of them is over.
2.  A host that dies (`HostKilled`) is cut off before its server is gone, so no peer gets a reset.
3.  A server that is started while a fault pauses it begins when that fault is over.
4.  A server that is stopped gracefully while it stands still is killed.

A server may be killed at the worst instant for it (`Knobs.worst_instant`).  One that starts again may die soon after,
and be started once more, before the fault is said to be over (`Knobs.restart_crashes`).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from harness.simulator.clock import MS, ORDINARY
from harness.simulator.ground import Path, SimulatedHost, SimulatedProcess
from harness.simulator.knobs import Knobs
from harness.simulator.world import World
from nemesis.faults import Resolved
from nemesis.kinds.base import Params
from nemesis.kinds.clock import JUMP, SKEW, STROBE

Evidence = dict[str, Any]
Done = Callable[[Evidence], None]


class Stage:
    """What carriers work on: the world, how harsh it is, and the source of their choices."""

    def __init__(self, world: World, knobs: Knobs, random: random.Random) -> None:
        self.world = world
        self.knobs = knobs
        self.random = random


class Carrier:
    """Carries out one kind of fault; made once for each run."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.world = stage.world

    def begin(self, resolved: Resolved, host: SimulatedHost, done: Done) -> None:
        """The fault comes into effect on the host."""
        raise NotImplementedError

    def end(self, resolved: Resolved, host: SimulatedHost, done: Done) -> None:
        """The host gives back what the fault took."""
        raise NotImplementedError


# ---- servers down --------------------------------------------------------------------------------------------------


class Killed(Carrier):
    """The server is killed, and started again."""

    def begin(self, resolved: Resolved, host: SimulatedHost, done: Done) -> None:
        host.down[resolved.fault.id] = None
        process = host.process
        if process is None:
            done({"gone": True, "already": True})
            return
        process.on_death.append(lambda: done({"gone": True}))
        self.put_down(process)

    def put_down(self, process: SimulatedProcess) -> None:
        if self.stage.random.random() < self.stage.knobs.worst_instant:
            self.world.doom_to_die(process)
        else:
            self.world.kill(process)

    def end(self, resolved: Resolved, host: SimulatedHost, done: Done) -> None:
        world, random, knobs = self.world, self.stage.random, self.stage.knobs
        del host.down[resolved.fault.id]
        if host.down:
            done({"held_down_by": list(host.down)})
            return
        crashes = 1 + (random.random() < 0.3) if random.random() < knobs.restart_crashes else 0

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
            world.at(world.now + 1 + round(random.random() * knobs.start_latency), start, crashes)

        again(crashes)


class StoppedGracefully(Killed):
    """The server is stopped gracefully, and started again."""

    def put_down(self, process: SimulatedProcess) -> None:
        if process.held:
            self.world.kill(process)
        else:
            self.world.stop(process)


class HostKilled(Killed):
    """The host is cut off, and then its server is killed."""

    def begin(self, resolved: Resolved, host: SimulatedHost, done: Done) -> None:
        self._isolate(host, +1)
        super().begin(resolved, host, done)

    def end(self, resolved: Resolved, host: SimulatedHost, done: Done) -> None:
        self._isolate(host, -1)
        super().end(resolved, host, done)

    def _isolate(self, host: SimulatedHost, change: int) -> None:
        for (a, b), path in self.world.network.paths.items():
            if host.name in (a, b):
                path.blocked += change


# ---- servers that stand still --------------------------------------------------------------------------------------


class Paused(Carrier):
    """The server executes nothing."""

    def begin(self, resolved: Resolved, host: SimulatedHost, done: Done) -> None:
        host.paused[resolved.fault.id] = None
        self.world.pause(host)
        done({"states": ["T"]})

    def end(self, resolved: Resolved, host: SimulatedHost, done: Done) -> None:
        del host.paused[resolved.fault.id]
        self.world.resume(host)
        done({"states": ["T" if host.paused else "R"]})


# ---- links ---------------------------------------------------------------------------------------------------------


class Cut(Carrier):
    """The links drop everything."""

    def begin(self, resolved: Resolved, host: SimulatedHost, done: Done) -> None:
        done({"links": self.block(resolved, host, +1)})

    def end(self, resolved: Resolved, host: SimulatedHost, done: Done) -> None:
        done({"links": self.block(resolved, host, -1)})

    def block(self, resolved: Resolved, host: SimulatedHost, change: int) -> int:
        others = resolved.grudge.get(host.name, [])
        for other in others:
            self.world.network.paths[other, host.name].blocked += change
        return len(others)


class Flapping(Cut):
    """The links drop everything, and then nothing, in turn."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._cut: dict[tuple[str, str], bool] = {}
        """By fault in force and host: whether its links are cut now."""

    def begin(self, resolved: Resolved, host: SimulatedHost, done: Done) -> None:
        self._cut[resolved.fault.id, host.name] = False
        self._toggle(resolved, host)
        done({"links": len(resolved.grudge.get(host.name, []))})

    def end(self, resolved: Resolved, host: SimulatedHost, done: Done) -> None:
        was_cut = self._cut.pop((resolved.fault.id, host.name))
        done({"links": self.block(resolved, host, -was_cut)})

    def _toggle(self, resolved: Resolved, host: SimulatedHost) -> None:
        fault, world = resolved.fault, self.world
        key = (fault.id, host.name)
        if key not in self._cut:
            return  # it was over before this toggle was due
        cut = self._cut[key] = not self._cut[key]
        self.block(resolved, host, 1 if cut else -1)
        world.tell_of(host, "toggle", {"fault": fault.id, "cut": cut})
        lasts = fault.params["cut_ms"] if cut else fault.params["whole_ms"]
        world.at(world.now + round(lasts * MS), self._toggle, resolved, host)


class Degraded(Carrier):
    """The links do to packets what `disturb` says."""

    @staticmethod
    def disturb(path: Path, params: Params) -> None:
        """Adds this fault to what the faults in force do together on the path."""
        raise NotImplementedError

    def begin(self, resolved: Resolved, host: SimulatedHost, done: Done) -> None:
        fault, others = resolved.fault, resolved.grudge.get(host.name, [])
        for other in others:
            path = self.world.network.paths[other, host.name]
            path.faults[fault.id] = (self.disturb, fault.params)
            path.add_up()
        done({"links": len(others)})

    def end(self, resolved: Resolved, host: SimulatedHost, done: Done) -> None:
        others = resolved.grudge.get(host.name, [])
        for other in others:
            path = self.world.network.paths[other, host.name]
            del path.faults[resolved.fault.id]
            path.add_up()
        done({"links": len(others)})


class Lossy(Degraded):
    """Packets are lost, or damaged: a packet with a wrong checksum is dropped."""

    @staticmethod
    def disturb(path: Path, params: Params) -> None:
        path.passed *= 1 - params["percent"] / 100


class Rated(Degraded):
    """What is over a rate is dropped."""

    @staticmethod
    def disturb(path: Path, params: Params) -> None:
        path.rate = max(1, round(min(path.rate or 1e12, params["bytes_per_s"])))


class Slowed(Degraded):
    """What is over a rate waits."""

    @staticmethod
    def disturb(path: Path, params: Params) -> None:
        path.slow = max(1, round(min(path.slow or 1e12, params["bytes_per_s"])))


class Delayed(Degraded):
    """Packets are late."""

    @staticmethod
    def disturb(path: Path, params: Params) -> None:
        path.delay += round(params["delay_ms"] * MS)
        path.jitter += round(params.get("jitter_ms", 0) * MS)


class Reordered(Degraded):
    """Packets overtake each other."""

    @staticmethod
    def disturb(path: Path, params: Params) -> None:
        path.reorder = (params["percent"] / 100, round(params["delay_ms"] * MS))


class Duplicated(Degraded):
    """Packets come twice, which TCP hides."""

    @staticmethod
    def disturb(path: Path, params: Params) -> None:
        return


# ---- clocks --------------------------------------------------------------------------------------------------------


class Bent(Carrier):
    """The server's clock jumps, runs at another rate, strobes or freezes."""

    def begin(self, resolved: Resolved, host: SimulatedHost, done: Done) -> None:
        world, clock, params = self.world, host.clock, resolved.fault.params
        host.bends[resolved.fault.id] = dict(params)
        change = params["change"]
        if change == JUMP:
            clock.bend(world.now, clock.rate, round(params["offset_ms"] * MS))
            clock.lead += round(params["offset_ms"] * MS)
        else:
            self._bend(host, params)
            if change == STROBE:
                world.at(world.now + round(params["period_ms"] * MS), self._strobe, host, resolved.fault.id)
        world.clock_changed(host)
        done(self._shown(host))

    def end(self, resolved: Resolved, host: SimulatedHost, done: Done) -> None:
        del host.bends[resolved.fault.id]
        last = next(reversed(host.bends), None)
        if last is None or host.bends[last]["change"] == JUMP:
            host.clock.straighten(self.world.now)
        else:
            self._bend(host, host.bends[last])
        self.world.clock_changed(host)
        done(self._shown(host))

    def _bend(self, host: SimulatedHost, params: Params) -> None:
        """The clock runs at the rate of a skew, or stands still."""
        clock = host.clock
        rate = clock.rate_ordinary * round(params["rate"] * 1000) // 1000 if params["change"] == SKEW else 0
        clock.bend(self.world.now, rate)

    def _strobe(self, host: SimulatedHost, fault_id: str) -> None:
        if next(reversed(host.bends), None) == fault_id:
            host.clock.leap(self.world.now)
            self.world.clock_changed(host)
        if fault_id in host.bends:
            period = round(host.bends[fault_id]["period_ms"] * MS)
            self.world.at(self.world.now + period, self._strobe, host, fault_id)

    def _shown(self, host: SimulatedHost) -> Evidence:
        return {"rate": host.clock.rate / ORDINARY, "reads_ns": host.clock.read(self.world.now)}


CARRIERS: dict[str, type[Carrier]] = {
    "partition": Cut,
    "flap": Flapping,
    "loss": Lossy,
    "rate": Rated,
    "slow": Slowed,
    "delay": Delayed,
    "reorder": Reordered,
    "duplicate": Duplicated,
    "corrupt": Lossy,
    "kill": Killed,
    "stop": StoppedGracefully,
    "host-kill": HostKilled,
    "pause": Paused,
    "clock": Bent,
}
"""By kind of fault."""
