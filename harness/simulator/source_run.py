"""What a schedule, or a run's folder, says of the runs that are to come: faults, ensemble, settings, and planted bug.

given(Path("results/latest"))            a run, simulated or on hosts: all that it was
given(Path("tests/lab/schedules/x.json"))   a schedule alone: its faults and the number of its servers
"""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from checker import names
from harness import UsageError
from harness.results import files
from harness.simulator import ensembles
from harness.simulator.inputs import Inputs
from harness.simulator.knobs import Knobs
from harness.simulator.simulated_run import SimulatorSettings
from harness.systems import registry
from nemesis import schedule as schedules
from nemesis.schedule import Schedule, ScheduleError

DURATION_MAX_S = 86_400.0
"""Of simulated time, as with --time-limit; a schedule of a run on hosts may be longer."""


class Given(msgspec.Struct, frozen=True):
    """The schedule, and where it is a run's, what else that run was."""

    schedule: Schedule | None = None
    seed: int | None = None
    """A simulated run's."""
    servers: int = 0
    settings: SimulatorSettings = SimulatorSettings()
    bug: str = ""
    broken: tuple[str, ...] = ()
    """Promises that the run broke, that of the first violation first."""
    knobs: Knobs | None = None
    """A simulated run's; after shrinking they are not those of its seed any more."""
    system: str = registry.DEFAULT

    def knobs_of(self, seed: int) -> Knobs | None:
        """Those to run this seed with; None: its own."""
        return self.knobs if seed == self.seed else None


def given(path: Path) -> Given:
    """A schedule's file, or a run's folder with what stands beside it.  Raises UsageError."""
    file = path / "schedule.json" if path.is_dir() else path
    if not file.is_file():
        raise UsageError(f"{path}: there is no schedule; give a schedule.json, or the folder of a run")
    try:
        schedule = schedules.load(file)
    except ScheduleError as error:
        raise UsageError(str(error)) from None
    if schedule.duration_s > DURATION_MAX_S:
        raise UsageError(
            f"{schedule.duration_s:g} s is longer than a simulated run may be",
            where=f"{file}: duration_s",
            remedy=f"Give a schedule of at most {DURATION_MAX_S:.0f} s.",
        )
    folder = file.parent
    found = Given(schedule, servers=schedule.servers)
    inputs = Inputs.beside(folder)
    if inputs is not None:
        found = Given(schedule, inputs.seed, inputs.servers, inputs.settings, inputs.bug, knobs=inputs.knobs)
    elif (folder / "plan.toml").is_file():
        found = _of_plan(folder / "plan.toml", schedule)
    return msgspec.structs.replace(found, broken=broken_in(folder / "results.json") or ())


def _of_plan(path: Path, schedule: Schedule) -> Given:
    """What a run on hosts was: its ensemble's settings, and its planted bug."""
    from harness.plan import checks
    from harness.plan import schema as plans

    try:
        plan = checks.check(plans.load(path), path)
    except UsageError as error:
        raise UsageError(
            error.what, remedy="Restore the run's plan, or give a copy of its schedule.json alone."
        ) from None
    settings, ensemble = ensembles.of_plan(plan), plan.ensemble
    return Given(schedule, None, len(plans.host_names(plan)), settings, ensemble.bug, system=plan.system)


def broken_in(path: Path) -> tuple[str, ...] | None:
    """The promises that a run's verdict says were broken; None where there is no verdict."""
    try:
        results = json.loads(files.read(path))["results"]
        broken = {name: result for name, result in results.items() if result.get("judged", True)}
        broken = {name: result for name, result in broken.items() if result.get("valid") is False}
        first = {name: min(v["time"] for v in result["violations"]) for name, result in broken.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return names.current(sorted(first, key=lambda name: (first[name], name)))
