"""From a history and its verdict to what the page shows, in one pass over the history.

    history.jsonl --> lanes, faults, clients, phases, the ops that prove a violation --> view
    verdict       --> which ops are wanted, the sentence, the promises' results

What is kept grows with transitions and faults, not with what clients did.  `view` has two parts: what the template
writes as words and tables, and `data`, the columns that the timeline draws.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from checker.history import Op, read
from harness.report.clients import Clients
from harness.report.columns import Strings, compact, mapping, pretty, stat, texts, visible, whole, words
from harness.report.faults import Fault, Faults
from harness.report.lanes import US, Lane, Reign, empty_throne

CONTEXT_OPS = 4
"""So many ops before and after each proof are shown with it."""
PROOFS_MAX = 120
"""The most ops shown as proof, over all violations: a broken run may violate a promise in every second of an hour."""
VIOLATIONS_MAX = 100
ROWS_MAX = 150
"""The most rows of a table; the timeline shows all."""
TEXT_BYTES_MAX = 1_000_000
EVIDENCE_BYTES_MAX = 750_000
"""What hosts wrote may not make the file larger than this, however long the run was."""
PRETTY_MAX = 8_000

PROMISES = {
    "unique-leader": "In each epoch at most one server is ever an established leader.",
    "convergence": "A majority that is up, unpaused and fully connected has one established leader within the bound.",
    "stepping-down": "A leader that lost its quorum stops leading within its bound.",
    "epochs": "On each server the accepted and the current epoch never fall, and current never exceeds accepted.",
    "best-history": "An established leader's history is at least that of some quorum, and what was committed stays.",
    "evidence": "Every established leader shows a quorum of distinct votes and a quorum of epoch acks.",
    "partial-connectivity": "Reported, not judged: how long partly connected majorities went without a leader.",
}

BOUND = "3 * init_limit * tick + sync_limit * tick + max_notification_interval + 1 s"
"""The bound of `convergence` where a run sets none, as checker/convergence.py states it (a test holds it to that)."""

Judged = Mapping[str, Any]
"""What results.json holds, `checker.verdict.Verdict.to_dict`."""


class _Collected:
    """What one pass over the history leaves."""

    def __init__(self, wanted: set[int]) -> None:
        self.strings = Strings(TEXT_BYTES_MAX)
        self.evidence = Strings(EVIDENCE_BYTES_MAX)
        self.lanes: dict[str, Lane] = {}
        self.faults = Faults()
        self.clients = Clients()
        self.phases: list[tuple[int, str, str]] = []
        self.run: dict[str, Any] = {}
        self.complete = False
        self.end = 0
        self.ops = 0
        self.excerpts: list[Op] = []
        self._wanted = wanted

    def feed(self, op: Op) -> None:
        self.ops += 1
        self.end = max(self.end, op.time)
        if op.index in self._wanted:
            self.excerpts.append(op)
        if op.process == "nemesis":
            self.faults.feed(op)
        elif op.process == "controller":
            self._controller(op)
        elif isinstance(op.process, int):
            self.clients.feed(op)
        elif op.f in ("state", "started", "stopped"):
            self.lane(op.process).feed(op)

    def lane(self, host: str) -> Lane:
        if host not in self.lanes:
            self.lanes[host] = Lane(host, self.strings, self.evidence)
        return self.lanes[host]

    def _controller(self, op: Op) -> None:
        value = mapping(op.value)
        if op.f == "run":
            self.run = value
            for host in mapping(value.get("ensemble")):
                self.lane(host)
        elif op.f == "phase":
            rest = ", ".join(f"{k} {compact(v)}" for k, v in value.items() if k != "phase")
            self.phases.append((op.time, visible(str(value.get("phase"))), rest))
        elif op.f == "end":
            self.complete = bool(value.get("complete"))

    def finish(self) -> None:
        """Sorts the lanes, after writing into them whom faults took down without a last word."""
        for fault in self.faults.faults.values():
            if fault.outcome == "verified" and fault.began is not None:
                for host in fault.takes_down():
                    if host in self.lanes:
                        self.lanes[host].taken_down(fault.began, fault.index, f"{fault.kind} ({fault.id})")
        for lane in self.lanes.values():
            lane.finish()
        self.phases.sort()


def build(history: Path, verdict: Judged) -> dict[str, Any]:
    """The view of the history at `history` (the file, or a run's folder) with its verdict.

    Raises checker.history.HistoryError when the history cannot be read.
    """
    results = [{"name": name, **mapping(result)} for name, result in mapping(verdict.get("results")).items()]
    proofs: set[int] = set()
    for result in results:
        for violation in (result.get("violations") or [])[:VIOLATIONS_MAX]:
            for index in violation.get("ops") or []:
                if len(proofs) < PROOFS_MAX:
                    proofs.add(index)
    reader = read(history)
    found = _Collected({i for proof in proofs for i in range(proof - CONTEXT_OPS, proof + CONTEXT_OPS + 1)})
    for op in reader:
        found.feed(op)
    found.finish()

    faults = list(found.faults.faults.values())
    reigns = sorted((r for lane in found.lanes.values() for r in lane.reigns()), key=lambda r: r.since)
    gaps = empty_throne(reigns, found.end)
    for reign in reigns:
        reign.faults = _in_force(faults, reign.since - reign.empty_before, reign.since, found.end)
    hosts = _hosts(found)
    run = _run(found)
    promises = [_promise(result, run["formula"]) for result in results]
    violations = _violations(results, proofs, {f.id: f for f in faults})
    return {
        "run": run,
        "verdict": _sentence(verdict),
        "broken": _broken(violations, promises),
        "violations": len(violations),
        "excerpts": _excerpts(found.excerpts, proofs),
        "promises": promises,
        "hosts": hosts,
        "reigns": _reigns(reigns, {h["name"]: h for h in hosts}),
        "faults": _faults(faults, found.end),
        "clients": found.clients.table(),
        "client_errors": [(visible(error), count) for error, count in found.clients.errors.most_common(8)],
        "throne": {
            "epochs": len({r.epoch for r in reigns}),
            "gaps": sum(1 for r in reigns[1:] if r.empty_before),
            "empty_ns": sum(b - a for a, b in gaps),
            "longest_ns": max((r.empty_before for r in reigns[1:]), default=0),
            "median_ns": _median([r.empty_before for r in reigns[1:] if r.empty_before]),
        },
        "notes": _notes(found, reader.notes, verdict),
        "data": _data(found, faults, reigns, gaps, violations, hosts),
    }


# ---- what was promised, what broke ---------------------------------------------------------------------------------


def _sentence(verdict: Judged) -> dict[str, Any]:
    valid = verdict.get("valid")
    word = ("valid" if valid else "invalid") if isinstance(valid, bool) else "unknown"
    return {
        "word": word,
        "sentence": visible(str(verdict.get("summary") or f"The verdict is {word}.")),
        "reasons": [visible(str(reason)) for reason in verdict.get("reasons") or []],
    }


def _promise(result: dict[str, Any], formula: str) -> dict[str, Any]:
    valid = result.get("valid")
    name = str(result.get("name"))
    stats = [stat(k, v) for k, v in mapping(result.get("stats")).items() if v is not None]
    if name == "convergence" and formula:
        stats.append(("the bound is", formula))
    return {
        "name": visible(name),
        "says": PROMISES.get(name, ""),
        "word": ("held" if valid else "broken") if isinstance(valid, bool) else "unknown",
        "violations": len(result.get("violations") or []) + (whole(result.get("more_violations")) or 0),
        "judged": result.get("judged", True) is not False,
        "stats": stats,
        "reasons": [visible(str(reason)) for reason in result.get("reasons") or []],
    }


def _violations(results: list[dict[str, Any]], proofs: set[int], faults: dict[str, Fault]) -> list[dict[str, Any]]:
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


def _broken(violations: list[dict[str, Any]], promises: list[dict[str, Any]]) -> list[dict[str, Any]]:
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


def _named(fault: Any, faults: dict[str, Fault]) -> dict[str, Any]:
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


def _excerpts(ops: list[Op], proofs: set[int]) -> list[dict[str, Any]]:
    rows = []
    previous = None
    for op in ops:
        value = mapping(op.value)
        text = pretty(op.value)
        rows.append(
            {
                "index": op.index,
                "time": op.time,
                "time_error": op.time_error,
                "process": visible(str(op.process)),
                "type": op.type,
                "f": visible(op.f),
                "summary": _summary(op, value),
                "json": text if len(text) <= PRETTY_MAX else text[:PRETTY_MAX] + " ... (the rest is in the history)",
                "error": visible(op.error or ""),
                "proof": op.index in proofs,
                "gap": previous is not None and op.index != previous + 1,
            }
        )
        previous = op.index
    return rows


def _summary(op: Op, value: dict[str, Any]) -> str:
    if op.f == "state":
        epoch = value.get("epoch")
        role = f"{value.get('role')} {value.get('phase')}" + (f" epoch {epoch}" if epoch is not None else "")
        return visible(f"{role}{', established' if value.get('established') else ''}: {value.get('reason') or ''}")
    if op.process == "nemesis":
        return visible(f"{value.get('fault')} {value.get('step')} on {' '.join(texts(value.get('hosts')))}")
    text = compact(op.value)
    return text if len(text) <= 160 else text[:160] + " ..."


# ---- tables --------------------------------------------------------------------------------------------------------


def _run(found: _Collected) -> dict[str, Any]:
    run = found.run
    bounds = {k: v for k, v in mapping(run.get("bounds")).items() if v is not None}
    return {
        "name": words(run.get("name")) or "a run",
        "system": words(run.get("system")),
        "seed": words(run.get("seed")),
        "quorum": words(mapping(run.get("quorum")).get("kind")),
        "settings": [stat(k, v) for k, v in mapping(run.get("settings")).items()],
        "bounds": [stat(k, v) for k, v in bounds.items()],
        "formula": "" if "convergence_s" in bounds else BOUND,
        "end": found.end,
        "ops": found.ops,
    }


def _hosts(found: _Collected) -> list[dict[str, str]]:
    ensemble = mapping(found.run.get("ensemble"))
    return [
        {
            "name": host,
            "shown": visible(host),
            "sid": words(mapping(ensemble.get(host)).get("sid")),
            "role": words(mapping(ensemble.get(host)).get("role")) or "participant",
        }
        for host in found.lanes
    ]


def _in_force(faults: list[Fault], since: int, until: int, end: int) -> list[str]:
    found = []
    for fault in faults:
        a, b = fault.possible(end)
        if fault.happened and a <= until and b >= since:
            found.append(fault.id)
    return found[:12]


def _reigns(reigns: list[Reign], hosts: dict[str, dict[str, str]]) -> dict[str, Any]:
    holders: dict[int, set[str]] = {}
    for reign in reigns:
        holders.setdefault(reign.epoch, set()).add(reign.host)
    rows = [
        {
            "epoch": reign.epoch,
            "host": hosts[reign.host]["shown"],
            "sid": hosts[reign.host]["sid"],
            "index": reign.index,
            "elected": reign.elected,
            "since": reign.since,
            "serving": reign.serving,
            "until": reign.until,
            "ended_by": reign.ended_by,
            "votes": [visible(s) for s in reign.votes],
            "acks": [visible(s) for s in reign.acks],
            "newleader_acks": [visible(s) for s in reign.newleader_acks],
            "empty_before": reign.empty_before,
            "faults": [visible(f) for f in reign.faults],
            "shared": reign.epoch >= 0 and len(holders[reign.epoch]) > 1,
        }
        for reign in reigns
    ]
    return _shortened(rows, lambda row: row["shared"] * 10**18 + row["empty_before"], lambda row: row["since"])


def _faults(faults: list[Fault], end: int) -> dict[str, Any]:
    rows = [
        {
            "id": visible(fault.id),
            "kind": visible(fault.kind),
            "group": fault.group,
            "index": fault.index,
            "hosts": [visible(h) for h in fault.hosts],
            "links": [(visible(h), [visible(p) for p in ps]) for h, ps in fault.links.items()],
            "params": visible(fault.params),
            "asked": fault.asked,
            "began": fault.began,
            "undo_asked": fault.undo_asked,
            "undone": fault.undone,
            "lasted": fault.possible(end)[1] - fault.possible(end)[0] if fault.happened else None,
            "outcome": fault.outcome,
            "error": fault.error,
            "evidence": [(visible(h), _cut(e)) for h, e in fault.evidence],
            "undo_evidence": [(visible(h), _cut(e)) for h, e in fault.undo_evidence],
            "steps": fault.steps,
        }
        for fault in faults
    ]
    short = _shortened(rows, lambda row: row["outcome"] != "verified", lambda row: row["index"])
    short["kinds"] = len({f.kind for f in faults if f.outcome == "verified"})
    short["verified"] = sum(f.outcome == "verified" for f in faults)
    short["failed"] = sum(f.outcome == "failed" for f in faults)
    return short


def _cut(text: str) -> str:
    return text if len(text) <= 400 else text[:400] + " ..."


def _shortened(rows: list[dict[str, Any]], worth: Any, place: Any) -> dict[str, Any]:
    """At most ROWS_MAX rows, those that are worth most, in their order; and how many there are."""
    kept = rows if len(rows) <= ROWS_MAX else sorted(sorted(rows, key=worth, reverse=True)[:ROWS_MAX], key=place)
    return {"rows": kept, "all": len(rows)}


def _median(numbers: list[int]) -> int:
    return int(median(numbers)) if numbers else 0


def _notes(found: _Collected, repaired: list[str], verdict: Judged) -> list[str]:
    notes = [str(note) for note in [*(verdict.get("reasons") or []), *(verdict.get("notes") or [])]]
    notes += [note for note in repaired if note not in notes]
    if not found.complete and not verdict.get("reasons"):
        notes.append("The history has no end: the controller died, or the run is still going on.")
    if found.strings.full:
        notes.append("Some reasons and votes were left out to keep this file small; they are in the history.")
    if found.evidence.full:
        notes.append("Some evidence was left out to keep this file small; it is in the history, by op index.")
    return [visible(note) for note in notes]


# ---- the timeline --------------------------------------------------------------------------------------------------


def _data(
    found: _Collected,
    faults: list[Fault],
    reigns: list[Reign],
    gaps: list[tuple[int, int]],
    violations: list[dict[str, Any]],
    hosts: list[dict[str, str]],
) -> dict[str, Any]:
    """Times are whole microseconds; a host is its place in `hosts`."""
    place = {host["name"]: i for i, host in enumerate(hosts)}
    end = found.end
    drawn = [f for f in faults if f.happened and f.asked is not None]
    return {
        "end": end // US,
        "hosts": [{"name": h["shown"], "sid": h["sid"], "role": h["role"]} for h in hosts],
        "texts": found.strings.texts,
        "evidence": found.evidence.texts,
        "lanes": [lane.columns() for lane in found.lanes.values()],
        "phases": [{"t": t // US, "name": name, "more": more} for t, name, more in found.phases],
        "faults": [
            {
                "id": visible(f.id),
                "kind": visible(f.kind),
                "group": f.group,
                "what": visible(f.params),
                "i": f.index,
                "t": [(f.possible(end)[0] if t is None else t) // US for t in (f.asked, f.began)]
                + [(end if t is None else t) // US for t in (f.undo_asked, f.undone)],
                "hosts": [place[h] for h in _hit(f) if h in place],
                "from": {str(place[h]): [visible(p) for p in ps] for h, ps in f.links.items() if h in place},
            }
            for f in drawn
        ],
        "reigns": {
            "e": [r.epoch for r in reigns],
            "h": [place[r.host] for r in reigns],
            "a": [r.since // US for r in reigns],
            "b": [(end if r.until is None else r.until) // US for r in reigns],
        },
        "empty": [[a // US, b // US] for a, b in gaps],
        "violations": [
            {"n": v["number"], "t": v["time"] // US, "promise": v["promise"], "message": v["message"]}
            for v in violations
            if v["time"] is not None
        ],
        "clients": found.clients.columns(),
    }


def _hit(fault: Fault) -> list[str]:
    """The hosts whose lanes a fault is drawn on: where it is in place, or whom its effects name."""
    hit = dict.fromkeys(fault.hosts)
    hit.update(dict.fromkeys(fault.links))
    for effect in fault.effects:
        for named in effect.values():
            if isinstance(named, list | dict):
                hit.update(dict.fromkeys(str(h) for h in named))
    return list(hit)
