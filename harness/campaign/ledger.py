"""The books of a campaign: its journal, its tally, what is counted, what follows, and what is kept on the disk.

Whatever the controller decides or learns goes through here: into the journal first, and from there into the tally.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from harness import HarnessError, UsageError
from harness.campaign import follow, journal
from harness.campaign import outcome as outcomes
from harness.campaign.journal import CampaignJournal, Job
from harness.campaign.outcome import CountedOutcome
from harness.campaign.plan import HOSTS, SIMULATOR, CampaignPlan
from harness.campaign.rotation import Turn, deal, deck
from harness.campaign.tally import Counted, Flown, Group, Open, Tally, add_up, number
from harness.campaign.work import run_folder
from harness.systems import registry

CANARY_SEEDS = 3
CANARY_HOSTS_TRIES, CANARY_SIMULATED = 3, 9
"""Runs in which it is looked for before the harness is called blind."""
EXPECTED_BYTES = {"hosts": 8 << 20, "simulate": 8 << 20}
"""What a job is expected to leave before there was a larger one."""
BALLAST, BALLAST_BYTES = ".ballast", 2 << 20
"""Room that is kept for the last words."""
MB = 1_000_000


class Books:
    """Of the campaign in a folder; held by one controller at a time."""

    def __init__(self, folder: Path, plan: CampaignPlan, say: Callable[[str], None]) -> None:
        """UsageError: another controller is at it, or the journal is broken, or lost."""
        self.folder = folder
        self.plan = plan
        self.tally: Tally
        self.waiting: list[Open] = []
        """Jobs that are planned and not begun, or that a controller before left."""
        self.counted = False
        """Something was counted since this was set to False."""
        self.on_full: Callable[[], None] = lambda: None
        """Called when the disk is full, before the room that is kept is given free."""
        self._say = say
        self._lock = _lock(folder)
        self.tally = add_up(folder) if (folder / journal.FILE).exists() else Tally()
        if not self.tally.last_at:
            _refuse_what_would_be_overwritten(folder)
        self._journal = CampaignJournal(folder)

    def open(self) -> None:
        """Keeps some room for the last words."""
        try:
            if not (self.folder / BALLAST).exists():
                (self.folder / BALLAST).write_bytes(bytes(BALLAST_BYTES))
        except OSError as error:
            self.no_room(error)

    def close(self) -> None:
        (self.folder / BALLAST).unlink(missing_ok=True)
        self._journal.close()
        os.close(self._lock)

    def note(self, what: str, **about: Any) -> None:
        """One entry of the journal, and into the tally.  HarnessError: it cannot be written."""
        try:
            entry = self._journal.write(what, **about)
        except OSError as error:
            self.no_room(error)
            try:
                entry = self._journal.write(what, **about)
            except OSError as again:
                raise HarnessError(
                    f"{self._journal.path}: the journal cannot be written: {again.strerror}",
                    remedy="Make room there; `onethrone campaign --resume` goes on then.",
                ) from None
        self.tally.feed(entry)

    def no_room(self, error: OSError) -> None:
        """If it is because the disk is full: everything is to end, and the room that was kept is given free."""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            self.on_full()
            (self.folder / BALLAST).unlink(missing_ok=True)

    def too_full(self, kind: str) -> str:
        """Why there is no room for another job of this kind, one as large as the largest so far; empty: there is."""
        budget = self.plan.budget
        more = max(EXPECTED_BYTES[kind], self.tally.largest.get(kind, 0))
        free, used = self.free(), self.tally.total.bytes
        if free - more < budget.free_mb * MB:
            return f"the disk has {free / MB:.0f} MB free, and {budget.free_mb:g} MB are to be left"
        if used + more > budget.disk_mb * MB:
            return f"the campaign keeps {used / MB:.0f} MB, and may keep {budget.disk_mb:g} MB"
        return ""

    def free(self) -> int:
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize

    # ---- what comes next -------------------------------------------------------------------------------------------

    def next_run(self, kind: str, place: str) -> Open:
        """Decides the next run of a place, and writes it down."""
        tally, plan = self.tally, self.plan
        count = tally.jobs.get(kind, 0) + 1
        job = Job(f"{kind[0]}{count:05}", kind, place)
        canary = self._canary(kind, place)
        card = canary or deal(plan, place, tally.dealt.get(place, 0))
        job.setting, job.servers, job.mix = card
        setting = plan.setting(card.setting)
        job.system, job.bug = setting.system, setting.ensemble.bug
        if kind == "hosts":
            job.seed = plan.seed + count
        else:
            job.seed, job.seeds = plan.seed + tally.seeds, plan.simulator.batch
        if canary:
            job.canary, job.bug = True, plan.canary.bug
            if kind == "simulate":
                job.seeds = CANARY_SEEDS
        self.note("plan", job=msgspec.to_builtins(job))
        return tally.open[job.id]

    def _canary(self, kind: str, place: str) -> Turn | None:
        """What the canary is to fly in, if it is to."""
        world = HOSTS if kind == "hosts" else SIMULATOR
        if any(o.job.canary and o.job.kind == kind for o in self.tally.open.values()):
            return None
        flown = self.tally.canary.get(world, Flown())
        tries, every = (CANARY_HOSTS_TRIES, 1) if world == HOSTS else (CANARY_SIMULATED, self.plan.simulator.batch)
        if flown.runs >= tries if not flown.found else flown.since < self.plan.canary.every * every:
            return None
        ours = [card for card in deck(self.plan, place) if registry.simulated(self.plan.setting(card.setting).system)]
        return max(ours, key=lambda card: card.servers, default=None)

    # ---- counting --------------------------------------------------------------------------------------------------

    def count(self, job: Job, found: CountedOutcome) -> None:
        known = self.tally.groups
        runs = Counted(
            found.valid, found.invalid, found.unknown, found.cut, len(found.harness), found.seconds, found.ops,
            found.bytes, found.groups,
        )  # fmt: skip
        for failure in found.failures if not job.canary else ():
            key = failure.signature.key
            if key not in known and key not in {f.signature.key for f in runs.new}:
                runs.new.append(failure)
            if failure.folder:
                runs.kept.setdefault(key, []).append(failure.folder)
        self.note("count", id=job.id, runs=msgspec.to_builtins(runs))
        self.counted = True
        self._tell(job, found)
        for failure in runs.new:
            group = known.get(failure.signature.key)
            if group is not None:
                self.follow_up(group)
        self.thin()

    def _tell(self, job: Job, found: CountedOutcome) -> None:
        what = f"{job.setting}, {job.servers} servers, {job.mix}"
        what = f"canary {job.bug}" if job.canary else f"{what}, bug {job.bug}" if job.bug else what
        if job.kind == "hosts":
            trouble = f"  ({found.harness[0].why.splitlines()[0]})" if found.harness else ""
            word = "invalid" if found.invalid else "valid" if found.valid else "cut" if found.cut else "unknown"
            self._say(f"{job.id}  {job.place}  seed {job.seed}  {what}: {word}{trouble}")
        else:
            counts = ((found.valid, "valid"), (found.invalid, "invalid"), (found.unknown, "unknown"))
            words = [f"{count} {word}" for count, word in counts if count]
            self._say(f"{job.id}  {number(job.seeds, 'seed')} from {job.seed}  {what}: {', '.join(words)}")

    def follow_up(self, group: Group) -> None:
        planted = f" (planted: {group.failure.signature.bug})" if group.failure.signature.bug else ""
        self._say(f"{group.id}  a new failure{planted}: {group.failure.signature.promise}: {group.failure.message}")
        run = group.failure.folder
        if not run or not registry.simulated(group.failure.signature.system):
            return
        for kind in follow.KINDS:
            if follow.able(kind):
                job = Job(f"{group.id}-{kind}", kind, SIMULATOR, group=group.id, run=run)
                self.note("plan", job=msgspec.to_builtins(job))
                self.waiting.append(self.tally.open[job.id])

    def followed(self, job: Job, code: int, why: str) -> None:
        """What replaying or shrinking came to."""
        folder = self.folder / "failures" / job.group / job.kind
        said = follow.said(job, self.folder, code, why, folder / "out", folder / "log")
        self.note("count", id=job.id, said=said)
        self.counted = True
        self._say(f"{job.id}  {said.get('story') or said.get('words')}")
        group = self.tally.group(job.group)
        again = f"{job.group}-shrink-again"
        if job.kind == "shrink" and not said["ok"] and group is not None and job.id != again:
            # A failure on hosts need not come again in a simulated world; one of the same kind may have come there.
            other = next((folder for folder in group.folders if folder != job.run), None)
            if other is not None:
                self.note("plan", job=msgspec.to_builtins(Job(again, "shrink", SIMULATOR, group=job.group, run=other)))
                self.waiting.append(self.tally.open[again])

    # ---- retention -------------------------------------------------------------------------------------------------

    def thin(self) -> None:
        """Removes passing runs, so that those that stay are spread over the whole campaign."""
        most = self.plan.retention.passing
        while len(self.tally.passing) > most:
            # Every second one, from the second on: gaps double, and are even again when all have doubled.
            ids = self.tally.passing
            ages = [int(name[1:]) for name in ids]
            gaps = [later - earlier for earlier, later in zip([0, *ages], ages, strict=False)]
            name = ids[gaps.index(min(gaps))] if most else ids[0]
            folder = self.folder / "runs" / name
            size = outcomes.size_of(folder) if folder.exists() else 0
            run = run_folder(folder)
            if run is not None:
                shutil.rmtree(run, ignore_errors=True)
            left = outcomes.size_of(folder) if folder.exists() else 0
            self.note("thin", id=name, bytes=size - left)


def _refuse_what_would_be_overwritten(folder: Path) -> None:
    """Ids begin anew with an empty journal, and so would the folders of runs.  UsageError: there are results."""
    runs = folder / "runs"
    ran = runs.is_dir() and any(runs.iterdir())
    if ran or (folder / "summary.json").exists():
        what = "runs" if ran else "results (summary.json)"
        raise UsageError(
            f"the journal is empty, though there are {what}; to go on would overwrite them",
            where=str(folder / journal.FILE),
            remedy="Put the journal back from a copy, or begin a new campaign; what is there stays as it is.",
        )


def _lock(folder: Path) -> int:
    """Held while the controller lives.  UsageError: another one is at it."""
    fd = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise UsageError(
            f"{folder}: this campaign is going on", remedy="Let it, or end its controller first."
        ) from None
    return fd
