"""What a child of the controller does: `python -m harness.campaign.work PARENT WHAT ...`.

    simulate CAMPAIGN ID      the seeds of a batch, each written down when it is done
    judge CAMPAIGN ID HOW     a run on hosts: what is there of it is judged, and made small if it passed
    report CAMPAIGN           the morning report
    command ...               `onethrone ...`

A child ends when its parent does: the kernel sends it SIGTERM then, which a run on hosts takes as Ctrl-C.

A batch of seeds
----------------

`runs/<id>/seeds.jsonl` has two lines a seed: `{"seed": 7}` before it is run, `{"seed": 7, "outcome": {...}}` when it is
judged.  A batch that was killed goes on after the seeds that have an outcome.  A seed that was begun `TRIES` times
and never ended kills its process, or hangs: it is unknown, and is not tried again.  When all are done, their sum is
`outcome.json`, and the file of seeds goes.
"""

from __future__ import annotations

import ctypes
import gzip
import io
import os
import shutil
import signal
import sys
import traceback
from pathlib import Path

import msgspec

from checker.history import HistoryError, Op, read
from checker.verdict import Verdict, check
from checker.vocabulary import RunOp, ValueProblem
from harness.campaign import coverage, signature
from harness.campaign import outcome as outcomes
from harness.campaign.journal import Job
from harness.campaign.outcome import CountedOutcome, Failure, Trouble
from harness.campaign.plan import PLAN, CampaignPlan, simulated
from harness.campaign.plan import load as load_plan
from harness.campaign.seeds import knobs_of
from harness.results import exits, verdict_file
from harness.systems import registry

SPEC, SEEDS = "job.json", "seeds.jsonl"
TRIES = 2
_PR_SET_PDEATHSIG = 1

THINNED = ("results.json", "plan.toml", "schedule.json", "history.jsonl.gz")
"""What is left of a passing run on hosts."""


class WorkSpec(msgspec.Struct):
    """`job.json` in a job's folder: what its child has to know."""

    job: Job
    kept: dict[str, int] = {}
    """Key of a signature -> so many folders of its runs are kept already."""


class Line(msgspec.Struct, omit_defaults=True):
    """Of the file of seeds."""

    seed: int
    outcome: CountedOutcome | None = None


def main(words: list[str]) -> int:
    parent, what, *rest = words
    _end_with(int(parent))
    if what == "command":
        from harness.cli.onethrone import main as onethrone

        onethrone(rest)
    os.nice(10)  # beside runs on hosts, whose servers keep time
    campaign = Path(rest[0])
    if what == "simulate":
        _simulate(campaign, campaign / "runs" / rest[1])
    elif what == "judge":
        _judge(campaign, campaign / "runs" / rest[1], rest[2], " ".join(rest[3:]))
    elif what == "report":
        from harness.campaign.report import write

        write(campaign)
    return 0


def _end_with(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(exits.HARNESS_FAILED)  # it was gone before the kernel knew


# ---- a batch of seeds ------------------------------------------------------------------------------------------------


def _simulate(campaign: Path, folder: Path) -> None:
    plan = load_plan(campaign / PLAN)
    spec = msgspec.json.decode((folder / SPEC).read_bytes(), type=WorkSpec)
    job = spec.job
    total, begun = _so_far(folder / SEEDS)
    kept = dict(spec.kept)
    for failure in total.failures:
        kept[failure.signature.key] = kept.get(failure.signature.key, 0) + bool(failure.folder)
    with (folder / SEEDS).open("ab", buffering=0) as file:
        for seed in range(job.seed, job.seed + job.seeds):
            tries = begun.get(seed, 0)
            if tries is None:
                continue
            if tries >= TRIES:
                one = CountedOutcome(unknown=1, harness=[Trouble(f"its process died or hung, {tries} times", seed)])
            else:
                _append(file, Line(seed))
                one = _seed(plan, job, seed, campaign, folder, kept)
            _append(file, Line(seed, one))
            total.add(one)
    total.bytes = outcomes.size_of(folder)
    outcomes.save(total, folder)
    (folder / SEEDS).unlink()


def _append(file: io.FileIO, line: Line) -> None:
    """Raises OSError.  What is written of a line then is taken away when the batch goes on."""
    left = memoryview(msgspec.json.encode(line) + b"\n")
    while left:
        left = left[file.write(left) or 0 :]


def _so_far(path: Path) -> tuple[CountedOutcome, dict[int, int | None]]:
    """The sum of what is done, and for each seed how often it was begun; None: it is done."""
    total = CountedOutcome()
    begun: dict[int, int | None] = {}
    if not path.exists():
        return total, begun
    whole = 0
    decoder = msgspec.json.Decoder(Line)
    with path.open("rb") as file:
        for text in file:
            if not text.endswith(b"\n"):
                break  # cut by a kill
            whole += len(text)
            line = decoder.decode(text)
            if line.outcome is None:
                begun[line.seed] = (begun.get(line.seed) or 0) + 1
            else:
                begun[line.seed] = None
                total.add(line.outcome)
    os.truncate(path, whole)
    return total, begun


def _seed(
    plan: CampaignPlan, job: Job, seed: int, campaign: Path, folder: Path, kept: dict[str, int]
) -> CountedOutcome:
    from harness.simulator.run import simulate

    settings = simulated(plan, plan.setting(job.setting), job.servers)
    knobs = knobs_of(plan, job.mix, seed)
    found = CountedOutcome()
    try:
        run = simulate(seed, servers=job.servers, bug=job.bug, settings=settings, knobs=knobs)
        found.seconds, found.ops, found.marks = run.seconds, len(run.ops), {} if job.bug else run.reached
        violation = signature.first(run.verdict)
        core = run.failures[0].strip().splitlines()[-1] if run.failures else ""
        found.judged("unknown" if run.valid is True and core else run.valid)
        if violation is not None:
            failure = _failure(run.verdict, [f"n{n}" for n in range(1, run.servers + 1)], job, seed)
            keep = folder / str(seed)
            shutil.rmtree(keep, ignore_errors=True)  # half of it may be there, from before a kill
            key = failure.signature.key
            if kept.get(key, 0) < plan.retention.failing_seeds and not job.canary:
                keep.mkdir()
                simulate(seed, servers=job.servers, bug=job.bug, settings=settings, knobs=knobs, keep=keep)
                kept[key] = kept.get(key, 0) + 1
                failure.folder = str(keep.relative_to(campaign))
            found.failed(failure)
        elif core or run.valid is not True:
            found.unknowns.append(Trouble(core or run.verdict.summary, seed))
        if not job.bug:
            ops = [msgspec.structs.replace(op) for op in run.ops if op.process.__class__ is not int]
            found.coverage = _counted(ops, job, seed)
    except OSError:
        raise  # no room: the batch ends here, and goes on when there is some
    except Exception as error:  # noqa: BLE001 - a defect of ours must name its seed, and lose no other
        traceback.print_exc()
        found = CountedOutcome(
            unknown=1, harness=[Trouble(f"the simulator failed: {type(error).__name__}: {error}", seed)]
        )
    return found


def _failure(verdict: Verdict, hosts: list[str], job: Job, seed: int, system: str = registry.DEFAULT) -> Failure:
    violation = signature.first(verdict)
    assert violation is not None
    also = sorted({v.promise for v in verdict.violations} - {violation.promise})
    of = signature.of(violation, hosts, system, job.bug)
    return Failure(of, violation.message, seed, round(violation.time / 1e9, 3), also)


def _counted(ops: list[Op], job: Job, seed: int) -> coverage.Coverage:
    found = coverage.of(ops)
    for stretch in found.slowest:
        stretch.run, stretch.seed = f"seed {seed}", seed
        stretch.setting, stretch.mix, stretch.servers = job.setting, job.mix, job.servers
    return found


# ---- a run on hosts --------------------------------------------------------------------------------------------------


def _judge(campaign: Path, folder: Path, how: str, why: str) -> None:
    """`how` it ended: "whole"; "failed", in the harness, for the reason `why`; or "cut", by the campaign's own end."""
    plan = load_plan(campaign / PLAN)
    job = msgspec.json.decode((folder / SPEC).read_bytes(), type=WorkSpec).job
    run = run_folder(folder)
    log = str((folder / "log").relative_to(campaign))
    found = CountedOutcome()
    trouble = Trouble(why, job.seed, "" if run is None else str(run.relative_to(campaign)), log)
    if run is None or not (run / "history.jsonl").exists():
        trouble.why = why or "it left no history"
        found.judged("unknown", cut=how == "cut")
        if how != "cut":
            found.harness.append(trouble)
    else:
        found.folder = trouble.folder
        try:
            _of_history(run, plan, job, how, trouble, found)
        except (HistoryError, ValueProblem) as error:
            trouble.why = f"its history cannot be judged: {error}"
            found.judged("unknown")
            found.harness.append(trouble)
        if found.valid and not job.bug:
            thin(run)
    found.bytes = outcomes.size_of(folder)
    outcomes.save(found, folder)


def _of_history(run: Path, plan: CampaignPlan, job: Job, how: str, trouble: Trouble, found: CountedOutcome) -> None:
    verdict = check(run)
    whole = how == "whole"
    found.judged(verdict.valid if whole or verdict.valid is False else "unknown", cut=how == "cut")
    found.summary = verdict.summary
    found.seconds, found.ops = verdict.run["length_s"], verdict.run["ops"]
    if verdict.valid is False:
        hosts = _ensemble(run)
        failure = _failure(verdict, hosts, job, job.seed, plan.setting(job.setting).system)
        failure.folder = found.folder
        found.failed(failure)
    elif whole and verdict.valid == "unknown":
        found.unknowns.append(msgspec.structs.replace(trouble, why=verdict.summary))
    if how == "failed":
        found.harness.append(trouble)
    if not job.bug:
        found.coverage = coverage.read_history(run)
        for stretch in found.coverage.slowest:
            stretch.run = found.folder
    if not (run / "report.html").exists():
        from harness.report import write_report
        from harness.results.rerun import rerun_command

        verdict_file.write(verdict, run / "results.json")
        write_report(run, verdict, run / "report.html", rerun_command(run))


def _ensemble(run: Path) -> list[str]:
    for op in read(run):
        value = msgspec.convert(op.value, RunOp) if op.f == "run" else None
        return list(value.ensemble) if value is not None else []
    return []


def run_folder(folder: Path) -> Path | None:
    """The run's own folder below its job's: the newest, since a run that was refused may have left one behind."""
    found = sorted(path for path in folder.glob("*/*Z*") if path.is_dir() and not path.is_symlink())
    return found[-1] if found else None


def thin(run: Path) -> None:
    """Makes a passing run small: its history compressed, and without logs, journals and report."""
    history = run / "history.jsonl"
    half = run / ".history.half"
    with history.open("rb") as plain, gzip.open(half, "wb", compresslevel=6) as packed:
        shutil.copyfileobj(plain, packed)
    half.replace(run / "history.jsonl.gz")
    for path in run.iterdir():
        if path.name in THINNED:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
