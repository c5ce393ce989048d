"""What went wrong on purpose: each fault from when it was asked for until it was verified to be over.

A fault has four times.  It is *possible* from when its start was asked for, *certain* from when every host had verified
it, certain no longer from when its end was asked for, and *over* from when that was verified.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from checker.history import Op
from harness.report.columns import compact, mapping, stat, texts, visible
from nemesis.faults import KINDS

_KNOWN = {"fault", "step", "hosts", "effects", "evidence", "began", "done", "time", "grudge", "links", "in_place_ms"}

LINKS_TOLD_MAX = 5
"""More hosts that do not hear are counted, not named."""

# How a kind that is not known here is drawn: by what the history says that it takes.
_EFFECTS = {"down": "down", "paused": "paused", "drops": "cut", "degraded": "poor", "clock": "clock"}


@dataclass
class FaultRow:
    """One fault; times in nanoseconds of the run, None where it did not come so far."""

    id: str
    kind: str
    index: int
    hosts: list[str] = field(default_factory=list)
    effects: list[dict[str, Any]] = field(default_factory=list)
    links: dict[str, list[str]] = field(default_factory=dict)
    aim: str = ""
    """Shape and targets, in words: `isolate of n4 (leader)`."""
    params: str = ""
    asked: int | None = None
    began: int | None = None
    undo_asked: int | None = None
    undone: int | None = None
    outcome: str = "unknown"
    error: str = ""
    evidence: list[tuple[str, str]] = field(default_factory=list)
    undo_evidence: list[tuple[str, str]] = field(default_factory=list)
    steps: int = 0

    @property
    def group(self) -> str:
        """cut, down, paused, clock, poor or other."""
        if self.kind in KINDS:
            return KINDS[self.kind].look
        named = [_EFFECTS[name] for effect in self.effects for name in effect if name in _EFFECTS]
        return named[0] if named else "other"

    @property
    def happened(self) -> bool:
        """Whether it is to be drawn: what was refused never held."""
        return self.outcome != "failed"

    def possible(self, end: int) -> tuple[int, int]:
        """From when to when it may have held, in a run that ended at `end`."""
        start = next((t for t in (self.asked, self.began, self.undo_asked, self.undone) if t is not None), 0)
        return start, end if self.undone is None else self.undone

    def says(self) -> str:
        """The fault in one line: `partition isolate of n4 (leader): n1 hears nothing from n4, ...`."""
        how = "hears nothing from" if self.group == "cut" else "hears badly from"
        links = [f"{host} {how} {' '.join(peers)}" for host, peers in self.links.items() if peers]
        told = f"{self.kind} {self.aim}".strip()
        if len(links) > LINKS_TOLD_MAX:
            return f"{told}: {sum(map(len, self.links.values()))} links {'cut' if self.group == 'cut' else 'disturbed'}"
        return f"{told}: {', '.join(links)}" if links else told

    def takes_down(self) -> list[str]:
        """The hosts whose server it takes down."""
        return [host for effect in self.effects for host in texts(effect.get("down"))]


class Faults:
    """Collects the nemesis' ops into faults, in the order in which they were asked for."""

    def __init__(self) -> None:
        self.faults: dict[str, FaultRow] = {}

    def feed(self, op: Op) -> None:
        value = mapping(op.value)
        name = str(value.get("fault") or f"{op.f} (op {op.index})")
        fault = self.faults.get(name)
        if fault is None:
            fault = self.faults[name] = FaultRow(name, op.f, op.index)
        step = value.get("step", "start")
        if step == "start":
            self._start(fault, op, value)
        elif step == "stop":
            self._stop(fault, op, value)
        else:
            fault.steps += op.type == "ok"

    def _start(self, fault: FaultRow, op: Op, value: dict[str, Any]) -> None:
        fault.hosts = texts(value.get("hosts")) or fault.hosts
        if isinstance(value.get("effects"), list):
            fault.effects = [mapping(effect) for effect in value["effects"]]
        links = value.get("grudge") or value.get("links")
        for effect in fault.effects:
            links = links or effect.get("drops") or effect.get("degraded")
        if isinstance(links, dict):
            fault.links = {str(k): texts(v) for k, v in links.items()}
        targets = texts(value.get("targets")) or fault.hosts
        shape, reason = value.get("shape"), value.get("reason")
        fault.aim = " ".join(
            [*([str(shape)] if isinstance(shape, str) else []), *(["of", *targets] if targets else [])]
            + ([f"({reason})"] if isinstance(reason, str) and reason else [])
        )
        params = {k: v for k, v in value.items() if k not in _KNOWN and k not in ("targets", "shape", "reason")}
        fault.params = ", ".join(" ".join(stat(k, v)) for k, v in params.items() if v is not None)
        fault.evidence = _by_host(value.get("evidence")) or fault.evidence
        if op.error:
            fault.error = visible(op.error)
        if op.type == "invoke":
            fault.asked = op.time if fault.asked is None else fault.asked
        elif op.type == "ok":
            fault.began = op.time
            if fault.evidence:
                fault.outcome = "verified"
        elif op.type == "fail":
            fault.outcome = "failed"

    def _stop(self, fault: FaultRow, op: Op, value: dict[str, Any]) -> None:
        fault.undo_evidence = _by_host(value.get("evidence")) or fault.undo_evidence
        if op.error:
            fault.error = visible(op.error)
        if op.type == "invoke":
            fault.undo_asked = op.time if fault.undo_asked is None else fault.undo_asked
        elif op.type == "ok":
            fault.undone = op.time


def _by_host(evidence: Any) -> list[tuple[str, str]]:
    return [(str(host), compact(shown)) for host, shown in sorted(mapping(evidence).items())]
