"""Campaigns for tests: plans that are short, the command as its users run it, and what a journal says."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.campaign import journal
from harness.campaign.tally import Tally, add_up

ONETHRONE = [sys.executable, "-c", "from harness.cli import main; main()"]

QUICK = """
name = "quick"
report_s = 2.0
[hosts]
ensembles = []
[simulator]
batch = 6
limit_s = 40.0
[budget]
free_mb = 1.0
[[settings]]
name = "plain"
servers = [3]
mixes = ["crashes"]
ensemble = { max_notification_interval_ms = 1000 }
"""

PLANTED = """
[[settings]]
name = "planted"
servers = [3]
mixes = ["crashes"]
ensemble = { max_notification_interval_ms = 1000, bug = "forgets-epoch" }
"""


def onethrone(*words: str | Path, timeout_s: float = 240, code: int | None = None) -> subprocess.CompletedProcess[str]:
    ended = subprocess.run(
        [*ONETHRONE, *map(str, words)], capture_output=True, text=True, timeout=timeout_s, check=False
    )
    assert code is None or ended.returncode == code, ended.stdout + ended.stderr
    return ended


def begin(*words: str | Path, log: Path) -> subprocess.Popen[bytes]:
    """A controller in a session of its own."""
    with log.open("ab") as file:
        return subprocess.Popen(
            [*ONETHRONE, "campaign", *map(str, words)], stdout=file, stderr=file, start_new_session=True
        )


def interrupted(plan: Path, results: Path, when: Callable[[Path], Any], why: str) -> tuple[Path, int]:
    """The folder and the exit code of a campaign that got Ctrl-C when this was so."""
    process = begin(plan, "--results", results, "--for", "1h", log=results.with_name("log"))
    try:
        campaign = until(lambda: (results / "latest").exists() and folder_of(results), "it began")
        until(lambda: when(campaign), why)
        process.send_signal(signal.SIGINT)
        return campaign, process.wait(120)
    finally:
        process.kill()
        process.wait()


def folder_of(results: Path) -> Path:
    return (results / "latest").resolve()


def entries(campaign: Path, what: str) -> list[dict[str, Any]]:
    return [entry for entry in journal.read(campaign) if entry["what"] == what]


def tally(campaign: Path) -> Tally:
    return add_up(campaign)


def until(what: Callable[[], Any], why: str, deadline_s: float = 200) -> Any:
    end = time.monotonic() + deadline_s
    while not (found := what()):
        assert time.monotonic() < end, f"not within {deadline_s} s: {why}"
        time.sleep(0.02)
    return found


def summary(campaign: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((campaign / "summary.json").read_bytes())
    return found


def kill_all(pids: list[int]) -> None:
    """SIGKILL for each of them that has not ended meanwhile."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def children(campaign: Path) -> list[int]:
    """Processes that work for this campaign."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"harness.campaign.work" in line and os.fsencode(campaign) in line:
                found.append(int(entry.name))
    return found
