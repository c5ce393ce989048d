"""The smallest known failing case of every planted bug, as files, and the page that is made of them.

    python -m harness.shrink.catalogue > docs/bugs.md             the page, from the code and tests/bugs
    python -m harness.shrink.catalogue --keep NAME ...            find, shrink and keep these bugs anew; `all`: each
    python -m harness.shrink.catalogue --keep all --missing       those of which no case is kept
    python -m harness.shrink.catalogue --smaller NAME ...         go on shrinking what is kept

The second searches for each bug as `onethrone simulate --bug NAME` does, shrinks the first failing seed, and writes
`tests/bugs/NAME.json` where it is smaller than what is kept, or where that fails no more.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from checker.counted import counted
from harness import UsageError
from harness.shrink import case_file as cases
from harness.shrink.case_file import Kept
from harness.shrink.run import smallest
from harness.shrink.search import Case, size
from harness.simulator.catalogue import find
from harness.simulator.run import simulate
from harness.simulator.source_run import Given
from harness.simulator.sweep import SweepSpec
from node import bugs

KEPT = Path("tests/bugs")
RUNS_MAX = 130
"""For one bug: shorter times are worth less than the minutes that they take."""


def keep(name: str, folder: Path, say: Callable[[str], None]) -> bool:
    """Finds the bug, shrinks it and writes its file, if that is not smaller already; False: it was not found."""
    found = find(SweepSpec(bug=name), itertools.count())
    if found.seed is None:
        say(f"{name}: NOT FOUND in {counted(found.runs, 'run')}, {found.took_s:.1f} s of a core")
        return False
    run = simulate(found.seed, servers=found.servers, bug=name)
    was = Given(run.schedule, run.seed, run.servers, bug=name, broken=(found.promise,), knobs=run.knobs)
    measured = {"seeds": found.runs, "core_s": round(found.took_s, 2)}
    say(f"{name}: {counted(found.runs, 'seed')}, {found.took_s:.1f} s of a core; " + _shrunk(was, measured, folder))
    return True


def make_smaller(name: str, folder: Path, say: Callable[[str], None]) -> bool:
    """Shrinks the kept case further; False: it does not fail any more.  Raises UsageError: there is none."""
    old = cases.load(folder / f"{name}.json")
    was = Given(old.schedule, old.seed, old.servers, old.settings, name, (old.promise,), old.knobs)
    try:
        say(f"{name}: " + _shrunk(was, old.found, folder))
    except UsageError as error:
        say(f"{name}: {error}")
        return False
    return True


def _shrunk(was: Given, found: dict[str, Any], folder: Path) -> str:
    """Shrinks it, and writes what is the smallest now; in words."""
    assert was.schedule is not None
    file = folder / f"{was.bug}.json"
    new, failing, _ = smallest(was, was.broken[0], runs_max=RUNS_MAX, say=lambda text: None)
    faults = counted(len(was.schedule.faults), "fault")
    word = f"{faults} -> {len(new.schedule.faults)} in {counted(failing.runs, 'run')}"
    with contextlib.suppress(UsageError):
        old = cases.load(file)
        if old.promise in old.run().broken and not old.run("").broken and _size(old) <= _size(new):
            new, word = old, f"{word}: the kept case has {len(old.schedule.faults)}"
    file.write_text(msgspec.structs.replace(new, found=found).to_json(), encoding="utf-8")
    return word


def _size(case: Kept) -> tuple[int, ...]:
    return size(Case(case.schedule, (case.seed,), case.knobs))


def page(folder: Path) -> str:
    """`docs/bugs.md`."""
    lines = [
        "# Planted bugs",
        "",
        "Made from the code and `tests/bugs` by `python -m harness.shrink.catalogue > docs/bugs.md`; do not edit.",
        "",
        "Real bugs of election protocols, planted into our server to test whether the harness finds them. Plant one",
        "with `onethrone simulate --bug NAME`, or on hosts with `onethrone run --bug NAME`. Each is a file in",
        "`node/bugs` that overrides as little of the server as it can.",
        "",
        "*Seeds* and *seconds* are what `onethrone simulate --bug NAME` needed to break the promise, with default",
        "settings; the seconds are those of one core, on the machine on which the case was kept. Seeds have five",
        "servers and three in turn. *Faults* and *servers* describe the smallest known case,",
        "`tests/bugs/NAME.json`: with the bug, it breaks the promise; with the correct server, it breaks none.",
        "`python -m harness.shrink.catalogue --keep NAME` measures again, and keeps the case if it is smaller than",
        "the one before.",
        "",
        "| bug | what is wrong | known from | promise | seeds | seconds | faults | servers |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in bugs.names():
        bug = bugs.about(name)
        origin = "; ".join(bug.origin)
        lines.append(f"| `{name}` | {bug.what} | {origin} | `{bug.promise}` | {_figures(folder / f'{name}.json')} |")
    return "\n".join(lines) + "\n"


def _figures(file: Path) -> str:
    if not file.exists():
        return "- | - | - | -"
    case = cases.load(file)
    return f"{case.found['seeds']} | {case.found['core_s']:g} | {len(case.schedule.faults)} | {case.servers}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m harness.shrink.catalogue", description=__doc__)
    names = [*bugs.names(), "all"]
    parser.add_argument("--keep", nargs="+", metavar="NAME", default=[], choices=names, help="find and shrink")
    parser.add_argument("--missing", action="store_true", help="only those of which no case is kept")
    parser.add_argument("--smaller", nargs="+", metavar="NAME", default=[], choices=names, help="shrink further")
    arguments = parser.parse_args()
    if not arguments.keep and not arguments.smaller:
        print(page(KEPT), end="")
        return 0
    KEPT.mkdir(exist_ok=True)
    good = True
    for do, wanted in ((keep, arguments.keep), (make_smaller, arguments.smaller)):
        for name in bugs.names() if "all" in wanted else wanted:
            if not (arguments.missing and (KEPT / f"{name}.json").exists()):
                good &= do(name, KEPT, lambda text: print(text, file=sys.stderr, flush=True))
    return 0 if good else 2


if __name__ == "__main__":
    sys.exit(main())
