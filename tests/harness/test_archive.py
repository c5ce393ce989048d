"""The programs for hosts are one file, made of the same bytes every time, and run on old Pythons."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from harness import UsageError
from harness.hosts.archive import build, sha256

ROOT = Path(__file__).parents[2]
# Hosts have Python 3.9; pypy3 is the one that Debian packages everywhere.
OLD_PYTHONS = [path for path in map(shutil.which, ("pypy3",)) if path]


def test_two_builds_are_identical_whatever_the_files_dates_and_order(tmp_path: Path) -> None:
    first = build("node")
    copy = tmp_path / "node"
    shutil.copytree(ROOT / "node", copy)
    (copy / "__pycache__").mkdir(exist_ok=True)
    (copy / "notes.txt").write_text("not a program")
    for path in copy.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700)
    code = "import sys; from harness.hosts.archive import *; sys.stdout.write(sha256(build('node')))"
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}", "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd="/", env=environment, capture_output=True, check=True, timeout=60
    )
    assert done.stdout.decode() == sha256(first) == sha256(build("node"))


def test_an_archive_holds_sources_only() -> None:
    names = zipfile.ZipFile(io.BytesIO(build("node"))).namelist()
    assert {"__main__.py", "node/__main__.py", "node/protocol/server.py", "node/bugs/__init__.py"} <= set(names)
    assert all(name.endswith(".py") for name in names)


def test_a_package_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match=r"no_such_package"):
        build("no_such_package")


@pytest.mark.parametrize("python", [sys.executable, *OLD_PYTHONS])
def test_the_server_runs_from_its_archive_on_every_python(tmp_path: Path, python: str) -> None:
    archive = tmp_path / "onethrone-node.pyz"
    archive.write_bytes(build("node"))
    command = [python, str(archive), "serve", "--config", str(tmp_path / "absent.cfg")]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 254
    assert (
        done.stderr
        == f"onethrone-node: {tmp_path}/absent.cfg: No such file or directory; name a zoo.cfg that can be read\n"
    )


def test_there_is_an_old_python_to_try() -> None:
    assert OLD_PYTHONS, "install pypy3: hosts have Python 3.9"
