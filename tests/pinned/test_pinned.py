"""Pins what the program computes, so that a commit that only moves code can show that it changed nothing.

`pins.json` holds one digest a line, in sections.  Each test computes one section again and names the items that differ:

    histories   what simulated runs write to history.jsonl, byte for byte, in one item for each writer
    verdicts    what results.json says of those runs and of `tests/histories`, in one item for each promise
    schedules   the faults that seeds draw
    knobs       the knobs of seeds, and the schedules that follow from them
    folders     the other files in the folder of a simulated run, the servers' journals among them
    reports     the data of a report, in one item for each part

Items are small, so that an intended change (a promise is split, a phase gets another name) changes few of them.

When a change is intended, rewrite the digests.  Do so only in a commit that says why they changed:

    ONETHRONE_REPIN=1 pytest tests/pinned

The digests leave out what depends on the place or on the sources rather than on behaviour: the path of a run's folder
is replaced by `FOLDER`; a journal loses the digest of the core's sources (`code`, at each start of a server) and the
chained checksums that cover it (`crc`); results.json loses the program's version (`onethrone`).  Nothing that is pinned
depends on the time of day.  The HTML of a report is not pinned, because it changes with every line of style and script.

The imports below are the only places that name modules of the product.  The names of items name none.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from checker.history import HistoryError
from checker.verdict import check
from harness.report.build import build as report_data
from harness.shrink.case_file import load as load_case
from harness.simulator.knobs import draw as draw_knobs
from harness.simulator.run import drawn_for, simulate
from harness.simulator.simulated_run import SimulatedRun, SimulatorSettings
from nemesis.storm import draw as draw_schedule
from node.bugs import names as bug_names

TESTS = Path(__file__).parents[1]
CASES = TESTS / "bugs"
HISTORIES = sorted((TESTS / "histories").glob("*.jsonl"))
PINS = Path(__file__).with_name("pins.json")
REPIN = "ONETHRONE_REPIN"
SHOWN_MAX = 40

Digests = dict[str, str]

GROUPS = ((1, 2, 3), (4, 5, 6), (7, 8, 9))
ENSEMBLES: dict[str, tuple[int, SimulatorSettings]] = {
    "3 servers": (3, SimulatorSettings()),
    "5 servers": (5, SimulatorSettings()),
    "9 servers": (9, SimulatorSettings()),
    "7 servers, 2 of them observers": (7, SimulatorSettings(observers=2)),
    "9 servers in 3 groups": (9, SimulatorSettings(groups=GROUPS)),
    "9 servers in 3 weighted groups": (9, SimulatorSettings(groups=GROUPS, weights={1: 3, 4: 0, 8: 2})),
    "5 servers with a tick of 100 ms": (5, SimulatorSettings(tick_ms=100, max_notification_interval_ms=500)),
}
SEEDS_OF_ENSEMBLES = (1, 2, 3)

REPORTED_HISTORIES = ("bad-two-leaders-in-one-epoch", "good-run")
REPORTED_RUNS = {"5 servers, seed 1": "", "5 servers, seed 1, half-quorum": "half-quorum"}

SEEDS_OF_SCHEDULES = range(1, 6)
SEEDS_OF_KNOBS = range(1, 51)
ABILITIES: dict[str, tuple[str, ...]] = {
    "no ability": (),
    "all but netem": ("nft", "tbf", "faketime"),
    "all abilities": ("nft", "tbf", "faketime", "netem"),
}
DURATIONS_S = (60.0, 240.0)
KINDS: dict[str, tuple[str, ...]] = {"every kind": (), "kill and pause": ("kill", "pause")}


def digest(data: bytes | str) -> str:
    return hashlib.sha256(data if isinstance(data, bytes) else data.encode()).hexdigest()[:16]


def digest_of_value(value: Any, folder: Path | None = None) -> str:
    """Of the value as JSON, in its own order; the path of `folder` is left out."""
    text = msgspec.json.encode(value).decode()
    if folder is not None:  # in a command it may stand in quotes
        text = text.replace(shlex.quote(str(folder)), "FOLDER").replace(str(folder), "FOLDER")
    return digest(text)


def prefixed(name: str, digests: Digests) -> Digests:
    return {f"{name} | {item}": value for item, value in digests.items()}


# ---- the sections ----------------------------------------------------------------------------------------------------


@cache
def simulated() -> tuple[Digests, Digests]:
    """The histories and the verdicts of all simulated runs."""
    histories: Digests = {}
    verdicts: Digests = {}
    for name, run in _simulated_runs():
        histories |= prefixed(name, of_history(run))
        verdicts |= prefixed(name, of_verdict(run.verdict.to_dict()))
    return histories, verdicts


def _simulated_runs() -> Iterator[tuple[str, SimulatedRun]]:
    for name, (servers, settings) in ENSEMBLES.items():
        for seed in SEEDS_OF_ENSEMBLES:
            yield f"{name}, seed {seed}", simulate(seed, servers=servers, settings=settings)
    for bug in bug_names():
        case = load_case(CASES / f"{bug}.json")
        yield f"bug {bug}", case.run()
        yield f"correct server on the case of {bug}", case.run(bug="")


def of_history(run: SimulatedRun) -> Digests:
    """The lines of each writer; each line holds its place in the history, so together they are the whole."""
    encoded = run.history.encoded()
    assert encoded.endswith(b"\n")
    parts: dict[str, list[bytes]] = {}
    for op, line in zip(run.ops, encoded[:-1].split(b"\n"), strict=True):
        if isinstance(op.process, int):
            writer = "clients"
        elif op.process == "controller":
            writer = f"controller's {op.f}"
        else:
            writer = "nemesis" if op.process == "nemesis" else "servers"
        parts.setdefault(writer, []).append(line)
    return {writer: digest(b"\n".join(lines)) for writer, lines in parts.items()}


def of_verdict(verdict: dict[str, Any], folder: Path | None = None) -> Digests:
    """Each promise's result, their order, and the rest of what results.json holds."""
    rest = {field: value for field, value in verdict.items() if field != "results"}
    digests = {promise: digest_of_value(result, folder) for promise, result in verdict["results"].items()}
    assert digests
    return digests | {"all but the promises": digest_of_value(rest, folder)}


def histories() -> Digests:
    return simulated()[0]


def verdicts() -> Digests:
    digests = dict(simulated()[1])
    orders = set()
    for path in HISTORIES:
        try:
            verdict = check(path).to_dict()
        except HistoryError as error:
            digests |= prefixed(path.stem, {"error": digest(str(error).replace(str(path.parent), "FOLDER"))})
        else:
            digests |= prefixed(path.stem, of_verdict(verdict, path.parent))
            orders.add(tuple(verdict["results"]))
    (order,) = orders
    return digests | {"order of the promises": digest_of_value(order)}


def schedules() -> Digests:
    digests: Digests = {}
    for duration_s in DURATIONS_S:
        for servers in (3, 5, 9):
            for able, abilities in ABILITIES.items():
                for of_kinds, kinds in KINDS.items():
                    for seed in SEEDS_OF_SCHEDULES:
                        drawn = draw_schedule(seed, servers, duration_s, abilities=abilities, kinds=kinds)
                        name = f"{duration_s:g} s, {servers} servers, {able}, {of_kinds}, seed {seed}"
                        digests[name] = digest_of_value(drawn.faults)
        drawn = draw_schedule(1, 5, duration_s)
        digests[f"{duration_s:g} s, file without faults"] = digest(msgspec.structs.replace(drawn, faults=()).to_json())
        digests[f"{duration_s:g} s, phases"] = digest_of_value(drawn.phases())
        digests[f"{duration_s:g} s, steps"] = digest_of_value(drawn.steps())
    return digests


def knobs() -> Digests:
    digests: Digests = {}
    for seed in SEEDS_OF_KNOBS:
        drawn = draw_knobs(seed)
        schedule, settings = drawn_for(seed, 5, SimulatorSettings(), drawn)
        digests |= prefixed(
            f"seed {seed:02}",
            {
                "knobs": digest_of_value(drawn),
                "settings": digest_of_value(settings),
                "faults": digest_of_value(schedule.faults),
            },
        )
    return digests


@cache
def kept() -> tuple[Digests, Digests]:
    """The folders and the reports of the runs in `REPORTED_RUNS`."""
    folders: Digests = {}
    reports: Digests = {}
    for name, bug in REPORTED_RUNS.items():
        with tempfile.TemporaryDirectory(prefix="onethrone-pinned-") as made:
            folder = Path(made)
            run = simulate(1, servers=5, bug=bug, keep=folder)
            files = sorted(file for file in folder.rglob("*") if file.is_file() and file.suffix != ".html")
            folders |= prefixed(name, {file.relative_to(folder).as_posix(): of_file(file, folder) for file in files})
            reports |= prefixed(name, of_report(folder, run.verdict.to_dict(), folder))
    return folders, reports


def of_file(file: Path, folder: Path) -> str:
    data = file.read_bytes()
    if file.name == "journal.jsonl":
        lines = [json.loads(line) for line in data.splitlines()]
        for line in lines:
            del line["crc"]
            if "start" in line:
                del line["start"]["code"]
        data = json.dumps(lines).encode()
    elif file.name == "results.json":
        verdict = json.loads(data)
        del verdict["onethrone"]
        data = msgspec.json.format(msgspec.json.encode(verdict), indent=2) + b"\n"
    return digest(data.replace(str(folder).encode(), b"FOLDER"))


def of_report(history: Path, verdict: dict[str, Any], folder: Path) -> Digests:
    """What the page writes as words and tables, and the columns that its timeline draws."""
    data = report_data(history, verdict)
    columns = data.pop("data")
    return {part: digest_of_value(value, folder) for part, value in data.items()} | {
        f"data: {part}": digest_of_value(value, folder) for part, value in columns.items()
    }


def folders() -> Digests:
    return kept()[0]


def reports() -> Digests:
    digests = dict(kept()[1])
    for path in HISTORIES:
        if path.stem in REPORTED_HISTORIES:
            digests |= prefixed(path.stem, of_report(path, check(path).to_dict(), path.parent))
    return digests


SECTIONS: dict[str, Callable[[], Digests]] = {
    section.__name__: section for section in (histories, verdicts, schedules, knobs, folders, reports)
}

# ---- the tests -------------------------------------------------------------------------------------------------------


def pinned() -> dict[str, Digests]:
    pins: dict[str, Digests] = json.loads(PINS.read_text(encoding="utf-8"))
    return pins


def repin(section: str, digests: Digests) -> None:
    assert "PYTEST_XDIST_WORKER" not in os.environ, f"{REPIN} needs one process: run pytest without -n"
    pins = pinned() if PINS.exists() else {}
    pins = {name: found for name, found in pins.items() if name in SECTIONS} | {section: digests}
    PINS.write_text(json.dumps(pins, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def differences(want: Digests, found: Digests) -> list[str]:
    """One line for each item that is not the same in both."""
    words = {item: "changed" for item in want if item in found and found[item] != want[item]}
    words |= {item: "gone" for item in want if item not in found}
    words |= {item: "new" for item in found if item not in want}
    return [f"{words[item]}: {item}" for item in sorted(words)]


@pytest.mark.parametrize("section", SECTIONS)
def test_what_the_program_computes_is_what_was_pinned(section: str) -> None:
    found = SECTIONS[section]()
    if os.environ.get(REPIN) == "1":
        repin(section, found)
    wrong = differences(pinned()[section], found)
    more = [f"and {len(wrong) - SHOWN_MAX} more"] if len(wrong) > SHOWN_MAX else []
    if wrong:
        pytest.fail("\n".join([f"{section}: {len(wrong)} items differ", *wrong[:SHOWN_MAX], *more]), pytrace=False)


def test_no_section_is_pinned_that_nothing_computes() -> None:
    assert sorted(pinned()) == sorted(SECTIONS)


def test_a_difference_names_its_item() -> None:
    assert differences({"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "4", "d": "5"}) == [
        "changed: b",
        "gone: c",
        "new: d",
    ]


def test_the_runs_that_are_pinned_have_many_faults_and_broken_promises() -> None:
    """Digests of runs in which nothing happens would pin nothing."""
    for seed in SEEDS_OF_ENSEMBLES:
        for name, (servers, settings) in ENSEMBLES.items():
            schedule, _ = drawn_for(seed, servers, settings, draw_knobs(seed))
            assert len(schedule.faults) >= 10, (name, seed)
    assert simulate(1, servers=5, bug="half-quorum").broken
