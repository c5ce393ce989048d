"""A run, from its plan to its verdict.

The order of things:

    schedule read, or drawn for a try   ->  refused if there is no time for it, before anything is made
    hosts up, looked at, connected      ->  schedule drawn (or taken) and refused if a host cannot do it
    history begun with the op `run`     ->  injectors up, servers started, a first leader seen
    calm, storm, act one, act two       ->  the conductor, while the workload writes and reads
    final reads, servers stopped        ->  everything that hosts reported counted against what arrived
    logs and journals fetched           ->  hosts left as they were found
    history closed with the op `end`    ->  checked, results.json, report.html

The rules:

1.  Whatever happens, hosts are left as they were found, and what was recorded is judged: a run that was interrupted or
    failed half-way ends with a verdict on what there is (`unknown` at best), and a harness that failed says so.
2.  Each wait has a bound: `start_s`, the schedule's own length, `collect_s`.
3.  The verdict is made from the history file alone, by the very code of `onethrone check`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

from checker import vocabulary
from checker.promises.convergence import bound_ns
from checker.verdict import Verdict, check
from harness import HarnessError, UsageError
from harness.hosts.cluster import Cluster, cluster
from harness.plan.schema import Plan, host_names
from harness.report import write_report
from harness.results import folder as folders
from harness.results.folder import RunFolder
from harness.results.recorder import Recorder
from harness.results.rerun import rerun_command
from harness.runs import signals
from harness.runs.conductor import Conductor
from harness.runs.fleet import Fleet
from harness.runs.observer import Observer
from harness.systems import base
from harness.watch import screen
from harness.watch.progress import LogFile, Progress
from harness.workloads.registers import Workload
from nemesis import schedule as schedules
from nemesis import storm
from nemesis.faults import KINDS
from nemesis.schedule import Schedule, ScheduleError

SCHEMA = 1
LOG = logging.getLogger("onethrone.run")


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended."""

    verdict: Verdict
    folder: RunFolder
    failure: str = ""
    """What kept the harness from carrying the plan out; empty when nothing did."""

    @property
    def valid(self) -> bool | str:
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
    given = given_schedule(plan)
    if given is None:  # whatever the hosts will be able to do, its times are the same
        draw(plan, run_value(plan, {}), {kind.needs for kind in KINDS.values()})
    folder = folders.create(results, plan.name)
    failure = ""
    with LogFile(folder.log), _interruptible():
        folder.plan.write_text(plan.to_toml(), encoding="utf-8")
        progress.say(f"this run is kept in {folder.path}")
        try:
            with screen.view(folder.history, folder.schedule, progress):
                _HostsRun(plan, folder, progress).carry_out(given)
        except (HarnessError, KeyboardInterrupt) as error:
            if not folder.history.exists():
                if isinstance(error, KeyboardInterrupt):
                    folder.discard()
                raise
            failure = str(error) or "interrupted"
            LOG.exception("the run ended before its time")
            progress.say(f"the run ended before its time: {failure}")
        except UsageError:
            if not folder.history.exists():
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
        folder.verdict.write_text(verdict.to_json(), encoding="utf-8")
        write_report(folder.path, verdict, folder.report, rerun_command(folder.path))
    except OSError as error:
        raise HarnessError(
            f"{folder.path}: the verdict cannot be written: {error.strerror}; it is: {verdict.summary}",
            remedy=f"Make room there; `onethrone report {folder.path}` writes the report then.",
        ) from None
    return RunOutcome(verdict, folder, failure)


class _HostsRun:
    """One run while it is carried out: what its phases hand to each other."""

    def __init__(self, plan: Plan, folder: RunFolder, progress: Progress) -> None:
        self.plan = plan
        self.folder = folder
        self.progress = progress
        self.names = host_names(plan)

    def carry_out(self, given: Schedule | None) -> None:
        with cluster(self.plan, self.progress) as hosts:
            value = run_value(self.plan, hosts.addresses)
            schedule = self.schedule(given, hosts, value)
            schedule.save(self.folder.schedule)
            directory = f"{self.plan.hosts.directory}/{self.folder.path.parent.name}-{self.folder.path.name}"
            places = {
                name: base.Place(name, sid, hosts.addresses[name][0], directory)
                for sid, name in enumerate(self.names, 1)
            }
            system = base.make(self.plan.system, self.plan.ensemble, places)
            record = Recorder(self.folder.history)
            try:
                self.folder.begin()
                record.note("controller", "info", "run", value)
                observer = Observer(record, self.names, self.plan.ensemble.observers, self.progress)
                self.progress.restart_clock()
                with Fleet(self.plan, hosts, system, directory, record, observer) as fleet:
                    self.torment(fleet, schedule, system, hosts, record, observer)
            finally:
                record.close()

    def schedule(self, given: Schedule | None, hosts: Cluster, value: dict[str, Any]) -> Schedule:
        """The schedule that is given, or one drawn from the seed; refused if a host cannot do a fault of it."""
        able = {
            ability
            for ability in next(iter(hosts.abilities.values()))
            if not any(found.get(ability, "unknown") for found in hosts.abilities.values())
        }
        schedule = draw(self.plan, value, able) if given is None else given
        refusals = schedule.refusals(hosts.abilities)
        if refusals:
            raise UsageError("; ".join(refusals), where="schedule", remedy="Leave these kinds out with --kinds.")
        return schedule

    def torment(
        self,
        fleet: Fleet,
        schedule: Schedule,
        system: base.System,
        hosts: Cluster,
        record: Recorder,
        observer: Observer,
    ) -> None:
        """The run proper; every host is healed, and its servers are stopped, when this returns or raises."""
        workload = Workload(
            self.names,
            lambda host: hosts.remotes[host].forward("127.0.0.1", system.client_port),
            record,
            record.now,
            workers=self.plan.workload.workers,
            rate_per_s=self.plan.workload.rate_per_s,
            seed=self.plan.seed,
        )
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
            workload.start()
            conductor = Conductor(schedule, fleet.send_all, hosts.addresses, record, observer, self.progress)
            conductor.run()
            reason = "; ".join(map(_first_line, [*conductor.errors, *fleet.errors, *workload.errors]))
            if record.failure:
                raise HarnessError(record.failure)
        except HarnessError as error:
            reason = _first_line(str(error))
            raise
        finally:
            self.finish(fleet, workload, record, observer, reason)

    def finish(self, fleet: Fleet, workload: Workload, record: Recorder, observer: Observer, reason: str) -> None:
        """Final reads, a graceful end of the servers, and the count of what they reported; then everything fetched."""
        deadline = time.monotonic() + self.plan.time.collect_s
        workload.stop(10.0)
        if not reason:
            self.progress.say("reading everything back from every server")
            unread = workload.read_all(self.plan.time.collect_s / 2)
            if unread:
                self.progress.say(f"could not be read: {', '.join(unread)}")
        counts = ", ".join(f"{count} {outcome}" for outcome, count in workload.counts["create"].items())
        self.progress.say(f"{observer.epochs} epochs were established; writes: {counts or 'none'}")
        fleet.stop_servers(max(5.0, deadline - time.monotonic()))
        streams = fleet.drain(max(5.0, deadline - time.monotonic()))
        fleet.collect({name: self.folder.host(name) for name in self.names}, max(5.0, deadline - time.monotonic()))
        record.note(
            "controller",
            "info",
            "end",
            {"complete": not reason, "streams": streams} | ({"reason": reason} if reason else {}),
        )


def given_schedule(plan: Plan) -> Schedule | None:
    """The plan's schedule, if it names one.  Raises UsageError."""
    try:
        return schedules.load(Path(plan.nemesis.schedule)) if plan.nemesis.schedule else None
    except ScheduleError as error:
        raise UsageError(str(error)) from None


def draw(plan: Plan, value: dict[str, Any], able: set[str]) -> Schedule:
    """A schedule from the plan's seed, of faults that hosts with these abilities can do.  Raises UsageError.

    An act is a third longer than the bound of `convergence`: a shorter one could prove nothing.
    """
    ensemble, run = plan.ensemble, msgspec.convert(value, vocabulary.RunOp)
    try:
        return storm.draw(
            plan.seed,
            len(host_names(plan)) - len(ensemble.observers),
            plan.time.limit_s,
            abilities=able,
            kinds=plan.nemesis.kinds,
            detect_s=ensemble.sync_limit * ensemble.tick_ms / 1000 + 0.5,
            act_s=round(4 / 3 * bound_ns(run) / 1e9, 3),
            spared=run.quorums().spared(),
        )
    except ScheduleError as error:
        raise UsageError(str(error)) from None


def run_value(plan: Plan, addresses: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The value of the op `run`: what a checker and a reader must know beforehand."""
    ensemble = plan.ensemble
    sids = {name: sid for sid, name in enumerate(host_names(plan), 1)}
    bounds = {
        name: value
        for name, value in (
            ("convergence_s", plan.bounds.convergence_s),
            ("stepping_down_s", plan.bounds.stepping_down_s),
        )
        if value
    }
    quorum: dict[str, Any] = {"kind": "majority"}
    if ensemble.groups:
        quorum = {
            "kind": "hierarchical",
            "groups": {str(n): [sids[name] for name in group] for n, group in enumerate(ensemble.groups, 1)},
            "weights": {str(sids[name]): weight for name, weight in ensemble.weights.items()},
        }
    return {
        "schema": SCHEMA,
        "name": plan.name,
        "seed": plan.seed,
        "system": plan.system,
        "bug": ensemble.bug or None,
        "ensemble": {
            name: {
                "sid": sid,
                "role": "observer" if name in ensemble.observers else "participant",
                "address": addresses[name][0] if addresses else None,
            }
            for name, sid in sids.items()
        },
        "quorum": quorum,
        "settings": {
            "tick_ms": ensemble.tick_ms,
            "init_limit": ensemble.init_limit,
            "sync_limit": ensemble.sync_limit,
            "max_notification_interval_ms": ensemble.max_notification_interval_ms,
        },
        "bounds": bounds,
        "unjudged": list(UNJUDGED.get(plan.system, ())),
    }


def _first_line(error: str) -> str:
    """The sentence; what follows it (command, output, remedy) was said when it happened, and is in the log."""
    return error.partition("\n")[0]


UNJUDGED: Mapping[str, tuple[str, ...]] = {"zookeeper": ("evidence",)}
"""ZooKeeper's log does not say which epoch a follower acknowledged with."""


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP end a run as Ctrl-C does; a second signal is ignored, so that it ends cleanly."""
    ended = False

    def interrupt(number: int, _: FrameType | None) -> None:
        nonlocal ended
        if not ended:
            ended = True
            raise KeyboardInterrupt(f"interrupted by {signal.Signals(number).name}")
        os.write(2, b"onethrone: already ending; the hosts are being healed\n")

    with signals.handled(signals.ENDING, interrupt):
        yield
