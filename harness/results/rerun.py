"""Where the report of a run goes, and the command that runs it again."""

from __future__ import annotations

import shlex
from pathlib import Path

from checker.history import NAMES


def report_path(path: Path) -> Path:
    """Where the report of `path` goes: into a run's folder; beside a bare history, under the history's name."""
    if path.is_dir():
        return path / "report.html"
    return path.with_name("report.html" if path.name in NAMES else f"{path.stem}.html")


def rerun_command(path: Path) -> str:
    """What runs it again: the run's own schedule, or, where there is only a history, its verdict."""
    folder = path if path.is_dir() else path.parent
    if (folder / "simulated.json").exists():
        return shlex.join(["onethrone", "simulate", "--schedule", str(folder)])
    if (folder / "schedule.json").exists():
        return shlex.join(["onethrone", "run", "--schedule", str(folder)])
    return shlex.join(["onethrone", "check", str(path)])
