"""Systems are found by name, or by where their plug-ins are; one that is not there is refused with what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from harness import UsageError
from harness.systems import registry
from harness.systems.base import Ensemble, HostTime, Place, ProcessStarted, ProcessStopped, Said, Unreadable
from harness.systems.onethrone import Onethrone, OnethroneEvents
from harness.systems.zookeeper.system import ZooKeeper
from tests.toys.claimant import Claimant

THREE = Ensemble({f"n{sid}": Place(f"n{sid}", sid) for sid in (1, 2, 3)})


def test_a_system_is_found_by_its_name_or_by_the_place_of_its_class() -> None:
    assert {"onethrone", "zookeeper"} <= set(registry.names())
    assert registry.load("onethrone") is Onethrone
    assert registry.load("zookeeper") is ZooKeeper
    assert registry.load("tests.toys.claimant:Claimant") is Claimant


def test_every_system_that_is_named_answers_before_there_are_hosts() -> None:
    for name in registry.names():
        system = registry.make(name, None, THREE)
        assert system.profile().name == name
        assert len({system.identity(host) for host in THREE.places}) == 3
        assert all(system.cannot(host) is not None for host in THREE.places)
        system.clients()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("zookeper", "there is no 'zookeper' (there are: onethrone, zookeeper"),
        ("tests.toys.nowhere:Claimant", "cannot be imported"),
        ("tests.toys.claimant:Nobody", "tests.toys.claimant has no class 'Nobody'"),
        ("tests.toys.claimant:SERVER", "is not a system"),
        ("tests.toys.claimant:", "is not a system"),
    ],
)
def test_what_is_no_system_is_refused_with_what_there_is(name: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        registry.load(name)
    assert says in str(caught.value)


def test_a_plug_in_of_the_working_directory_is_found_by_the_installed_command(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("from tests.toys.claimant import Claimant as Mine\n")
    code = "import sys; sys.path.remove(''); from harness.systems import registry; print(registry.load('mine:Mine'))"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", code]
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert "tests.toys.claimant.Claimant" in ended.stdout, ended.stderr


def test_an_installed_plug_in_is_found_by_its_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    about = tmp_path / "plugin-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[{registry.GROUP}]\nclaimant = tests.toys.claimant:Claimant\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert metadata.version("plugin") == "1.0"
    try:
        registry.forget()
        assert registry.load("claimant") is Claimant
    finally:
        monkeypatch.undo()
        registry.forget()


def test_only_a_system_whose_core_the_simulator_runs_is_simulated() -> None:
    assert registry.simulated("onethrone")
    assert not registry.simulated("zookeeper")
    assert not registry.simulated("tests.toys.claimant:Claimant")
    assert not registry.simulated("a plug-in of somebody else's")


def test_a_statement_becomes_an_op_with_sids_in_place_of_the_systems_own_ids() -> None:
    at = HostTime(5)
    sid_of = {"a": 1, "b": 2}
    follows = Said(at, "FOLLOWING", "b", 7, serving=True)
    assert follows.value(1, sid_of) == {
        "sid": 1, "role": "FOLLOWING", "phase": "broadcast", "leader": 2, "epoch": 7, "established": False,
    }  # fmt: skip
    assert Said(at, "FOLLOWING", "a stranger", 7).value(1, sid_of)["leader"] is None, "unknown is nobody"
    assert Said(at, "LOOKING").value(2, sid_of)["phase"] is None, "what was not said is not made up"


def test_the_events_of_our_server_are_told_apart_from_lines_that_are_damaged() -> None:
    log = OnethroneEvents()
    state = '{"host_time": 5, "f": "state", "value": {"role": "LEADING", "sid": 2, "leader": 2, "round": 9}}'
    (said,) = log.read(state)
    assert isinstance(said, Said)
    assert (said.at, said.leader) == (HostTime(5), "2")
    assert said.value(2, {"2": 2})["round"] == 9
    assert list(log.read('{"host_time": 5, "f": "started", "value": {"pid": 1}}')) == [
        ProcessStarted(HostTime(5), {"pid": 1})
    ]
    assert list(log.read('{"host_time": 5, "f": "stopped", "value": {}}')) == [ProcessStopped(HostTime(5), {})]
    assert list(log.read("\n")) == []
    for line in (state[:40], state.replace("LEADING", "RULING"), state.replace("5", '"x"'), '"text"', "\x00" * 600):
        (bad,) = log.read(line)
        assert isinstance(bad, Unreadable)
        assert len(bad.line) <= 500
