"""A simulated run's folder: what `onethrone run` leaves, so that all that reads a run's folder reads this one too."""

from __future__ import annotations

import shlex
from operator import attrgetter
from pathlib import Path

import msgspec

from harness import UsageError
from harness.plan.schema import EnsemblePlan, HostsPlan, NemesisPlan, Plan, TimePlan
from harness.report import write_report
from harness.results.rerun import rerun_command
from harness.simulator.knobs import Knobs
from harness.simulator.run import NAME, SimulatedRun, SimulatorSettings
from nemesis.schedule import SEED_MAX, SERVERS_MAX, SERVERS_MIN

INPUTS = "simulated.json"


class Inputs(msgspec.Struct, frozen=True):
    """The file `simulated.json` of a run's folder: what the run is a function of, beside its schedule; and its knobs,
    which follow from the seed, for people to read."""

    seed: int
    servers: int
    bug: str
    settings: SimulatorSettings
    knobs: Knobs

    @staticmethod
    def beside(folder: Path) -> Inputs | None:
        """Those of a run's folder; None where it is not a simulated run's."""
        file = folder / INPUTS
        try:
            inputs = msgspec.json.decode(file.read_bytes(), type=Inputs)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            raise UsageError(f"{file}: {error}") from None
        for field, (least, most) in _BOUNDS.items():
            number = attrgetter(field)(inputs)
            if not least <= number <= most:
                raise UsageError(
                    f"from {least} to {most}, not {number}", where=f"{file}: {field}", remedy="Restore the run's file."
                )
        return inputs


_BOUNDS = {
    "seed": (0, SEED_MAX),
    "servers": (SERVERS_MIN, SERVERS_MAX),
    "settings.tick_ms": (1, 60_000),
    "settings.init_limit": (1, 1000),
    "settings.sync_limit": (1, 1000),
    "settings.max_notification_interval_ms": (1, 3_600_000),
    "settings.observers": (0, 50),
    "settings.duration_s": (0, 86_400),
}
"""Those of the options, and of a plan's settings."""


def write(run: SimulatedRun, folder: Path) -> None:
    """Writes all but the servers' journals and logs, which the world wrote as it went.  OSError: no room."""
    (folder / "plan.toml").write_text(plan_of(run).to_toml(), encoding="utf-8")
    run.schedule.save(folder / "schedule.json")
    (folder / "history.jsonl").write_bytes(run.history.encoded())
    (folder / "results.json").write_text(run.verdict.to_json(), encoding="utf-8")
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


def command(
    seed: int,
    servers: int,
    bug: str,
    settings: SimulatorSettings,
    schedule: Path | None,
    given: SimulatorSettings,
    given_bug: str,
) -> str:
    """What repeats a run.  `given` and `given_bug` are what stands beside the schedule, and need not be said."""
    words = ["onethrone", "simulate", "--seed", str(seed), "--servers", str(servers)]
    if schedule is not None:
        words += ["--schedule", str(schedule)]
    if settings.duration_s != given.duration_s:
        words += ["--time-limit", f"{settings.duration_s:g}"]
    if (settings.observers, settings.swarm) != (given.observers, given.swarm):
        words += ["--observers", str(settings.observers)]
    if settings.groups != given.groups:
        words += ["--groups", "/".join(",".join(map(str, group)) for group in settings.groups)]
    if settings.weights != given.weights:
        words += ["--weights", ",".join(f"{sid}={weight}" for sid, weight in settings.weights.items())]
    if bug != given_bug:
        words += ["--bug", bug or "none"]
    return shlex.join(words)
