"""A run's folder: `results/<name>/<UTC time>/`, and the links that lead to it.

    plan.toml  schedule.json  history.jsonl  results.json  report.html  controller.log  <host>/...

`results/<name>/latest` and `results/latest` lead to the newest run that was begun, `results/current` to the one that is
going on.  A link is replaced by renaming a new one over it, so a reader never finds it missing.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness import UsageError

STAMP = "%Y%m%dT%H%M%SZ"
"""The name of a run's folder: when it was made."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MAX_RUNS_PER_SECOND = 1000


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run."""

    path: Path
    results: Path

    @property
    def plan(self) -> Path:
        return self.path / "plan.toml"

    @property
    def schedule(self) -> Path:
        return self.path / "schedule.json"

    @property
    def history(self) -> Path:
        return self.path / "history.jsonl"

    @property
    def verdict(self) -> Path:
        return self.path / "results.json"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def log(self) -> Path:
        return self.path / "controller.log"

    def host(self, name: str) -> Path:
        folder = self.path / name
        folder.mkdir(exist_ok=True)
        return folder

    def begin(self) -> None:
        """Let `current` and both `latest` links lead here."""
        for link in (self.results / "current", self.results / "latest", self.path.parent / "latest"):
            _link(link, self.path)

    def discard(self) -> None:
        """Leave nothing of a run that was refused before it began; other runs stay."""
        shutil.rmtree(self.path, ignore_errors=True)
        with contextlib.suppress(OSError):  # they hold other runs, or something else
            self.path.parent.rmdir()
            self.results.rmdir()

    def end(self) -> None:
        """No run is going on any more, unless another has begun since."""
        current = self.results / "current"
        if current.is_symlink() and current.resolve() == self.path.resolve():
            current.unlink(missing_ok=True)


def check_place(results: Path) -> None:
    """Refuse results that no folder can be made in, before hours of work are done for it; makes nothing."""
    place = results
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    if not place.is_dir():
        why = "it is no folder" if place == results else f"{place} is no folder"
    elif not os.access(place, os.W_OK | os.X_OK):
        why = f"{place} cannot be written to"
    else:
        return
    raise UsageError(f"{results}: no run can be kept there: {why}; choose another --results")


def create(results: Path, name: str) -> RunFolder:
    """Make the folder of a run that begins now."""
    if not _NAME.fullmatch(name) or name in ("latest", "current"):
        raise UsageError(
            f"name {name!r}: a run's name is letters, digits, '.', '_' and '-', and begins with a letter or digit"
        )
    stamp = datetime.now(UTC).strftime(STAMP)
    try:
        (results / name).mkdir(parents=True, exist_ok=True)
        for attempt in range(_MAX_RUNS_PER_SECOND):
            path = results / name / (stamp if attempt == 0 else f"{stamp}-{attempt}")
            try:
                path.mkdir()
            except FileExistsError:
                continue
            return RunFolder(path, results)
    except OSError as error:
        raise UsageError(
            f"{results / name}: no run can be kept there: {error.strerror}; choose another --results"
        ) from None
    raise UsageError(f"{results / name}: {_MAX_RUNS_PER_SECOND} runs began in this very second")


def meant(path: Path) -> Path:
    """What the path leads to now: a link such as `latest` leads elsewhere as soon as the next run begins.

    Below the working directory it is relative to that, as people write it.
    """
    real, here = Path(os.path.realpath(path)), Path(os.path.realpath("."))
    return real.relative_to(here) if real.is_relative_to(here) else real


def _link(link: Path, target: Path) -> None:
    temporary = link.with_name(f".{link.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(os.path.relpath(target, link.parent))
    os.replace(temporary, link)
