"""`onethrone report PATH`: the report of a run, written again from its history alone."""

from __future__ import annotations

import json
from pathlib import Path

import click

from checker.history import HistoryError, locate
from harness import UsageError
from harness.report.page import write_report
from harness.results import folder as folders
from harness.results.rerun import report_path, rerun_command


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file to write. Default: report.html in the run's folder.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def report(path: Path, out: Path | None, as_json: bool) -> None:
    """Write a run's HTML report again, and print its path.

    PATH is a run's folder or a bare history.jsonl.  The history is judged again.  The exit code says only whether the
    report was written.
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
