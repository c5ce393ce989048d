"""The simulated world: time, hosts, and on each host a server's process with its clock, timers and disk.

The model.  The queue holds what happens next, as (time, sequence, function, arguments); things of one instant happen in
the order in which they were asked for.  A `Process` is one life of a server; it is told events, steps the core, and
its effects are performed one by one, in their order (`node.protocol.events`, rules of every world).  The rules:

1.  A server that stands still (it is paused, or waits for its disk) executes nothing; what it is told waits, in order.
2.  A sync takes time.  A server that dies in it finds the old or the new content, never a half: the log's torn record
    and the file that was not yet renamed are cut off at the start (`node.agent.storage`, crash rules).
3.  A server may be doomed: it dies between two effects, after so many, or just before or after the next one that goes
    to its disk.
4.  A core that raises ends its server, and so does a disk that does not load (fail-stop), as in the agent.
5.  Timers are asked for by a server's own clock and fire when that clock says so.
6.  A step takes no time.  Servers that multiply their messages without end are stopped by `Overrun`.
"""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

from harness.simulator.clock import MS, SECOND, SimulatedClock
from harness.simulator.ground import ClientRead, Ground, SimulatedHost, SimulatedProcess
from harness.simulator.knobs import Knobs, pace
from harness.simulator.network import Network
from node.agent.agent import code_version
from node.agent.journal import Journal
from node.agent.storage import Disk, StorageError
from node.config import Config
from node.protocol.events import (
    ClientRequest,
    Dial,
    Effect,
    Event,
    HangUp,
    Log,
    Lost,
    Reached,
    Received,
    Reply,
    Report,
    Send,
    SetTimer,
    TimerDue,
)
from node.protocol.server import Server

LONGEST_DOOM = 400 * MS
"""A server that is to die between two effects dies after this in any case."""

STEPS_MAX = 10_000
"""The most steps of a server in a second, on average over the ensemble.  Usual are 17, and 300 in an election of 51."""


class Overrun(Exception):
    """The servers do more and more in less and less time: the run would never end."""


class World(Ground):
    """An ensemble on its hosts.  `report(host, f, value)` is told what servers and injectors report."""

    def __init__(
        self,
        seed: int,
        configs: dict[str, Config],
        addresses: dict[str, str],
        knobs: Knobs,
        server_class: type[Server],
        report: Callable[[str, str, Any], None],
    ) -> None:
        self.knobs = knobs
        self.server_class = server_class
        self.report = report
        self.reply: Callable[[SimulatedProcess, Reply], None] = lambda process, reply: None
        self.stopped_serving: Callable[[SimulatedProcess], None] = lambda process: None
        self.failures: list[str] = []
        """Cores that raised, and disks that did not load."""
        self.steps = 0
        self.second = self.steps_before_it = 0
        """The present second, and the steps that there were when it began."""
        self.stormy = True
        """Whether disks may hang."""
        self.random = random.Random(f"world {seed}")
        self.bug = ""
        self.code_version = ""
        rng = random.Random(f"clocks {seed}")
        hosts: dict[str, SimulatedHost] = {}
        for name, config in configs.items():
            drift = rng.randint(-knobs.drift_ppm, knobs.drift_ppm)
            base = rng.randint(1, 1000) * SECOND  # a host has been up for a while
            hosts[name] = SimulatedHost(name, config, addresses[name], SimulatedClock(base, drift))
        settings = next(iter(configs.values()))
        super().__init__(hosts, pace(settings.tick_ms))
        patience = settings.tick_ms * settings.sync_limit * MS
        self.network = Network(self, knobs, seed, patience, max(SECOND, settings.tick_ms * MS))
        self._disk = random.Random(f"disks {seed}")

    # ---- time ------------------------------------------------------------------------------------------------------

    def run(self, until: int) -> None:
        """Let happen what happens up to this time."""
        queue = self.queue
        while queue and queue[0][0] <= until:
            self.now, _, do, arguments = heappop(queue)
            do(*arguments)
        self.now = until

    def run_while(self, condition: Callable[[], bool], until: int) -> None:
        """... but no longer than the condition holds."""
        queue = self.queue
        while condition() and queue and queue[0][0] <= until:
            self.now, _, do, arguments = heappop(queue)
            do(*arguments)

    # ---- the lives of a server -------------------------------------------------------------------------------------

    def start(self, host: SimulatedHost) -> None:
        """Its process begins; if it is paused, when it no longer is."""
        if host.process is not None:
            return
        host.starting = bool(host.paused)
        if host.starting:
            return
        host.lives += 1
        if not host.bends:
            host.clock.restart(self.now, host.clock_base)
        try:
            durable = host.disk.load()
        except StorageError as error:
            self.failures.append(f"{host.name}: {error}")
            self.tell_of(host, "stopped", {"how": "exit", "code": 254, "reason": str(error)})
            return
        if durable.current_epoch != host.disk.epochs["currentEpoch"]:
            self.reached("epoch-behind-its-log-repaired")
        host.disk = Disk(durable)
        process = host.process = SimulatedProcess(host, self.server_class(host.config, durable))
        process.last = now = host.clock.read(self.now)
        self.tell_of(host, "started", {"pid": 100 + host.lives, "sid": host.config.sid, "bug": self.bug})
        try:
            effects = process.server.start(now)
        except Exception as error:  # noqa: BLE001 - whatever it is, this server must not go on (fail-stop)
            self.fail(process, error)
            return
        if host.journal is not None:
            host.journal.start(now, effects, config=host.config, durable=durable, bug=self.bug, code=self.code_version)
        self.perform(process, effects)

    def tell_of(self, host: SimulatedHost, f: str, value: Any) -> None:
        host.events += 1
        self.report(host.name, f, value)

    def die(self, process: SimulatedProcess, value: dict[str, Any]) -> None:
        """The process is gone, with all that it had not handed over."""
        if not process.alive:
            return
        host = process.host
        process.alive = False
        host.process = None
        if process.busy is not None:
            if self.random.random() < 0.5:
                host.disk.perform(process.busy[0])  # it was on the disk already, and nobody knows
                self.reached("write-kept-in-a-crash")
            else:
                self.reached("write-lost-in-a-crash")
        self.stopped_serving(process)
        self.network.abandon(process, self.random)
        self.tell_of(host, "stopped", {**value, "pid": 100 + host.lives})
        for told in process.on_death:
            told()

    def kill(self, process: SimulatedProcess) -> None:
        self.die(process, {"how": "signal", "code": 9})

    def stop(self, process: SimulatedProcess) -> None:
        """SIGTERM: no further effect is performed."""
        self.die(process, {"how": "exit", "code": 0, "reason": "signal 15"})

    def fail(self, process: SimulatedProcess, error: Exception) -> None:
        self.failures.append(f"{process.host.name}: the core failed: {traceback.format_exc()}")
        at = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(at.filename).name}:{at.lineno} ({at.name})"  # the same in any folder
        reason = f"the core failed: {type(error).__name__}: {error}, at {where}"
        self.die(process, {"how": "exit", "code": 1, "reason": reason})

    def doom_to_die(self, process: SimulatedProcess) -> None:
        """It dies at an instant of its own: between two effects, or around one on its disk."""
        if self.random.random() < 0.5:
            process.doom = self.random.randrange(12)
        else:
            process.doomed_by_disk = self.random.choice(("before", "after"))
            process.doom = 1 << 30
        self.at(self.now + self.random.randrange(1, LONGEST_DOOM), self.kill, process)

    def pause(self, host: SimulatedHost) -> None:
        if host.process is not None:
            host.process.held = True

    def resume(self, host: SimulatedHost) -> None:
        if host.paused:
            return
        if host.starting:
            self.start(host)
        elif host.process is not None and host.process.busy is None:
            self.go_on(host.process)

    def go_on(self, process: SimulatedProcess) -> None:
        process.held = False
        rest, process.rest = process.rest, []
        self.perform(process, rest)
        self.catch_up(process)

    # ---- events ----------------------------------------------------------------------------------------------------

    def tell(self, process: SimulatedProcess, event: Event | ClientRead) -> None:
        if process.held:
            process.backlog.append(event)
        elif process.alive:
            self.step(process, event)

    def step(self, process: SimulatedProcess, event: Any) -> None:
        kind = event.__class__
        if kind is Received:
            if event.conn not in process.conns:
                return
        elif kind is ClientRead:
            event.answer(process)
            return
        elif kind is Lost:
            if process.conns.pop(event.conn, None) is None:
                return
        elif kind is not TimerDue and kind is not ClientRequest and event.conn not in process.conns:
            return
        host = process.host
        now = host.clock.read(self.now)
        now = max(now, process.last)
        process.last = now
        self.steps += 1
        if self.now // SECOND != self.second:
            self.second, self.steps_before_it = self.now // SECOND, self.steps
        elif self.steps - self.steps_before_it > STEPS_MAX * len(self.hosts):
            raise Overrun(f"servers took more than {STEPS_MAX} steps each in one second")
        try:
            effects = process.server.step(now, event)
        except Exception as error:  # noqa: BLE001 - as in the agent
            self.fail(process, error)
            return
        if host.journal is not None:
            host.journal.step(now, event, effects)
        if effects:
            self.perform(process, effects)

    def catch_up(self, process: SimulatedProcess) -> None:
        """What waited while it stood still, in the order in which it came."""
        backlog = process.backlog
        while backlog and process.alive and not process.held:
            event = backlog.popleft()
            if event.__class__ is str:
                self.timer(process, event)
            else:
                self.step(process, event)

    # ---- effects ---------------------------------------------------------------------------------------------------

    def perform(self, process: SimulatedProcess, effects: list[Effect]) -> None:  # noqa: PLR0912 - a branch for each effect
        network, conns = self.network, process.conns
        doomed = process.doom >= 0
        for index, effect in enumerate(effects):
            if doomed:
                if process.doom == 0:
                    self.reached("died-between-two-effects")
                    self.kill(process)
                    return
                process.doom -= 1
            kind = effect.__class__
            if kind is Send:
                pipe = conns.get(effect.conn)  # type: ignore[union-attr]
                if pipe is not None and pipe.link.opened[pipe.end]:
                    network.send(pipe, effect.message)  # type: ignore[union-attr]
            elif kind is SetTimer:
                self.set_timer(process, effect.name, effect.due)  # type: ignore[union-attr]
            elif kind is HangUp:
                pipe = conns.pop(effect.conn, None)  # type: ignore[union-attr]
                if pipe is not None and pipe.link.opened[pipe.end]:
                    network.hang_up(pipe)
            elif kind is Reached:
                self.reached(effect.mark)  # type: ignore[union-attr]
            elif isinstance(effect, Reply):
                self.reply(process, effect)
            elif isinstance(effect, Report):
                self.tell_of(process.host, "state", effect.value)
                if not process.server.serving:
                    self.stopped_serving(process)
            elif isinstance(effect, Dial):
                network.dial(process, effect)
            elif isinstance(effect, Log):
                if process.host.log is not None:
                    self.write_log(process.host, effect)
            else:
                if process.doomed_by_disk == "before":
                    self.reached("write-lost-in-a-crash")
                    self.kill(process)
                    return
                took = self.sync_time()
                if took:
                    process.busy = [effect, effects[index + 1 :]]
                    process.held = True
                    self.at(self.now + took, self.synced, process)
                    return
                process.host.disk.perform(effect)  # type: ignore[arg-type]
                if process.doomed_by_disk:
                    self.reached("write-kept-in-a-crash")
                    self.kill(process)
                    return

    def sync_time(self) -> int:
        if self.knobs.slow_syncs and self.stormy and self._disk.random() < self.knobs.slow_syncs:
            return round(self._disk.uniform(50, 400) * MS * self.pace)
        if self.knobs.sync:
            return round(self.knobs.sync * self._disk.uniform(0.3, 3))
        return 0

    def synced(self, process: SimulatedProcess) -> None:
        if not process.alive or process.busy is None:
            return
        effect, rest = process.busy
        process.host.disk.perform(effect)
        process.busy = None
        if process.doomed_by_disk:
            self.reached("write-kept-in-a-crash")
            self.kill(process)
            return
        process.rest = rest
        if not process.host.paused:
            self.go_on(process)

    def write_log(self, host: SimulatedHost, effect: Log) -> None:
        host.log.write(f"{self.now / SECOND:12.6f} {effect.level:5s} {effect.text}\n")

    # ---- timers ----------------------------------------------------------------------------------------------------

    def set_timer(self, process: SimulatedProcess, name: str, due: int | None) -> None:
        if due is None:
            process.timers.pop(name, None)
            return
        process.timers[name] = due
        self.wake(process, name, due)

    def wake(self, process: SimulatedProcess, name: str, due: int) -> None:
        """Look at the timer when it is due, unless it is looked at before that anyway."""
        when = process.host.clock.when(due)
        if when is None:
            return
        when = max(when, self.now)
        planned = process.wakes.get(name)
        if planned is None or planned > when:
            process.wakes[name] = when
            self.sequence += 1
            heappush(self.queue, (when, self.sequence, self.woken, (process, name, when)))

    def woken(self, process: SimulatedProcess, name: str, when: int) -> None:
        if not process.alive or process.wakes.get(name) != when:
            return
        del process.wakes[name]
        if name not in process.timers:
            return
        if process.held:
            process.backlog.append(name)
        else:
            self.timer(process, name)

    def timer(self, process: SimulatedProcess, name: str) -> None:
        due = process.timers.get(name)
        if due is None:
            return
        if max(process.host.clock.read(self.now), process.last) < due:
            self.wake(process, name, due)
            return
        del process.timers[name]
        self.step(process, TimerDue(name))

    def clock_changed(self, host: SimulatedHost) -> None:
        if host.process is not None:
            host.process.wakes.clear()
            for name, due in list(host.process.timers.items()):
                self.wake(host.process, name, due)

    # ---- a run's folder --------------------------------------------------------------------------------------------

    def keep(self, folder: Path) -> None:
        """Write every server's journal and log there."""
        self.code_version = code_version()
        for host in self.hosts.values():
            (folder / host.name).mkdir(exist_ok=True)
            host.journal = Journal(str(folder / host.name / "journal.jsonl"))
            host.log = (folder / host.name / "server.log").open("w", encoding="utf-8")

    def close(self) -> None:
        for host in self.hosts.values():
            if host.journal is not None:
                host.journal.close()
                host.log.close()
                host.journal = host.log = None
