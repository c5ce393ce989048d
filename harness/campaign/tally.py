"""The journal, added up: what was run, what failed, and what is still to be done.

The canary's own runs are not counted as runs, and what it breaks is no failure.  `harness.campaign.verdict` decides
what all of it comes to.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from harness import UsageError
from harness.campaign import journal
from harness.campaign.journal import Job, job_of
from harness.campaign.outcome import Failure
from harness.campaign.plan import HOSTS, SIMULATOR
from harness.systems import registry

GROUPS_MAX = 200
"""Groups of failures that are kept apart."""
FOLDERS_MAX = 10
GAP_S = 120.0
"""A session that is silent for longer was dead: its journal has a line at least every minute."""


class Counted(msgspec.Struct, omit_defaults=True):
    """What the journal says of a run, or of a batch, that is counted."""

    valid: int = 0
    invalid: int = 0
    unknown: int = 0
    cut: int = 0
    harness: int = 0
    """Of them, those that failed in the harness."""
    seconds: float = 0.0
    ops: int = 0
    bytes: int = 0
    groups: dict[str, int] = {}
    new: list[Failure] = []
    """The first of each group that was not there before."""
    kept: dict[str, list[str]] = {}
    """Group -> folders of its runs that are kept."""

    @property
    def runs(self) -> int:
        return self.valid + self.invalid + self.unknown + self.cut

    def add(self, other: Counted) -> None:
        for name in ("valid", "invalid", "unknown", "cut", "harness", "seconds", "ops", "bytes"):
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Group(msgspec.Struct):
    """Failures of one signature."""

    id: str
    failure: Failure
    """The first."""
    setting: str
    servers: int
    mix: str
    at: float
    """When it was counted, in seconds since 1970."""
    runs: dict[str, int] = {}
    """World -> how many."""
    kept: int = 0
    """Folders of its runs."""
    folders: list[str] = []
    """The first of them."""
    said: dict[str, dict[str, Any]] = {}
    """What replaying and shrinking it came to."""


class Open(msgspec.Struct):
    """A job that is planned and not yet counted."""

    job: Job
    begun: bool = False
    ended: bool = False
    code: int = 0
    why: str = ""


class Flown(msgspec.Struct):
    """How the canary fared in a world."""

    runs: int = 0
    found: int = 0
    harness: int = 0
    """Of its runs, those that failed in the harness; they are not among `runs`."""
    since: int = 0
    """Runs of the world since it was last found."""


class Used(msgspec.Struct):
    """What a place gave, the canary's runs among it."""

    judged: int = 0
    """Runs that came to a verdict, whichever; not those that were cut, or failed in the harness."""
    harness: int = 0


class Stray(ValueError):
    """An entry that cannot follow those before it; the message says why."""


class Tally:
    """Feed it every entry of a journal."""

    def __init__(self) -> None:
        self.total = Counted()
        self.by: dict[tuple[str, str, str], Counted] = {}
        """World, setting, mix."""
        self.planted: dict[str, str] = {}
        """Setting -> the bug that its runs had."""
        self.canary: dict[str, Flown] = {}
        self.places: dict[str, Used] = {}
        self.groups: dict[str, Group] = {}
        self.open: dict[str, Open] = {}
        self.dealt: dict[str, int] = {}
        """Place -> cards that were dealt."""
        self.jobs: dict[str, int] = {}
        """Kind -> jobs that were planned, of runs."""
        self.seeds = 0
        """That were dealt to the simulator."""
        self.passing: list[str] = []
        """Passing runs on hosts, by the ids of their jobs, that are kept."""
        self.passed = 0
        self.largest: dict[str, int] = {}
        """Kind -> the most bytes that one job of it left."""
        self.active_s = 0.0
        """How long controllers have been at it."""
        self.began_at = 0.0
        self.last_at = 0.0
        self.over: str | None = None
        """Why the last session ended; None: it goes on, or was killed."""
        self.sessions = 0
        self.rss_mb = 0.0
        """The most that a controller had in memory."""

    def feed(self, entry: dict[str, Any]) -> None:
        at, what = float(entry["at"]), entry["what"]
        if what == "session":
            self.sessions += 1
            self.over = None
            self.began_at = self.began_at or at
        elif self.over is None and 0 < at - self.last_at < GAP_S:
            self.active_s += at - self.last_at
        self.last_at = at
        if what == "plan":
            self._plan(job_of(entry))
        elif what == "begin":
            self.under_way(entry).begun = True
        elif what == "end":
            job = self.under_way(entry)
            job.ended, job.code, job.why = True, entry["code"], entry["why"]
        elif what == "count":
            job = self.under_way(entry)
            del self.open[job.job.id]
            self._count(job.job, entry, at)
        elif what == "thin":
            if entry["id"] not in self.passing:
                raise Stray(f"no entry before it counted {entry['id']} as a passing run that is kept")
            self.passing.remove(entry["id"])
            self.total.bytes -= entry["bytes"]
        elif what == "alive":
            self.rss_mb = max(self.rss_mb, entry["rss_mb"])
        elif what == "over":
            self.over = entry["why"]

    def under_way(self, entry: dict[str, Any]) -> Open:
        """The job that an entry is about.  Raises Stray."""
        name = entry["id"]
        if name not in self.open:
            raise Stray(f"no entry before it began {name}, or {name} was counted already")
        return self.open[name]

    def _plan(self, job: Job) -> None:
        self.open[job.id] = Open(job)
        if job.is_run:
            self.jobs[job.kind] = self.jobs.get(job.kind, 0) + 1
            if not job.canary:
                self.dealt[job.place] = self.dealt.get(job.place, 0) + 1
                self.seeds += job.seeds if job.kind == "simulate" else 0

    def _count(self, job: Job, entry: dict[str, Any], at: float) -> None:
        if not job.is_run:
            group = self.group(job.group)
            if group is not None:
                group.said[job.kind] = entry["said"]
            return
        runs = msgspec.convert(entry["runs"], Counted)
        world = HOSTS if job.kind == "hosts" else SIMULATOR
        self.largest[job.kind] = max(self.largest.get(job.kind, 0), runs.bytes)
        self.total.bytes += runs.bytes
        flown = self.canary.setdefault(world, Flown()) if registry.simulated(job.system) else Flown()
        used = self.places.setdefault(job.place, Used())
        used.judged += max(0, runs.runs - runs.cut - runs.harness)
        used.harness += runs.harness
        if job.canary:
            flown.harness += runs.harness
            flown.runs += runs.runs - runs.cut - runs.harness
            flown.found += runs.invalid
            flown.since = 0 if runs.invalid else flown.since
            return
        flown.since += runs.runs
        if job.bug:
            self.planted[job.setting] = job.bug
        self.by.setdefault((world, job.setting, job.mix), Counted()).add(runs)
        size, runs.bytes = runs.bytes, 0
        self.total.add(runs)
        for failure in runs.new:
            if len(self.groups) < GROUPS_MAX:
                self.groups[failure.signature.key] = Group(
                    f"g{len(self.groups) + 1}", failure, job.setting, job.servers, job.mix, at
                )
        for key, count in runs.groups.items():
            group = self.groups.get(key)
            if group is not None:
                group.runs[world] = group.runs.get(world, 0) + count
                group.kept += len(runs.kept.get(key, ()))
                group.folders += runs.kept.get(key, [])[: FOLDERS_MAX - len(group.folders)]
        if world == HOSTS and runs.valid and size:
            self.passed += 1
            self.passing.append(job.id)

    def group(self, name: str) -> Group | None:
        return next((group for group in self.groups.values() if group.id == name), None)


DONE = "the time is up"


def number(count: int, one: str, many: str = "") -> str:
    """1 run, 2 runs."""
    words = one if count == 1 else many or f"{one}s"
    return f"{count:,} {words}".replace(",", "\u202f")


def add_up(folder: Path, entries: Iterable[dict[str, Any]] | None = None) -> Tally:
    """The tally of a campaign's folder.  Raises UsageError, with the line that cannot be."""
    tally = Tally()
    line = 0
    try:
        for line, entry in enumerate(entries if entries is not None else journal.read(folder), 1):  # noqa: B007
            tally.feed(entry)
    except (KeyError, ValueError, TypeError) as error:
        what = f"this entry cannot follow those before it: {_why(error)}"
        raise UsageError(what, where=f"{folder / journal.FILE}:{line}", remedy=journal.REMEDY) from None
    return tally


def _why(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it has no {error.args[0]!r}"
    return str(error) if isinstance(error, Stray) else "what a field of it says is not of the kind that belongs there"
