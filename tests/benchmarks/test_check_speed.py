"""How fast a history is checked, against decoding it alone, and in how much memory.

The history is of one long run of five servers: of forty ops one is a server's or the nemesis's (a leader is cut off and
steps down, the next one is elected, over and over), and the rest are clients'.  Judged as a ratio of processor times,
since machines differ; the figures are printed.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from checker.history import Op, encode, read
from checker.verdict import check
from tests.checker.story import SETTINGS, cut

OPS = 1_000_000
ROUND_NS = 2_000_000_000
CLIENT_OPS_PER_ROUND = 600  # 150 creates a second, beside 15 other ops a round

RATIO_MAX = 5.5
"""Checking may take this many times what decoding alone takes (measured: 3.9, at 2.8 and 0.72 million ops/s)."""

MEMORY_MB_MAX = 250

HOSTS = ["n1", "n2", "n3", "n4", "n5"]


class Run:
    def __init__(self, path: Path) -> None:
        self.file = path.open("wb")
        self.index = 0
        self.value = 0

    def tell(self, time: int, process: int | str, type: Any, f: str, value: Any = None, **fields: Any) -> None:
        self.file.write(encode(Op(self.index, time, process, type, f, value, **fields)))
        self.index += 1

    def state(self, time: int, host: str, role: str, phase: str, accepted: int, **more: Any) -> None:
        value = {
            "sid": int(host[1]), "role": role, "phase": phase, "round": accepted,
            "accepted_epoch": accepted, "current_epoch": accepted, "last_zxid": accepted << 32,
            "vote": {"leader": 1, "zxid": 0, "round": 1, "epoch": accepted},
        }  # fmt: skip
        self.tell(time, host, "info", "state", value | more, host_time=time + 10**15, time_error=80_000)

    def clients(self, time: int, ops: int) -> None:
        for i in range(ops // 2):
            at = time + i * ROUND_NS // (2 * ops)
            self.value += 1
            self.tell(at, i % 8, "invoke", "create", self.value, server=HOSTS[i % 5])
            self.tell(at + 2_000_000, i % 8, "ok", "create", self.value, server=HOSTS[i % 5])

    def round(self, start: int, epoch: int) -> None:
        """A leader is elected and followed; the last one is cut off; it steps down, and so do its followers."""
        leader, last = HOSTS[epoch % 5], HOSTS[(epoch - 1) % 5]
        sids = [1, 2, 3, 4, 5]
        evidence = {"votes": sids, "epoch_acks": {str(s): [epoch - 1, 0] for s in sids}, "own": [epoch - 1, 0]}
        common = {"leader": int(leader[1]), "epoch": epoch, "established": True}
        for host in HOSTS:
            self.state(start, host, "LOOKING", "election", epoch - 1)
        self.state(start + 10**8, leader, "LEADING", "synchronization", epoch, evidence=evidence, **common)
        self.state(
            start + 2 * 10**8, leader, "LEADING", "broadcast", epoch, evidence={"newleader_acks": sids}, **common
        )
        for host in HOSTS:
            if host != leader:
                self.state(
                    start + 3 * 10**8, host, "FOLLOWING", "broadcast", epoch, leader=common["leader"], epoch=epoch
                )
        self.clients(start + 4 * 10**8, CLIENT_OPS_PER_ROUND)
        fault = {"fault": f"f{epoch}", "hosts": [last], "effects": cut(last, " ".join(h for h in HOSTS if h != last))}
        for step, at in (("start", start + 10**9), ("stop", start + 15 * 10**8)):
            self.tell(at, "nemesis", "invoke", "partition", fault | {"step": step})
            self.tell(
                at + 10**7, "nemesis", "ok", "partition", fault | {"step": step, "evidence": {last: {"rules": 4}}}
            )


def write(path: Path) -> Path:
    run = Run(path)
    value = {"name": "speed", "ensemble": {h: {"sid": int(h[1])} for h in HOSTS}, "settings": SETTINGS}
    run.tell(0, "controller", "info", "run", value)
    for host in HOSTS:
        run.tell(0, host, "info", "started", {"sid": int(host[1])})
    epoch = 0
    while run.index < OPS:
        epoch += 1
        run.round(epoch * ROUND_NS, epoch)
    end = (epoch + 1) * ROUND_NS
    for phase in ("core", "all", "end"):
        run.tell(end, "controller", "info", "phase", {"phase": phase})
    for host in HOSTS:
        run.tell(end, 1, "invoke", "read-all", server=host)
        run.tell(end, 1, "ok", "read-all", [[1, run.value]], server=host)
    run.tell(end, "controller", "info", "end", {"streams": {h: {"sent": 1, "received": 1} for h in HOSTS}})
    run.file.close()
    return path


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("speed") / "history.jsonl")


def best_of(times: int, work: Any) -> float:
    seconds = []
    for _ in range(times):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return min(seconds)


@pytest.mark.benchmark
def test_checking_costs_little_more_than_decoding(history: Path) -> None:
    decoding = best_of(3, lambda: sum(len(ops) for ops in read(history).chunks()))
    checking = best_of(3, lambda: check(history))
    print(
        f"\ndecoding {OPS / decoding:,.0f} ops/s, checking {OPS / checking:,.0f} ops/s, ratio {checking / decoding:.2f}"
    )
    assert check(history).valid is True
    assert checking / decoding <= RATIO_MAX


@pytest.mark.benchmark
def test_checking_needs_little_memory(history: Path) -> None:
    program = (
        "import resource, sys; from checker.verdict import check\n"
        "check(sys.argv[1]); print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(history)], capture_output=True, check=True, timeout=300)
    print(f"\nchecking {OPS:,} ops took {int(done.stdout)} MB")
    assert int(done.stdout) <= MEMORY_MB_MAX
