"""A plan and a schedule that were written for version 0.1, carried out on hosts: the fixture is in tests/compat."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.compat.test_v0_1 import V0_1, history, onethrone, read


def test_a_plan_of_0_1_runs_on_hosts_and_means_what_it_meant(tmp_path: Path) -> None:
    shutil.copy(V0_1 / "run.toml", tmp_path)
    shutil.copy(V0_1 / "schedule.json", tmp_path)
    results = tmp_path / "results"
    said = json.loads(onethrone("run", "--plan", tmp_path / "run.toml", "--results", results, "--json", code=0))
    run = Path(said["run"])
    assert run.parent == results / "old-plan"
    verdict = read(run / "results.json")
    assert verdict["counts"]["faults_verified"] == {"partition": 1, "kill": 1, "pause": 1, "stop": 1}
    assert verdict["run"]["seed"] == 11
    assert verdict["results"]["convergence"]["stats"]["bound_s"] == 6.0
    assert '"role":"observer"' in history(run)[0].replace(" ", "")
    for host in ("n1", "n2", "n3", "n4"):
        config = dict(line.split("=", 1) for line in (run / host / "zoo.cfg").read_text().splitlines() if "=" in line)
        assert (config["tickTime"], config["initLimit"], config["syncLimit"], config["clientPort"]) == (
            "200", "5", "2", "2182",
        )  # fmt: skip
        assert ":2889:3889" in config["server.1"]
        assert (run / host / "journal.jsonl").stat().st_size > 0
