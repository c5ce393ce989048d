"""The controller of a campaign: hands out runs, ends what hangs, counts what ended, and keeps the disk from filling.

The model.  A *place* is where one job is done at a time: each ensemble of hosts is one, each process of the simulator
is one.  The controller looks at every place a few times a second: is its child gone, is its time up, what comes next?
It holds no history and no outcome for longer than it takes to count it, and waits for nothing.

A run on hosts goes through two children: the run itself (`onethrone run`), and then its judgement, which also finds
what a run left that hung or was killed.  A batch of seeds is one child, which goes on where it was when it is started
again.  What follows a failure (replaying, shrinking) is done by the simulator's processes, before the next batch.

The rules:

1.  Everything is in the journal before it is begun, and counted in the journal once (`harness.campaign.journal`).
2.  A run that fails in the harness is a run, and the next one is begun; a place whose runs fail so one after the other
    rests in between, longer each time, up to `REST_MAX_S`.
3.  No run is begun when the disk is too full for one as large as the largest so far.  When the disk is full all the
    same, everything is ended, and the room that was kept for it (`BALLAST`) is used to write down what there is.
4.  When the time is up no run is begun that would not be over by then; what follows failures has `AFTER_S` more.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import msgspec

from harness import HarnessError
from harness.campaign import follow
from harness.campaign import outcome as outcomes
from harness.campaign.child import Child, end_orphans
from harness.campaign.journal import Job
from harness.campaign.ledger import BALLAST_BYTES, MB, Books
from harness.campaign.outcome import CountedOutcome
from harness.campaign.plan import SIMULATOR, CampaignPlan, hosts_of, run_plan, spec_of
from harness.campaign.tally import DONE, Open, Tally, number
from harness.campaign.watch import RunWatch, SeedsWatch
from harness.campaign.work import SEEDS, SPEC, WorkSpec, run_folder
from harness.results import exits
from harness.runs import signals

LOOK_S = 0.1
ALIVE_S = 30.0
REST_S, REST_MAX_S = 2.0, 300.0
AFTER_S = 900.0
"""For what follows failures, after the time is up."""
REPORT_S = 300.0
"""For the report to be written."""
TRIES = 3
"""So often a batch is started without any seed of it coming to an end."""
INTERRUPTED = "interrupted"


@dataclass
class RunningPlace:
    """Where one job is done at a time."""

    name: str
    kind: str
    """"hosts", "simulate", or "follow": only what follows failures, where nothing is simulated."""
    child: Child | None = None
    watch: RunWatch | SeedsWatch | None = None
    open: Open | None = None
    judging: bool = False
    began: float = 0.0
    longest_s: float = 0.0
    """The longest that a run took here; in the simulator, what the last one took."""
    rest_until: float = 0.0
    failed: int = 0
    """Runs that failed in the harness, one after the other."""
    tries: int = 0
    done: int = -1
    """Bytes of the file of seeds when its batch was started last."""


class Controller:
    """One session of a campaign.  `run` returns when the time is up, or it has to stop."""

    def __init__(self, folder: Path, plan: CampaignPlan, length_s: float, say: Callable[[str], None]) -> None:
        """`length_s`: how long to go on from now.  UsageError: another controller is at it."""
        self.folder = folder
        self.plan = plan
        self._say = say
        self._length_s = length_s
        self.books = Books(folder, plan, say)
        self.books.on_full = self._disk_is_full
        self._began = time.monotonic()
        self._stop = ""
        """Why nothing more is begun; empty is not yet."""
        self._signals = self._signals_seen = 0
        self._full = False
        """Something could not be written: what is not counted now is left to the next session."""
        self._alive_at = 0.0
        self._report: Child | None = None
        self._report_at = time.monotonic() + plan.report_s
        self.places = [RunningPlace(ensemble, "hosts") for ensemble in plan.hosts.ensembles]
        self.places += [RunningPlace(SIMULATOR, "simulate") for _ in range(plan.simulator.processes)]
        if not plan.simulator.processes:
            self.places.append(RunningPlace(SIMULATOR, "follow"))

    def run(self) -> Tally:
        """Goes on until the time is up.  HarnessError: the journal cannot be written, even with the kept room."""
        with self._signalled():
            try:
                self.books.note("session", pid=os.getpid(), length_s=self._length_s)
                self._take_up()
                while self._look():
                    time.sleep(LOOK_S)
            except BaseException:
                self._kill_all()
                raise
            finally:
                self._end()
        return self.books.tally

    # ---- the round -------------------------------------------------------------------------------------------------

    def _look(self) -> bool:
        """One look at everything; False when all is done."""
        self._look_at_the_signals()
        self._look_at_the_clock()
        self._stop_if_full("hosts" if self.plan.hosts.ensembles else "simulate")
        for place in self.places:
            if place.child is not None:
                self._look_at(place)
            if place.child is None:
                self._next(place)
        self._write_report()
        busy = any(place.child is not None for place in self.places)
        return busy or not (self._stop and not self._follow_ups_left())

    def _look_at_the_signals(self) -> None:
        if self._signals > self._signals_seen:
            self._signals_seen = self._signals
            self._stop = INTERRUPTED
            for place in self.places:
                if place.child is not None and not place.judging:
                    if self._signals == 1:
                        place.child.end(INTERRUPTED)
                    else:
                        place.child.kill()

    def _look_at_the_clock(self) -> None:
        now = time.monotonic()
        if now - self._alive_at >= ALIVE_S:
            self._alive_at = now
            self.books.note("alive", rss_mb=_rss_mb(), free_mb=round(self.books.free() / MB))
        if not self._stop and now - self._began >= self._length_s:
            self._halt(DONE)
        if self._stop == DONE and now - self._began >= self._length_s + AFTER_S:
            for place in self.places:
                if place.child is not None and place.open is not None and not place.open.job.is_run:
                    place.child.end("the campaign's time is up")

    def _stop_if_full(self, kind: str) -> None:
        why = "" if self._stop else self.books.too_full(kind)
        if why:
            self._full = self._full or self.books.free() < BALLAST_BYTES
            self._halt(why)

    def _look_at(self, place: RunningPlace) -> None:
        assert place.child is not None
        if place.watch is not None:
            place.watch.look()
        code = place.child.poll()
        if code is None:
            return
        child, place.child, place.watch = place.child, None, None
        self._ended(place, code, child.why)

    def _halt(self, why: str) -> None:
        """Begin nothing more."""
        if not self._stop:
            self._stop = why
            self._say(f"no more runs are begun: {why}")

    # ---- what comes next -------------------------------------------------------------------------------------------

    def _next(self, place: RunningPlace) -> None:
        now = time.monotonic()
        waiting = next((o for o in self.books.waiting if self._is_ready(o, place, now)), None)
        if waiting is not None:
            self.books.waiting.remove(waiting)
            self._start(place, waiting)
        elif not self._stop and now >= place.rest_until and place.kind != "follow":
            if place.longest_s and now + place.longest_s > self._began + self._length_s:
                return
            kind = "hosts" if place.kind == "hosts" else "simulate"
            self._stop_if_full(kind)
            if not self._stop:
                self._start(place, self.books.next_run(kind, place.name))

    def _is_ready(self, open_: Open, place: RunningPlace, now: float) -> bool:
        """Whether this place may take up a job that waits."""
        job = open_.job
        if job.kind == "hosts":
            here = place.kind == "hosts" and place.name == job.place
            return here and (open_.ended or (not self._stop and now >= place.rest_until))
        if job.kind == "simulate":
            return place.kind == "simulate" and not self._stop
        return place.kind != "hosts" and self._stop in ("", DONE)

    def _follow_ups_left(self) -> bool:
        late = time.monotonic() - self._began >= self._length_s + AFTER_S
        return self._stop == DONE and not late and any(not o.job.is_run for o in self.books.waiting)

    # ---- a job -----------------------------------------------------------------------------------------------------

    def _start(self, place: RunningPlace, open_: Open, *, judge: bool = False) -> None:
        """Starts a child for the job: the job itself, or the judgement on a run that has ended."""
        job = open_.job
        place.open, place.began, place.judging = open_, place.began if judge else time.monotonic(), judge
        folder = self.folder / "runs" / job.id if job.is_run else self.folder / "failures" / job.group / job.kind
        deadlines = self.plan.deadlines
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if judge or (open_.ended and job.kind == "hosts"):
                place.judging = True
                how = (
                    "cut"
                    if open_.why == INTERRUPTED
                    else "whole"
                    if open_.code in exits.JUDGED and not open_.why
                    else ""
                )
                why = open_.why or (
                    "" if how else follow.last_words(folder / "log") or f"it ended with code {open_.code}"
                )
                words = ["judge", str(self.folder), job.id, how or "failed", why]
            elif job.kind == "hosts":
                words = self._run_on_hosts(job, folder)
            elif job.kind == "simulate":
                self._save_spec(job, folder)
                words = ["simulate", str(self.folder), job.id]
            else:
                shutil.rmtree(follow.small(self.folder, job), ignore_errors=True)
                words = follow.words(job, self.folder, deadlines.shrink_s)
            place.child = Child(words, folder, deadlines.end_s)
        except OSError as error:
            self.books.no_room(error)
            if self._full:
                place.open = None  # it is planned: the next session takes it up
                return
            open_.ended, open_.code, open_.why = (
                True,
                exits.HARNESS_FAILED,
                f"no process could be started: {error.strerror}",
            )
            self._count_or_keep(place, CountedOutcome(unknown=1, harness=[self._trouble(job, open_.why)]))
            return
        if place.judging:
            place.child.allow(deadlines.judge_s, "judging")
            return
        self.books.note("begin", id=job.id, pid=place.child.pid)
        if job.kind == "hosts":
            place.watch = RunWatch(folder, self.plan, place.child)
        elif job.kind == "simulate":
            place.watch = SeedsWatch(folder, self.plan, place.child)
        else:
            seconds = deadlines.replay_s if job.kind == "replay" else deadlines.shrink_s + deadlines.slack_s
            place.child.allow(seconds, job.kind)

    def _run_on_hosts(self, job: Job, folder: Path) -> list[str]:
        self._save_spec(job, folder)
        plan = self.plan
        hosts = hosts_of(plan, job.place, job.servers)
        run = run_plan(plan, hosts, plan.setting(job.setting), job.mix, job.seed, job.id)
        run = run.replace(ensemble=msgspec.structs.replace(run.ensemble, bug=job.bug))
        (folder / "plan.toml").write_text(run.to_toml(), encoding="utf-8")
        return ["command", "run", "--plan", str(folder / "plan.toml"), "--results", str(folder), "--json"]

    def _save_spec(self, job: Job, folder: Path) -> None:
        kept = {key: group.kept for key, group in self.books.tally.groups.items()}
        (folder / SPEC).write_bytes(msgspec.json.encode(WorkSpec(job, kept)))

    def _ended(self, place: RunningPlace, code: int, why: str) -> None:
        """A place's child is gone."""
        open_ = place.open
        assert open_ is not None
        job = open_.job
        folder = self.folder / "runs" / job.id
        took_s = time.monotonic() - place.began
        place.longest_s = max(place.longest_s, took_s) if job.kind == "hosts" else took_s
        if place.judging:
            found = outcomes.load(folder)
            if found is None and self._full:
                place.open = None
                return
            if found is None:
                because = why or follow.last_words(folder / "log") or f"judging ended with code {code}"
                found = CountedOutcome(unknown=1, harness=[self._trouble(job, f"it could not be judged: {because}")])
            self._count_or_keep(place, found)
        elif job.kind == "hosts":
            self.books.note("end", id=job.id, code=code, why=why)
            if code < 0 and why and not spec_of(self.plan, job.place).made:
                # Its injectors heal their hosts when the lease is over, and stop the servers after a second one.
                place.rest_until = time.monotonic() + 2 * self.plan.lease_s + REST_S
            self._start(place, open_, judge=True)
        elif job.kind == "simulate":
            self._batch_ended(place, open_, folder, code, why)
        else:
            self.books.note("end", id=job.id, code=code, why=why)
            self._followed(place, job, code, why)

    def _batch_ended(self, place: RunningPlace, open_: Open, folder: Path, code: int, why: str) -> None:
        found = outcomes.load(folder) if code == 0 else None
        if found is None and why == INTERRUPTED:
            place.open = None  # it goes on where it was when the campaign does
            return
        if found is None:
            done = _bytes_of(folder / SEEDS)
            place.tries = place.tries + 1 if done == place.done else 1
            place.done = done
            if place.tries < TRIES and not self._stop:
                self._start(place, open_)
                return
            if self._stop and self._stop != DONE:
                place.open = None
                return
            reason = why or follow.last_words(folder / "log") or f"its process ended with code {code}"
            found = CountedOutcome(unknown=open_.job.seeds, harness=[self._trouble(open_.job, reason)])
        place.tries, place.done = 0, -1
        self.books.note("end", id=open_.job.id, code=code, why=why)
        self._count_or_keep(place, found)
        for name in ("out", "log", SPEC):  # a night has thousands of batches
            path = folder / name
            if name == SPEC or not _bytes_of(path):
                path.unlink(missing_ok=True)

    def _count_or_keep(self, place: RunningPlace, found: CountedOutcome) -> None:
        """Counts a run; or, when there is no room to write it down, leaves it to be counted by the next session."""
        open_, place.open = place.open, None
        assert open_ is not None
        self.books.count(open_.job, found)
        if open_.job.kind == "hosts":
            failed = bool(found.harness) and not found.invalid
            place.failed = place.failed + 1 if failed else 0
            if failed and open_.why != INTERRUPTED:
                rest = min(REST_MAX_S, REST_S * 2 ** min(place.failed, 10))
                place.rest_until = max(place.rest_until, time.monotonic() + rest)

    # ---- what follows a failure ------------------------------------------------------------------------------------

    def _followed(self, place: RunningPlace, job: Job, code: int, why: str) -> None:
        place.open = None
        if why != INTERRUPTED:  # else it is begun again by the next session
            self.books.followed(job, code, why)

    # ---- retention and the disk ------------------------------------------------------------------------------------

    def _disk_is_full(self) -> None:
        """End everything: what is not counted now is counted by the next session."""
        self._full = True
        self._halt("the disk is full")
        self._stop = "the disk is full"
        for place in self.places:
            if place.child is not None and not place.judging:
                place.child.end(INTERRUPTED)

    # ---- beginning and end -----------------------------------------------------------------------------------------

    def _take_up(self) -> None:
        """What the controller before left: its children are ended, its jobs are judged, gone on with, or begun."""
        self.books.open()
        words = [b"harness.campaign.work", os.fsencode(self.folder)]
        left = end_orphans(words, self.plan.deadlines.end_s)
        if left:
            self._say(f"{number(left, 'process of', 'processes of')} the controller before ended")
        for open_ in list(self.books.tally.open.values()):
            self._take_up_job(open_)
        for group in self.books.tally.groups.values():  # a kill between counting a failure and planning what follows it
            if not group.said and not any(o.job.group == group.id for o in self.books.tally.open.values()):
                self.books.follow_up(group)

    def _take_up_job(self, open_: Open) -> None:
        job = open_.job
        folder = self.folder / "runs" / job.id
        if job.is_run and (found := outcomes.load(folder)) is not None:
            if not open_.ended:
                self.books.note("end", id=job.id, code=0, why="")
            self.books.count(job, found)
            return
        if job.kind == "hosts" and not open_.ended:
            run = run_folder(folder)
            if run is not None and (run / "history.jsonl").exists():
                self.books.note("end", id=job.id, code=-1, why=INTERRUPTED)
                if not spec_of(self.plan, job.place).made:
                    self._rest_after(job, run)
            elif run is not None:
                shutil.rmtree(folder, ignore_errors=True)  # nothing had happened yet
        self.books.waiting.append(open_)

    def _rest_after(self, job: Job, run: Path) -> None:
        """Hosts whose run died without a word: the next waits until they have healed themselves."""
        silent_s = max(0.0, time.time() - (run / "history.jsonl").stat().st_mtime)
        rest = max(0.0, 2 * self.plan.lease_s + REST_S - silent_s)
        for place in self.places:
            if place.name == job.place:
                place.rest_until = time.monotonic() + rest

    def _write_report(self) -> None:
        now = time.monotonic()
        if self._report is not None:
            if self._report.poll() is not None:
                self._report = None
        elif self.books.counted and now >= self._report_at:
            self._report_at, self.books.counted = now + self.plan.report_s, False
            self._begin_report()

    def _begin_report(self) -> None:
        try:
            (self.folder / ".report").mkdir(exist_ok=True)
            self._report = Child(["report", str(self.folder)], self.folder / ".report", self.plan.deadlines.end_s)
            self._report.allow(REPORT_S, "writing the report")
        except OSError as error:
            self.books.no_room(error)

    def _end(self) -> None:
        """The last words: why it ended, and the report."""
        with contextlib.suppress(OSError, HarnessError):
            self.books.note("over", why=self._stop or "the controller failed")
        while self._report is not None and self._report.poll() is None:
            time.sleep(LOOK_S)
        self._begin_report()
        while self._report is not None and self._report.poll() is None:
            time.sleep(LOOK_S)
        self.books.close()

    def _kill_all(self) -> None:
        for place in self.places:
            if place.child is not None:
                place.child.end(INTERRUPTED)
        until = time.monotonic() + self.plan.deadlines.end_s
        for place in self.places:
            while place.child is not None and place.child.poll() is None:
                if time.monotonic() > until:
                    place.child.kill()
                time.sleep(LOOK_S)

    def _trouble(self, job: Job, why: str) -> outcomes.Trouble:
        folder = Path("runs") / job.id
        return outcomes.Trouble(why, job.seed, str(folder), str(folder / "log"))

    @contextlib.contextmanager
    def _signalled(self) -> Iterator[None]:
        """SIGINT, SIGTERM, SIGHUP: everything is ended and judged.  A second one kills what is not ended yet."""

        def stop(number: int, _: FrameType | None) -> None:
            self._signals += 1
            os.write(2, b"onethrone: ending what is under way; --resume goes on\n")

        with signals.handled(signals.ENDING, stop):
            yield


def _rss_mb() -> float:
    """What this process has in memory."""
    pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / MB, 1)


def _bytes_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
