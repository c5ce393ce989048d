"""One simulated run, from its seed to its verdict: the phases of `harness.runs.run`, in a simulated world.

    simulate(7)                        ->  SimulatedRun(valid, ...)
    simulate(7, bug="half-quorum")     ->  the same world with the bug in every server
    simulate(7, schedule=load(path))   ->  these faults, in the world of seed 7

The rule: everything in a `SimulatedRun` is a function of the arguments, byte for byte.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from checker.history import History, Op
from checker.routing import Routing
from checker.verdict import Verdict, conclude
from harness.results import run_op
from harness.runs import drawing
from harness.runs.observer import Observer
from harness.simulator import knobs as seeds
from harness.simulator.clients import SimulatedClients
from harness.simulator.clock import SECOND
from harness.simulator.knobs import Knobs
from harness.simulator.nemesis import SimulatedNemesis
from harness.simulator.recorder import MemoryRecorder
from harness.simulator.simulated_run import NAME, SimulatedRun, SimulatorSettings
from harness.simulator.world import Overrun, World
from harness.systems.base import Ensemble, Place
from harness.systems.onethrone import Onethrone
from nemesis import storm
from nemesis.schedule import Schedule
from node import bugs
from node.config import OBSERVER, PARTICIPANT, SNAP_COUNT, Config, Member
from node.protocol.server import Server

START_S, READ_S = 30.0, 30.0
"""Bounds of what comes before and after the schedule, in simulated seconds."""

ABILITIES = (storm.NFT, storm.TBF, storm.FAKETIME, storm.NETEM)
"""A simulated host can do everything."""


class _Quiet:
    """Nobody watches a simulated run."""

    def say(self, text: str) -> None:
        pass


def simulate(
    seed: int,
    *,
    servers: int | None = None,
    schedule: Schedule | None = None,
    bug: str = "",
    settings: SimulatorSettings | None = None,
    knobs: Knobs | None = None,
    keep: Path | None = None,
    server_class: type[Server] | None = None,
) -> SimulatedRun:
    """One run of the world of `seed`.

    `servers` is 5, or what the schedule was drawn for; `schedule` one drawn from the seed; `knobs` the seed's own.
    `keep` is an empty folder, which becomes an ordinary run's (`harness.simulator.keeping`).  `server_class` is what
    runs in place of the core, or of the bug of that name.  Raises KeyError for a bug that is not in the catalogue,
    ScheduleError for an ensemble too small for a drawn schedule.
    """
    settings = settings or SimulatorSettings()
    servers = servers or (schedule.servers + settings.observers if schedule is not None else 5)
    knobs = knobs or seeds.draw(seed)
    if schedule is None and not bug and server_class is None:
        settings = _shaped(settings, servers, knobs)
    value = run_value(seed, servers, bug, settings)
    schedule = schedule or drawn(seed, servers, settings, knobs, value)
    server_class = server_class or (bugs.load(bug) if bug else Server)
    run = _SimulatedRun(seed, value, schedule, knobs, settings, server_class)
    if keep is not None:
        run.world.keep(keep)
    try:
        run.carry_out()
    finally:
        run.world.close()
    world, record = run.world, run.record
    result = SimulatedRun(
        seed=seed,
        servers=servers,
        bug=bug,
        knobs=knobs,
        settings=settings,
        schedule=schedule,
        verdict=judge(record.ops, keep),
        ops=record.ops,
        history=record,
        reached=world.marks,
        failures=world.failures,
        seconds=world.now / SECOND,
        messages=world.network.messages,
        steps=world.steps,
    )
    if keep is not None:
        from harness.simulator.keeping import write  # and with it the report: 0.1 s that most runs can do without

        write(result, keep)
    return result


def _shaped(settings: SimulatorSettings, servers: int, knobs: Knobs) -> SimulatorSettings:
    """With the seed's observers, where the settings leave that open and three participants are left."""
    if not settings.swarm or settings.observers or settings.groups:
        return settings
    return msgspec.structs.replace(settings, observers=max(0, min(knobs.observers, servers - 3)))


def drawn_for(seed: int, servers: int, settings: SimulatorSettings, knobs: Knobs) -> tuple[Schedule, SimulatorSettings]:
    """The schedule and the settings that a seed is simulated with when none is given, without a planted bug."""
    settings = _shaped(settings, servers, knobs)
    return drawn(seed, servers, settings, knobs, run_value(seed, servers, "", settings)), settings


def drawn(seed: int, servers: int, settings: SimulatorSettings, knobs: Knobs, value: dict[str, Any]) -> Schedule:
    """The schedule of a seed, of the seed's own kinds.  Raises ScheduleError."""
    system, _ = _system(servers, "", settings)
    return drawing.draw(
        value,
        settings.duration_s,
        system.profile().detect_s,
        abilities=ABILITIES,
        kinds=knobs.kinds,
        lasting=knobs.lasting,
    )


def run_value(seed: int, servers: int, bug: str, settings: SimulatorSettings) -> dict[str, Any]:
    """The value of the op `run`."""
    system, ensemble = _system(servers, bug, settings)
    return run_op.run_value(NAME, seed, system, ensemble, simulated=True)


def _system(servers: int, bug: str, settings: SimulatorSettings) -> tuple[Onethrone, Ensemble]:
    """What is simulated, and who takes part: n1 is server 1, and so on."""
    name_of = {sid: f"n{sid}" for sid in range(1, servers + 1)}
    ensemble = Ensemble(
        {name: Place(name, sid, address_of(sid)) for sid, name in name_of.items()},
        tuple(name for sid, name in name_of.items() if sid > servers - settings.observers),
        tuple(tuple(name_of[sid] for sid in group) for group in settings.groups),
        {name_of[sid]: weight for sid, weight in settings.weights.items()},
        bug,
    )
    return Onethrone(settings.of_servers(), ensemble), ensemble


def address_of(sid: int) -> str:
    return f"10.42.{sid >> 8}.{sid & 255}"


def judge(ops: Iterable[Op], folder: Path | None = None) -> Verdict:
    """The verdict on a history in memory: that of `checker.verdict.check` on its file.

    Checking puts typed values in place of the ops' own, so it is fed copies.
    """
    ops = list(ops)
    routing = Routing()
    routing.feed([op if op.process.__class__ is int else copy.copy(op) for op in ops])
    return conclude(routing, History((folder or Path("simulated")) / "history.jsonl"), ops)


class _SimulatedRun:
    """One run while it goes on."""

    def __init__(
        self,
        seed: int,
        value: dict[str, Any],
        schedule: Schedule,
        knobs: Knobs,
        settings: SimulatorSettings,
        server_class: type[Server],
    ) -> None:
        self.schedule = schedule
        self.value = value
        knobs = seeds.paced(knobs, settings.tick_ms)
        ensemble = value["ensemble"]
        members = tuple(
            Member(e["sid"], e["address"], 2888, 3888, OBSERVER if e["role"] == "observer" else PARTICIPANT)
            for e in ensemble.values()
        )
        configs = {
            name: Config(
                e["sid"],
                members,
                tick_ms=settings.tick_ms,
                init_limit=settings.init_limit,
                sync_limit=settings.sync_limit,
                max_notification_interval_ms=settings.max_notification_interval_ms,
                groups=tuple((number, frozenset(group)) for number, group in enumerate(settings.groups, 1)),
                weights=tuple(settings.weights.items()) if settings.groups else (),
                snap_count=knobs.snap_count or SNAP_COUNT,
            )
            for name, e in ensemble.items()
        }
        addresses = {name: e["address"] for name, e in ensemble.items()}
        self.world = World(seed, configs, addresses, knobs, server_class, self.report)
        self.world.bug = value["bug"] or ""
        self.record = MemoryRecorder(lambda: self.world.now)
        observers = [name for name, e in ensemble.items() if e["role"] == "observer"]
        self.observer = Observer(self.record, ensemble, observers, _Quiet())  # type: ignore[arg-type]
        self.clients = SimulatedClients(self.world, self.record, knobs, seed)
        self.nemesis = SimulatedNemesis(self.world, schedule, knobs, self.record, self.observer, self.on_phase)
        self.names = tuple(ensemble)
        self.waiting = True
        """For a first leader."""
        self.over = False

    def report(self, host: str, f: str, value: Any) -> None:
        now = self.world.now
        self.observer.report(host, f, value, controller_ns=now, host_time=now, error_ns=0)
        if self.waiting and f == "state" and self.observer.converged(self.names):
            self.waiting = False

    def on_phase(self, name: str) -> None:
        world = self.world
        if name == "calm":
            at_s = self.schedule.majority_at_s
            world.network.begin_weather(world.now + round(at_s * SECOND))
            self.clients.begin()
        elif name == "majority":
            world.stormy = False
        elif name == "end":
            self.clients.stop()
            self.over = True

    def carry_out(self) -> None:
        """The whole run; every op of it is in the record then."""
        world, record = self.world, self.record
        record.note("controller", "info", "run", self.value)
        for host in world.hosts.values():
            world.at(world.random.randrange(1, 100_000_000), world.start, host)
        try:
            reason = self.torment()
        except Overrun as overrun:
            reason = str(overrun)
        for host in world.hosts.values():
            if host.process is not None:
                world.stop(host.process)
        streams = {name: {"sent": host.events, "received": host.events} for name, host in world.hosts.items()}
        end = {"complete": not reason, "streams": streams} | ({"reason": reason} if reason else {})
        record.note("controller", "info", "end", end)

    def torment(self) -> str:
        """All that takes time; why it ended early, or ""."""
        world = self.world
        world.run_while(lambda: self.waiting, round(START_S * SECOND))
        if self.waiting:
            world.run(round(START_S * SECOND))
            return f"the ensemble did not elect a leader within {START_S:g} s of its start"
        self.nemesis.begin()
        world.run(world.now + round(self.schedule.duration_s * SECOND) + 1)
        self.clients.read_everything(world.now + round(READ_S * SECOND))
        return ""
