"""From a history and its verdict to what the page shows, in one pass over the history.

    history.jsonl --> lanes, faults, clients, phases, the ops that prove a violation --> view
    verdict       --> which ops are wanted, the sentence, the promises' results

What is kept grows with transitions and faults, not with what clients did.  `view` has two parts: what the template
writes as words and tables, and `data`, the columns that the timeline draws.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from statistics import median
from typing import Any

from checker.history import NAMES, Op, read
from harness.report import elections
from harness.report.broken import FORMULA_0_1, VIOLATIONS_MAX, Judged, broken, led_to, promise, sentence, violations_of
from harness.report.clients import ClientRows
from harness.report.columns import Strings, compact, mapping, pretty, stat, texts, visible, words
from harness.report.exchanged import exchanged
from harness.report.faults import FaultRow, Faults
from harness.report.hearing import hearing
from harness.report.lanes import US, Lane, Reign, empty_throne
from harness.report.ops import Lines
from harness.results import files

CONTEXT_OPS = 12
"""So many ops before and after each proof are in the page at least."""
PROOFS_MAX = 120
"""The most ops shown as proof, over all violations: a broken run may violate a promise in every second of an hour."""
ROWS_MAX = 100
"""The most rows of a table; the timeline shows all."""
TEXT_BYTES_MAX = 1_000_000
EVIDENCE_BYTES_MAX = 750_000
"""What hosts wrote may not make the file larger than this, however long the run was."""
PRETTY_MAX = 8_000
IN_FORCE_MAX = 12
"""The most faults that an epoch names."""
STORY_MAX = 6_000
"""Characters of a run's story."""


class _Collected:
    """What one pass over the history leaves."""

    def __init__(self, proofs: set[int]) -> None:
        self.strings = Strings(TEXT_BYTES_MAX)
        self.evidence = Strings(EVIDENCE_BYTES_MAX)
        self.lanes: dict[str, Lane] = {}
        self.faults = Faults()
        self.clients = ClientRows()
        self.phases: list[tuple[int, str, str]] = []
        self.run: dict[str, Any] = {}
        self.complete = False
        self.end = 0
        self.ops = 0
        self.proofs: list[Op] = []
        self.lines = Lines({i for proof in proofs for i in range(proof - CONTEXT_OPS, proof + CONTEXT_OPS + 1)})
        self._wanted = proofs

    def feed(self, op: Op) -> None:
        self.ops += 1
        self.end = max(self.end, op.time)
        self.lines.feed(op)
        if op.index in self._wanted:
            self.proofs.append(op)
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
    found = _Collected(proofs)
    for op in reader:
        found.feed(op)
    found.finish()

    faults = list(found.faults.faults.values())
    reigns = sorted((r for lane in found.lanes.values() for r in lane.reigns()), key=lambda r: r.since)
    gaps = empty_throne(reigns, found.end)
    times_of_faults = [(*fault.possible(found.end), fault.id) for fault in faults if fault.happened]
    for reign in reigns:
        reign.faults = _in_force(times_of_faults, reign.since - reign.empty_before, reign.since)
    hosts = _hosts(found)
    run = _run(found)
    promises = [promise(result, run["why"]) for result in results]
    violations = violations_of(results, proofs, {f.id: f for f in faults})
    folder = history if history.is_dir() else history.parent if history.name in NAMES else None
    times = [v["time"] for v in violations if v["time"] is not None]
    names = [host["name"] for host in hosts]
    messages, said_of_messages = exchanged(folder, names, times)
    first = violations[0]["time"] if violations else None
    return {
        "run": run,
        "verdict": sentence(verdict),
        "broken": broken(violations, promises),
        "violations": len(violations),
        "story": _story(folder),
        "led_to": led_to(first, reigns, faults),
        "walk": _walk(folder, violations),
        "proofs": _proofs(found.proofs),
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
        "elections": elections.distribution(reigns, {f.id: visible(f.kind) for f in faults}),
        "notes": [*_notes(found, reader.notes, verdict), *said_of_messages],
        "data": _data(found, faults, reigns, gaps, violations, hosts)
        | {"hearing": hearing(history, names), "messages": messages, "ops": found.lines.columns()},
    }


def _story(folder: Path | None) -> str:
    """What the run's folder tells in `story.txt`: a shrunk run has one."""
    try:
        if folder is not None:
            with files.open_file(folder / "story.txt") as file:
                return visible(file.read(STORY_MAX).decode(errors="replace")).strip()
    except OSError:
        pass
    return ""


def _walk(folder: Path | None, violations: list[dict[str, Any]]) -> str:
    """The command that walks through the inputs of a server that broke the promise, up to then."""
    for violation in violations:
        for server in violation["servers"]:
            if folder is not None and violation["time"] is not None and (folder / server / "journal.jsonl").exists():
                until = f"{violation['time'] / 1e9 + 0.001:.3f}s"
                return shlex.join(["onethrone", "replay", str(folder), "--server", server, "--until", until, "--step"])
    return ""


def _proofs(ops: list[Op]) -> list[dict[str, Any]]:
    rows = []
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
            }
        )
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
    why = mapping(run.get("why")) or ({} if "convergence_s" in bounds else FORMULA_0_1)
    return {
        "name": words(run.get("name")) or "a run",
        "system": words(run.get("system")),
        "bug": words(run.get("bug")),
        "simulated": run.get("simulated") is True,
        "seed": words(run.get("seed")),
        "quorum": words(mapping(run.get("quorum")).get("kind")),
        "settings": [stat(k, v) for k, v in mapping(run.get("settings")).items()],
        "bounds": [stat(k, v) for k, v in bounds.items()],
        "why": {promise: words(text) for promise, text in why.items()},
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
            "address": words(mapping(ensemble.get(host)).get("address")),
        }
        for host in found.lanes
    ]


def _in_force(times: list[tuple[int, int, str]], since: int, until: int) -> list[str]:
    found = [name for a, b, name in times if a <= until and b >= since]
    return found[:IN_FORCE_MAX]


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


def _faults(faults: list[FaultRow], end: int) -> dict[str, Any]:
    rows = [
        {
            "id": visible(fault.id),
            "kind": visible(fault.kind),
            "group": fault.group,
            "index": fault.index,
            "hosts": [visible(h) for h in fault.hosts],
            "links": [(visible(h), [visible(p) for p in ps]) for h, ps in fault.links.items()],
            "aim": visible(fault.aim),
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
    faults: list[FaultRow],
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
                "says": visible(f.says()),
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
            {
                "n": v["number"],
                "t": v["time"] // US,
                "promise": v["promise"],
                "message": v["message"],
                "op": v["ops"][0]["index"] if v["ops"] else 0,
            }
            for v in violations
            if v["time"] is not None
        ],
        "clients": found.clients.columns(),
    }


def _hit(fault: FaultRow) -> list[str]:
    """The hosts whose lanes a fault is drawn on: where it is in place, or whom its effects name."""
    hit = dict.fromkeys(fault.hosts)
    hit.update(dict.fromkeys(fault.links))
    for effect in fault.effects:
        for named in effect.values():
            if isinstance(named, list | dict):
                hit.update(dict.fromkeys(str(h) for h in named))
    return list(hit)
