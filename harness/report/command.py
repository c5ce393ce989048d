"""`onethrone report PATH`: the report of a run, written again from its history alone."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click

from checker.history import NAMES, HistoryError, locate
from harness import folder as folders
from harness.errors import UsageError
from harness.report.page import write_report


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


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write it there instead.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def report(path: Path, out: Path | None, as_json: bool) -> None:
    """Write the HTML report of a run again, and print its path.

    PATH is a run's folder or a bare history.jsonl.  The verdict is judged anew from the history; this command's exit
    code says only that the report was written.
    """
    from checker.verdict import check

    try:
        verdict = check(locate(path))
        written = write_report(path, verdict, out or report_path(path), rerun_command(folders.meant(path)))
    except HistoryError as error:
        raise UsageError(
            str(error), remedy="The history is written by `onethrone run`; docs/history.md gives its format."
        ) from None
    except OSError as error:
        raise UsageError(
            f"the report cannot be written: {error.strerror}",
            where=str(out or report_path(path)),
            remedy="Choose another place with --out.",
        ) from None
    click.echo(json.dumps({"report": str(written), "valid": verdict.valid}) if as_json else str(written))
