"""What makes a verdict unknown: too little happened, or too much is missing.

A history is never valid in which too little happened to mean anything.  It is unknown, with the reason, when

*   no leader was ever established;
*   no fault was verified (an `ok` of the nemesis to a start, with evidence);
*   the history has no `end`, so the run was cut off: the promises are still judged up to the cut;
*   the run ended before its time (`end` with `complete: false`);
*   no promise is judged;
*   events of a host are missing (its counts in `end` differ, or there are none), lines are missing, or ops came too
    late to be ordered.

Promises add reasons of their own (`Result.reasons`): no create was acknowledged, a voter was not read at the end, an
act of the end shows no converged majority.

What is missing must not accuse.

*   A violation that rests on silence (nobody led, nobody stepped down, nobody showed evidence) is withdrawn when events
    are missing: of its server, or (liveness, since who is owed a leader, and who has a quorum, rests on the starts and
    stops of all) of any voter.  `withdraw` makes it a reason for unknown.  Missing lines and late ops may have been of
    any server.
*   A violation that rests on the order of two reports of one host is withdrawn when reports of that host were late.
*   After a cut, the last 30 s prove no silence: reports of that time may have been on their way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from checker.counted import counted
from checker.history import History, Op, Process
from checker.names import LIVENESS
from checker.promises.base import Result
from checker.servers import FOR_EVER
from checker.vocabulary import End, FaultOp, RunOp

IN_FLIGHT_NS = 30 * 1_000_000_000
"""The default lease.  Reports older than this when the controller died had arrived, or the run gave their host up."""

NO_FAULT = "no fault was verified"

SILENCE = ("convergence", "stepping-down", "evidence")
"""Promises with violations that rest on what nobody reported."""


ORDER_OF_ONE = ("epochs", "unique-leader")
"""Promises with violations that rest on the order of two reports of one host."""


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


def missing(run: RunOp, end: End | None, lines: int, late: Mapping[int, Process]) -> tuple[dict[str, str], list[str]]:
    """Host -> what of it is missing; and the reasons for the verdict.

    `lines` are missing from the history; `late` are the ops that could not be ordered, and whose they are.
    """
    holes: dict[str, str] = {}
    reasons = []
    if end is None:
        reasons.append("the history was cut off: it has no end op; the promises were checked up to the cut")
    else:
        if not end.complete:
            why = f": {end.reason}" if end.reason else ""
            reasons.append(f"the run ended before its time{why}")
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
        reasons.append(f"ops came too late, or out of their host's own order: {list(late)[:10]}")
    if lines or late:
        holes = dict.fromkeys(run.ensemble, "ops are missing or late")
    return holes, reasons


def withdraw(result: Result, voters: list[str], holes: Mapping[str, str], late: Mapping[int, Process]) -> None:
    """Takes back the violations that rest on silence where events are missing, or on an order that is not known."""
    unordered = set(late.values())
    kept, shaky = [], []
    for violation in result.violations:
        servers = violation.servers
        hole = next((holes[host] for host in (voters if result.name in LIVENESS else servers) if host in holes), None)
        of_order = result.name in ORDER_OF_ONE and len(servers) == 1 < len(violation.ops)
        if hole is not None and result.name in SILENCE:
            shaky.append(f"not held against it, since {hole}: {violation.message}")
        elif of_order and unordered.intersection(servers):
            shaky.append(f"not held against it, since its reports came out of their order: {violation.message}")
        else:
            kept.append(violation)
    if not shaky:
        return
    result.violations = kept
    result.reasons = result.reasons + shaky
    if not result.violations:
        result.valid, result.more_violations = "unknown", 0


def too_little(results: Mapping[str, Result], happened: Happened) -> list[str]:
    """Why nothing was put to the test."""
    reasons = []
    if not results["unique-leader"].stats["established"]:
        reasons.append("no leader was ever established")
    if not sum(happened.verified.values()):
        reasons.append(NO_FAULT)
    if not any(result.judged for result in results.values()):
        reasons.append("no promise is judged")
    return reasons
