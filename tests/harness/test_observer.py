"""The controller's view of the ensemble, as it tells a person why a run did not begin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.results.recorder import Recorder
from harness.runs.observer import Observer
from harness.watch.progress import Progress


@pytest.mark.parametrize(
    ("reports", "says"),
    [
        ([], "n1 was never started"),
        ([("started", {"pid": 1})], "n1 has said nothing"),
        ([("started", {}), ("state", {"role": "LOOKING", "phase": "election"})], "n1 is LOOKING"),
        ([("started", {}), ("state", {"role": "FOLLOWING", "phase": "discovery"})], "n1 is in discovery"),
        (
            [("started", {}), ("state", {"role": "FOLLOWING", "phase": "broadcast", "leader": 3})],
            "n1 follows server 3",
        ),
        ([("started", {}), ("state", {"role": "LEADING", "phase": "broadcast"})], "n1 leads"),
        ([("started", {}), ("stopped", {"how": "exit", "code": 254})], "n1 does not run (exit 254)"),
    ],
)
def test_what_a_server_is_by_its_last_report_is_told_in_words(
    reports: list[tuple[str, dict[str, Any]]], says: str, tmp_path: Path
) -> None:
    record = Recorder(tmp_path / "history.jsonl")
    observer = Observer(record, ["n1"], [], Progress(quiet=True))
    for f, value in reports:
        observer.report("n1", f, value, controller_ns=0, host_time=0, error_ns=0)
    assert observer.situation(["n1"]) == says
    record.close()
