"""`onethrone shrink RUN`.

Exit codes: 0 the smallest case found is kept, 2 the failure was not found in the simulator, 254 there is nothing to
shrink, 255 interrupted (the best so far is kept).
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType

import click

from checker.counted import counted
from harness.cli.durations import Duration
from harness.results import exits
from harness.runs import signals

NAME = "shrunk"


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="The folder to write. Default: a new one in --results.")
@click.option(
    "--promise",
    metavar="NAME",
    default="",
    help="The promise to keep broken. Default: the first one that was violated.",
)
@click.option("--bug", metavar="NAME|none", help="The planted bug. Default: the run's.")
@click.option("--budget", metavar="10m", type=Duration(), default="10m", help="Search for at most this long.")
@click.option("--runs", "runs_max", type=click.IntRange(1, 10**6), default=2000, help="Maximum number of runs.")
@click.option("--jobs", type=click.IntRange(1, 1024), help="Number of processes. Default: one per core.")
@click.option(
    "--results", type=click.Path(path_type=Path), default=Path("results"), help="The folder that holds all runs."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object on standard output.")
@click.option("--quiet", is_flag=True, help="Print nothing but the result.")
def shrink_command(
    run: Path,
    out: Path | None,
    promise: str,
    bug: str | None,
    budget: float,
    runs_max: int,
    jobs: int | None,
    results: Path,
    as_json: bool,
    quiet: bool,
) -> int:
    """Find the smallest schedule that still breaks the promise that a run broke.

    RUN is a run's folder, simulated or from hosts, or a schedule.  Ctrl-C stops the search and keeps the
    best case so far.

    \b
      onethrone shrink results/latest
      onethrone shrink results/latest --budget 2m --out small
    """
    from harness.results import folder as folders
    from harness.shrink import NotReproduced, shrink
    from harness.simulator.source_run import given

    def say(text: str) -> None:
        if not quiet:
            print(text, file=sys.stderr, flush=True)

    given(run)  # a folder for what cannot be read would be one too many
    folder = out or folders.create(results, NAME).path
    interrupt = _Interrupt()
    try:
        with signals.handled((signal.SIGTERM, signal.SIGINT), interrupt):
            shrunk = shrink(
                run,
                folder,
                budget_s=budget,
                runs_max=runs_max,
                jobs=jobs or len(os.sched_getaffinity(0)),
                say=say,
                promise=promise,
                bug="" if bug == "none" else bug,
            )
    except NotReproduced as error:
        print(f"onethrone: {error}", file=sys.stderr)
        return exits.UNKNOWN
    if as_json:
        told = {**shrunk._asdict(), "folder": str(shrunk.folder), "test": str(shrunk.test)}
        click.echo(json.dumps(told | {"schedule": str(shrunk.folder / "schedule.json")}))
    else:
        click.echo(
            f"{counted(shrunk.faults_before, 'fault')} -> {shrunk.faults}: {shrunk.promise} is broken on "
            f"{shrunk.servers} servers, after {counted(shrunk.runs, 'run')} in {shrunk.took_s:g} s"
        )
        click.echo(shrunk.story)
        click.echo(shrunk.folder / "report.html")
        click.echo(f"test:  {shrunk.test}")
        click.echo(f"again: onethrone simulate --schedule {shrunk.folder}")
    return exits.HARNESS_FAILED if shrunk.interrupted else exits.VALID


class _Interrupt:
    """Ends the search, once: what comes after the first signal must not keep the best so far from being written."""

    def __init__(self) -> None:
        self.came = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not self.came:
            self.came = True
            raise KeyboardInterrupt
