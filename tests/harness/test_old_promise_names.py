"""What version 0.1 kept under the name of `best-history`, which is now two promises, can still be used."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from checker.promises.base import Violation
from harness.campaign import signature
from harness.campaign.signature import Signature
from harness.shrink import case_file, shrink
from harness.simulator.source_run import given

CASES = Path(__file__).parents[1] / "bugs"


@pytest.mark.parametrize("bug", ["ahead-follower-accepted", "trunc-skipped"])
def test_a_case_that_names_the_old_promise_fails_with_its_bug_and_passes_without(bug: str) -> None:
    text = (CASES / f"{bug}.json").read_text(encoding="utf-8")
    new = case_file.parse(text).promise
    case = case_file.parse(text.replace(f'"promise": "{new}"', '"promise": "best-history"'))
    assert case.promise == "best-history"
    assert case.promise in case.run().broken
    assert case.promise not in case.run(bug="").broken


def test_a_run_that_broke_the_old_promise_is_shrunk_to_the_part_that_breaks(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    case_file.load(CASES / "trunc-skipped.json").run(keep=folder)
    results = json.loads((folder / "results.json").read_text()) if (folder / "results.json").exists() else {}
    violation = {"time": 1, "ops": [1]}
    results["results"] = {"best-history": {"valid": False, "judged": True, "violations": [violation]}}
    (folder / "results.json").write_text(json.dumps(results))
    assert given(folder).broken == ("leader-history", "durability")
    done = shrink(folder, tmp_path / "small", runs_max=8, say=lambda text: None, promise="best-history")
    assert done.promise == "durability"
    assert "durability is broken" in done.story


def test_a_campaign_that_0_1_began_counts_the_same_failure_in_the_same_group() -> None:
    message = "1 committed value is lost on n1: 40 (acknowledged or read before, not in the final read, op 252)"
    new = signature.of(Violation("durability", message, [252], ["n1"], [], 5), ["n1", "n2"], "onethrone", "")
    old = msgspec.json.decode(
        b'{"promise":"best-history","shape":"N committed value is lost on HOST: N","system":"onethrone","bug":""}',
        type=Signature,
    )
    assert old.key == new.key == "best-history|N committed value is lost on HOST: N|onethrone|"
    assert (old.promise, new.promise) == ("best-history", "durability")
