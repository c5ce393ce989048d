"""From a run that broke a promise to the smallest one that does: `shrink`.

The steps.  What the run was stands in its folder (`harness.simulator.source_run`).  A simulated run is run again, in
its own world; of a run on hosts only the schedule is known, so worlds are searched for one in which it breaks the
same promise. From there on it is a search for smaller cases (`harness.shrink.search`), until nothing smaller fails,
the budget is spent, or somebody interrupts it.  What is left becomes an ordinary run's folder, with `story.txt` and a
test beside it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from checker.counted import counted
from checker.names import current
from harness import HarnessError, UsageError
from harness.report import write_report
from harness.results.rerun import rerun_command
from harness.shrink import emitted
from harness.shrink.case_file import Kept
from harness.shrink.failing import Failing
from harness.shrink.narrative import story
from harness.shrink.search import SERVERS_MIN, BudgetSpent, Case, Search
from harness.simulator import knobs
from harness.simulator.source_run import Given, broken_in, given
from harness.systems import registry
from node import bugs

STORY = "story.txt"
WORLDS_MAX = 500
"""So many are searched for one in which a schedule breaks a promise, with half of the budget at most."""
LINE_EVERY_S = 5.0


class NotReproduced(UsageError):
    """No world was found in which the schedule breaks the promise: there is nothing to begin from."""


class Shrunk(NamedTuple):
    """What is left of a run."""

    folder: Path
    """An ordinary run's, with the story and the test beside the rest."""
    promise: str
    seed: int
    servers: int
    faults: int
    faults_before: int
    runs: int
    """Simulated, in all."""
    took_s: float
    story: str
    test: Path
    interrupted: bool
    whole: bool
    """Nothing smaller was found: neither the budget nor an interruption ended it."""


def shrink(
    run: Path,
    out: Path,
    *,
    budget_s: float = 600,
    runs_max: int = 2000,
    jobs: int = 1,
    say: Callable[[str], None],
    promise: str = "",
    bug: str | None = None,
) -> Shrunk:
    """The smallest case that breaks the promise of `run` (a run's folder, or a schedule), written to the folder `out`.

    `promise` is that of the first violation, or of the planted bug, unless it is given; `bug` that of the run.
    Interrupted (KeyboardInterrupt), it keeps the best so far.  Raises UsageError: the run broke nothing, or is none;
    NotReproduced; HarnessError.
    """
    began = time.monotonic()
    was = given(run)
    if bug is not None:
        was = msgspec.structs.replace(was, bug=bug)
    _check(was, run, promise)
    with _made(out):
        kept, failing, search = smallest(was, promise, run, budget_s=budget_s, runs_max=runs_max, jobs=jobs, say=say)
        told, test = write(kept, out)
    return Shrunk(
        folder=out,
        promise=kept.promise,
        seed=kept.seed,
        servers=kept.servers,
        faults=len(kept.schedule.faults),
        faults_before=len(was.schedule.faults) if was.schedule else 0,
        runs=failing.runs,
        took_s=round(time.monotonic() - began, 2),
        story=told,
        test=test,
        interrupted=search.interrupted,
        whole=search.whole,
    )


def smallest(
    was: Given,
    promise: str,
    run: Path = Path("the run"),
    *,
    budget_s: float = 600,
    runs_max: int = 2000,
    jobs: int = 1,
    say: Callable[[str], None],
) -> tuple[Kept, Failing, Search]:
    """The smallest case of what a run was (`run` is its name), with its predicate and search, which are over."""
    failing = Failing(promise, was.bug, was.settings, runs_max=runs_max, budget_s=budget_s, jobs=jobs)
    with contextlib.closing(failing):
        search = _searched(_first(was, run, promise, failing, budget_s, say), failing, say)
    best = search.best
    servers = best.schedule.servers + was.settings.observers
    kept = Kept(was.bug, failing.promise, best.seeds[0], servers, was.settings, best.knobs, best.schedule)
    return kept, failing, search


def write(case: Kept, out: Path) -> tuple[str, Path]:
    """The case's run as a folder, with its story and its test; returns these.  `out` is empty."""
    try:
        ended = case.run(keep=out)
        if case.promise not in ended.broken:
            raise HarnessError(f"{case.promise} did not break again: the simulator is not deterministic")
        told = story(ended.ops, ended.verdict, case.promise)
        (out / STORY).write_text(told + "\n", encoding="utf-8")
        test = out / emitted.name(case)
        test.write_text(emitted.text(case, told), encoding="utf-8")
        write_report(out, ended.verdict, out / "report.html", rerun_command(out))
    except OSError as error:
        raise HarnessError(f"{out}: the run cannot be kept: {error.strerror}") from None
    return told, test


# ---- what to begin from ----------------------------------------------------------------------------------------------


def _check(was: Given, run: Path, promise: str) -> None:
    """Raises UsageError when there is nothing to begin from."""
    if not registry.simulated(was.system):
        raise UsageError(f"{run}: the simulator has no {was.system}: only runs of onethrone's own server are shrunk")
    if was.bug and was.bug not in bugs.names():
        raise UsageError(f"{run}: there is no bug {was.bug!r}", remedy=f"There are: {', '.join(bugs.names())}.")
    results = run / "results.json"
    judged = run.is_dir() and results.exists()
    if judged and broken_in(results) is None:
        raise UsageError(
            "this is not a verdict, so what the run broke is not known",
            where=str(results),
            remedy="`onethrone check --json` of the run's history.jsonl prints it again, to be put there; "
            "without a results.json, shrink judges the run anew.",
        )
    if judged and not was.broken:
        raise UsageError(f"{run}: this run broke no promise: there is nothing to shrink")
    if promise and judged and not {*current([promise])} & {*was.broken}:
        raise UsageError(f"{run}: this run did not break {promise}; it broke: {', '.join(was.broken)}")


@contextlib.contextmanager
def _made(out: Path) -> Iterator[None]:
    """An empty folder; gone again if nothing was put into it."""
    try:
        if out.exists() and any(out.iterdir()):
            raise UsageError(f"{out}: there is something in it already", remedy="Choose another folder.")
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{out}: no run can be kept there: {error.strerror}") from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            out.rmdir()


def _first(was: Given, run: Path, promise: str, failing: Failing, budget_s: float, say: Callable[[str], None]) -> Case:
    """A case that fails; `failing` knows its promise then, and what the correct server makes of it."""
    assert was.schedule is not None
    began = time.monotonic()
    case = None
    try:
        if was.seed is not None:
            case = Case(was.schedule, (was.seed,), was.knobs or knobs.draw(was.seed))
            if not _breaks(case, was, promise, failing):
                if not was.broken:
                    raise UsageError(f"{run}: this run broke no promise: there is nothing to shrink")
                say(f"in its own world, of seed {was.seed}, it does not break {was.broken[0]} any more")
                case = None
        if case is None:
            case = _searched_worlds(was, promise, failing, began + budget_s / 2, say)
    except BudgetSpent:
        case = None
    if case is None:
        wanted = promise or ", ".join(was.broken) or "any promise"
        raise NotReproduced(
            f"{run}: its {counted(len(was.schedule.faults), 'fault')} did not break {wanted} in "
            f"{counted(failing.runs, 'simulated world')}",
            remedy=("A larger --budget, or more --runs, searches on.  " if failing.runs < WORLDS_MAX else "")
            + "The run itself can be repeated with `onethrone replay`, and its faults on fresh hosts with "
            "`onethrone run --schedule`.",
        )
    faults = counted(len(case.faults), "fault")
    say(f"seed {case.seeds[0]} breaks {failing.promise}: {faults}, {case.schedule.servers} voters")
    if was.bug:
        with contextlib.suppress(BudgetSpent):  # the case fails all the same; the search ends before its first step
            failing.correct = failing.judge_the_correct(case, case.seeds[0])
        if failing.correct is False:
            say(f"the correct server breaks a promise, too: this is not the doing of {was.bug}")
            failing.correct = None
    return case


def _breaks(case: Case, was: Given, promise: str, failing: Failing) -> bool:
    """Whether the case breaks what it should; the first promise that is wanted and broken is that of `failing`."""
    broken = failing.broken(case, case.seeds[0])
    known = bugs.about(was.bug).promise if was.bug else ""
    wanted = current([promise]) if promise else [*({known} & {*(was.broken or broken)}), *(was.broken or broken)]
    failing.promise = next((name for name in wanted if name in broken), promise)
    return bool(failing.promise) and failing.promise in broken


def _searched_worlds(
    was: Given, promise: str, failing: Failing, until: float, say: Callable[[str], None]
) -> Case | None:
    assert was.schedule is not None
    faults = counted(len(was.schedule.faults), "fault breaks", "faults break")
    say(f"looking for a world in which its {faults} {promise or _or(was.broken)}")
    worlds = [Case(was.schedule, (seed,), knobs.draw(seed)) for seed in range(min(WORLDS_MAX, failing.runs_max // 2))]
    for number, case in enumerate(worlds):
        if time.monotonic() >= until:
            return None
        if number % failing.ahead_max == 0:
            failing.foresee(worlds[number : number + failing.ahead_max], seeds=1)
        if _breaks(case, was, promise, failing):
            return case
        if number % 50 == 49:
            say(f"{counted(number + 1, 'world')}, and not in one of them")
    return None


def _or(broken: tuple[str, ...]) -> str:
    return " or ".join(broken) or "a promise"


# ---- the search ------------------------------------------------------------------------------------------------------


def _searched(case: Case, failing: Failing, say: Callable[[str], None]) -> Search:
    """The search, ended."""
    said_at = time.monotonic()

    def improved(best: Case, how: str) -> None:
        nonlocal said_at
        said_at = time.monotonic()
        say(f"{counted(failing.runs, 'run'):>9}, {counted(len(best.faults), 'fault'):>9} left: {how}")

    def watch() -> None:
        if time.monotonic() - said_at >= LINE_EVERY_S:
            improved(search.best, "nothing smaller yet")

    suspects: tuple[frozenset[str], ...] = ()
    with contextlib.suppress(BudgetSpent):  # without guesses the search still knows its case, which is the best so far
        suspects = failing.suspects(case, case.seeds[0])
    failing.watch = watch
    search = Search(
        case,
        failing,
        acts=failing.correct is True,
        servers_min=case.schedule.servers if failing.settings.groups else SERVERS_MIN,  # groups name their servers
        suspects=suspects,
        foresee=failing.foresee,
        improved=improved,
    )
    try:
        search.run()
    except KeyboardInterrupt:
        say("interrupted: the best so far is kept")
        search.interrupted = True
        return search
    say(f"{counted(failing.runs, 'run'):>9}: " + ("nothing smaller fails" if search.whole else "the budget is spent"))
    return search
