"""The verdict: all promises over one history.

`check(path)` reads the history once, as a stream, and ends with a `Verdict`.  A verdict is `True` (valid), `False`
(invalid) or "unknown".  Invalid beats unknown beats valid: a broken promise stays broken however much is missing, and
nothing is valid that lacks a reason to be (`checker.vacuity`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from checker import summary, vacuity
from checker.history import History, HistoryError, Op, read
from checker.names import PromiseNames
from checker.promises.base import Result, Valid, Violation, seconds
from checker.routing import Routing
from checker.vocabulary import ValueProblem


class Verdict(msgspec.Struct):
    """What the history proves."""

    valid: Valid
    summary: str
    reasons: list[str]
    """Why it is unknown (or would be, were it not invalid)."""
    results: list[Result]
    """In the order of `checker.names`: safety first."""
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

    @property
    def broken(self) -> PromiseNames:
        """The judged promises that were broken."""
        return PromiseNames(result.name for result in self.results if result.judged and result.valid is False)

    def to_dict(self) -> dict[str, Any]:
        """The object in `results.json`."""
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
        routing = Routing(vacuity.knowledge_ends(history))
    except OSError as error:
        why = f"cannot be read: {error.strerror}; give a file, which can be read more than once"
        raise HistoryError(history.path, None, why) from None
    for ops in history.chunks():
        try:
            routing.feed(ops)
        except ValueProblem as problem:
            raise HistoryError(history.path, history.line_of(routing.at), str(problem)) from None
        del ops  # while they are in the processor's cache
    if routing.run is None:
        raise HistoryError(history.path, None, "there is no op in it")
    return conclude(routing, history, history)


def conclude(routing: Routing, history: History, again: Iterable[Op]) -> Verdict:
    """The verdict on the ops that `routing` was fed.

    `history` gives what its reader noted.  `again` gives the same ops from their beginning; they are read where a
    violation has to name ops that nothing was kept of.  Raises AssertionError if no `run` op was fed.
    """
    run, world, happened = routing.run, routing.world, routing.happened
    assert run is not None
    assert world is not None
    routing.drain()
    for promise in routing.of_clients:
        if promise.lost():
            promise.find_proofs(again)
    world.lines_missing = history.missing
    results = {promise.name: promise.finish() for promise in routing.promises}
    holes, reasons = vacuity.missing(run, happened.end, history.missing, routing.order.late)
    for result in results.values():
        result.judged = result.judged and result.name not in run.unjudged
        vacuity.withdraw(result, run.voters, holes, routing.order.late)
    reasons += vacuity.too_little(results, happened)
    judged = [result for result in results.values() if result.judged]
    reasons += [f"{r.name}: {reason}" for r in judged if r.valid is not True for reason in r.reasons]
    valid = combine(result.valid for result in judged)
    if valid is True and reasons:
        valid = "unknown"
    return Verdict(
        valid,
        summary.sentence(valid, results, reasons, happened),
        reasons,
        list(results.values()),
        summary.notes(history, world, routing.unknown_f),
        {
            "name": run.name,
            "seed": run.seed,
            "system": run.system,
            "history": str(history.path),
            "ops": routing.ops,
            "length_s": seconds(world.now),
        },
        {
            "faults": dict(happened.faults),
            "faults_verified": dict(happened.verified),
            "unknown_f": dict(routing.unknown_f),
        },
    )
