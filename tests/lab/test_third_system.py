"""A system that the harness has never heard of is put on hosts, tormented and judged by its plug-in alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from checker.history import read
from nemesis.faults import Fault
from nemesis.schedule import Schedule

ROOT = Path(__file__).parents[2]
NAME = "tests.toys.claimant:Claimant"


def run(folder: Path, code: int, *words: str) -> dict[str, Any]:
    """A run of 20 s, and what `--json` says of it."""
    command = [sys.executable, "-c", "from harness.cli import main; main()", "run", "--hosts", "lab:3", "--json"]
    ended = subprocess.run(
        [*command, "--seed", "5", "--results", str(folder), *words],
        cwd=ROOT, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert ended.returncode == code, ended.stdout + ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found | {"progress": ended.stderr}


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run(tmp_path_factory.mktemp("claimant"), 0, "--system", NAME, "--time-limit", "26")


def test_it_comes_to_a_verdict_and_is_spoken_of_in_its_own_words(judged: dict[str, Any]) -> None:
    assert judged["valid"] is True
    assert sum(judged["counts"]["faults_verified"].values()) >= 3
    assert "leads term " in judged["progress"]
    assert "leads epoch " not in judged["progress"]
    folder = Path(judged["run"])
    assert folder.parent.name == "claimant"
    assert f'[system."{NAME}"]\nport = 7000\n' in (folder / "plan.toml").read_text()
    assert all((folder / host / "vote.json").stat().st_size for host in ("n1", "n2", "n3"))


def test_its_own_ids_become_servers_of_the_history(judged: dict[str, Any]) -> None:
    ops = list(read(Path(judged["run"])))
    states = [op.value for op in ops if op.f == "state"]
    assert {state["leader"] for state in states if state["role"] == "FOLLOWING"} <= {1, 2, 3}
    assert all(state["leader"] == state["sid"] for state in states if state["established"])


def test_without_clients_durability_is_not_judged_and_the_report_says_so(judged: dict[str, Any]) -> None:
    folder = Path(judged["run"])
    results = json.loads((folder / "results.json").read_text())["results"]
    assert not results["durability"]["judged"]
    assert results["unique-leader"]["judged"]
    assert "not judged: claimant has no client that could write and read" in (folder / "report.html").read_text()
    assert "durability" in judged["summary"].partition("not judged: ")[2]
    assert "acknowledged" not in judged["summary"]
    assert not [op for op in read(folder) if isinstance(op.process, int)]


def test_a_kind_of_fault_that_makes_no_sense_for_it_is_never_drawn(judged: dict[str, Any]) -> None:
    assert "clock" not in judged["counts"]["faults_verified"]


def test_its_settings_stand_in_its_own_table_and_a_bug_that_they_make_is_found(tmp_path: Path) -> None:
    """Each server leads with its own vote alone, and all are cut off from each other."""
    cut = Fault("f1", "partition", at_s=2.0, for_s=4.0, shape="shatter")
    Schedule(1, 3, 12.0, 1.0, 8.0, 10.0, (cut,)).save(tmp_path / "cut.json")
    (tmp_path / "plan.toml").write_text(
        f'[system."{NAME}"]\nvotes = 1\n[time]\nstart_s = "1m"\n[nemesis]\nschedule = "cut.json"\n'
    )
    found = run(tmp_path, 1, "--plan", str(tmp_path / "plan.toml"))
    assert found["valid"] is False
    assert "unique-leader" in found["summary"]
    assert next(iter(read(Path(found["run"])))).value["bounds"] == {"convergence_s": 6.0, "stepping_down_s": 2.5}
