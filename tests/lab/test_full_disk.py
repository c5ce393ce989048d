"""The controller's disk is full: what was seen is judged and said, and nothing stays on the hosts or half-written."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from checker.history import read
from harness import HarnessError
from harness.results.folder import RunFolder
from harness.runs.run import judge
from harness.watch.progress import Progress
from tests.checker.story import good

ONETHRONE = [sys.executable, "-c", "from harness.cli import main; main()"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a small disk of that size."""
    mounted: list[Path] = []

    def mount(size: str) -> Path:
        place = tmp_path / "disk"
        place.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", place], check=True)
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", "-l", place], check=True)


def fill(place: Path) -> None:
    with (place / "filling").open("wb", buffering=0) as file:
        try:
            while file.write(b"\0" * 4096):
                pass
        except OSError:
            pass


def run(results: Path) -> subprocess.CompletedProcess[str]:
    words = ["run", "--hosts", "lab:3", "--time-limit", "40", "--results", str(results)]
    return subprocess.run([*ONETHRONE, *words], capture_output=True, text=True, timeout=240, check=False)


def test_a_run_that_cannot_begin_is_refused_in_one_sentence_and_leaves_no_folder(disk: Callable[[str], Path]) -> None:
    results = disk("64k") / "results"
    (results / "onethrone").mkdir(parents=True)
    fill(results.parent)
    ended = run(results)
    assert ended.returncode in (254, 255)
    assert "No space left on device" in ended.stderr
    assert "harness failed" not in ended.stderr
    assert str(results) in ended.stderr
    assert not list(results.glob("onethrone/*"))


def test_a_run_whose_disk_fills_up_is_judged_by_what_was_recorded(disk: Callable[[str], Path]) -> None:
    results = disk("80k")
    ended = run(results)
    assert ended.returncode == 255, ended
    assert "history.jsonl: the history cannot be written: No space left on device" in ended.stderr
    assert "Unknown: " in ended.stdout + ended.stderr
    assert "OSError" not in ended.stderr
    (folder,) = (path for path in (results / "onethrone").iterdir() if not path.is_symlink())
    assert sum(1 for _ in read(folder)) > 5
    assert not list(folder.glob("**/.*"))


def test_a_verdict_that_cannot_be_written_is_said_and_not_left_half_written(disk: Callable[[str], Path]) -> None:
    place = disk("1m")
    folder = RunFolder(place / "run", place)
    folder.path.mkdir()
    good().write(folder.history)
    fill(place)
    with pytest.raises(HarnessError) as raised:
        judge(folder, Progress(quiet=True))
    assert "No space left on device; it is: " in str(raised.value)
    assert os.listdir(folder.path) == ["history.jsonl"]
