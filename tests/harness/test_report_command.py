"""`onethrone report`: a run's folder or a bare history, and what it says when there is nothing to report on."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

from checker.verdict import check
from harness.report import write_report
from harness.report.page import STYLES, headline, scripts
from harness.results import version
from harness.simulator.run import simulate
from harness.simulator.simulated_run import SimulatorSettings

HISTORIES = Path(__file__).parent.parent / "histories"


def onethrone(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from harness.cli import main; main()", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "a run"
    folder.mkdir()
    shutil.copy(HISTORIES / "good-run.jsonl", folder / "history.jsonl")
    (folder / "schedule.json").write_text("[]")
    return folder


def test_a_runs_folder_gets_its_report_and_the_command_that_runs_its_schedule_again(run: Path) -> None:
    done = onethrone("report", run)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{run}/report.html\n", "")
    page = (run / "report.html").read_text()
    assert f"onethrone run --schedule &#39;{run}&#39;" in page
    assert all(part in page for part in headline(check(run).summary))


def test_a_bare_history_gets_its_report_beside_it(tmp_path: Path) -> None:
    history = shutil.copy(HISTORIES / "bad-two-leaders-in-one-epoch.jsonl", tmp_path / "x.jsonl")
    done = onethrone("report", "--json", history)
    assert json.loads(done.stdout) == {"report": str(tmp_path / "x.html"), "valid": False}
    assert done.returncode == 0
    assert "What broke" in (tmp_path / "x.html").read_text()


def test_results_json_makes_the_same_report_as_the_verdict_itself(run: Path) -> None:
    verdict = check(run)
    first = write_report(run, verdict, run / "1.html", "again").read_text()
    second = write_report(run, json.loads(verdict.to_json()), run / "2.html", "again").read_text()
    assert first == second


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: None, "no such file"),
        (lambda folder: (folder / "x").write_text("{nonsense\n"), "x:1: not an op"),
        (lambda folder: (folder / "x").mkdir(), "there is no history in this folder"),
        (lambda folder: (folder / "x").write_text(""), "there is no op in it"),
    ],
)
def test_bad_input_is_one_clear_error_and_leaves_nothing_behind(tmp_path: Path, make: object, says: str) -> None:
    make(tmp_path)  # type: ignore[operator]
    before = sorted(tmp_path.rglob("*"))
    done = onethrone("report", tmp_path / "x")
    assert done.returncode == 254
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_a_report_that_cannot_be_written_says_where(run: Path) -> None:
    done = onethrone("report", run, "--out", run / "none" / "report.html")
    assert done.returncode == 254
    assert f"{run}/none/report.html: the report cannot be written" in done.stderr


def test_the_page_asks_for_nothing_and_lets_only_its_own_blocks_run(run: Path) -> None:
    page = write_report(run, check(run), run / "report.html", "again").read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy
    assert policy[1].startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy[1]
    assert not re.search(r"(?:src|href)=\"?(?!#)[^\"]*//|@import|url\(", page)


@pytest.mark.parametrize("name", [*scripts(), *STYLES])
def test_the_blocks_that_are_put_in_as_they_are_hold_no_closing_tag(name: str) -> None:
    assert "</" not in (resources.files("harness.report") / "static" / name).read_text()


def test_a_report_says_what_was_tested_when_where_and_by_which_version(tmp_path: Path) -> None:
    """Whoever is sent the file must not blame the real server for a planted bug."""
    folder = tmp_path / "20261201T180000Z"
    folder.mkdir()
    run = simulate(1, bug="half-quorum", settings=SimulatorSettings(duration_s=31.0), keep=folder)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "with the planted bug <bdi>half-quorum</bdi>" in page
    assert f"Onethrone {version.full()}" in page
    assert "<bdi>n1</bdi> <bdi>10.42.0.1</bdi>" in page
    assert run.bug == "half-quorum"
    history = (folder / "history.jsonl").read_text(encoding="utf-8")
    (folder / "history.jsonl").write_text(history.replace('"simulated":true,', "", 1), encoding="utf-8")
    write_report(folder, check(folder), folder / "report.html", "onethrone run")
    assert "2026-12-01 18:00:00 UTC" in (folder / "report.html").read_text(encoding="utf-8")
    fine = tmp_path / "fine"
    fine.mkdir()
    simulate(1, settings=SimulatorSettings(duration_s=31.0), keep=fine)
    assert "planted bug" not in (fine / "report.html").read_text(encoding="utf-8").partition("<main>")[0]


@pytest.mark.parametrize(
    ("sentence", "large"),
    [
        ("Invalid: epochs (2 times) broken; first at 2.0 s: n1's epoch fell.", "Invalid: epochs (2 times) broken"),
        ("Valid: 9 epochs had one leader each, every majority had one.", "Valid: 9 epochs had one leader each"),
        ("Unknown: no fault was verified.", "Unknown: no fault was verified."),
    ],
)  # fmt: skip
def test_the_headline_states_the_fact_and_the_details_follow_in_small_type(sentence: str, large: str) -> None:
    head, rest = headline(sentence)
    assert head == large
    assert head + rest == sentence
