"""A simulated run's folder: what `onethrone run` leaves, so that all that reads a run's folder reads this one too."""

from __future__ import annotations

from pathlib import Path

import msgspec

from harness.plan.schema import EnsemblePlan, HostsPlan, NemesisPlan, Plan, TimePlan
from harness.report import write_report
from harness.results import verdict_file
from harness.results.rerun import rerun_command
from harness.simulator.inputs import INPUTS, Inputs
from harness.simulator.simulated_run import NAME, SimulatedRun


def write(run: SimulatedRun, folder: Path) -> None:
    """Writes all but the servers' journals and logs, which the world wrote as it went.  OSError: no room."""
    (folder / "plan.toml").write_text(plan_of(run).to_toml(), encoding="utf-8")
    run.schedule.save(folder / "schedule.json")
    (folder / "history.jsonl").write_bytes(run.history.encoded())
    verdict_file.write(run.verdict, folder / "results.json")
    inputs = Inputs(run.seed, run.servers, run.bug, run.settings, run.knobs)
    (folder / INPUTS).write_bytes(msgspec.json.format(msgspec.json.encode(inputs), indent=1) + b"\n")
    write_report(folder, run.verdict, folder / "report.html", rerun_command(folder))


def plan_of(run: SimulatedRun) -> Plan:
    """The run's plan; carried out by `onethrone run`, it does the same to hosts of a lab."""
    settings = run.settings
    return Plan(
        name=NAME,
        seed=run.seed,
        system_settings=settings.of_servers(),
        hosts=HostsPlan(lab=run.servers),
        ensemble=EnsemblePlan(
            observers=tuple(f"n{run.servers - n}" for n in reversed(range(settings.observers))),
            groups=tuple(tuple(f"n{sid}" for sid in group) for group in settings.groups),
            weights={f"n{sid}": weight for sid, weight in settings.weights.items()},
            bug=run.bug,
        ),
        time=TimePlan(limit_s=run.schedule.duration_s),
        nemesis=NemesisPlan(schedule="schedule.json"),
    )
