"""The command that repeats a simulated run."""

from __future__ import annotations

import shlex
from pathlib import Path

from harness.simulator.simulated_run import SimulatorSettings


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
