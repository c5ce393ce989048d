"""What was promised, what broke, and what led there: the part of the report that is read first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from harness.report.columns import mapping, stat, visible, whole
from harness.report.faults import FaultRow
from harness.report.lanes import Reign

VIOLATIONS_MAX = 100
LED_MAX = 10
"""The most things that are told of what led to the first violation."""

PROMISES = {
    "unique-leader": "In each epoch at most one server is ever an established leader.",
    "epochs": "On each server the accepted and the current epoch never fall, and current never exceeds accepted.",
    "leader-history": "A leader's history is at least as good as that of some quorum.",
    "durability": "Every value that was acknowledged or read is in every final read.",
    "evidence": "Every established leader shows a quorum of distinct votes and a quorum of epoch acks.",
    "convergence": "A majority that is up, unpaused and fully connected has one established leader within the bound.",
    "stepping-down": "A leader that lost its quorum stops leading within its bound.",
    "partial-connectivity": "Reported, not judged: how long partly connected majorities went without a leader.",
}

FORMULA_0_1 = {"convergence": "3 * init_limit * tick + sync_limit * tick + max_notification_interval + 1 s"}
"""The bound of `convergence` where a history states none, as `checker.promises.convergence` has it (held by a test)."""

Judged = Mapping[str, Any]
"""What results.json holds, `checker.verdict.Verdict.to_dict`."""


def sentence(verdict: Judged) -> dict[str, Any]:
    valid = verdict.get("valid")
    word = ("valid" if valid else "invalid") if isinstance(valid, bool) else "unknown"
    return {
        "word": word,
        "sentence": visible(str(verdict.get("summary") or f"The verdict is {word}.")),
        "reasons": [visible(str(reason)) for reason in verdict.get("reasons") or []],
    }


def promise(result: dict[str, Any], why: dict[str, str]) -> dict[str, Any]:
    """`why`: by promise, its bound in words, or why it is not judged."""
    valid = result.get("valid")
    name = str(result.get("name"))
    stats = [stat(k, v) for k, v in mapping(result.get("stats")).items() if v is not None]
    judged = result.get("judged", True) is not False
    words = visible(why.get(name, ""))
    if words and judged:
        stats.append(("the bound is", words))
    return {
        "name": visible(name),
        "says": PROMISES.get(name, ""),
        "word": ("held" if valid else "broken") if isinstance(valid, bool) else "unknown",
        "violations": len(result.get("violations") or []) + (whole(result.get("more_violations")) or 0),
        "judged": judged,
        "stats": stats,
        "reasons": [
            *([f"not judged: {words}"] if words and not judged else []),
            *(visible(str(reason)) for reason in result.get("reasons") or []),
        ],
    }


def violations_of(results: list[dict[str, Any]], proofs: set[int], faults: dict[str, FaultRow]) -> list[dict[str, Any]]:
    rows = []
    for result in results:
        for violation in (result.get("violations") or [])[:VIOLATIONS_MAX]:
            named = violation.get("faults") or []
            rows.append(
                {
                    "promise": visible(str(violation.get("promise") or result.get("name"))),
                    "message": visible(str(violation.get("message") or "")),
                    "time": whole(violation.get("time")),
                    "servers": [visible(str(s)) for s in violation.get("servers") or []],
                    "faults": [_named(fault, faults) for fault in named],
                    "ops": [{"index": i, "shown": i in proofs} for i in violation.get("ops") or []],
                }
            )
    rows.sort(key=lambda row: (row["time"] is None, row["time"] or 0))
    for number, row in enumerate(rows, 1):
        row["number"] = number
    return rows


def broken(violations: list[dict[str, Any]], promises: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The broken promises in the order in which they first broke, each with its violations."""
    by_name = {promise["name"]: promise for promise in promises}
    groups: dict[str, dict[str, Any]] = {}
    for violation in violations:
        name = violation["promise"]
        promise = by_name.get(name, {"says": "", "violations": 0})
        group = groups.setdefault(
            name, {"promise": name, "says": promise["says"], "all": promise["violations"], "violations": []}
        )
        group["violations"].append(violation)
    for group in groups.values():
        group["all"] = max(group["all"], len(group["violations"]))
    return list(groups.values())


def _named(fault: Any, faults: dict[str, FaultRow]) -> dict[str, Any]:
    """A fault in force, as a violation names it: by an object {"fault", "f", "surely", ...}, or by its id alone."""
    told = fault if isinstance(fault, dict) else {"fault": fault}
    name = str(told.get("fault"))
    known = faults.get(name)
    return {
        "id": visible(name),
        "kind": visible(known.kind if known else str(told.get("f") or "")),
        "known": known is not None,
        "surely": told.get("surely", True) is not False,
    }


# ---- what led there ------------------------------------------------------------------------------------------------


def led_to(time: int | None, reigns: Iterable[Reign], faults: Iterable[FaultRow]) -> list[dict[str, Any]]:
    """The last things that happened until `time`: who was established, who led no more, which faults came and went.

    In order; `at` is in nanoseconds, `fault` the id of the fault or None.
    """
    if time is None:
        return []
    told: list[dict[str, Any]] = []

    def tell(at: int | None, text: str, fault: str | None = None) -> None:
        if at is not None and at <= time:
            told.append({"at": at, "text": visible(text), "fault": fault and visible(fault)})

    for reign in reigns:
        epoch = f"epoch {reign.epoch}" if reign.epoch >= 0 else "an unknown epoch"
        tell(reign.since, f"{reign.host} is established as the leader of {epoch}")
        tell(reign.until, f"{reign.host} leads {epoch} no more: {reign.ended_by or 'it says not why'}")
    for fault in faults:
        if fault.happened:
            sure = "" if fault.outcome == "verified" else ", not verified"
            tell(fault.asked if fault.began is None else fault.began, f"begins{sure}: {fault.says()}", fault.id)
            tell(fault.undone, "is over", fault.id)
    told.sort(key=lambda row: row["at"])
    return told[-LED_MAX:]
