"""A campaign's figures, from its journal and from what its runs left: all that the morning report is made of.

The journal is read anew each time, which is cheap.  What the runs left is not: it is added up once, and the sum is kept
in `.report/sum.json` with the number of runs that are in it.  A sum that cannot be read is made again.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import msgspec

from harness.campaign import journal
from harness.campaign import outcome as outcomes
from harness.campaign.coverage import Coverage
from harness.campaign.journal import Job
from harness.campaign.outcome import Trouble
from harness.campaign.plan import HOSTS, SIMULATOR, WORLDS
from harness.campaign.tally import Counted, Tally

SUM = ".report/sum.json"
ROWS_MAX = 300
TROUBLES_MAX = 200
POINTS_MAX = 400


class FigureRow(msgspec.Struct):
    """A run on hosts."""

    id: str
    at: float
    setting: str
    servers: int
    mix: str
    seed: int
    word: str
    """valid, invalid, unknown, cut"""
    bug: str
    canary: bool
    seconds: float
    epochs: int
    faults: int
    summary: str
    folder: str
    harness: str


class Told(msgspec.Struct):
    """Why a run is unknown, or what failed in the harness."""

    id: str
    why: str
    seed: int
    folder: str
    log: str
    at: float


class Sum(msgspec.Struct):
    """What the runs left, added up."""

    counted: int = 0
    """Entries of the journal that are in it."""
    coverage: dict[str, Coverage] = msgspec.field(default_factory=lambda: {world: Coverage() for world in WORLDS})
    marks: dict[str, int] = {}
    rows: list[FigureRow] = []
    rows_left_out: int = 0
    unknowns: list[Told] = []
    harness: list[Told] = []
    states: list[tuple[int, int]] = []
    """Runs so far, and abstract states of the ensemble seen so far."""
    runs: int = 0


class Night(msgspec.Struct):
    """Everything."""

    tally: Any
    sum: Sum
    moments: list[tuple[float, str, Counted, bool]]
    """When something was counted: time, world, what, and whether a bug was planted."""
    alive: list[tuple[float, float]]
    """Time, and MB that the controller had in memory."""


def read(campaign: Path) -> Night:
    """Raises UsageError."""
    total = _load(campaign)
    tally = Tally()
    moments: list[tuple[float, str, Counted, bool]] = []
    alive: deque[tuple[float, float]] = deque(maxlen=10_000)
    seen = 0
    states = {state for coverage in total.coverage.values() for state in coverage.states}
    for entry in journal.read(campaign):
        job = tally.under_way(entry).job if entry["what"] == "count" else None
        tally.feed(entry)
        if entry["what"] == "alive":
            alive.append((entry["at"], entry["rss_mb"]))
        if job is None or not job.is_run:
            continue
        seen += 1
        counted = msgspec.convert(entry["runs"], Counted)
        if not job.canary:
            moments.append((entry["at"], HOSTS if job.kind == "hosts" else SIMULATOR, counted, bool(job.bug)))
        if seen > total.counted:
            total.counted = seen
            _add(total, campaign, job, counted, entry["at"], states)
    for row in total.rows:
        if row.folder and not (campaign / row.folder).is_dir():
            row.folder = ""  # it was thinned out
    _save(total, campaign)
    return Night(tally, total, moments, list(alive))


def _add(total: Sum, campaign: Path, job: Job, counted: Counted, at: float, states: set[str]) -> None:
    found = outcomes.load(campaign / "runs" / job.id) or outcomes.CountedOutcome()
    world = HOSTS if job.kind == "hosts" else SIMULATOR
    for name in ("unknowns", "harness"):
        if name == "harness" or not job.canary:
            told: list[Told] = getattr(total, name)
            troubles: list[Trouble] = getattr(found, name)
            told += [Told(job.id, t.why, t.seed, t.folder, t.log, at) for t in troubles[: TROUBLES_MAX - len(told)]]
    if counted.harness and not found.harness and len(total.harness) < TROUBLES_MAX:  # it left no outcome
        total.harness.append(Told(job.id, "what it left cannot be read", job.seed, f"runs/{job.id}", "", at))
    if not job.bug:
        total.coverage[world].add(found.coverage)
        for mark, count in found.marks.items():
            total.marks[mark] = total.marks.get(mark, 0) + count
        total.runs += counted.runs
        if found.coverage.states:
            states.update(found.coverage.states)
            total.states.append((total.runs, len(states)))
            if len(total.states) > POINTS_MAX:
                total.states = total.states[::2]
    if job.kind == "hosts":
        _row(total, job, counted, found, at)


def _row(total: Sum, job: Job, counted: Counted, found: outcomes.CountedOutcome, at: float) -> None:
    word = next((w for w in ("invalid", "unknown", "cut", "valid") if getattr(counted, w)), "unknown")
    total.rows.append(
        FigureRow(
            job.id,
            at,
            job.setting,
            job.servers,
            job.mix,
            job.seed,
            word,
            job.bug,
            job.canary,
            found.seconds,
            found.coverage.epochs,
            found.coverage.verified(),
            found.summary,
            found.folder,
            found.harness[0].why if found.harness else "",
        )
    )
    if len(total.rows) > ROWS_MAX:
        plain = next((row for row in total.rows if row.word == "valid"), total.rows[0])
        total.rows.remove(plain)
        total.rows_left_out += 1


def _load(campaign: Path) -> Sum:
    try:
        return msgspec.json.decode((campaign / SUM).read_bytes(), type=Sum)
    except (OSError, msgspec.DecodeError):
        return Sum()


def _save(total: Sum, campaign: Path) -> None:
    path = campaign / SUM
    path.parent.mkdir(exist_ok=True)
    half = path.with_name(".sum.half")
    half.write_bytes(msgspec.json.encode(total))
    half.replace(path)
