"""The bug history: every planted bug breaks its promise on its smallest known case, and the correct server none.

The cases are `tests/bugs/*.json`; `python -m harness.shrink.catalogue --keep NAME` finds and shrinks one anew.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from checker import names
from checker.vacuity import NO_FAULT
from harness import UsageError
from harness.cli.onethrone import main
from harness.shrink import case_file
from harness.shrink.catalogue import page
from harness.simulator.catalogue import Found, find
from harness.simulator.sweep import SweepSpec
from node import bugs

HERE = Path(__file__).parents[1] / "bugs"
DOCS = Path(__file__).parents[2] / "docs"
FAULTS_MAX = 6
TOO_SHORT = {
    "convergence: in phase 'majority' no majority was seen with an established leader while it was owed one",
}
KEPT = sorted(file.stem for file in HERE.iterdir())


@pytest.mark.parametrize("name", KEPT)
def test_the_smallest_case_shows_the_bug_and_the_correct_server_keeps_every_promise_on_it(name: str) -> None:
    case = case_file.load(HERE / f"{name}.json")
    bug = bugs.about(name)
    assert (case.bug, case.promise) == (name, bug.promise)
    assert len(case.schedule.faults) <= FAULTS_MAX
    planted = case.run()
    assert bug.promise in planted.broken
    correct = case.run(bug="")
    assert correct.broken == []
    assert correct.failures == []
    # Of a run without any fault, or one that ends before it can elect after its last fault, nothing more is known.
    too_short = {NO_FAULT} if not case.schedule.faults else TOO_SHORT
    assert correct.valid is True or {*correct.verdict.reasons} <= too_short


def test_a_case_is_kept_of_every_bug() -> None:
    assert bugs.names() == KEPT
    assert len(KEPT) >= 30


def test_the_catalogue_holds_safety_and_liveness_and_an_origin_for_each() -> None:
    catalogue = [bugs.about(name) for name in bugs.names()]
    assert len(catalogue) >= 30
    assert all(bug.origin and bug.what.endswith(".") for bug in catalogue)
    promises = {bug.promise for bug in catalogue}
    assert promises == {*names.SAFETY, *names.LIVENESS}


def test_the_page_of_bugs_is_what_the_code_makes() -> None:
    assert (DOCS / "bugs.md").read_text(encoding="utf-8") == page(HERE)


def test_a_case_is_the_same_after_it_was_written_and_read() -> None:
    for file in HERE.iterdir():
        case = case_file.load(file)
        assert case_file.parse(case.to_json()) == case
        assert case.to_json() == file.read_text(encoding="utf-8")


def test_simulate_looks_for_a_bug_until_it_is_found_and_keeps_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["simulate", "--bug", "forgets-epoch", "--results", str(tmp_path)])
    assert ended.value.code == 1
    told = capsys.readouterr()
    assert "Invalid" in told.out
    assert "s of a core" in told.err
    assert (tmp_path / "latest" / "report.html").exists()


def test_a_bug_that_is_not_found_leaves_the_search_unknown() -> None:
    found = find(SweepSpec(bug="forgets-epoch"), range(100), budget_s=0)
    assert (found.seed, found.runs) == (None, 0)
    assert Found((found,)).valid == "unknown"
    assert "NOT FOUND" in Found((found,)).summary


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", '{"schedule": 7}', '{"bug": 1}', '{"schedule": {"faults": []}}', "\xff\x00"]
)
def test_a_case_that_is_none_is_an_error_that_says_where(text: str, tmp_path: Path) -> None:
    file = tmp_path / "case.json"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(UsageError, match=r"case\.json"):
        case_file.load(file)
    whole = json.loads((HERE / "half-quorum.json").read_text(encoding="utf-8"))
    file.write_text(json.dumps(whole | {"seed": "three"}), encoding="utf-8")
    with pytest.raises(UsageError, match="seed"):
        case_file.load(file)
