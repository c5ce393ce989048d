"""A simulated run's folder: what `onethrone run` leaves, so that all that reads a run's folder reads this one too."""

from __future__ import annotations

import shlex
from pathlib import Path

import msgspec

from harness.plan import Ensemble, Hosts, Nemesis, Plan, Time
from harness.report import write_report
from harness.simulator.run import NAME, Settings, SimulatedRun


def write(run: SimulatedRun, settings: Settings, folder: Path) -> None:
    """Writes all but the servers' journals and logs, which the world wrote as it went.  OSError: no room."""
    (folder / "plan.toml").write_text(plan_of(run, settings).to_toml(), encoding="utf-8")
    run.schedule.save(folder / "schedule.json")
    (folder / "history.jsonl").write_bytes(run.history.encoded())
    (folder / "results.json").write_text(run.verdict.to_json(), encoding="utf-8")
    (folder / "knobs.json").write_bytes(msgspec.json.format(msgspec.json.encode(run.knobs), indent=1) + b"\n")
    write_report(folder, run.verdict, folder / "report.html", command(run, folder / "schedule.json"))


def plan_of(run: SimulatedRun, settings: Settings) -> Plan:
    """The run's plan; carried out by `onethrone run`, it does the same to hosts of a lab."""
    return Plan(
        name=NAME,
        seed=run.seed,
        hosts=Hosts(lab=run.servers),
        ensemble=Ensemble(
            tick_ms=settings.tick_ms,
            init_limit=settings.init_limit,
            sync_limit=settings.sync_limit,
            max_notification_interval_ms=settings.max_notification_interval_ms,
            observers=tuple(f"n{run.servers - n}" for n in reversed(range(settings.observers))),
            bug=run.bug,
        ),
        time=Time(limit_s=run.schedule.duration_s),
        nemesis=Nemesis(schedule="schedule.json"),
    )


def command(run: SimulatedRun, schedule: Path | None = None) -> str:
    """What repeats the run."""
    words = ["onethrone", "simulate", "--seed", str(run.seed), "--servers", str(run.servers)]
    if schedule is not None:
        words += ["--schedule", str(schedule)]
    if run.bug:
        words += ["--bug", run.bug]
    return shlex.join(words)
