"""Random histories from a seed, for two judges to disagree about.

A history begins as the record of a plausible run: servers start, elect, lose their leader to faults and elect again,
clients write and read.  Whatever may go wrong in it goes wrong with a chance that is drawn for the history, often 0:
the servers break promises, hosts' clocks are wrong, reports are late or lost, and the file is cut.

    history = random_history(17)       # the same one each time
    history.write(Path("h.jsonl"))
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tests.checker.random_reports import SECOND, Value
from tests.checker.random_run import RandomRun

MUTATED = 0.4
"""Part of the histories of which a few ops are changed at random."""


@dataclass(frozen=True)
class RandomHistory:
    ops: tuple[Value, ...]
    tail: bytes = b""  # a last line that was cut

    def write(self, path: Path) -> None:
        lines = [json.dumps(op, separators=(",", ":")).encode() + b"\n" for op in self.ops]
        path.write_bytes(b"".join(lines) + self.tail)

    def without(self, places: range) -> RandomHistory:
        """The history without the ops at these places; those behind move up, so no more lines are missing."""
        first, last = places[0], places[-1]
        kept = self.ops[:first] + tuple({**op, "index": op["index"] - len(places)} for op in self.ops[last + 1 :])
        return replace(self, ops=kept)


def shrinks(history: RandomHistory) -> Iterator[RandomHistory]:
    """Smaller histories, the smallest first: without a half of the ops, a quarter, ..., without one."""
    size = (len(history.ops) - 1) // 2
    while size:
        for first in range(len(history.ops) - size, 0, -1):
            yield history.without(range(first, first + size))
        size //= 2
    if history.tail:
        yield replace(history, tail=b"")


def random_history(seed: int) -> RandomHistory:
    rng = random.Random(seed)
    run = RandomRun(rng)
    run.play()
    ops = file_of(run)
    if rng.random() < MUTATED:
        for _ in range(rng.choice((1, 1, 2, 5))):
            mutate(ops, rng)
    indexed = [{"index": index, **op} for index, op in enumerate(ops)]
    if run.chance["lost-line"]:
        indexed = [op for op in indexed if not op["index"] or rng.random() < 0.97]
    return RandomHistory(tuple(indexed), rng.choice((b"", b'{"index":')) if run.chance["cut"] else b"")


def file_of(run: RandomRun) -> list[Value]:
    """The ops as they arrived, and what became of the file."""
    rng = run.rng
    ops = []
    received = dict(run.sent)
    for _, _, op in sorted(run.told, key=lambda told: told[:2]):
        if op["process"] in run.sent and run.goes_wrong("lost-event"):
            received[op["process"]] -= 1
        else:
            ops.append(op)
    # Now and then nobody noticed that events were lost, or some are said to be lost that are there.
    counts = {host: {"sent": run.sent[host], "received": received[host]} for host in run.hosts}
    if rng.random() < 0.1:
        counts = {host: {"sent": n["received"], "received": n["received"]} for host, n in counts.items()}
    if run.chance["lost-event"] and rng.random() < 0.2:
        counts.pop(rng.choice(run.hosts))
    end: Value = {"complete": True, "streams": counts}
    if rng.random() < 0.05:
        end["complete"] = False
    if rng.random() < 0.5:
        end.pop("complete") if end["complete"] else None
    last = max(op["time"] for op in ops)
    ops.append({"time": last, "process": "controller", "type": "info", "f": "end", "value": end})
    if run.chance["cut"]:
        ops = ops[: rng.choice((-1, -1, rng.randrange(len(ops) // 2, len(ops))))]
        if rng.random() < 0.5:
            # A run may go on for long before it is cut.
            ops.append({"time": last + 60 * SECOND, "process": "controller", "type": "info", "f": "phase"})
            ops[-1]["value"] = {"phase": "end"}
    return ops


def mutate(ops: list[Value], rng: random.Random) -> None:
    """Change one op behind the first, so that the history stays one."""
    place = rng.randrange(1, len(ops))
    op = ops[place] = dict(ops[place])
    if op["f"] in ("end", "create"):
        return  # nothing comes after `end`, and each value is created once
    way = rng.choice(("time", "move", "again", "field", "epoch", "type", "order", "order"))
    value: Value = {}
    if isinstance(op.get("value"), dict):
        value = op["value"] = dict(op["value"])
    if way == "time":
        op["time"] = max(0, op["time"] + rng.randrange(-5 * SECOND, 5 * SECOND))
    elif way == "order" and "host_time" in op:
        op["host_time"] -= rng.randrange(3 * SECOND)
    elif way == "move":
        ends = ops[-1]["f"] == "end"
        ops.insert(rng.randrange(1, len(ops) - ends), ops.pop(place))
    elif way == "again":
        ops.insert(place, dict(op))
    elif way == "field" and op["f"] in ("state", "started"):
        optional = sorted(value.keys() - {"role", "epoch", "established"})
        value.pop(rng.choice(optional), None) if optional else None
    elif way == "epoch" and op["f"] == "state":
        field = rng.choice(("epoch", "accepted_epoch", "current_epoch"))
        if value.get(field) is not None:
            value[field] += 1
    elif way == "type" and op["process"] == "nemesis":
        op["type"] = rng.choice(("invoke", "ok", "fail", "info"))
    elif way == "type" and isinstance(op["process"], int) and op["type"] in ("fail", "info"):
        op["type"] = "info" if op["type"] == "fail" else "fail"
