"""Runs that somebody looks at: their histories are followed for as long as they are asked for.

A follower reads what was added since the last request, at most `READ_S` of work in one; of a history that is already
long, the first pages say how much is still unread.  At most `FOLLOWED_MAX` are kept, those that were asked for last.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from pathlib import Path

from harness.serve.tree import NotThere, Tree
from harness.watch.follow import Follower
from nemesis.schedule import ScheduleError, parse

FOLLOWED_MAX = 8
READ_S = 0.25
CHUNK_BYTES = 128 << 10
SCHEDULE_BYTES_MAX = 8 << 20


class Watched:
    """One run's history, followed; hold `lock` while reading any of it."""

    def __init__(self, tree: Tree, folder: Path) -> None:
        self.lock = threading.Lock()
        self.follower = Follower(folder / "history.jsonl", lambda: tree.open(folder / "history.jsonl"))
        self._tree = tree
        self._folder = folder

    def catch_up(self) -> None:
        """Read what was added, for `READ_S` at most.  Raises NotThere while there is no history."""
        end = time.monotonic() + READ_S
        while self.follower.read(CHUNK_BYTES) and time.monotonic() < end:
            pass
        if self.follower.scene.duration_s is None:
            self.follower.scene.duration_s = self._read_duration()

    def _read_duration(self) -> float:
        try:
            with self._tree.open(self._folder / "schedule.json") as file:
                return parse(file.read(SCHEDULE_BYTES_MAX)).duration_s
        except (NotThere, ScheduleError):
            return 0.0


class Watching:
    """The runs that are followed; safe to use from any thread."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._lock = threading.Lock()
        self._watched: OrderedDict[Path, Watched] = OrderedDict()

    def __contains__(self, folder: Path) -> bool:
        with self._lock:
            return folder in self._watched

    def watch(self, folder: Path) -> Watched:
        """The follower of that run's folder, which begins now if there is none."""
        with self._lock:
            watched = self._watched.get(folder)
            if watched is None:
                watched = self._watched[folder] = Watched(self._tree, folder)
            self._watched.move_to_end(folder)
            while len(self._watched) > FOLLOWED_MAX:
                self._watched.popitem(last=False)
            return watched
