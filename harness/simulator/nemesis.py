"""Drives the conductor (`nemesis.conductor`) in a simulated world: by the world's queue, in virtual time.

Each host carries out its part of a fault a little after it was told (`Knobs.fault_latency`), at its own instant, and
answers when that is done.  What a kind of fault does to the world is in `harness.simulator.carriers`.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from harness import UsageError
from harness.runs.observer import Observer
from harness.simulator.carriers import CARRIERS, Evidence, Stage
from harness.simulator.clock import SECOND
from harness.simulator.ground import SimulatedHost
from harness.simulator.knobs import Knobs
from harness.simulator.recorder import MemoryRecorder
from harness.simulator.world import World
from nemesis.conductor import START, Conductor, Dispatch, Due, HostAnswer, Note, ToDo
from nemesis.schedule import Schedule


class SimulatedNemesis:
    """Carries one schedule out; `begin` puts its timeline into the world's queue, `phase` is called at each phase."""

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
        self._knobs = knobs
        self._record = record
        self._observer = observer
        self._on_phase = phase
        self._random = random.Random(f"nemesis {schedule.seed}")
        self._conductor = Conductor(schedule)
        for fault in schedule.faults:
            if fault.kind not in CARRIERS:
                raise UsageError(
                    f"{fault.id}: {fault.kind} cannot be simulated",
                    remedy="Take it out of the schedule, or run on hosts.",
                )
        stage = Stage(world, knobs, self._random)
        self._carriers = {kind: carrier(stage) for kind, carrier in CARRIERS.items()}

    def begin(self) -> None:
        """The schedule's time 0 is now."""
        for due in self._conductor.timeline():
            self._world.at(self._world.now + round(due.at_s * SECOND), self._due, due)

    def _due(self, due: Due) -> None:
        self._carry_out(self._conductor.due(due, self._observer.view(self._conductor.broken)))
        if due.phase:
            self._on_phase(due.phase)

    def _carry_out(self, todo: ToDo) -> None:
        for what in todo:
            if isinstance(what, Note):
                self._record.note(what.process, what.type, what.f, what.value, error=what.error)
            elif isinstance(what, Dispatch):
                self._send(what)
            else:
                raise AssertionError("a simulated host never fails to stop a fault")

    def _send(self, send: Dispatch) -> None:
        """To each of its hosts, each at its own instant; the conductor hears when the last one is done."""
        resolved, world, asked = send.resolved, self._world, self._world.now
        carrier = self._carriers[resolved.fault.kind]
        answers: dict[str, HostAnswer] = {}

        def one_done(name: str, began: int, seen: Evidence) -> None:
            answers[name] = HostAnswer(True, seen, began=began)
            if len(answers) == len(resolved.hosts):
                in_order = {host: answers[host] for host in resolved.hosts}
                self._carry_out(self._conductor.answered(resolved.fault.id, in_order, (world.now - asked) / 1e6))

        def begin(host: SimulatedHost) -> None:
            began = world.now
            do = carrier.begin if send.step == START else carrier.end
            do(resolved, host, lambda seen: one_done(host.name, began, seen))

        for name in resolved.hosts:
            latency = round(self._random.random() * self._knobs.fault_latency)
            world.at(world.now + latency, begin, world.hosts[name])
