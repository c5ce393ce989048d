"""The history of a night under load, as long as one likes: what checking is measured with.

Ten minutes of a run of five servers are simulated, with every kind of fault and as many requests a second as
`onethrone run` makes.  A night is these ten minutes over and over, each told as what happened after the last: later
ops, higher epochs, new faults, new values.  A *load* of 20 is what 20 times as many clients would have been told: each
client's op is there 20 times, by other clients and of other values.  So what a night's ops are, and in which numbers,
is what a run wrote, but for the load.

    write(path, 10_000_000, load=20)      # some 8 hours, 200 requests a second; of 37 ops one is no client's

Measured beside it, an hour on five lab hosts: a second had 5.1 states (here 5.2), 1.1 faults begun or ended (1.1), 0.8
toggles (0.8), and 0.6 servers started or stopped (0.4).  At the rate of requests that a run has by default 10 million
ops take 4 days, and every third op is no client's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from checker.history import Op, encode
from harness.simulator.clock import SECOND
from harness.simulator.knobs import Knobs
from harness.simulator.run import simulate
from harness.simulator.simulated_run import SimulatedRun, SimulatorSettings

STRETCH_S = 600
REQUESTS_PER_S = 10.0

Mix = Counter[tuple[str, str, str]]
"""Who, type and f of ops -> how many there were."""


def write(path: Path, ops: int, load: int) -> Mix:
    """Writes a history of at least so many ops; what they are is returned."""
    run = simulate(
        1, knobs=Knobs(client_rate=REQUESTS_PER_S), settings=SimulatorSettings(duration_s=STRETCH_S, observers=0)
    )
    assert run.valid is True, run.verdict.summary
    mix: Mix = Counter()
    index = 0
    with path.open("wb") as file:
        for op in _ops(run, ops, load):
            op.index = index
            file.write(encode(op))
            who = "client" if isinstance(op.process, int) else "nemesis" if op.process == "nemesis" else "host"
            mix[who, op.type, op.f if who != "nemesis" else "fault"] += 1
            index += 1
    return mix


def _ops(run: SimulatedRun, ops: int, load: int) -> Iterator[Op]:
    """The stretches, one after another; how a run begins is told in the first one only, and how it ends in the last."""
    begin, *middle = run.ops
    last_act = next(n for n, op in enumerate(middle) if op.f == "phase" and op.value["phase"] == "end")
    clients_ops = sum(isinstance(op.process, int) for op in middle)
    stretches = -(-ops // (len(middle) + (load - 1) * clients_ops))
    yield begin
    for number in range(stretches):
        later = _Later(run, number, load)
        last = number == stretches - 1
        for n, op in enumerate(middle):
            if isinstance(op.process, int):
                if n < last_act:
                    yield from later.requests(op)
                elif last:
                    yield later.final_read(op)
            elif last or (n < last_act and op.process != "controller"):
                yield later.report(op)


class _Later:
    """The ops of the stretch `number`, which is told after that many others."""

    def __init__(self, run: SimulatedRun, number: int, load: int) -> None:
        self.number = number
        self.load = load
        self.ns = number * (round(run.seconds) + 1) * SECOND
        self.epochs = number * (1 + max(op.value["accepted_epoch"] or 0 for op in run.ops if op.f == "state"))
        self.tried: int = 1 + max(op.value for op in run.ops if op.f == "create")
        """How many values a stretch has, without the load."""

    def requests(self, op: Op) -> Iterator[Op]:
        for copy in range(self.load):
            value: Any = self._value(op.value, copy) if op.f == "create" else None
            if op.f == "read":
                value = [None if one is None else self._value(one, copy) for one in op.value]
            process = int(op.process) * self.load + copy
            yield msgspec.structs.replace(op, time=op.time + self.ns, process=process, value=value)

    def _value(self, value: int, copy: int) -> int:
        return (self.number * self.tried + value) * self.load + copy

    def final_read(self, op: Op) -> Op:
        """What was read at the end of each stretch is what is there in the end."""
        value = None
        if op.type == "ok":
            value = [
                [(n * self.tried + a) * self.load, (n * self.tried + b + 1) * self.load - 1]
                for n in range(self.number + 1)
                for a, b in op.value
            ]
        return msgspec.structs.replace(op, time=op.time + self.ns, value=value)

    def report(self, op: Op) -> Op:
        value = op.value
        if op.f in ("state", "started"):
            value = self._epochs(value)
        elif op.process == "nemesis" and "fault" in value:
            value = value | {"fault": f"{value['fault']}-{self.number}"}
        host_time = None if op.host_time is None else op.host_time + self.ns
        return msgspec.structs.replace(op, time=op.time + self.ns, host_time=host_time, value=value)

    def _epochs(self, value: dict[str, Any]) -> dict[str, Any]:
        """A server's report, of higher epochs."""
        value = dict(value)
        for name in ("accepted_epoch", "current_epoch", "epoch"):
            if value.get(name) is not None:
                value[name] += self.epochs
        if "last_zxid" in value:
            value["last_zxid"] += self.epochs << 32
        evidence = dict(value.get("evidence") or {})
        if "own" in evidence:
            evidence["own"] = self._summary(evidence["own"])
        if "epoch_acks" in evidence:
            evidence["epoch_acks"] = {sid: self._summary(ack) for sid, ack in evidence["epoch_acks"].items()}
        return value | ({"evidence": evidence} if evidence else {})

    def _summary(self, summary: list[int]) -> list[int]:
        epoch, zxid = summary
        return [epoch + self.epochs, zxid + (self.epochs << 32)]
