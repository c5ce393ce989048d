"""The wheel, used as somebody who has no checkout uses it.

It is built, and installed into a fresh environment beside nothing but the packages that it declares.  An ordinary user
then runs it in an empty directory: what it forgets to pack, to declare or to find shows here.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests import ordinary_user

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SHORTEST_S = 31
"""The shortest run that there is with the default settings: two acts and a storm."""
DEADLINE_S = 240.0


def quietly(*command: str | Path) -> None:
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, timeout=DEADLINE_S, check=False, cwd=ROOT
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def needed(requirements: list[str]) -> set[str]:
    """The distributions that these requirements lead to, extras left out."""
    found: set[str] = set()
    wanted = list(requirements)
    while wanted:
        requirement = Requirement(wanted.pop())
        if requirement.name not in found and (not requirement.marker or requirement.marker.evaluate({"extra": ""})):
            found.add(requirement.name)
            wanted += metadata.requires(requirement.name) or []
    return found


def copy_distribution(name: str, site_packages: Path) -> None:
    for file in metadata.files(name) or []:
        if ".." not in file.parts and "__pycache__" not in file.parts:
            target = site_packages / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(file.locate()), target)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel")
    quietly(*pip, "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder, ROOT)
    (built,) = folder.glob("*.whl")
    return built


@dataclass(frozen=True)
class Installed:
    """An environment in a folder that an ordinary user can read, and that user's own empty directories."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "venv/bin/python"

    def run(self, *command: str, user: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment in the directory `user`, which is empty at first."""
        cwd = self.folder / user
        if not cwd.exists():
            cwd.mkdir()
            ordinary_user.own(cwd)
        program, *words = command
        argv = [str(self.folder / "venv/bin" / program), *words]
        return ordinary_user.run(self.folder / "etc", cwd, argv, DEADLINE_S)


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Iterator[Installed]:
    with tempfile.TemporaryDirectory(prefix="onethrone-package-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        quietly(ordinary_user.python(), "-m", "venv", "--without-pip", folder / "venv")
        (site_packages,) = folder.glob("venv/lib/python3*/site-packages")
        for distribution in needed(PROJECT["dependencies"]):
            copy_distribution(distribution, site_packages)
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", folder / "venv/bin/python")
        quietly(*pip, "install", "--no-deps", "--no-index", wheel)
        yield Installed(folder)


def test_the_wheel_has_every_file_of_the_four_folders_and_no_other(wheel: Path) -> None:
    ours = {
        path.relative_to(ROOT).as_posix()
        for top in ("node", "nemesis", "checker", "harness")
        for path in (ROOT / top).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {Path(name).suffix for name in ours} >= {".py", ".html", ".css", ".js", ".svg"}
    with zipfile.ZipFile(wheel) as packed:
        names = {name for name in packed.namelist() if ".dist-info/" not in name}
    assert names == ours | {"onethrone_testing.py"}


def test_the_wheel_says_what_it_is_and_under_which_license(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        (file,) = (name for name in packed.namelist() if name.endswith(".dist-info/METADATA"))
        described = packed.read(file).decode()
        assert any(name.endswith("/licenses/LICENSE") for name in packed.namelist())
    head, _, readme = described.partition("\n\n")
    assert f"Version: {PROJECT['version']}" in head
    assert "License-Expression: Apache-2.0" in head
    assert readme.strip() == (ROOT / "README.md").read_text(encoding="utf-8").strip()


def test_what_is_imported_is_the_installed_package(installed: Installed) -> None:
    done = installed.run("python", "-c", "import harness, onethrone_testing; print(harness.__file__)", user="imports")
    assert done.stdout.startswith(str(installed.folder)), done.stderr


def test_an_installed_onethrone_says_its_version(installed: Installed) -> None:
    done = installed.run("onethrone", "--version", user="version")
    assert done.returncode == 0, done.stderr
    assert PROJECT["version"] in done.stdout
    assert "commit" not in done.stdout  # it is no checkout


def test_an_ordinary_user_simulates_with_an_installed_onethrone(installed: Installed) -> None:
    done = installed.run("onethrone", "simulate", "--seeds", "0:2", user="simulates")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("Valid"), done.stdout


def test_an_ordinary_user_runs_a_lab_with_an_installed_onethrone(installed: Installed) -> None:
    words = ("run", "--hosts", "lab:3", "--time-limit", str(SHORTEST_S), "--seed", "7")
    done = installed.run("onethrone", *words, user="runs")
    assert done.returncode == 0, done.stdout + done.stderr
    run = installed.folder / "runs/results/latest"
    assert json.loads((run / "results.json").read_text())["valid"] is True
    assert "<style>" in (run / "report.html").read_text(encoding="utf-8")
