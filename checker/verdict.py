"""The verdict: all promises over one history.

`check(path)` reads the history once, as a stream, and ends with a `Verdict`.  What clients do is taken in the file's
order and at once; what servers, nemesis and controller say is sorted first (`checker.history.Ordered`).

A verdict is `True` (valid), `False` (invalid) or "unknown".  Invalid beats unknown beats valid.

The vacuity rule: a history in which too little happened to mean anything is never valid.  It is unknown, with the
reason, when

*   no leader was ever established;
*   no fault was verified (an `ok` of the nemesis, with evidence);
*   events of a host are missing (the `end` op's counts differ or lack it), lines are missing, or ops came too late to
    be ordered;
*   the history has no `end` op, so the run was cut off: the promises are still checked up to the cut;
*   no create was acknowledged, or a voter was not read at the end (said by `best-history`);
*   the end's acts show no converged majority (said by `convergence`).

What is missing must not accuse.  A violation that rests on something *not* reported (nobody stepped down, nobody led)
does not stand when events of its servers are missing: it makes its promise unknown instead.  And on a history that was
cut, nothing is concluded from silence in the last 30 s before the cut: that much may have been on its way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from checker.availability import FOR_EVER, Availability
from checker.history import History, HistoryError, Op, Ordered, read
from checker.promises.base import Checker, Result, Valid, Violation, seconds
from checker.promises.convergence import Convergence
from checker.promises.epochs import Epochs
from checker.promises.evidence import Evidence
from checker.promises.leader_history import BestHistory
from checker.promises.partial_connectivity import PartialConnectivity
from checker.promises.stepping_down import SteppingDown
from checker.promises.unique_leader import UniqueLeader
from checker.vocabulary import EVERY, FOR_REPORTS, End, FaultOp, Phase, RunOp, ValueProblem, typed

TOGETHER = 10_000
"""After so many ops, what servers and nemesis told among them goes to the checkers together: one by one, between those
of clients, each would find the processor's caches cold.  It is a number, so that no verdict depends on how ops came."""

IN_FLIGHT_NS = 30 * 1_000_000_000
"""The default lease: what a host said before the controller died had arrived by then, or the host was given up."""

NO_FAULT = "no fault was verified"

SILENCE = ("convergence", "stepping-down", "evidence")
"""Promises whose violations may rest on what was not reported."""


class Verdict(msgspec.Struct):
    """What the history proves."""

    valid: Valid
    summary: str
    reasons: list[str]
    """Why it is unknown (or would be, were it not invalid)."""
    results: list[Result]
    notes: list[str]
    """What was found odd and breaks no promise."""
    run: dict[str, Any]
    """Name, seed and system of the run, its length in seconds, and its number of ops."""
    counts: dict[str, Any]
    """What happened, counted."""

    @property
    def violations(self) -> list[Violation]:
        """All violations of the judged promises, by time."""
        return sorted(
            (v for r in self.results if r.judged and r.valid is False for v in r.violations), key=lambda v: v.time
        )

    def to_dict(self) -> dict[str, Any]:
        """What `results.json` holds."""
        fields: dict[str, Any] = msgspec.to_builtins(self)
        results = fields.pop("results")
        fields["results"] = {result.pop("name"): result for result in results}
        return fields

    def to_json(self) -> str:
        """The text of `results.json`."""
        return msgspec.json.format(msgspec.json.encode(self.to_dict()), indent=2).decode() + "\n"


def combine(verdicts: Iterable[Valid]) -> Valid:
    """Invalid beats unknown beats valid."""
    known = list(verdicts)
    if False in known:
        return False
    return "unknown" if "unknown" in known else True


def check(path: str | Path) -> Verdict:
    """Checks the history at `path` (the file, or a run's folder).  Raises HistoryError."""
    history = read(path)
    try:
        checking = Checking(knowledge_ends(history))
    except OSError as error:
        why = f"cannot be read: {error.strerror}; give a file, which can be read more than once"
        raise HistoryError(history.path, None, why) from None
    for ops in history.chunks():
        try:
            checking.feed(ops)
        except ValueProblem as problem:
            raise HistoryError(history.path, history.line_of(checking.at), str(problem)) from None
        del ops  # while they are in the processor's cache
    if checking.best is None:
        raise HistoryError(history.path, None, "there is no op in it")
    if checking.best.lost():
        checking.best.explain(history)
    return checking.finish(history)


def knowledge_ends(history: History) -> int:
    """The run time, in ns, from which on silence proves nothing: 30 s before the last op, if that is not an `end`."""
    op = history.last()
    return FOR_EVER if op is None or op.f == "end" else op.time - IN_FLIGHT_NS


class Checking:
    """All promises at once: `feed` it the ops in the file's order, then `finish`."""

    def __init__(self, knowledge_ends: int = FOR_EVER) -> None:
        self.knowledge_ends = knowledge_ends
        self.run: RunOp | None = None
        self.best: BestHistory | None = None
        self.world: Availability | None = None
        self.checkers: list[Checker] = []
        self.feeds: dict[type, list[Callable[[Op], None]]] = {}
        """The type of a value -> who takes ops with it, the world first."""
        self.told: list[Op] = []
        """What servers and nemesis told last, not yet looked at."""
        self.order = Ordered()
        self.end: End | None = None
        self.ops = 0
        self.at = 0
        """The index of the op that was taken last, or that is at fault."""
        self.unknown_f: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.verified: Counter[str] = Counter()

    def feed(self, ops: Sequence[Op]) -> None:
        """Takes the next ops.  Raises ValueProblem when the value of the op `at` is not right."""
        rest, left = iter(ops), len(ops)
        while left:
            some = min(left, TOGETHER - self.ops % TOGETHER)
            self._feed(rest if some == left else islice(rest, some))
            self.ops += some
            left -= some
            if self.ops % TOGETHER == 0:
                self.pass_on()
        self._sort()

    def _feed(self, ops: Iterator[Op]) -> None:
        while True:
            try:
                op = self.best.take(ops, self.told) if self.best is not None else next(ops, None)
            except ValueProblem:
                assert self.best is not None
                self._sort()  # what was told before it: the first op that is at fault is the one to name
                self.at = self.best.at
                raise
            if op is None:
                return
            if self.run is not None and op.process.__class__ is int:
                self.unknown_f[op.f] += 1
            else:
                self.told.append(op)
                self._sort()  # what clients do next is done in this phase

    def pass_on(self) -> None:
        """What was told goes to the checkers now, as far as it is in its order, however little it is."""
        self._sort()
        self._judge(self.order.pop_ready())

    def _sort(self) -> None:
        """What was told gets typed values, and its places in the order of time."""
        told, self.told = self.told, []
        for op in told:
            self.at = op.index
            self._take(op)

    def _judge(self, ops: Iterable[Op]) -> None:
        for op in ops:
            for feed in self.feeds[type(op.value)]:
                feed(op)

    def _take(self, op: Op) -> None:
        if self.run is None and not (op.process == "controller" and op.f == "run"):
            raise ValueProblem('the first op has to be "run", by the process "controller"')
        if not typed(op, self.run):
            self.unknown_f[op.f] += 1
            return
        value = op.value
        if isinstance(value, FaultOp):
            if value.step == "start":
                if op.type == "invoke":
                    self.faults[op.f] += 1
                elif op.type == "ok" and value.shown:
                    self.verified[op.f] += 1
        elif op.process == "controller":
            if isinstance(value, RunOp):
                if self.run is not None:
                    raise ValueProblem("a second run op: a history is of one run")
                self._begin(value)
                return
            if isinstance(value, Phase) and self.best is not None:
                self.best.phase = value.phase
            elif isinstance(value, End):
                self.end = value
        self.order.push(op)

    def _begin(self, run: RunOp) -> None:
        self.run = run
        self.world = Availability(run, self.knowledge_ends)
        self.best = BestHistory(self.world)
        self.checkers = [
            UniqueLeader(self.world),
            Convergence(self.world),
            SteppingDown(self.world),
            Epochs(self.world),
            self.best,
            Evidence(self.world),
            PartialConnectivity(self.world),
        ]
        for kind in EVERY:
            self.feeds[kind] = [self.world.feed, *(c.feed for c in self.checkers if kind in c.takes)]

    def finish(self, history: History) -> Verdict:
        """`history`: for what its reader noted.  Raises AssertionError if no `run` op was fed."""
        assert self.run is not None
        assert self.world is not None
        assert self.best is not None
        self._judge(self.order.pop_all())
        results = [
            self.best.finish(whole=not history.missing) if checker is self.best else checker.finish()
            for checker in self.checkers
        ]
        for result in results:
            if result.name in self.run.unjudged:
                result.judged = False
        holes, reasons = self._missing(history)
        for result in results:
            _withdraw(result, holes)
        reasons += self._vacuous(results)
        reasons += [f"{r.name}: {reason}" for r in results if r.judged and r.valid is not True for reason in r.reasons]
        valid = combine(r.valid for r in results if r.judged)
        if valid is True and reasons:
            valid = "unknown"
        return Verdict(
            valid,
            self._summary(valid, results, reasons),
            reasons,
            results,
            self._notes(history),
            {
                "name": self.run.name,
                "seed": self.run.seed,
                "system": self.run.system,
                "history": str(history.path),
                "ops": self.ops,
                "length_s": seconds(self.world.now),
            },
            {
                "faults": dict(self.faults),
                "faults_verified": dict(self.verified),
                "unknown_f": dict(self.unknown_f),
            },
        )

    def _missing(self, history: History) -> tuple[dict[str, str], list[str]]:
        """Host -> what of it is missing; and the same for the verdict."""
        assert self.run is not None
        holes: dict[str, str] = {}
        reasons = []
        if self.end is None:
            reasons.append("the history was cut off: it has no end op; the promises were checked up to the cut")
        elif not self.end.complete:
            why = f": {self.end.reason}" if self.end.reason else ""
            reasons.append(f"the run ended before its time{why}")
        else:
            for host in self.run.ensemble:
                stream = self.end.streams.get(host)
                if stream is None or stream.sent is None or stream.received is None:
                    holes[host] = f"nobody knows how many events {host} sent"
                elif stream.sent != stream.received:
                    holes[host] = f"{host} sent {stream.sent} events and {stream.received} arrived"
        reasons += holes.values()
        if history.missing:
            reasons.append(f"{history.missing} lines are missing from the history")
        if self.order.late:
            reasons.append(f"ops came too late to be ordered: {self.order.late[:10]}")
        if history.missing or self.order.late:
            holes = dict.fromkeys(self.run.ensemble, "ops are missing or late")
        return holes, reasons

    def _vacuous(self, results: list[Result]) -> list[str]:
        reasons = []
        if not results[0].stats["established"]:
            reasons.append("no leader was ever established")
        if not sum(self.verified.values()):
            reasons.append(NO_FAULT)
        return reasons

    def _notes(self, history: History) -> list[str]:
        notes = list(history.notes)
        for host, index in self.world.stopped_by_themselves if self.world is not None else ():
            notes.append(f"{host} stopped though no fault had it down (op {index})")
        for f, count in self.unknown_f.items():
            if f not in FOR_REPORTS:
                notes.append(f"{count} ops with f {f!r}, which no checker knows")
        return notes

    def _summary(self, valid: Valid, results: list[Result], reasons: list[str]) -> str:
        by_name = {result.name: result for result in results}
        if valid is False:
            broken = [result for result in results if result.judged and result.valid is False]
            first = min((v for result in broken for v in result.violations), key=lambda v: v.time)
            names = ", ".join(
                result.name + (f" ({result.violation_count} times)" if result.violation_count > 1 else "")
                for result in broken
            )
            return f"Invalid: {names} broken; first at {seconds(first.time)} s: {first.message}."
        if valid == "unknown":
            more = f" (and {len(reasons) - 1} more reasons)" if len(reasons) > 1 else ""
            return f"Unknown: {reasons[0]}{more}."
        convergence = by_name["convergence"].stats
        best = by_name["best-history"]
        lost = (
            f"none of {best.stats['acknowledged']} acknowledged values was lost"
            if best.judged
            else "what became of values was not judged"
        )
        return (
            f"Valid: {by_name['unique-leader'].stats['epochs']} epochs had one leader each, every majority that was "
            f"owed a leader had one within {convergence['bound_s']} s (the longest wait was "
            f"{convergence['longest_without_leader_s']} s), and {lost}, "
            f"under {sum(self.verified.values())} verified faults of {len(self.verified)} kinds."
        )


def _withdraw(result: Result, holes: dict[str, str]) -> None:
    """Violations that rest on silence do not stand where events are missing."""
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
