"""The morning report: `report.html`, `summary.json` and `junit.xml` in the campaign's folder.

They are made from the journal and from what the runs left (`harness.campaign.figures`), each time whole, and put in
their place whole: whoever looks early sees the campaign as far as it is.
"""

from __future__ import annotations

import base64
import hashlib
import math
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec
from jinja2 import Environment, StrictUndefined, Template, select_autoescape
from markupsafe import Markup

from harness.campaign import coverage, figures, junit
from harness.campaign.coverage import Coverage, Lengths
from harness.campaign.figures import Night
from harness.campaign.plan import HOSTS, PLAN, SIMULATOR, WORLDS, CampaignPlan, simulated
from harness.campaign.plan import load as load_plan
from harness.campaign.seeds import knobs_of
from harness.campaign.tally import Counted, Group
from harness.campaign.verdict import CampaignVerdict, decide
from harness.report.columns import visible
from harness.report.page import lasting, short
from harness.results.rerun import rerun_command
from harness.simulator import marks

BUCKETS, BUCKET_S = 96, 20.0
"""Bars of the picture over time: at most so many, none narrower."""
SLOWEST = 12
COMMON = 12
WORDS = ("valid", "cut", "unknown", "planted", "invalid")
"""How a run may have ended, from the bottom of a bar to its top."""
LOW_MS, HIGH_MS = 10.0, 100_000.0


def write(campaign: Path) -> None:
    """Raises UsageError when the campaign's folder cannot be read, OSError when there is no room."""
    plan = load_plan(campaign / PLAN)
    found = figures.read(campaign)
    view = build(campaign, plan, found)
    _put(campaign / "report.html", render(view).encode("utf-8", errors="replace"))
    _put(campaign / "summary.json", msgspec.json.format(msgspec.json.encode(summary(view)), indent=1) + b"\n")
    _put(campaign / "junit.xml", junit.junit(found, plan))


def _put(path: Path, data: bytes) -> None:
    half = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        half.write_bytes(data)
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)


# ---- the view --------------------------------------------------------------------------------------------------------


def build(campaign: Path, plan: CampaignPlan, found: Night) -> dict[str, Any]:
    """What the page shows, and the summary says."""
    tally, total = found.tally, found.sum
    verdict = decide(plan, tally)
    both = Coverage()
    for world in WORLDS:
        both.add(total.coverage[world])
    kinds = plan.kinds()
    never = coverage.never(both, kinds) | {"marks": marks.never(total.marks) if total.marks else []}
    hosts = _of_world(tally.by, HOSTS)
    simulated = _of_world(tally.by, SIMULATOR)
    return {
        "name": plan.name,
        "campaign": str(campaign),
        "verdict": {
            "valid": verdict.valid,
            "word": verdict.word,
            "sentence": verdict.sentence,
            "doubts": list(verdict.doubts),
        },
        "going_on": tally.over is None,
        "over": tally.over or "",
        "began": _date(tally.began_at),
        "ended": _date(tally.last_at),
        "active_s": tally.active_s,
        "length_s": plan.length_s,
        "sessions": tally.sessions,
        "kept_mb": tally.total.bytes / 1e6,
        "rss_mb": tally.rss_mb,
        "runs": {HOSTS: _counted(hosts), SIMULATOR: _counted(simulated)},
        "harness_failed": verdict.harness_failed,
        "faults": both.verified(),
        "epochs": both.epochs,
        "groups": [_group(group, plan, verdict) for group in verdict.groups],
        "canary": {
            world: {"bug": plan.canary.bug, "runs": flown.runs, "found": flown.found}
            for world, flown in sorted(tally.canary.items())
        },
        "settings": [
            {"world": world, "setting": setting, "mix": mix, "bug": tally.planted.get(setting, ""), **_counted(counted)}
            for (world, setting, mix), counted in sorted(tally.by.items())
        ],
        "rows": [_row(row) for row in reversed(total.rows)],
        "rows_left_out": total.rows_left_out,
        "unknowns": [_told(told) for told in total.unknowns],
        "harness": [_told(told) for told in total.harness],
        "over_time": _over_time(found),
        "coverage": _coverage(total, kinds),
        "states": {
            "distinct": len(both.states),
            "curve": total.states,
            "common": sorted(both.states.items(), key=lambda item: -item[1])[:COMMON],
            "rare": sorted(both.states.items(), key=lambda item: (item[1], item[0]))[:COMMON],
        },
        "marks": dict(sorted(total.marks.items(), key=lambda item: item[1])),
        "never": never,
        "elections": _elections(total.coverage),
        "slowest": [
            _named(stretch) | {"world": world, "again": _again(campaign, plan, stretch)}
            for world in WORLDS
            for stretch in total.coverage[world].slowest[:SLOWEST]
        ],
    }


def summary(view: dict[str, Any]) -> dict[str, Any]:
    """What `summary.json` holds: the view, without what is only drawn."""
    left_out = ("over_time", "coverage", "elections", "states", "rows", "verdict", "never")
    return {
        "valid": view["verdict"]["valid"],
        "summary": view["verdict"]["sentence"],
        "doubts": view["verdict"]["doubts"],
        **{name: value for name, value in view.items() if name not in left_out},
        "elections": [{name: row[name] for name in ("after", *WORLDS)} for row in view["elections"]["rows"]],
        "faults_by_kind": view["coverage"]["faults"]["table"],
        "victims": view["coverage"]["victims"]["table"],
        "partitions": view["coverage"]["partitions"],
        "states_seen": view["states"]["distinct"],
        "never_reached": view["never"],
    }


def _group(group: Group, plan: CampaignPlan, verdict: CampaignVerdict) -> dict[str, Any]:
    failure = group.failure
    untold = {"words": "", "story": "", "folder": "", "test": ""}
    said = {kind: untold | told for kind, told in group.said.items()}
    return {
        "id": group.id,
        "promise": failure.signature.promise,
        "shape": visible(failure.signature.shape),
        "message": visible(failure.message),
        "bug": failure.signature.bug,
        "system": failure.signature.system,
        "setting": group.setting,
        "expected": group.setting in verdict.expected,
        "servers": group.servers,
        "mix": group.mix,
        "kinds": list(plan.mixes.get(group.mix, ())),
        "seed": failure.seed,
        "at_s": failure.at_s,
        "found": _date(group.at),
        "also": failure.also,
        "runs": group.runs,
        "first": failure.folder,
        "folders": [folder for folder in group.folders if folder != failure.folder],
        "replay": said.get("replay"),
        "shrink": said.get("shrink"),
    }


def _counted(counted: Counted) -> dict[str, Any]:
    names = ("runs", "valid", "invalid", "unknown", "cut", "harness")
    return {name: getattr(counted, name) for name in names} | {"seconds": round(counted.seconds, 1)}


def _of_world(by: dict[tuple[str, str, str], Counted], world: str) -> Counted:
    total = Counted()
    for key, counted in by.items():
        if key[0] == world:
            total.add(counted)
    return total


def _row(row: figures.FigureRow) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(row)
    return fields | {
        "at": _time(row.at),
        "summary": visible(row.summary),
        "harness": visible(row.harness),
    }


def _told(told: figures.Told) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(told)
    return fields | {"at": _time(told.at), "why": visible(told.why.strip())}


def _named(stretch: coverage.CoverageStretch) -> dict[str, Any]:
    return {"ms": stretch.ms, "after": stretch.after, "at_s": stretch.at_s, "run": stretch.run}


def _again(campaign: Path, plan: CampaignPlan, stretch: coverage.CoverageStretch) -> str:
    """The command that repeats a simulated run; what the command needs of it is put into a folder of the campaign."""
    if not stretch.setting:
        return ""
    from harness.simulator.inputs import INPUTS, Inputs
    from harness.simulator.run import drawn_for

    folder = campaign / "slowest" / str(stretch.seed)
    if not (folder / INPUTS).exists():
        knobs = knobs_of(plan, stretch.mix, stretch.seed)
        settings = simulated(plan, plan.setting(stretch.setting), stretch.servers)
        schedule, settings = drawn_for(stretch.seed, stretch.servers, settings, knobs)
        folder.mkdir(parents=True, exist_ok=True)
        schedule.save(folder / "schedule.json")
        inputs = Inputs(stretch.seed, stretch.servers, "", settings, knobs)
        _put(folder / INPUTS, msgspec.json.encode(inputs) + b"\n")
    return rerun_command(folder)


def _date(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC") if at else ""


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")


def _over_time(found: Night) -> dict[str, Any]:
    """Bars: for each world, how many runs ended how, by time."""
    moments = found.moments
    if not moments:
        return {"bars": {}, "times": [], "heights": {}, "bar_s": 0.0}
    first, last = found.tally.began_at, max(found.tally.last_at, moments[-1][0])
    width = max((last - first) / BUCKETS, BUCKET_S)
    buckets = min(BUCKETS, int((last - first) / width) + 1)
    bars: dict[str, list[dict[str, int]]] = {}
    for at, world, counted, planted in moments:
        row = bars.setdefault(world, [dict.fromkeys(WORDS, 0) for _ in range(buckets)])
        bucket = row[min(buckets - 1, max(0, int((at - first) / width)))]
        for word in ("valid", "cut", "unknown"):
            bucket[word] += getattr(counted, word)
        bucket["planted" if planted else "invalid"] += counted.invalid
    heights = {world: max(sum(bucket.values()) for bucket in row) for world, row in bars.items()}
    drawn = {world: [_stack(bucket, heights[world]) for bucket in row] for world, row in sorted(bars.items())}
    times = [_time(first + buckets * width * n / 4)[:5] for n in range(5)]
    return {"bars": drawn, "times": times, "heights": heights, "bar_s": width}


def _stack(bucket: dict[str, int], highest: int) -> list[tuple[str, float, float, int]]:
    """From the bottom up: (word, from, height, count), in shares of the highest bar; what is rare can still be seen."""
    parts, at = [], 0.0
    for word in WORDS:
        if bucket[word]:
            height = max(bucket[word] / highest, 0.06 if word != "valid" else 0.02)
            height = min(height, 1.0 - at)
            parts.append((word, round(at, 4), round(height, 4), bucket[word]))
            at += height
    return parts


def _coverage(total: figures.Sum, kinds: list[str]) -> dict[str, Any]:
    faults, victims, _ = coverage.reachable(kinds)
    return {
        "faults": _matrix(faults, total, "faults"),
        "victims": _matrix(victims, total, "victims"),
        "partitions": {
            shape: {
                side: {world: total.coverage[world].partitions.get(shape, {}).get(side, 0) for world in WORLDS}
                for side in sorted({s for w in WORLDS for s in total.coverage[w].partitions.get(shape, {})})
            }
            for shape in sorted({shape for world in WORLDS for shape in total.coverage[world].partitions})
        },
        "refused": {
            kind: {world: total.coverage[world].refused.get(kind, 0) for world in WORLDS}
            for kind in sorted({kind for world in WORLDS for kind in total.coverage[world].refused})
        },
    }


def _matrix(expected: coverage.Table, total: figures.Sum, name: str) -> dict[str, Any]:
    """A table: kinds of fault by words or states; a cell is None where nothing was to be expected and nothing came."""
    tables = {world: getattr(total.coverage[world], name) for world in WORLDS}
    columns: dict[str, None] = {column: None for row in expected.values() for column in row}
    for table in tables.values():
        for counts in table.values():
            columns.update(dict.fromkeys(counts))
    rows = list(dict.fromkeys([*expected, *(kind for table in tables.values() for kind in table)]))
    cells: dict[str, dict[str, dict[str, Any] | None]] = {}
    for row in rows:
        cells[row] = {}
        for column in columns:
            counts = {world: tables[world].get(row, {}).get(column, 0) for world in WORLDS}
            both = sum(counts.values())
            known = column in expected.get(row, {})
            shade = 0 if not both else min(5, 1 + int(math.log10(both) * 1.25))
            cells[row][column] = counts | {"both": both, "shade": shade} if both or known else None
    # What took somebody else's place is a column of its own only where it came.
    return {"columns": list(columns), "table": cells}


def _elections(found: dict[str, Coverage]) -> dict[str, Any]:
    names = sorted({after for world in WORLDS for after in found[world].elections}, key=_after)
    rows = [
        {"after": after, **{world: _lengths(found[world].elections.get(after)) for world in WORLDS}} for after in names
    ]
    every = {world: Lengths() for world in WORLDS}
    for world in WORLDS:
        for after, lengths in found[world].elections.items():
            if after != "start":
                every[world].add(lengths)
    return {"rows": rows, "all": {world: _lengths(every[world]) for world in WORLDS}}


def _after(name: str) -> tuple[bool, bool, str]:
    return name.endswith(" over"), name == "start", name


def _lengths(lengths: Lengths | None) -> dict[str, Any] | None:
    if lengths is None or not lengths.count:
        return None
    highest = max(lengths.bins.values())
    scale = math.log10(HIGH_MS / LOW_MS)
    bars = []
    for place, count in sorted(lengths.bins.items()):
        x = (place / coverage.BINS_A_DECADE - math.log10(LOW_MS)) / scale
        if 0 <= x < 1:
            bars.append((round(100 * x, 2), round(max(1.5, 18 * count / highest), 2)))
    return {
        "count": lengths.count,
        "median_ms": round(lengths.quantile(0.5), 1),
        "p95_ms": round(lengths.quantile(0.95), 1),
        "max_ms": round(lengths.max_ms, 1),
        "bars": bars,
        "bar_width": round(100 / (coverage.BINS_A_DECADE * scale), 2),
    }


# ---- the page --------------------------------------------------------------------------------------------------------


def render(view: dict[str, Any]) -> str:
    """The page, as text: one file that needs nothing beside it."""
    shared = resources.files("harness.report").joinpath("static", "report.css").read_text(encoding="utf-8")
    style = shared + "\n" + _read("morning.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return _template().render(view, style=Markup(style), style_hash=f"sha256-{digest}")


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(lasting=lambda s: lasting(round(s * 1e9)), ms=_ms, short=short, points=_points)
    return environment.from_string(_read("morning.html"))


def _ms(ms: float) -> str:
    return lasting(round(ms * 1e6))


def _points(curve: Iterable[tuple[int, int]]) -> str:
    """The points of a curve, in a box of 600 by 120."""
    points = [(0, 0), *curve]
    right, top = max(points[-1][0], 1), max(points[-1][1], 1)
    return " ".join(f"{600 * x / right:.1f},{120 - 120 * y / top:.1f}" for x, y in points)


def _read(name: str) -> str:
    return resources.files("harness.campaign").joinpath(name).read_text(encoding="utf-8")
