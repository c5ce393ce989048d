"""A simulated ensemble without a run around it: tests move its time on, break things by hand, and look."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.runs.observer import Observer
from harness.simulator.clock import SECOND
from harness.simulator.ground import Pipe, SimulatedHost, SimulatedLink, SimulatedProcess
from harness.simulator.knobs import Knobs
from harness.simulator.nemesis import SimulatedNemesis
from harness.simulator.recorder import MemoryRecorder
from harness.simulator.world import World
from nemesis.faults import Fault
from nemesis.schedule import Schedule
from node.config import Config, Member
from node.protocol.events import Event
from node.protocol.server import Server


class Ensemble:
    """`servers` of them, started and idle; `delivered` and `stepped` are what has happened, in order."""

    def __init__(self, servers: int = 3, knobs: Knobs = Knobs(), seed: int = 1) -> None:  # noqa: B008 - it is frozen
        members = tuple(Member(sid, f"10.0.0.{sid}", 2888, 3888) for sid in range(1, servers + 1))
        configs = {f"n{m.sid}": Config(m.sid, members, tick_ms=500, init_limit=4, sync_limit=2) for m in members}
        self.stepped: list[tuple[int, str, Event]] = []
        self.delivered: list[tuple[int, str, str, Any]] = []
        """When, from whom, to whom, what."""
        self.reports: list[tuple[int, str, str, Any]] = []
        told = self

        class Watched(Server):
            def step(self, now: int, event: Event) -> Any:
                told.stepped.append((told.world.now, f"n{self.sid}", event))
                return super().step(now, event)

        addresses = {name: config.members[config.sid - 1].host for name, config in configs.items()}
        self.world = World(seed, configs, addresses, knobs, Watched, self._report)
        self.record = MemoryRecorder(lambda: self.world.now)
        roles = {name: {"sid": config.sid} for name, config in configs.items()}
        self.observer = Observer(self.record, roles, [], _Quiet())  # type: ignore[arg-type]
        self.knobs = knobs
        hand_over = self.world.network.hand_over

        def watched(pipe: Pipe, message: Any) -> None:
            ends = [process.host.name if process else "?" for process in pipe.link.procs]
            self.delivered.append((self.world.now, ends[pipe.end], ends[1 - pipe.end], message))
            hand_over(pipe, message)

        self.world.network.hand_over = watched  # type: ignore[method-assign]
        for host in self.world.hosts.values():
            self.world.start(host)

    def _report(self, host: str, f: str, value: Any) -> None:
        now = self.world.now
        self.reports.append((now, host, f, value))
        self.observer.report(host, f, value, controller_ns=now, host_time=now, error_ns=0)

    def host(self, name: str) -> SimulatedHost:
        return self.world.hosts[name]

    def process(self, name: str) -> SimulatedProcess:
        """The present life of its server."""
        process = self.world.hosts[name].process
        assert process is not None
        return process

    def connection(self, a: str, b: str, port: str = "quorum") -> tuple[SimulatedLink, Pipe]:
        """The open connection between two hosts, and its direction from `a` to `b`."""
        for process in (self.process(a), self.process(b)):
            for link, end in process.links.items():
                other = link.procs[1 - end]
                if link.port == port and link.up and not link.dead and other is not None:
                    names = (process.host.name, other.host.name)
                    if names in ((a, b), (b, a)):
                        return link, link.pipes[end if names == (a, b) else 1 - end]
        raise AssertionError(f"no connection between {a} and {b}")

    def run(self, seconds: float) -> None:
        self.world.run(self.world.now + round(seconds * SECOND))

    def until(self, condition: Callable[[], bool], seconds: float = 60) -> None:
        """Let it go on until the condition holds, which it does within so many seconds."""
        self.world.run_while(lambda: not condition(), self.world.now + round(seconds * SECOND))
        assert condition()

    def settle(self) -> str:
        """Wait until everybody follows one leader; its name."""
        names = list(self.world.hosts)
        self.until(lambda: self.observer.converged(names))
        leader = self.observer.view().leader
        assert leader is not None
        return leader

    def carry_out(self, *faults: Fault, majority_at_s: float = 20.0, seed: int = 1) -> None:
        """Begin a schedule of these faults: its time 0 is now."""
        schedule = Schedule(
            seed, len(self.world.hosts), majority_at_s + 10, 0.5, majority_at_s, majority_at_s + 5, faults
        )
        SimulatedNemesis(self.world, schedule, self.knobs, self.record, self.observer, lambda phase: None).begin()

    def is_in_force(self, fault: str) -> bool:
        return self._said(fault, "start", "ok") and not self._said(fault, "stop", "invoke")

    def is_over(self, fault: str) -> bool:
        return self._said(fault, "stop", "ok")

    def _said(self, fault: str, step: str, kind: str) -> bool:
        return any(
            op.process == "nemesis" and op.type == kind and op.value["fault"] == fault and op.value["step"] == step
            for op in self.record.ops
        )

    def deliveries(self, since: int, a: str, b: str) -> list[Any]:
        return [message for at, sender, to, message in self.delivered if at > since and (sender, to) == (a, b)]

    def steps(self, since: int, name: str) -> list[Event]:
        return [event for at, host, event in self.stepped if at > since and host == name]


class _Quiet:
    def say(self, text: str) -> None:
        pass
