"""The verdict in sentences: what a person reads first, and what was odd."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from checker.availability import Availability
from checker.counted import counted
from checker.history import History
from checker.names import LIVENESS, REPORTED
from checker.promises.base import Result, Valid, seconds
from checker.vacuity import Happened
from checker.vocabulary import FOR_REPORTS


def sentence(valid: Valid, results: Mapping[str, Result], reasons: Sequence[str], happened: Happened) -> str:
    """The verdict in one sentence."""
    if valid is False:
        return _invalid([result for result in results.values() if result.judged and result.valid is False])
    if valid == "unknown":
        more = f" (and {counted(len(reasons) - 1, 'more reason')})" if len(reasons) > 1 else ""
        return f"Unknown: {reasons[0]}{more}."
    return f"Valid: {_held(results)}, under {counted(sum(happened.verified.values()), 'verified fault')} of " + (
        f"{counted(len(happened.verified), 'kind')}{_unjudged(results)}."
    )


def _held(results: Mapping[str, Result]) -> str:
    """What was shown to hold; a promise that was not judged is not claimed."""
    shown = []
    if results["unique-leader"].judged:
        shown.append(f"{counted(results['unique-leader'].stats['epochs'], 'epoch')} had one leader each")
    if results["convergence"].judged:
        waits = results["convergence"].stats
        shown.append(
            f"every majority that was owed a leader had one within {waits['bound_s']} s (the longest wait was "
            f"{waits['longest_without_leader_s']} s)"
        )
    if results["durability"].judged:
        shown.append(f"none of {counted(results['durability'].stats['acknowledged'], 'acknowledged value')} was lost")
    if len(shown) < 2:
        return "".join(shown) or "no promise was broken"
    return f"{', '.join(shown[:-1])}{',' if len(shown) > 2 else ''} and {shown[-1]}"


def _unjudged(results: Mapping[str, Result]) -> str:
    """The promises that a system does not report enough for; `partial-connectivity` never is one."""
    names = [name for name, result in results.items() if not result.judged and name not in REPORTED]
    return f" (not judged: {', '.join(names)})" if names else ""


def _invalid(broken: Sequence[Result]) -> str:
    """Names the broken promises, safety first, and of the safer ones the first violation."""
    names = ", ".join(
        result.name + (f" ({result.violation_count} times)" if result.violation_count > 1 else "") for result in broken
    )
    worst = [result for result in broken if result.name not in LIVENESS] or broken
    first = min((v for result in worst for v in result.violations), key=lambda v: v.time)
    which = f"{first.promise} first" if len(broken) > 1 else "first"
    return f"Invalid: {names} broken; {which} at {seconds(first.time)} s: {first.message}."


def notes(history: History, world: Availability, unknown_f: Mapping[str, int]) -> list[str]:
    """What was found odd and breaks no promise."""
    found = list(history.notes)
    for host, index in world.stopped_by_themselves:
        found.append(f"{host} stopped though no fault had it down (op {index})")
    for f, count in unknown_f.items():
        if f not in FOR_REPORTS:
            found.append(f"{counted(count, 'op')} with f {f!r}, which no checker knows")
    return found
