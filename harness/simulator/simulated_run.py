"""What a simulated run is made of beside its seed, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from checker.history import Op
from checker.promises.base import Valid
from checker.verdict import Verdict
from harness.simulator.knobs import Knobs
from harness.simulator.recorder import MemoryRecorder
from harness.systems.zookeeper.settings import ZooKeeperSettings
from nemesis.schedule import Schedule

DURATION_S = 60.0
NAME = "simulated"
"""The name of every simulated run, and so of the folder that it is kept in."""


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

    def of_servers(self) -> ZooKeeperSettings:
        """Those that a server on a host would be configured with."""
        return ZooKeeperSettings(self.tick_ms, self.init_limit, self.sync_limit, self.max_notification_interval_ms)


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
        return self.verdict.broken
