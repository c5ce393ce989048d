"""A campaign on lab hosts: its controller is killed in the middle of a run, and resumed; nothing is left behind."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from checker.verdict import check
from harness.hosts.provision import lab
from tests.harness.campaigns import begin, children, entries, folder_of, kill_all, summary, tally, until

PLAN = """
name = "short"
[hosts]
ensembles = ["lab:3"]
[simulator]
processes = 0
[canary]
every = 1000
[[settings]]
name = "plain"
servers = [3]
mixes = ["crashes"]
ensemble = { tick_ms = 200, max_notification_interval_ms = 500 }
[time]
limit_s = 20.0
[budget]
free_mb = 10.0
"""


def labs_of(pids: list[int]) -> list[Path]:
    """Directories of labs that one of these processes made."""
    found = []
    for one in lab.running():  # every lab of this machine: another's may end meanwhile
        with contextlib.suppress(OSError):
            if one.ephemeral and parent_of(one.warden_pid) in pids:
                found.append(one.directory)
    return found


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])


def storm(campaign: Path) -> list[Path]:
    """Histories of runs that are in their storm."""
    histories = campaign.glob("runs/*/*/2*/history.jsonl")
    return [path for path in histories if b'{"phase":"storm"}' in path.read_bytes()]


def canaries_found(campaign: Path) -> int:
    canary = tally(campaign).canary.get("hosts")
    return canary.found if canary is not None else 0


def killed(process: Any, campaign: Path, when: Callable[[], Any]) -> list[Path]:
    """Kills the controller and its children at once, as when the machine dies; the labs that there were."""
    until(when, "it is so far")
    workers = children(campaign)
    made = labs_of(workers)
    process.kill()
    kill_all(workers)
    process.wait()
    return made


def test_a_campaign_killed_in_the_middle_of_a_run_leaves_clean_hosts_and_counts_that_run_once(tmp_path: Path) -> None:
    (tmp_path / "short.toml").write_text(PLAN)
    results, log = tmp_path / "results", tmp_path / "log"
    process = begin(tmp_path / "short.toml", "--results", results, "--for", "1h", log=log)
    try:
        campaign = until(lambda: (results / "latest").exists() and folder_of(results), "it began")
        made = killed(process, campaign, lambda: storm(campaign))
    finally:
        process.kill()
    assert made
    until(lambda: not any(directory.exists() for directory in made), "the lab's warden swept it")
    (history,) = storm(campaign)
    check(history)  # it can be read, up to the cut

    process = begin("--resume", campaign, "--for", "1h", log=log)
    try:
        until(lambda: canaries_found(campaign), "the canary, whose run was cut, is found")
        process.send_signal(signal.SIGINT)
        process.wait(120)
    finally:
        process.kill()
    ids = [entry["id"] for entry in entries(campaign, "count")]
    assert len(ids) == len(set(ids))
    ended = {entry["id"]: entry["why"] for entry in entries(campaign, "end")}
    assert ended["h00001"] == "interrupted"
    found = summary(campaign)
    assert found["sessions"] == 2
    assert found["harness_failed"] == 0
    until(lambda: not children(campaign), "nothing is left")
