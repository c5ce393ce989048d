"""A run, from its plan to its verdict.

The order of things:

    schedule read, or drawn for a try   ->  refused if there is no time for it, before anything is made
    hosts up, looked at, connected      ->  schedule drawn (or taken) and refused if a host cannot do it
    history begun with the op `run`     ->  injectors up, servers started, a first leader seen
    calm, storm, act one, act two       ->  the conductor, while the workload writes and reads
    final reads, servers stopped        ->  everything that hosts reported counted against what arrived
    history closed with the op `end`    ->  logs and journals fetched, hosts left as they were found
    history checked                     ->  results.json, report.html

The rules:

1.  Whatever happens, hosts are left as they were found, and what was recorded is judged: a run that was interrupted or
    failed half-way ends with a verdict on what there is (`unknown` at best), and a harness that failed says so.
2.  Each wait has a bound: `start_s`, the schedule's own length, `collect_s`.
3.  The verdict is made from the history file alone, by the very code of `onethrone check`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import msgspec

from checker.counted import counted
from checker.promises.base import Valid
from checker.verdict import Verdict, check
from harness import HarnessError, UsageError
from harness.hosts.cluster import Cluster, cluster
from harness.plan.schema import Plan, ensemble_of, host_names, system_of
from harness.report import write_report
from harness.results import folder as folders
from harness.results import verdict_file
from harness.results.folder import RunFolder
from harness.results.recorder import Recorder
from harness.results.rerun import rerun_command
from harness.results.run_op import run_value
from harness.runs import drawing, signals
from harness.runs.conductor import ConductorOnHosts
from harness.runs.fleet import Fleet
from harness.runs.observer import Observer
from harness.systems.base import Ensemble, Place, System
from harness.watch import screen
from harness.watch.progress import LogFile, Progress
from harness.workloads.registers import Workload
from nemesis import schedule as schedules
from nemesis.faults import KINDS
from nemesis.schedule import Schedule, ScheduleError

LOG = logging.getLogger("onethrone.run")

MAKE_ROOM = "Make room there, or keep results elsewhere with --results."


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended."""

    verdict: Verdict
    folder: RunFolder
    failure: str = ""
    """What kept the harness from carrying the plan out; empty when nothing did."""

    @property
    def valid(self) -> Valid:
        return self.verdict.valid

    @property
    def summary(self) -> str:
        failed = f"The harness failed: {self.failure}\n" if self.failure else ""
        return f"{failed}{self.verdict.summary}\n{self.folder.report}"

    def to_json(self) -> dict[str, Any]:
        return {
            "valid": self.verdict.valid,
            "summary": self.verdict.summary,
            "failure": self.failure,
            "run": str(self.folder.path),
            "report": str(self.folder.report),
            "violations": len(self.verdict.violations),
            "counts": self.verdict.counts,
        }


def carry_out(plan: Plan, results: Path, progress: Progress) -> RunOutcome:
    """Carry the plan out and judge what was seen.

    UsageError: the plan cannot be carried out, which is said before anything is made, or not on these hosts; no folder
    is left then, nor of a run that was interrupted before its history began.  A harness that fails once it has is no
    error here: the outcome says so in `failure`, beside the verdict on what there is.
    """
    given, left_out = given_schedule(plan)
    if left_out:
        progress.say(f"left out of the schedule, as only {', '.join(plan.nemesis.kinds)} are asked for: {left_out}")
    if given is None:  # whatever the hosts will be able to do, its times are the same
        draw(plan, system_of(plan), {kind.needs for kind in KINDS.values()})
    failure = ""
    with _interruptible() as from_now_on:
        folder = folders.create(results, plan.name)
        try:
            log = LogFile(folder.log)
        except OSError as error:
            folder.discard()
            raise HarnessError(_no_room(folder, error), remedy=MAKE_ROOM) from None
        with log:
            try:
                from_now_on()
                folder.plan.write_text(plan.to_toml(), encoding="utf-8")
                progress.say(f"this run is kept in {folder.path}")
                with screen.view(folder.history, folder.schedule, progress):
                    _HostsRun(plan, folder, progress).carry_out(given)
            except (HarnessError, OSError, KeyboardInterrupt) as error:
                if not _begun(folder):
                    if not isinstance(error, HarnessError):
                        folder.discard()
                    if isinstance(error, OSError):
                        raise HarnessError(_no_room(folder, error), remedy=MAKE_ROOM) from None
                    raise
                failure = _no_room(folder, error) if isinstance(error, OSError) else str(error) or "interrupted"
                LOG.exception("the run ended before its time")
                progress.say(f"the run ended before its time: {failure}")
            except UsageError:
                if not _begun(folder):
                    folder.discard()
                raise
            finally:
                folder.end()
            return judge(folder, progress, failure)


def judge(folder: RunFolder, progress: Progress, failure: str = "") -> RunOutcome:
    """Check the history of a run's folder, and write results.json and the report."""
    progress.say("checking the history")
    verdict = check(folder.history)
    try:
        verdict_file.write(verdict, folder.verdict)
        write_report(folder.path, verdict, folder.report, rerun_command(folder.path))
    except OSError as error:
        raise HarnessError(
            f"{folder.path}: the verdict cannot be written: {error.strerror}; it is: {verdict.summary}",
            remedy=f"Make room there; `onethrone report {folder.path}` writes the report then.",
        ) from None
    return RunOutcome(verdict, folder, failure)


def _begun(folder: RunFolder) -> bool:
    """Whether there is something to judge."""
    return folder.history.exists() and folder.history.stat().st_size > 0


def _no_room(folder: RunFolder, error: OSError) -> str:
    return f"{error.filename or folder.path}: cannot be used: {error.strerror or error}"


class _HostsRun:
    """One run while it is carried out: what its phases hand to each other."""

    def __init__(self, plan: Plan, folder: RunFolder, progress: Progress) -> None:
        self.plan = plan
        self.folder = folder
        self.progress = progress
        self.names = host_names(plan)

    def carry_out(self, given: Schedule | None) -> None:
        with cluster(self.plan, self.progress) as found:
            directory = f"{self.plan.hosts.directory}/{self.folder.path.parent.name}-{self.folder.path.name}"
            places = {
                name: Place(name, sid, found.addresses[name][0], directory) for sid, name in enumerate(self.names, 1)
            }
            ensemble = ensemble_of(self.plan, places)
            system = system_of(self.plan, ensemble)
            hosts = _less(found, system)
            schedule = self.schedule(given, hosts, system)
            schedule.save(self.folder.schedule)
            record = Recorder(self.folder.history)
            try:
                self.folder.begin()
                record.note("controller", "info", "run", value_of(self.plan, system, ensemble))
                epoch = system.profile().epoch_word
                observer = Observer(record, self.names, self.plan.ensemble.observers, self.progress, epoch)
                self.progress.restart_clock()
                with Fleet(self.plan, hosts, system, directory, record, observer) as fleet:
                    self.torment(fleet, schedule, system, hosts, record, observer)
            finally:
                record.close()

    def schedule(self, given: Schedule | None, hosts: Cluster, system: System) -> Schedule:
        """The schedule that is given, or one drawn from the seed; refused if a host cannot do a fault of it."""
        able = {
            ability
            for ability in next(iter(hosts.abilities.values()))
            if not any(found.get(ability, "unknown") for found in hosts.abilities.values())
        }
        schedule = draw(self.plan, system, able) if given is None else given
        kinds = {fault.kind for fault in schedule.faults}
        senseless = {kind: why for name in self.names for kind, why in system.cannot(name).items() if kind in kinds}
        refusals = [f"{kind}: {why}" for kind, why in senseless.items()] or schedule.refusals(hosts.abilities)
        if refusals:
            left = [kind for kind in _kinds_of(schedule) if kind not in senseless and _possible(kind, hosts)]
            remedy = f"Leave these kinds out: --kinds {','.join(left)}" if left else "These hosts can do none of it."
            raise UsageError("\n".join(f"schedule: {refusal}" for refusal in refusals), remedy=remedy)
        return schedule

    def torment(
        self,
        fleet: Fleet,
        schedule: Schedule,
        system: System,
        hosts: Cluster,
        record: Recorder,
        observer: Observer,
    ) -> None:
        """The run proper; every host is healed, and its servers are stopped, when this returns or raises."""
        workload = self.workload(system, hosts, record)
        reason = "it was interrupted"
        try:
            fleet.start_servers(self.plan.time.start_s)
            self.progress.say("servers are started; waiting for a first leader")
            if not observer.wait(lambda seen: seen.converged(self.names), self.plan.time.start_s):
                raise HarnessError(
                    f"not every server follows one leader {self.plan.time.start_s:g} s after the start: "
                    f"{observer.situation(self.names)}",
                    remedy=f"Look at the servers' logs in {self.folder.path}; [time] start_s gives them longer.",
                )
            if workload:
                workload.start()
            conductor = ConductorOnHosts(schedule, fleet.send_all, hosts.addresses, record, observer, self.progress)
            conductor.run()
            errors = [*conductor.errors, *fleet.errors, *(workload.errors if workload else ())]
            reason = "; ".join(map(_first_line, errors))
            if record.failure:
                raise HarnessError(record.failure)
        except HarnessError as error:
            reason = _first_line(str(error))
            raise
        finally:
            self.finish(fleet, workload, record, observer, reason)

    def workload(self, system: System, hosts: Cluster, record: Recorder) -> Workload | None:
        """The run's clients; None for a system that has none."""
        clients = system.clients()
        if clients is None:
            return None
        return Workload(
            self.names,
            clients,
            lambda host, port: hosts.remotes[host].forward("127.0.0.1", port),
            record,
            record.now,
            workers=self.plan.workload.workers,
            rate_per_s=self.plan.workload.rate_per_s,
            seed=self.plan.seed,
        )

    def finish(
        self, fleet: Fleet, workload: Workload | None, record: Recorder, observer: Observer, reason: str
    ) -> None:
        """Final reads, a graceful end of the servers, and the count of what they reported; then everything fetched."""
        deadline = time.monotonic() + self.plan.time.collect_s
        if workload:
            self.read_back(workload, reason)
        self.progress.say(f"{counted(observer.epochs, observer.epoch_word)} had an established leader")
        fleet.stop_servers(max(5.0, deadline - time.monotonic()))
        streams = fleet.drain(max(5.0, deadline - time.monotonic()))
        # Before logs are fetched, which may fill the disk.
        ended = {"complete": not reason, "streams": streams} | ({"reason": reason} if reason else {})
        record.note("controller", "info", "end", ended)
        try:
            own = {name: self.folder.host(name) for name in self.names}
        except OSError as error:
            self.progress.say(f"logs and journals are not fetched: {_no_room(self.folder, error)}")
        else:
            fleet.collect(own, max(5.0, deadline - time.monotonic()))

    def read_back(self, workload: Workload, reason: str) -> None:
        """The end of the clients: final reads, unless the run failed."""
        workload.stop(10.0)
        if not reason:
            self.progress.say("reading everything back from every server")
            unread = workload.read_all(self.plan.time.collect_s / 2)
            if unread:
                self.progress.say(f"no final read of {', '.join(unread)}")
        counts = ", ".join(f"{count} {outcome}" for outcome, count in workload.counts["create"].items())
        self.progress.say(f"writes: {counts or 'none'}")


def given_schedule(plan: Plan) -> tuple[Schedule | None, str]:
    """The plan's schedule, if it names one, less the kinds of fault that it leaves out, and these faults in words.

    Raises UsageError.
    """
    if not plan.nemesis.schedule:
        return None, ""
    try:
        schedule = schedules.load(Path(plan.nemesis.schedule))
    except ScheduleError as error:
        raise UsageError(str(error)) from None
    kinds = plan.nemesis.kinds or tuple(KINDS)
    faults = tuple(fault for fault in schedule.faults if fault.kind in kinds)
    if schedule.faults and not faults:
        raise UsageError(
            f"none of its faults is of the kind {' or '.join(kinds)}",
            where=plan.nemesis.schedule,
            remedy=f"It has: {', '.join(_kinds_of(schedule))}.",
        )
    left_out = ", ".join(f"{fault.id} {fault.kind}" for fault in schedule.faults if fault.kind not in kinds)
    return msgspec.structs.replace(schedule, faults=faults), left_out


def _kinds_of(schedule: Schedule) -> list[str]:
    return list(dict.fromkeys(fault.kind for fault in schedule.faults))


def draw(plan: Plan, system: System, able: set[str]) -> Schedule:
    """A schedule from the plan's seed, of faults that hosts with these abilities can do.  Raises UsageError."""
    try:
        return drawing.draw(
            value_of(plan, system, ensemble_of(plan)),
            plan.time.limit_s,
            system.profile().detect_s,
            abilities=able,
            kinds=plan.nemesis.kinds,
            cannot={kind for name in host_names(plan) for kind in system.cannot(name)},
        )
    except ScheduleError as error:
        raise UsageError(str(error)) from None


def value_of(plan: Plan, system: System, ensemble: Ensemble) -> dict[str, Any]:
    """The value of the run's op `run`."""
    bounds = {"convergence_s": plan.bounds.convergence_s, "stepping_down_s": plan.bounds.stepping_down_s}
    return run_value(plan.name, plan.seed, system, ensemble, {name: s for name, s in bounds.items() if s})


def _less(hosts: Cluster, system: System) -> Cluster:
    """The hosts, less the abilities that no kind of fault that makes sense for the system has a use for."""
    abilities = {}
    for name, able in hosts.abilities.items():
        cannot = system.cannot(name)
        needed = {kind.needs for of_kind, kind in KINDS.items() if of_kind not in cannot}
        reasons = {KINDS[kind].needs: why for kind, why in cannot.items() if kind in KINDS}
        refused = {needs: why for needs, why in reasons.items() if needs and needs not in needed}
        abilities[name] = {**able, **refused}
    return dataclasses.replace(hosts, abilities=abilities)


def _possible(kind: str, hosts: Cluster) -> bool:
    needs = KINDS[kind].needs
    return not needs or not any(able.get(needs, "unknown") for able in hosts.abilities.values())


def _first_line(error: str) -> str:
    """The sentence; what follows it (command, output, remedy) was said when it happened, and is in the log."""
    return error.partition("\n")[0]


@contextlib.contextmanager
def _interruptible() -> Iterator[Callable[[], None]]:
    """SIGTERM and SIGHUP end a run as Ctrl-C does; a second signal is ignored, so that it ends cleanly.

    Call what is yielded once a folder that was made would be discarded: a signal that came earlier is raised there.
    """
    heard = 0
    held, ended = True, False

    def end() -> NoReturn:
        nonlocal ended
        ended = True
        raise KeyboardInterrupt(f"interrupted by {signal.Signals(heard).name}")

    def interrupt(number: int, _: FrameType | None) -> None:
        nonlocal heard
        if ended:
            os.write(2, b"onethrone: already ending; the hosts are being healed\n")
            return
        heard = heard or number
        if not held:
            end()

    def from_now_on() -> None:
        nonlocal held
        held = False
        if heard:
            end()

    with signals.handled(signals.ENDING, interrupt):
        yield from_now_on
