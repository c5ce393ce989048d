"""One simulated run, from its seed to its verdict: the phases of `harness.runs.run`, in a simulated world.

    simulate(7)                        ->  SimulatedRun(valid, ...)
    simulate(7, bug="half-quorum")     ->  the same world with the bug in every server
    simulate(7, schedule=load(path))   ->  these faults, in the world of seed 7

The rule: everything in a `SimulatedRun` is a function of the arguments, byte for byte.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from checker import vocabulary
from checker.history import History, Op
from checker.promises.base import Valid
from checker.promises.convergence import bound_ns
from checker.verdict import Checking, Verdict
from harness.runs.observer import Observer
from harness.simulator import knobs as seeds
from harness.simulator.clients import SimulatedClients
from harness.simulator.clock import SECOND
from harness.simulator.knobs import Knobs
from harness.simulator.nemesis import SimulatedNemesis
from harness.simulator.recorder import MemoryRecorder
from harness.simulator.world import Overrun, World
from nemesis import storm
from nemesis.schedule import Schedule
from node import bugs
from node.config import OBSERVER, PARTICIPANT, SNAP_COUNT, Config, Member
from node.protocol.server import Server

SCHEMA = 1
DURATION_S = 60.0
START_S, READ_S = 30.0, 30.0
"""Bounds of what comes before and after the schedule, in simulated seconds."""

NAME = "simulated"
ABILITIES = (storm.NFT, storm.TBF, storm.FAKETIME, storm.NETEM)
"""A simulated host can do everything."""


class SimulatorSettings(msgspec.Struct, frozen=True):
    """An ensemble's settings, those of a lab's by default."""

    tick_ms: int = 500
    init_limit: int = 4
    sync_limit: int = 2
    max_notification_interval_ms: int = 1000
    observers: int = 0
    """How many servers, the last ones, are observers."""
    duration_s: float = DURATION_S
    """The length of a schedule that is drawn."""
    groups: tuple[tuple[int, ...], ...] = ()
    """Hierarchical quorums: each group's sids, every participant in one of them; empty is majority quorums."""
    weights: dict[int, int] = {}
    """In hierarchical quorums: a server's weight, 1 where it is not named."""
    swarm: bool = True
    """Whether a seed whose schedule is drawn for the correct server may turn some of the servers into observers."""


@dataclass(frozen=True)
class SimulatedRun:
    """How a simulated run ended."""

    seed: int
    servers: int
    bug: str
    knobs: Knobs
    schedule: Schedule
    verdict: Verdict
    settings: SimulatorSettings
    """As they were: with the seed's own observers."""
    ops: list[Op] = field(repr=False)
    history: MemoryRecorder = field(repr=False)
    reached: dict[str, int]
    """Coverage marks that were reached, and how often."""
    failures: list[str]
    """Cores that raised, and disks that did not load."""
    seconds: float
    """Simulated."""
    messages: int
    """Delivered between servers."""
    steps: int
    """Of all cores."""

    @property
    def valid(self) -> Valid:
        return self.verdict.valid

    @property
    def broken(self) -> list[str]:
        """The promises that were broken."""
        return [result.name for result in self.verdict.results if result.judged and result.valid is False]


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
        from harness.simulator.keeping import write

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
    """The schedule of a seed, as `harness.runs.run` draws it, but of the seed's own kinds."""
    run = msgspec.convert(value, vocabulary.RunOp)
    bound_s = bound_ns(run) / 1e9
    return storm.draw(
        seed,
        servers - settings.observers,
        settings.duration_s,
        abilities=ABILITIES,
        kinds=knobs.kinds,
        detect_s=settings.sync_limit * settings.tick_ms / 1000 + 0.5,
        act_s=round(4 / 3 * bound_s, 3),
        spared=run.quorums().spared(),
        lasting=knobs.lasting,
    )


def run_value(seed: int, servers: int, bug: str, settings: SimulatorSettings) -> dict[str, Any]:
    """The value of the op `run`."""
    return {
        "schema": SCHEMA,
        "name": NAME,
        "seed": seed,
        "system": "onethrone",
        "simulated": True,
        "bug": bug or None,
        "ensemble": {
            f"n{sid}": {
                "sid": sid,
                "role": "observer" if sid > servers - settings.observers else "participant",
                "address": address_of(sid),
            }
            for sid in range(1, servers + 1)
        },
        "quorum": {
            "kind": "hierarchical",
            "groups": {str(number): list(group) for number, group in enumerate(settings.groups, 1)},
            "weights": {str(sid): weight for sid, weight in settings.weights.items()},
        }
        if settings.groups
        else {"kind": "majority"},
        "settings": {
            "tick_ms": settings.tick_ms,
            "init_limit": settings.init_limit,
            "sync_limit": settings.sync_limit,
            "max_notification_interval_ms": settings.max_notification_interval_ms,
        },
        "bounds": {},
        "unjudged": [],
    }


def address_of(sid: int) -> str:
    return f"10.42.{sid >> 8}.{sid & 255}"


def judge(ops: Iterable[Op], folder: Path | None = None) -> Verdict:
    """The verdict on a history in memory: that of `checker.verdict.check` on its file.

    Checking puts typed values in place of the ops' own, so it is fed copies.
    """
    ops = list(ops)
    checking = Checking()
    checking.feed([op if op.process.__class__ is int else copy.copy(op) for op in ops])
    if checking.best is not None and checking.best.lost():
        checking.best.explain(ops)
    return checking.finish(History((folder or Path("simulated")) / "history.jsonl"))


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
