"""The ensemble of a random run, and how it is told: in time or late, by clocks that may be wrong."""

from __future__ import annotations

import random
from typing import Any

from tests.checker.mischief import chances

Value = dict[str, Any]
SECOND = 10**9


class RandomReports:
    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.chance = chances(rng)
        voters = rng.choice((3, 3, 3, 4, 5))
        observers = rng.choice((0, 0, 0, 1))
        self.hosts = [f"n{i}" for i in range(1, voters + observers + 1)]
        self.voters = self.hosts[:voters]
        self.observers = self.hosts[voters:]
        self.offset = {host: rng.randrange(SECOND, 1000 * SECOND) for host in self.hosts}
        self.error = {host: self.clock_error() for host in self.hosts}
        self.accepted = dict.fromkeys(self.hosts, 0)
        self.current = dict.fromkeys(self.hosts, 0)
        self.zxid = dict.fromkeys(self.hosts, 0)
        self.round = 1
        self.epoch = 0
        self.leader: str | None = None
        self.last_leader = ""
        self.tells_epochs = rng.random() < 0.97
        self.faults: dict[str, tuple[str, Value]] = {}  # those in force: name -> kind and value of the start
        self.cut_off: dict[str, set[str]] = {host: set() for host in self.hosts}
        self.down: set[str] = set()
        self.created = 0
        self.committed: list[int] = []
        self.failed: list[int] = []
        self.told: list[tuple[int, int, Value]] = []  # when it arrives, a tie-breaker, the op
        self.sent = dict.fromkeys(self.hosts, 0)
        self.now = 0

    def goes_wrong(self, what: str) -> bool:
        return self.rng.random() < self.chance[what]

    def clock_error(self) -> int:
        if not self.goes_wrong("time-error"):
            return self.rng.choice((0, 0, 200_000))
        return self.rng.choice((10**6, 10**8, 5 * 10**8, 2 * SECOND, 10 * SECOND))

    def wait(self, most_s: float) -> None:
        self.now += self.rng.randrange(1, round(most_s * SECOND))

    # Writing

    def tell(self, process: str | int, type: str, f: str, value: Any = None, **more: Any) -> None:
        op = {"time": self.now, "process": process, "type": type, "f": f, "value": value, **more}
        self.told.append((self.now, len(self.told), op))

    def report(self, host: str, f: str, value: Value, ago: int = 0) -> None:
        error = self.error[host]
        wrong = self.rng.randrange(-error, error + 1)
        host_time = self.now + self.offset[host] - ago
        arrives = self.now + self.rng.randrange(1, 2 * 10**6)
        if self.goes_wrong("late-report"):
            arrives += self.rng.randrange(5 * SECOND)
        if self.goes_wrong("very-late-report"):
            arrives += self.rng.randrange(200 * SECOND)
        if not self.goes_wrong("host-order"):
            before = [at for at, _, op in self.told if op["process"] == host]
            arrives = max([arrives, *before])
        op = {"time": max(0, self.now + wrong), "process": host, "type": "info", "f": f, "value": value}
        op |= {"host_time": host_time, "time_error": error}
        self.sent[host] += 1
        self.told.append((arrives, len(self.told), op))

    def state(self, host: str, role: str, phase: str, **more: Any) -> None:
        value: Value = {
            "sid": self.sid(host),
            "role": role,
            "phase": phase,
            "round": self.round,
            "accepted_epoch": self.accepted[host],
            "current_epoch": self.current[host],
            "last_zxid": self.zxid[host],
            **more,
        }
        if not self.tells_epochs:
            del value["accepted_epoch"], value["current_epoch"]
        elif self.goes_wrong("old-epoch"):
            field = self.rng.choice(("accepted_epoch", "current_epoch"))
            value[field] = max(0, value[field] + self.rng.choice((-1, 1)))
        for field in ("phase", "round", "leader", "epoch", "accepted_epoch", "current_epoch"):
            # An established leader must say its epoch.
            if field in value and not (field == "epoch" and "established" in value) and self.goes_wrong("silent-field"):
                del value[field]
        self.report(host, "state", value)

    def sid(self, host: str) -> int:
        return self.hosts.index(host) + 1

    def sids(self, hosts: list[str]) -> list[int]:
        return [self.sid(host) for host in hosts]
