"""`onethrone simulate`: one seed with its folder, a campaign over many, or the search for planted bugs."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from checker.counted import counted
from harness import HarnessError, UsageError
from harness.cli.durations import Duration
from harness.results import exits
from harness.results import folder as folders
from harness.simulator import ensembles
from harness.simulator.catalogue import SIZES, Found, find, search
from harness.simulator.run import simulate
from harness.simulator.simulated_run import SimulatedRun
from harness.simulator.source_run import Given
from harness.simulator.source_run import given as given_by
from harness.simulator.sweep import LISTED_MAX, Sweep, SweepSpec, SweepTally, wilson
from harness.watch.terminal import plain
from nemesis.schedule import SEED_MAX, ScheduleError
from node import bugs

KEPT_MAX = 10
"""Folders of failing seeds that a campaign keeps; the others are named, with the command that repeats them."""
SHOWN_MAX = 20
NEVER_SHOWN_MAX = 8
LINE_EVERY_S = 5.0


@click.command("simulate")
@click.option(
    "--seed", type=click.IntRange(0, SEED_MAX), help="Run this seed, and keep its folder whatever the verdict."
)
@click.option("--seeds", metavar="A:B", help="Run seeds A to B-1, and keep those that fail. Without B: no end.")
@click.option("--until", metavar="10m", type=Duration(), help="Start no new seeds after this long. Default: no limit.")
@click.option("--servers", type=click.IntRange(3, 99), help="Number of servers. Default: 5, or the schedule's.")
@click.option(
    "--observers", type=click.IntRange(0, 50), help="Make the last N servers observers. Default: the seed decides."
)
@click.option("--groups", metavar="1,2,3/4,5,6/7,8,9", help="Hierarchical quorums: the server ids of each group.")
@click.option("--weights", metavar="4=2,9=0", help="Hierarchical quorums: weights that are not 1.")
@click.option(
    "--time-limit",
    metavar="60s",
    type=Duration(20, 86_400),
    help="Length of the schedule that each seed draws, in simulated time. Default: 60 s.",
)
@click.option(
    "--schedule",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="Inject these faults: a schedule, or a run's folder.",
)
@click.option(
    "--bug",
    metavar="NAME|all|none",
    help="Plant this bug in every server. all: search for each bug in turn. none: leave out the bug of the run that"
    " --schedule names.",
)
@click.option("--jobs", type=click.IntRange(1, 1024), help="Number of processes. Default: one per core.")
@click.option("--scheduler", metavar="tcp://HOST:PORT", help="Run on the workers of this Dask cluster.")
@click.option(
    "--results", type=click.Path(path_type=Path), default=Path("results"), help="The folder that holds all runs."
)
@click.option("--name", default="simulated", help="Name of the runs' folder in the results.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object on standard output.")
@click.option("--quiet", is_flag=True, help="Print nothing but the result.")
def simulate_command(
    seed: int | None,
    seeds: str | None,
    until: float | None,
    servers: int | None,
    observers: int | None,
    groups: str | None,
    weights: str | None,
    time_limit: float | None,
    schedule: Path | None,
    bug: str | None,
    jobs: int | None,
    scheduler: str | None,
    results: Path,
    name: str,
    as_json: bool,
    quiet: bool,
) -> int:
    """Run our election server in a simulator: the same protocol core, a minute in less than a fifth of a second.

    \b
      onethrone simulate --seed 7
      onethrone simulate --seeds 0:1000
      onethrone simulate --until 10m
      onethrone simulate --schedule results/latest --seeds 0:200
      onethrone simulate --bug half-quorum
      onethrone simulate --bug half-quorum --seeds 0:100
      onethrone simulate --bug all
    """
    many = seeds is not None or until is not None
    if seed is not None and many:
        raise UsageError("--seed is one run; --seeds and --until are many", remedy="Give one or the other.")
    schedule = folders.meant(schedule) if schedule is not None else None  # the first run that is kept moves `latest`
    given = given_by(schedule) if schedule is not None else Given()
    if seed is None and not many:
        seed = given.seed
    settings = given.settings
    if observers is not None:
        settings = msgspec.structs.replace(settings, observers=observers, swarm=False)
    if groups is not None:
        settings = msgspec.structs.replace(settings, groups=ensembles.groups(groups))
    if weights is not None:
        settings = msgspec.structs.replace(settings, weights=ensembles.weights(weights))
    if time_limit is not None:
        settings = msgspec.structs.replace(settings, duration_s=time_limit)
    spec = SweepSpec(
        servers or given.servers or 5,
        given.schedule,
        given.bug if bug is None else "" if bug == "none" else bug,
        settings,
    )
    ensembles.check(spec.servers, settings)
    if spec.bug and spec.bug != "all" and spec.bug not in bugs.names():
        raise UsageError(
            f"--bug {spec.bug}: there is no such bug", remedy=f"There are: {', '.join(bugs.names())}, all."
        )
    if spec.bug == "all" and (seed is not None or until is not None or scheduler):
        raise UsageError("--bug all looks for each bug over --seeds on this machine: no --seed, --until, --scheduler")
    keeper = _Keeper(spec, given, results, name, schedule)
    try:
        if seed is not None:
            return _one(keeper, seed, as_json)
        progress = _Watch(quiet)
        workers = jobs or len(os.sched_getaffinity(0))
        sizes = (spec.servers,) if servers or given.schedule or settings != given.settings else SIZES
        if spec.bug and spec.bug != "all" and not (many or scheduler):
            return _one_bug(keeper, sizes, progress, as_json)
        if spec.bug == "all":
            found = search(spec, range(SEED_MAX) if seeds is None else _seeds(seeds), workers, progress.say, sizes)
            click.echo(json.dumps(found.to_json()) if as_json else found.summary)
            return exits.of(found.valid)
        return _many(keeper, given, seeds, until, workers, scheduler or "", progress, as_json)
    except ScheduleError as error:
        raise UsageError(str(error)) from None


def _one_bug(keeper: _Keeper, sizes: Sequence[int], progress: _Watch, as_json: bool) -> int:
    """Looks for one bug, and keeps the run that shows it."""
    keeper.check_place()
    found = find(keeper.spec, range(SEED_MAX), sizes)
    if found.seed is None:
        text = f"{found.bug} broke no {found.promise} in {counted(found.runs, 'run')}, {found.took_s:.1f} s of a core"
        click.echo(json.dumps(Found((found,)).to_json()) if as_json else text)
        return exits.of("unknown")
    progress.say(
        f"seed {found.seed} of {found.servers} servers, {counted(found.runs, 'run')}, {found.took_s:.2f} s of a core"
    )
    keeper.spec = keeper.spec._replace(servers=found.servers)
    return _one(keeper, found.seed, as_json)


# ---- one seed --------------------------------------------------------------------------------------------------------


def _one(keeper: _Keeper, seed: int, as_json: bool) -> int:
    began = time.monotonic()
    run, folder = keeper.keep(seed)
    wall_s = time.monotonic() - began
    if as_json:
        result = {
            "valid": run.valid,
            "summary": run.verdict.summary,
            "seed": seed,
            "broken": run.broken,
            "failures": run.failures,
            "run": str(folder),
            "report": str(folder / "report.html"),
            "simulated_s": round(run.seconds, 3),
            "wall_s": round(wall_s, 3),
            "reached": run.reached,
            "repeat": keeper.command(seed),
        }
        click.echo(json.dumps(result))
    else:
        click.echo(run.verdict.summary)
        for failure in run.failures:
            click.echo(f"  {failure.strip().splitlines()[-1]}")
        click.echo(f"{run.seconds:.1f} simulated seconds, {counted(run.messages, 'message')}, in {wall_s:.2f} s")
        click.echo(folder / "report.html")
        click.echo(f"again: {keeper.command(seed)}")
    return exits.of(run.valid)


class _Keeper:
    """Runs a seed of the campaign again, and keeps its folder."""

    def __init__(self, spec: SweepSpec, given: Given, results: Path, name: str, schedule_path: Path | None) -> None:
        self.spec = spec
        self._results = results
        self._name = name
        self._schedule_path = schedule_path
        self._given = given

    def check_place(self) -> None:
        """Raises UsageError where nothing could be kept, before anything is run."""
        folders.check_place(self._results)

    def keep(self, seed: int) -> tuple[SimulatedRun, Path]:
        folder = folders.create(self._results, self._name)
        folder.begin()
        spec = self.spec
        try:
            run = simulate(
                seed,
                servers=spec.servers,
                schedule=spec.schedule,
                bug=spec.bug,
                settings=spec.settings,
                knobs=self._given.knobs_of(seed),
                keep=folder.path,
            )
        except OSError as error:
            raise HarnessError(f"{folder.path}: the run cannot be kept: {error.strerror or error}") from None
        finally:
            folder.end()
        return run, folder.path

    def command(self, seed: int) -> str:
        from harness.simulator.repeat import command

        spec, given = self.spec, self._given
        return command(seed, spec.servers, spec.bug, spec.settings, self._schedule_path, given.settings, given.bug)


# ---- many seeds ------------------------------------------------------------------------------------------------------


def _many(
    keeper: _Keeper,
    given: Given,
    seeds: str | None,
    until: float | None,
    workers: int,
    scheduler: str,
    progress: _Watch,
    as_json: bool,
) -> int:
    until_s = float("inf") if until is None else until
    if seeds is None:
        seeds = "0:100" if until is None else "0:"
    numbers = _seeds(seeds)
    if isinstance(numbers, _Endless) and until is None:
        raise UsageError(f"--seeds {seeds} has no end", remedy="Give --seeds A:B, or how long with --until.")
    keeper.check_place()
    if scheduler:
        workers = _dask_workers(scheduler)
    campaign = Sweep(keeper.spec, numbers, jobs=workers, until_s=until_s, scheduler=scheduler, watch=progress.told)
    progress.begin(len(numbers) if isinstance(numbers, range) else None, until_s)
    try:
        tally = campaign.run()
    finally:
        progress.end()
    kept = _keep_failing(keeper, tally)
    result = _result(keeper, given, tally, kept, workers)
    click.echo(json.dumps(result) if as_json else _in_words(result))
    return exits.of(tally.valid)


def _keep_failing(keeper: _Keeper, tally: SweepTally) -> dict[int, Path]:
    """Folders of the first failing seeds.  A seed that ends otherwise this time is a defect of ours, and is said."""
    kept: dict[int, Path] = {}
    tally.failing.sort(key=lambda ended: (ended.valid is not False, ended.seed))
    for ended in [ended for ended in tally.failing if ended.seconds][:KEPT_MAX]:
        try:
            run, folder = keeper.keep(ended.seed)
        except (HarnessError, UsageError) as error:  # what was counted is worth more than a folder
            tally.troubles.append(f"seed {ended.seed} could not be kept: {error}")
            break
        kept[ended.seed] = folder
        if run.verdict.summary != ended.summary:
            tally.troubles.append(
                f"seed {ended.seed} ended otherwise when it was run again: the simulator is not deterministic"
            )
    return kept


def _result(keeper: _Keeper, given: Given, tally: SweepTally, kept: dict[int, Path], workers: int) -> dict[str, Any]:
    from harness.simulator import marks

    spec = keeper.spec
    runs = tally.runs
    again = {}
    for promise in given.broken or (tuple(sorted(tally.broken)) if spec.schedule is not None else ()):
        low, high = wilson(tally.broken[promise], runs)
        again[promise] = {
            "runs": tally.broken[promise],
            "of": runs,
            "share": round(tally.broken[promise] / runs, 4) if runs else None,
            "interval_95": [round(low, 4), round(high, 4)],
        }
    return {
        "valid": tally.valid,
        "summary": _summary(tally),
        "seeds": runs,
        "counts": {str(valid).lower() if valid != "unknown" else "unknown": n for valid, n in tally.counts.items()},
        "broken": dict(sorted(tally.broken.items())),
        "failing": [
            {
                "seed": ended.seed,
                "valid": ended.valid,
                "broken": list(ended.broken),
                "summary": ended.summary,
                "failures": list(ended.failures),
                "run": str(kept[ended.seed]) if ended.seed in kept else None,
                "repeat": keeper.command(ended.seed),
            }
            for ended in tally.failing
        ],
        "again": again,
        "canary": {"runs": tally.canary_runs, "found": tally.canary_found},
        "troubles": tally.troubles,
        "reached": dict(sorted(tally.reached.items())),
        "never_reached": marks.never(tally.reached),
        "workers": workers,
        "deaths_of_workers": tally.deaths,
        "simulated_s": round(tally.seconds, 1),
        "messages": tally.messages,
        "wall_s": round(tally.wall_s, 2),
        "core_s": round(tally.core_s, 2),
        "seeds_per_s": round(runs / tally.wall_s, 2) if tally.wall_s else None,
        "simulated_s_per_s": round(tally.seconds / tally.wall_s, 1) if tally.wall_s else None,
        "simulated_s_per_core_s": round(tally.seconds / tally.core_s, 1) if tally.core_s else None,
    }


def _summary(tally: SweepTally) -> str:
    seen = f"{counted(tally.runs, 'seed')}, {_length(tally.seconds)} of simulated time"
    if tally.valid is False:
        promises = ", ".join(f"{promise} in {count}" for promise, count in sorted(tally.broken.items()))
        return f"Invalid: {tally.counts[False]} of {seen}: {promises}."
    if tally.valid == "unknown":
        reasons = [*tally.troubles]
        if tally.counts["unknown"]:
            first = next((ended for ended in tally.failing), None)
            why = f" (seed {first.seed}: {first.summary.strip().splitlines()[-1]})" if first else ""
            reasons.append(f"{counted(tally.counts['unknown'], 'run is', 'runs are')} unknown{why}")
        return f"Unknown: {'; '.join(reasons) or 'nothing was run'} ({seen})."
    return f"Valid: {seen}, and every promise was kept."


def _in_words(result: dict[str, Any]) -> str:
    lines = [result["summary"]]
    if result["valid"] is False:  # otherwise the summary says them
        lines += [f"besides: {trouble}" for trouble in result["troubles"]]
    if not result["seeds"]:  # there is nothing to tell of
        return "\n".join(lines)
    for promise, share in result["again"].items():
        low, high = share["interval_95"]
        lines.append(
            f"{promise} broke in {share['runs']} of {counted(share['of'], 'run')}: {100 * (share['share'] or 0):.1f} % "
            f"(95 % interval {100 * low:.1f} to {100 * high:.1f} %)"
        )
    if result["canary"]["runs"]:
        of = counted(result["canary"]["runs"], "run")
        lines.append(f"canary: a planted bug was found in {result['canary']['found']} of {of}")
    reached, never = len(result["reached"]), result["never_reached"]
    lines.append(f"marks: {counted(reached, 'rare branch', 'rare branches')} reached" + _never(never))
    lines.append(
        f"{result['seeds_per_s']} seeds/s, {result['simulated_s_per_s']} simulated seconds a second on "
        f"{counted(result['workers'], 'worker')} ({result['simulated_s_per_core_s']} on one core), {result['wall_s']} s"
    )
    if result["deaths_of_workers"]:
        lost = counted(result["deaths_of_workers"], "batch lost its worker", "batches lost their worker")
        lines.append(f"run again: {lost}")
    more = result["counts"].get("false", 0) + result["counts"].get("unknown", 0) - len(result["failing"][:SHOWN_MAX])
    if more > 0:
        lines.append(f"{more} more than these failed (--json names the first {LISTED_MAX}):")
    for failing in result["failing"][:SHOWN_MAX]:
        lines.append(f"  seed {failing['seed']}: {failing['summary'].strip().splitlines()[0]}")
        lines += [f"    {failure.strip().splitlines()[-1]}" for failure in failing["failures"]]
        if failing["run"]:
            lines.append(f"    kept:  {failing['run']}")
        lines.append(f"    again: {failing['repeat']}")
    return "\n".join(lines)


def _never(marks: Sequence[str]) -> str:
    if not marks:
        return ", all"
    names = ", ".join(marks[:NEVER_SHOWN_MAX])
    more = f" and {len(marks) - NEVER_SHOWN_MAX} more (--json names them)" if len(marks) > NEVER_SHOWN_MAX else ""
    return f"; never: {names}{more}"


# ---- progress --------------------------------------------------------------------------------------------------------


class _Watch:
    """A bar on a terminal; elsewhere a line now and then.  Both on standard error."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: Any = None
        self._task: Any = None
        self._total: int | None = None
        self._until_s = 0.0
        self._said_at = time.monotonic()

    def say(self, text: str) -> None:
        if not self._quiet:
            print(text, file=sys.stderr, flush=True)

    def begin(self, total: int | None, until_s: float) -> None:
        self._total, self._until_s = total, until_s
        if self._quiet or not sys.stderr.isatty():
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._bar = Progress(
            TextColumn("{task.completed:.0f}" + (f"/{total}" if total else "") + " seeds"),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[figures]}"),
            console=Console(file=plain(sys.stderr)),
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._bar.add_task("seeds", total=total, figures="")
        self._bar.start()

    def told(self, tally: SweepTally) -> None:
        failures = tally.runs - tally.counts[True]
        per_s = tally.runs / tally.wall_s if tally.wall_s else 0
        figures = f"{per_s:.1f} seeds/s, {_length(tally.seconds)} simulated, {failures} failing"
        if self._bar is not None:
            self._bar.update(self._task, completed=tally.runs, figures=figures)
        elif time.monotonic() - self._said_at >= LINE_EVERY_S:
            self._said_at = time.monotonic()
            seeds = f"{tally.runs} of {counted(self._total, 'seed')}" if self._total else counted(tally.runs, "seed")
            self.say(f"{tally.wall_s:7.1f}s  {seeds}, {figures}")

    def end(self) -> None:
        if self._bar is not None:
            self._bar.stop()


def _length(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 3600:.1f} h" if seconds >= 7200 else f"{seconds / 60:.1f} min"


# ---- what is given ---------------------------------------------------------------------------------------------------


class _Endless(Iterable[int]):
    def __init__(self, first: int) -> None:
        self._first = first

    def __iter__(self) -> Iterator[int]:
        return iter(range(self._first, SEED_MAX))


def _seeds(text: str) -> range | _Endless:
    """ "0:1000" without the last one, as Python's ranges; "0:" has no end."""
    match = re.fullmatch(r"([0-9]+):([0-9]+)?", text.strip())
    if match is None:
        raise UsageError(f"--seeds {text!r}: give A:B, the first seed and the one after the last, as in 0:1000")
    if any(len(n.lstrip("0")) > 10 or int(n) > SEED_MAX for n in match.groups("0")):
        raise UsageError(f"--seeds {text[:50]}: a seed is at most {SEED_MAX}", remedy="Give smaller ones.")
    first = int(match[1])
    if match[2] is None:
        return _Endless(first)
    if not first < int(match[2]):
        raise UsageError(f"--seeds {text}: there is no seed from {first} up to {match[2]}")
    return range(first, int(match[2]))


def _dask_workers(scheduler: str) -> int:
    from harness.simulator.sweep import ClusterGone, workers_of

    try:
        return workers_of(scheduler)
    except ImportError:
        raise UsageError("--scheduler needs Dask", remedy="Install it: pip install 'onethrone[dask]'") from None
    except ClusterGone as error:
        raise UsageError(f"--scheduler {scheduler}: {error}", remedy="Start one with `dask scheduler`.") from None
