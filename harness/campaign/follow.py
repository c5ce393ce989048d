"""What follows a failure: the run is replayed, and made as small as it gets.

Each is a command of `onethrone` in a process of its own, and says its result as JSON.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

from harness.campaign.journal import Job

KINDS = ("replay", "shrink")
SAID_BYTES_MAX = 4 << 20
_STORY_MAX = 4000


def able(kind: str) -> bool:
    """Whether there is such a command."""
    return kind != "shrink" or importlib.util.find_spec("harness.cli.shrink") is not None


def words(job: Job, campaign: Path, shrink_s: float) -> list[str]:
    """The command, for `harness.campaign.work`."""
    run = str(campaign / job.run)
    if job.kind == "replay":
        return ["command", "replay", run, "--json"]
    out, budget = str(small(campaign, job)), f"{shrink_s:g}s"
    return ["command", "shrink", run, "--out", out, "--budget", budget, "--jobs", "1", "--json"]


def small(campaign: Path, job: Job) -> Path:
    """The folder that the smallest failing run goes to."""
    return campaign / "failures" / job.group / "small"


def said(job: Job, campaign: Path, code: int, why: str, out: Path, log: Path) -> dict[str, Any]:
    """What it came to, for the journal: `ok`, `words`, and for a smaller run what there is to tell of it."""
    found = _result(out)
    if why or found is None:
        words = last_words(log).replace(f"{campaign}/", "")
        return {"ok": False, "words": why or words or f"it ended with code {code}"}
    if job.kind == "replay":
        same = bool(found.get("same")) and found.get("verdict_same") is True
        if same:
            return {"ok": True, "words": "replayed: the same transitions and the same verdict, from the journals"}
        return {"ok": False, "words": "replayed, and not the same"}
    kept = ("promise", "seed", "servers", "faults", "faults_before", "runs", "took_s", "interrupted")
    told: dict[str, Any] = {name: found[name] for name in kept if name in found}
    for name in ("folder", "test"):
        if found.get(name):
            path = Path(str(found[name]))
            told[name] = str(path.relative_to(campaign)) if path.is_relative_to(campaign) else str(path)
    return {"ok": True, "story": str(found.get("story", ""))[:_STORY_MAX], **told}


def _result(out: Path) -> dict[str, Any] | None:
    try:
        if out.stat().st_size > SAID_BYTES_MAX:
            return None
        found = json.loads(out.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and "error" not in found else None


def last_words(log: Path) -> str:
    """The error that a command ended with: its last line that says so, or its last line."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - 8192))
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError:
        return ""
    told = [line for line in lines if line.startswith("onethrone: ")]
    return (told or lines or [""])[-1].removeprefix("onethrone: ")[:500]
