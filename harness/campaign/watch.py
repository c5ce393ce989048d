"""How far a child is, seen from outside: by what it writes.  Each step has its own deadline."""

from __future__ import annotations

from pathlib import Path

from harness.campaign.child import Child
from harness.campaign.plan import CampaignPlan
from harness.campaign.work import SEEDS, run_folder

_OVERLAP = 256
_CHUNK = 1 << 20


class RunWatch:
    """A run on hosts: its history says in which phase it is."""

    def __init__(self, folder: Path, plan: CampaignPlan, child: Child) -> None:
        self._folder = folder
        self._child = child
        self._history: Path | None = None
        self._at = 0
        self._tail = b""
        deadlines, time = plan.deadlines, plan.time
        phase = b'"f":"phase","value":{"phase":"%s"'
        self._steps = [
            (b"", 2 * time.start_s + deadlines.slack_s, "starting the servers, and electing a first leader,"),
            (phase % b"calm", time.limit_s + deadlines.slack_s, "the schedule"),
            (phase % b"end", 2 * time.collect_s + deadlines.slack_s, "collecting"),
            (b'"f":"end","value":', deadlines.judge_s, "judging"),
        ]
        child.allow(deadlines.hosts_s, "making and connecting the hosts")

    def look(self) -> None:
        if self._history is None:
            run = run_folder(self._folder)
            if run is None or not (run / "history.jsonl").exists():
                return
            self._history = run / "history.jsonl"
        while self._steps:
            mark, seconds, doing = self._steps[0]
            if mark and not self._seen(mark):
                return
            self._child.allow(seconds, doing)
            self._steps.pop(0)

    def _seen(self, mark: bytes) -> bool:
        """Whether the mark is in what was written since; what stands after it is looked at again for the next."""
        assert self._history is not None
        try:
            with self._history.open("rb") as file:
                file.seek(self._at)
                while True:
                    chunk = file.read(_CHUNK)
                    text = self._tail + chunk
                    found = text.find(mark)
                    if found >= 0:
                        self._at += len(chunk) - (len(text) - found - len(mark))
                        self._tail = b""
                        return True
                    self._at += len(chunk)
                    self._tail = text[-_OVERLAP:]
                    if not chunk:
                        return False
        except OSError:
            return False


class SeedsWatch:
    """A batch of seeds: its file of seeds grows."""

    def __init__(self, folder: Path, plan: CampaignPlan, child: Child) -> None:
        self._path = folder / SEEDS
        self._seconds = plan.deadlines.seed_s
        self._child = child
        self._size = -1
        self.look()

    def look(self) -> None:
        try:
            size = self._path.stat().st_size
        except OSError:
            size = 0
        if size != self._size:
            self._size = size
            self._child.allow(self._seconds, "one simulated run")
