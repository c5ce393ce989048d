"""`onethrone campaign`: begin a campaign, go on with one, or write a plan of one."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import click

from harness import UsageError
from harness.campaign import journal
from harness.campaign import plan as plans
from harness.campaign.controller import Controller
from harness.campaign.plan import PLAN
from harness.campaign.tally import add_up, number
from harness.campaign.verdict import CampaignVerdict, decide
from harness.cli.durations import Duration

DEFAULT = Path("campaign.toml")


@click.command()
@click.argument("path", metavar="[PLAN.toml|FOLDER]", required=False, type=click.Path(path_type=Path))
@click.option("--for", "length", metavar="8h", type=Duration(), help="Run for this long. Default: the plan's length.")
@click.option("--resume", is_flag=True, help="Continue the campaign in FOLDER. Default: the latest one.")
@click.option("--init", is_flag=True, help="Write a commented plan to PLAN.toml (default: campaign.toml), and exit.")
@click.option(
    "--results", type=click.Path(path_type=Path), default=Path("results"), help="The folder that holds all runs."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object on standard output.")
@click.option("--quiet", is_flag=True, help="Print nothing but the result.")
def campaign(
    path: Path | None, length: float | None, resume: bool, init: bool, results: Path, as_json: bool, quiet: bool
) -> int:
    """Run through the night, on hosts and in the simulator in parallel, and report in the morning.

    \b
      onethrone campaign --init night.toml
      onethrone campaign night.toml --for 8h
      onethrone campaign --resume           after a kill, a reboot, or Ctrl-C
    """
    if init and resume:
        raise UsageError("--init writes a plan, and --resume goes on with a campaign; give one of them")
    if init:
        return _init(path or DEFAULT, as_json)
    if resume:
        folder = _folder(path, results)
        plan = plans.load(folder / PLAN)
        tally = add_up(folder)
        left_s = plan.length_s - tally.active_s if length is None else length
        del tally
    else:
        plan, left_s, folder = _begin(path, length, results)
    return _carry_out(folder, plan, max(0.0, left_s), as_json, quiet)


def _begin(path: Path | None, length: float | None, results: Path) -> tuple[plans.CampaignPlan, float, Path]:
    """A folder for a new campaign, with its complete plan in it."""
    import msgspec

    from harness.results import folder as folders

    if path is None and length is None and not DEFAULT.exists():
        raise UsageError(
            f"no plan is named, and there is no {DEFAULT} here",
            remedy="Write a plan with `onethrone campaign --init`, or give --for 1h to run the default plan that long.",
        )
    plan = plans.CampaignPlan() if path is None and not DEFAULT.exists() else plans.load(path or DEFAULT)
    if length is not None:
        plan = msgspec.structs.replace(plan, length=f"{length:g}s")
    made = folders.create(results.resolve(), plan.name)
    try:
        (made.path / "runs").mkdir()
        (made.path / PLAN).write_text(plan.to_toml(), encoding="utf-8")
        (made.path / journal.FILE).touch()  # whoever follows a link to a campaign finds its journal
        made.begin()
    except OSError as error:
        made.discard()
        raise UsageError(f"{made.path}: no campaign can be kept there: {error.strerror}") from None
    return plan, plan.length_s, made.path


def _carry_out(folder: Path, plan: plans.CampaignPlan, length_s: float, as_json: bool, quiet: bool) -> int:
    from harness.results import folder as folders

    say = _Lines(quiet).say
    made = folders.RunFolder(folder, folder.parent.parent)
    session = Controller(folder, plan, length_s, say)
    say(f"this campaign is kept in {folder}, and its report in {folder / 'report.html'}")
    made.begin()
    try:
        tally = session.run()
    finally:
        made.end()
    verdict = decide(plan, tally)
    result = _result(folder, verdict)
    if as_json:
        click.echo(json.dumps(result))
    else:
        click.echo(result["summary"])
        for group in verdict.groups:
            planted = f" (planted: {group.failure.signature.bug})" if group.failure.signature.bug else ""
            signature, runs = group.failure.signature, number(sum(group.runs.values()), "run")
            click.echo(f"  {group.id}{planted}  {signature.promise}, {runs}: {group.failure.message}")
        click.echo(result["report"])
    return verdict.exit_code


def _result(folder: Path, verdict: CampaignVerdict) -> dict[str, Any]:
    """What `--json` prints: summary.json, if it could be written, or what the journal says."""
    result: dict[str, Any] = {}
    try:
        result = json.loads((folder / "summary.json").read_bytes())
        written = result["going_on"] is False
    except (OSError, ValueError, KeyError):
        written = False
    if not written:  # what is there was written while the campaign went on
        print(f"onethrone: {folder}: the report could not be written; see .report/log there", file=sys.stderr)
    now = {"valid": verdict.valid, "summary": verdict.sentence, "campaign": str(folder)}
    return {**result, **now, "report": str(folder / "report.html")}


def _init(path: Path, as_json: bool) -> int:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(plans.TEMPLATE.format(path=path))
    except FileExistsError:
        raise UsageError(f"{path}: there is a file already", remedy="Choose another name for the plan.") from None
    except OSError as error:
        raise UsageError(f"{path}: no plan can be written there: {error.strerror}") from None
    click.echo(json.dumps({"plan": str(path)}) if as_json else f"{path} is a plan; onethrone campaign {path}")
    return 0


def _folder(path: Path | None, results: Path) -> Path:
    """The folder of the campaign to go on with: the one that is named, or the one that was begun last."""
    if path is not None:
        if not (path / journal.FILE).is_file():
            raise UsageError(f"{path}: this is no campaign's folder: there is no {journal.FILE} in it")
        return path.resolve()
    found = sorted(results.glob(f"*/*/{journal.FILE}"), key=lambda file: file.parent.name)
    found = [file for file in found if not file.parent.is_symlink()]
    if not found:
        raise UsageError(f"{results}: there is no campaign to go on with", remedy="Name its folder, or its --results.")
    return found[-1].parent.resolve()


class _Lines:
    """What happens, a line each, on standard error."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        if not self._quiet:
            seconds = round(time.monotonic() - self._began)
            clock = f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
            try:
                print(f"{clock}  {text}", file=sys.stderr, flush=True)
            except OSError:
                self._quiet = True  # nobody listens any more: the campaign goes on
