"""Short histories, told in a few words: what the tests and the small histories of tests/histories are made with.

    story = Story(3)                       # three servers on n1, n2, n3: the run op, phase calm, everybody started
    story.elect("n3", epoch=1, at=0.5)     # n3 is established in epoch 1, n1 and n2 follow it
    story.create(1, at=1.0)
    story.fault("f1", "partition", cut("n3", "n1 n2"), begin=2.0, end=4.0)

Times are seconds of the run.  Ops may be told in any order: `ops` sorts them, as the controller would have learned
them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from checker.history import Op, encode
from checker.verdict import Verdict, check

SETTINGS = {"tick_ms": 100, "init_limit": 5, "sync_limit": 2, "max_notification_interval_ms": 500}
CONVERGENCE_S = 3.2  # (3 * 5 + 2) * 0.1 + 0.5 + 1
STEPPING_DOWN_S = 1.7  # (5 + 2) * 0.1 + 1


def cut(*sides: str) -> list[dict[str, Any]]:
    """The effects of a partition into sides, each a string of hosts: cut("n1", "n2 n3")."""
    parts = [side.split() for side in sides]
    drops = {a: sorted(b for other in parts if other is not part for b in other) for part in parts for a in part}
    return [{"drops": drops}]


class Story:
    def __init__(self, n: int = 3, **run: Any) -> None:
        self.hosts = [f"n{i}" for i in range(1, n + 1)]
        self.told: list[tuple[float, int, Op]] = []
        self.epochs = dict.fromkeys(self.hosts, (0, 0))
        self.zxid = dict.fromkeys(self.hosts, 0)
        value = {
            "name": "story",
            "seed": 1,
            "system": "onethrone",
            "ensemble": {h: {"sid": i, "role": "participant"} for i, h in enumerate(self.hosts, 1)},
            "quorum": {"kind": "majority"},
            "settings": SETTINGS,
            "schema": 1,
        }
        self.tell("controller", "info", "run", value | run, at=0)
        self.phase("calm", at=0)
        for host in self.hosts:
            self.started(host, at=0.1)
            self.state(host, at=0.15)

    def sid(self, host: str) -> int:
        return self.hosts.index(host) + 1

    def tell(self, process: int | str, type: Any, f: str, value: Any = None, *, at: float, **fields: Any) -> Op:
        op = Op(0, round(at * 1e9), process, type, f, value, **fields)
        self.told.append((at, len(self.told), op))
        return op

    def phase(self, phase: str, at: float) -> None:
        self.tell("controller", "info", "phase", {"phase": phase}, at=at)

    def started(self, host: str, at: float) -> None:
        self.tell(host, "info", "started", {"sid": self.sid(host), "pid": 100}, at=at)

    def stopped(self, host: str, at: float) -> None:
        self.tell(host, "info", "stopped", {"how": "signal", "code": 9}, at=at)

    def state(self, host: str, role: str = "LOOKING", phase: str = "election", *, at: float, **fields: Any) -> Op:
        accepted, current = self.epochs[host]
        value = {
            "sid": self.sid(host),
            "role": role,
            "phase": phase,
            "accepted_epoch": accepted,
            "current_epoch": current,
            "last_zxid": self.zxid[host],
        }
        return self.tell(host, "info", "state", value | fields, at=at)

    def lead(self, host: str, epoch: int, at: float, voters: str = "", **evidence: Any) -> None:
        """Elected at `at`, established 20 ms later, in broadcast 40 ms later."""
        sids = [self.sid(h) for h in (voters.split() or self.hosts)]
        acks = {str(s): [self.epochs[f"n{s}"][1], self.zxid[f"n{s}"]] for s in sids}
        own = list(acks.get(str(self.sid(host)), [self.epochs[host][1], self.zxid[host]]))
        shown = {"votes": sids, "epoch_acks": acks, "own": own, "newleader_acks": sids} | evidence
        shown = {k: v for k, v in shown.items() if v is not None}
        acknowledged = {k: v for k, v in shown.items() if k == "newleader_acks"}
        before = {k: v for k, v in shown.items() if k != "newleader_acks"}
        self.state(host, "LEADING", "discovery", at=at, leader=self.sid(host))
        self.epochs[host] = (epoch, self.epochs[host][1])
        common = {"leader": self.sid(host), "epoch": epoch, "established": True}
        self.state(host, "LEADING", "synchronization", at=at + 0.02, evidence=before, **common)
        self.epochs[host] = (epoch, epoch)
        self.state(host, "LEADING", "broadcast", at=at + 0.04, evidence=acknowledged, **common)

    def follow(self, host: str, leader: str, epoch: int, at: float) -> Op:
        self.epochs[host] = (epoch, epoch)
        return self.state(host, "FOLLOWING", "broadcast", at=at, leader=self.sid(leader), epoch=epoch)

    def elect(self, leader: str, epoch: int, at: float, voters: str = "", **evidence: Any) -> None:
        """`leader` is established by `voters` (everybody), who follow it."""
        self.lead(leader, epoch, at, voters, **evidence)
        for host in voters.split() or self.hosts:
            if host != leader:
                self.follow(host, leader, epoch, at=at + 0.05)

    def fault(self, name: str, f: str, effects: Any, begin: float, end: float | None = None, **fields: Any) -> None:
        value = {"fault": name, "hosts": [], "effects": effects, **fields}
        steps = [("start", begin)] + ([("stop", end)] if end is not None else [])
        for step, at in steps:
            self.tell("nemesis", "invoke", f, value | {"step": step}, at=at)
            self.tell("nemesis", "ok", f, value | {"step": step, "evidence": {"n1": {"rules": 2}}}, at=at + 0.02)

    def create(self, value: int, at: float, type: Any = "ok", server: str = "n1") -> None:
        self.tell(1, "invoke", "create", value, at=at, server=server)
        self.tell(1, type, "create", value, at=at + 0.01, server=server)

    def read_all(self, server: str, ranges: list[list[int]], at: float) -> None:
        self.tell(2, "invoke", "read-all", at=at, server=server)
        self.tell(2, "ok", "read-all", ranges, at=at + 0.01, server=server)

    def end(self, at: float, **fields: Any) -> None:
        streams = {host: {"sent": 10, "received": 10} for host in self.hosts}
        self.tell("controller", "info", "end", {"complete": True, "streams": streams} | fields, at=at)

    @property
    def ops(self) -> list[Op]:
        ops = [op for _, _, op in sorted(self.told, key=lambda told: told[:2])]
        for index, op in enumerate(ops):
            op.index = index
        return ops

    def write(self, path: Path) -> Path:
        path.write_bytes(b"".join(encode(op) for op in self.ops))
        return path

    def check(self, folder: Path) -> Verdict:
        return check(self.write(folder / "history.jsonl"))

    def drop(self, f: str, at: float, process: int | str | None = None) -> None:
        """Takes back what was told of `f` at that time."""
        kept = [t for t in self.told if not (t[2].f == f and t[0] == at and process in (None, t[2].process))]
        assert len(kept) < len(self.told)
        self.told = kept


def good() -> Story:
    """A run of nine seconds in which everything went as it should: the others are this one, spoilt in one place.

    n3 leads epoch 1, is cut off and steps down; n2 leads epoch 2; n1 is killed, stays down in act one, and is healed.
    """
    story = Story(3)
    story.elect("n3", epoch=1, at=0.5)
    for value in (1, 2, 3):
        story.create(value, at=1 + value / 10)
    story.phase("storm", at=1.5)
    story.fault("f1", "partition", cut("n3", "n1 n2"), begin=2.0, end=4.0, hosts=["n3"])
    story.state("n3", at=2.3, reason="not sufficient followers synced")
    story.state("n1", at=2.3)
    story.state("n2", at=2.3)
    story.create(4, at=2.4, type="info")
    story.elect("n2", epoch=2, at=2.6, voters="n1 n2")
    story.create(5, at=3.0)
    story.follow("n3", "n2", 2, at=4.3)
    story.phase("majority", at=5.0)
    story.fault("f2", "kill", [{"down": ["n1"]}], begin=5.1, end=7.1, hosts=["n1"])
    story.stopped("n1", at=5.11)
    story.phase("everyone", at=7.0)
    story.started("n1", at=7.11)
    story.state("n1", at=7.12)
    story.follow("n1", "n2", 2, at=7.5)
    story.phase("end", at=8.0)
    for host in story.hosts:
        story.read_all(host, [[1, 5]], at=8.1)
    story.end(at=9.0)
    return story
