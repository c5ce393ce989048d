"""Whoever makes hosts is found by the scheme alone, and a wrong text is refused before anything is made."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import UsageError
from harness.hosts.cluster import _refuse_shared, cluster
from harness.hosts.provision import registry
from harness.hosts.provision.base import HOSTS_MAX, HostSpec
from harness.hosts.ssh.remote import Remote
from harness.plan.hosts import HostsPlan, host_spec, names_of, on_hosts
from harness.plan.schema import Plan
from harness.watch.progress import Progress

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 120


def declare(folder: Path, *lines: str) -> None:
    """Install a package that has these entry points, in a folder of the module path."""
    info = folder / "toy_hosts-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-hosts\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[{registry.GROUP}]\n" + "".join(f"{line}\n" for line in lines))


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder in which the package of the toy is installed, for this process as for those that it starts."""
    folder = tmp_path / "installed"
    folder.mkdir()
    declare(folder, "toy = tests.harness.toy_hosts:PROVISIONER", "broken = tests.harness.no_such_module:PROVISIONER")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{ROOT}")
    registry.provisioner.cache_clear()
    yield folder
    registry.provisioner.cache_clear()


def onethrone(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from harness.cli import main; main()", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
        cwd=ROOT,
    )


# --- texts ------------------------------------------------------------------------------------------------------------


def test_a_scheme_and_a_number_are_hosts_to_be_made() -> None:
    spec = registry.parse("lab:3")
    assert (spec.names, spec.made, spec.ssh_config) == (("n1", "n2", "n3"), True, None)
    assert len(registry.parse(f"lab:{HOSTS_MAX}").names) == HOSTS_MAX


def test_names_are_hosts_that_exist_in_their_order() -> None:
    spec = registry.parse(" c, a,b ", Path("x"))
    assert (spec.names, spec.made, spec.ssh_config) == (("c", "a", "b"), False, Path("x"))
    assert registry.parse("ssh:c,a,b", Path("x")) == spec == registry.existing(("c", "a", "b"), Path("x"))


@pytest.mark.parametrize("text", ["lab:5", "n1,n2,n3"])
def test_the_text_of_a_spec_and_a_plan_of_it_are_that_spec_again(text: str) -> None:
    spec = registry.parse(text)
    assert registry.parse(spec.text) == spec
    assert host_spec(on_hosts(HostsPlan(lab=9), spec)) == spec
    assert registry.parse(spec.first(2).text) == spec.first(2)
    assert spec.first(2).names == spec.names[:2]


def test_a_plan_of_0_1_says_a_number_alone() -> None:
    assert host_spec(HostsPlan(lab=3)) == registry.parse("lab:3")


def test_the_plan_of_a_simulated_run_may_have_more_servers_than_there_are_hosts() -> None:
    assert names_of(HostsPlan(lab=99)) == tuple(f"n{number}" for number in range(1, 100))
    with pytest.raises(UsageError):
        names_of(HostsPlan(lab=10**15))
    with pytest.raises(UsageError):
        host_spec(HostsPlan(lab=99))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lab", "it is missing"),
        ("lab:", "it is missing"),
        ("lab:0", "from 1 to 50; '0' is not one"),
        ("lab:51", "'51' is not one"),
        ("lab:-1", "'-1' is not one"),
        ("lab:1.5", "'1.5' is not one"),
        ("lab:٣", "is not one"),
        ("lab:99999999999", "'99999999999' is not one"),
        ("lab:" + "9" * 1_000_000, "is not one"),
        ("lba:5", "no kind of host 'lba' (did you mean lab?)"),
        ("xyzzy:5", "no kind of host 'xyzzy' (there are: lab, ssh"),
        ("", "no host is named"),
        (" , ", "no host is named"),
        ("ssh", "no host is named"),
        ("n1,n2:22", "'n2:22' is not the name of a host"),
        ("n1,-oProxyCommand=x", "is not the name of a host"),
        ("n1,n2,n1", "n1: a host is named twice"),
    ],
)
def test_a_wrong_text_is_refused_with_the_reason_and_what_to_do(text: str, says: str) -> None:
    began = time.monotonic()
    with pytest.raises(UsageError) as caught:
        registry.parse(text)
    assert says in caught.value.what
    assert len(str(caught.value)) < 300
    assert caught.value.remedy or "did you mean" in caught.value.what or "there are" in caught.value.what
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("words", [["run"], ["hosts", "check"], ["hosts", "up", "--dir", "x"]])
@pytest.mark.parametrize("text", ["lab", "lab:0", "lab:99999999999", "lba:5"])
def test_every_command_refuses_a_wrong_text_alike(words: list[str], text: str) -> None:
    done = onethrone(*words, "--hosts", text)
    assert done.returncode == 254
    with pytest.raises(UsageError) as caught:
        registry.parse(text)
    assert done.stderr == f"onethrone: {caught.value}\n"


def test_hosts_that_are_made_have_an_ssh_config_of_their_own() -> None:
    with pytest.raises(UsageError, match="an OpenSSH config of their own"):
        registry.parse("lab:3", Path("ssh_config"))


def test_nothing_can_be_made_of_hosts_that_exist(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to make"):
        registry.up(registry.parse("n1,n2"), tmp_path, standing=True)


def test_hosts_with_one_address_are_refused_by_name() -> None:
    _refuse_shared({"v1": ("10.0.2.15",), "v2": ("10.0.2.16",)})
    with pytest.raises(UsageError, match=r"v1 and v3 all have the address 10\.0\.2\.15"):
        _refuse_shared({"v1": ("10.0.2.15",), "v2": ("10.0.2.16",), "v3": ("10.0.2.15", "10.9.9.9")})


# --- a provisioner that nobody here knows -----------------------------------------------------------------------------


def test_a_package_brings_a_scheme(toy: Path) -> None:
    assert "toy" in registry.schemes()
    assert registry.parse("toy:2") == HostSpec("toy", ("t1", "t2"))
    with pytest.raises(UsageError, match=r"did you mean toy\?"):
        registry.parse("tyo:2")


def test_a_package_that_cannot_be_loaded_is_named(toy: Path) -> None:
    with pytest.raises(UsageError, match=r"tests\.harness\.no_such_module:PROVISIONER, which makes broken hosts"):
        registry.parse("broken:2")


def test_two_packages_with_one_scheme_are_refused(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "more").mkdir()
    declare(tmp_path / "more", "toy = tests.harness.other_toy:PROVISIONER")
    (tmp_path / "more" / "toy_hosts-1.dist-info").rename(tmp_path / "more" / "other_toy-1.dist-info")
    (tmp_path / "more" / "other_toy-1.dist-info" / "METADATA").write_text("Name: other-toy\nVersion: 1\n")
    monkeypatch.syspath_prepend(str(tmp_path / "more"))
    with pytest.raises(UsageError, match="two packages make toy hosts"):
        registry.parse("toy:2")


def test_a_package_cannot_take_the_place_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(tmp_path, "lab = tests.harness.toy_hosts:PROVISIONER")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert registry.parse("lab:2").names == ("n1", "n2")
    assert registry.schemes().count("lab") == 1


def test_what_the_machine_lacks_is_said_before_anything_is_made(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_LACKS", "1")
    with pytest.raises(UsageError, match=r"cannot make toy hosts: no sshd \(each host's login\)") as caught:
        registry.up(registry.parse("toy:2"), tmp_path / "hosts")
    assert "apt-get install openssh-server" in caught.value.remedy
    assert not (tmp_path / "hosts").exists()


def test_hosts_check_looks_at_hosts_of_an_unknown_kind(toy: Path) -> None:
    done = onethrone("hosts", "check", "--hosts", "toy:2", "--json")
    assert done.returncode == 0, done.stderr
    reports = json.loads(done.stdout)["hosts"]
    assert [(report["host"], report["usable"]) for report in reports] == [("t1", True), ("t2", True)]


def test_a_run_connects_to_hosts_of_an_unknown_kind_at_the_addresses_that_it_gives(toy: Path) -> None:
    plan = Plan(hosts=on_hosts(HostsPlan(), registry.parse("toy:3")))
    with cluster(plan, Progress(quiet=True)) as hosts:
        assert [remote.run("echo here").text for remote in hosts.remotes.values()] == ["here"] * 3
        firsts = [addresses[0] for addresses in hosts.addresses.values()]
        assert [first.rpartition(".")[2] for first in firsts] == ["1", "2", "3"]
        assert all(first.startswith("127.") for first in firsts)
        configs = {remote.ssh_config for remote in hosts.remotes.values()}
    assert [config.exists() for config in configs if config] == [False]


def test_down_may_be_called_twice_and_says_whether_there_was_something(toy: Path, tmp_path: Path) -> None:
    up = onethrone("hosts", "up", "--hosts", "toy:1", "--dir", tmp_path / "hosts", "--json")
    assert up.returncode == 0, up.stderr
    with Remote("t1", json.loads(up.stdout)["ssh_config"]) as remote:
        assert remote.run("echo here").text == "here"
    assert onethrone("hosts", "down", "--dir", tmp_path / "hosts").returncode == 0
    assert not (tmp_path / "hosts").exists()
    again = onethrone("hosts", "down", "--dir", tmp_path / "hosts")
    assert again.returncode == 254
    assert "no hosts are up here" in again.stderr
    assert "makes broken hosts, cannot be loaded" in again.stderr, "which keeps nothing else from being ended"


def test_down_removes_what_a_killed_controller_left(toy: Path, tmp_path: Path) -> None:
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom harness.hosts.provision import registry\n"
        "registry.up(registry.parse('toy:2'), Path(sys.argv[1]))\nprint('up', flush=True)\ntime.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "hosts")], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as creator:
        assert creator.stdout is not None
        assert creator.stdout.readline() == "up\n"
        pids = json.loads((tmp_path / "hosts" / "toy.json").read_text())
        creator.send_signal(signal.SIGKILL)
    toys = registry.provisioner("toy")
    assert toys.down(tmp_path / "hosts")
    assert not toys.down(tmp_path / "hosts")
    assert not (tmp_path / "hosts").exists()
    until = time.monotonic() + DEADLINE_S
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < until
        time.sleep(0.02)


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    return False


def test_a_module_path_without_packages_still_knows_ours() -> None:
    """A checkout that is not installed has no entry points at all."""
    program = "from harness.hosts.provision import registry; print(registry.schemes())"
    done = subprocess.run(
        ["/usr/bin/env", "python3", "-S", "-c", program],
        capture_output=True, text=True, timeout=DEADLINE_S, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout == "('lab', 'ssh')\n"
