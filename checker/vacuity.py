"""What makes a verdict unknown: too little happened, or too much is missing.

A history is never valid in which too little happened to mean anything.  It is unknown, with the reason, when

*   no leader was ever established;
*   no fault was verified (an `ok` of the nemesis to a start, with evidence);
*   the history has no `end`, so the run was cut off: the promises are still judged up to the cut;
*   the run ended before its time (`end` with `complete: false`);
*   events of a host are missing (its counts in `end` differ, or there are none), lines are missing, or ops came too
    late to be ordered.

Promises add reasons of their own (`Result.reasons`): no create was acknowledged, a voter was not read at the end, an
act of the end shows no converged majority.

What is missing must not accuse.

*   A violation that rests on silence (nobody led, nobody stepped down, nobody showed evidence) is withdrawn when events
    of one of its servers are missing: `withdraw` makes it a reason for unknown.  Missing lines and late ops may have
    been of any server.
*   After a cut, the last 30 s prove no silence: reports of that time may have been on their way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

from checker.availability import FOR_EVER
from checker.counted import counted
from checker.history import History, Op
from checker.promises.base import Result
from checker.vocabulary import End, FaultOp, RunOp

IN_FLIGHT_NS = 30 * 1_000_000_000
"""The default lease.  Reports older than this when the controller died had arrived, or the run gave their host up."""

NO_FAULT = "no fault was verified"

SILENCE = ("convergence", "stepping-down", "evidence")
"""Promises with violations that rest on what nobody reported."""


def knowledge_ends(history: History) -> int:
    """The run time, in ns, from which on silence proves nothing.  Raises OSError, HistoryError."""
    op = history.last()
    return FOR_EVER if op is None or op.f == "end" else op.time - IN_FLIGHT_NS


class Happened:
    """Counts the faults, and keeps the `end`."""

    takes: tuple[type, ...] = (FaultOp, End)

    def __init__(self) -> None:
        self.faults: Counter[str] = Counter()
        """Kind of fault -> how many of them began."""
        self.verified: Counter[str] = Counter()
        """Kind of fault -> how many of them were verified."""
        self.end: End | None = None

    def feed(self, op: Op) -> None:
        value = op.value
        if isinstance(value, End):
            self.end = value
        elif value.step == "start":
            if op.type == "invoke":
                self.faults[op.f] += 1
            elif op.type == "ok" and value.shown:
                self.verified[op.f] += 1


def missing(run: RunOp, end: End | None, lines: int, late: Collection[int]) -> tuple[dict[str, str], list[str]]:
    """Host -> what of it is missing; and the reasons for the verdict.

    `lines` are missing from the history; `late` are the indexes of ops that came too late to be ordered.
    """
    holes: dict[str, str] = {}
    reasons = []
    if end is None:
        reasons.append("the history was cut off: it has no end op; the promises were checked up to the cut")
    elif not end.complete:
        why = f": {end.reason}" if end.reason else ""
        reasons.append(f"the run ended before its time{why}")
    else:
        for host in run.ensemble:
            stream = end.streams.get(host)
            if stream is None or stream.sent is None or stream.received is None:
                holes[host] = f"nobody knows how many events {host} sent"
            elif stream.sent != stream.received:
                holes[host] = f"{host} sent {counted(stream.sent, 'event')} and {stream.received} arrived"
    reasons += holes.values()
    if lines:
        reasons.append(f"{counted(lines, 'line')} {'is' if lines == 1 else 'are'} missing from the history")
    if late:
        reasons.append(f"ops came too late to be ordered: {list(late)[:10]}")
    if lines or late:
        holes = dict.fromkeys(run.ensemble, "ops are missing or late")
    return holes, reasons


def withdraw(result: Result, holes: Mapping[str, str]) -> None:
    """Takes back the violations that rest on silence where events are missing."""
    if result.name not in SILENCE or not holes:
        return
    shaky = [v for v in result.violations if any(server in holes for server in v.servers)]
    if not shaky:
        return
    result.violations = [v for v in result.violations if v not in shaky]
    result.reasons = result.reasons + [
        f"not held against it, since {holes[next(s for s in v.servers if s in holes)]}: {v.message}" for v in shaky
    ]
    if not result.violations:
        result.valid, result.more_violations = "unknown", 0


def too_little(results: Mapping[str, Result], happened: Happened) -> list[str]:
    """Why nothing was put to the test."""
    reasons = []
    if not results["unique-leader"].stats["established"]:
        reasons.append("no leader was ever established")
    if not sum(happened.verified.values()):
        reasons.append(NO_FAULT)
    return reasons
