"""`onethrone hosts check` finds what a host really lacks, says the remedy, and leaves nothing behind."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.hosts.check import HostReport, abilities, check_hosts, names_in, render
from harness.hosts.provision.lab import Lab
from harness.hosts.ssh.remote import Remote
from nemesis.faults import KINDS

FINE, NO_TOOLS, NO_PYTHON, STUNTED, NO_SUDO, SUDO, GONE = "n1", "n2", "n3", "n4", "n5", "n6", "n7"

SPOIL = {
    # What is on the machine is mounted over: to the host it is as if it were not there, or broken.
    NO_TOOLS: "mount --bind /bin/false /usr/sbin/nft; "
    "for lib in /usr/lib/*/faketime/libfaketime.so.1; do mount --bind /dev/null $lib; done",
    NO_PYTHON: "mount --bind /bin/false $(readlink -f /usr/bin/python3)",
    STUNTED: "sed -i '1i MaxSessions 3' /etc/ssh/sshd_config; mount -t tmpfs -o size=10M none /var/lib/onethrone",
    NO_SUDO: "echo 'someone:x:4242:4242::/tmp:/bin/sh' >> /etc/passwd",
    SUDO: "echo 'someone:x:4242:4242::/tmp:/bin/sh' >> /etc/passwd; echo 'someone:*:20000::::::' >> /etc/shadow; "
    "(echo 'root ALL=(ALL) ALL'; echo 'someone ALL=(ALL) NOPASSWD: ALL') > /root/sudoers; chmod 440 /root/sudoers; "
    "mount --bind /root/sudoers /etc/sudoers",
}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab.up(7) as lab:
        for name, command in SPOIL.items():
            with Remote(name, lab.ssh_config) as remote:
                remote.run(command)
        config = lab.ssh_config.read_text()
        for name in (NO_SUDO, SUDO):
            at = config.index(f"Host {name}\n")
            config = config[:at] + config[at:].replace("User root", "User someone", 1)
        at = config.index(f"Host {GONE}\n")
        config = config[:at] + config[at:].replace(f"-t {lab.pids[GONE]} ", "-t 4194305 ")
        lab.ssh_config.write_text(config)
        yield lab


@pytest.fixture(scope="module")
def reports(lab: Lab) -> dict[str, HostReport]:
    return {report.host: report for report in check_hosts(list(lab.hosts), lab.ssh_config)}


def whats(report: HostReport, level: str) -> str:
    return "\n".join(finding.what for finding in report.findings if finding.level == level)


def test_a_fine_host_is_usable_and_its_abilities_are_known(reports: dict[str, HostReport]) -> None:
    report = reports[FINE]
    assert report.usable
    assert report.abilities["nft"] == report.abilities["faketime"] == report.abilities["tbf"] == ""
    assert "root" in whats(report, "fine")
    assert report.facts["python"] in whats(report, "fine")


def test_an_ability_agrees_with_what_the_kernel_does(lab: Lab, reports: dict[str, HostReport]) -> None:
    with Remote(FINE, lab.ssh_config) as remote:
        tried = remote.run("tc qdisc add dev eth0 root netem delay 1ms && tc qdisc del dev eth0 root", check=False)
    assert (tried.status == 0) == (reports[FINE].abilities["netem"] == "")


def test_every_need_of_a_fault_is_looked_at(reports: dict[str, HostReport]) -> None:
    assert {kind.needs for kind in KINDS.values()} - {""} <= reports[FINE].abilities.keys()


def test_a_missing_ability_has_its_reason_its_faults_and_its_remedy(reports: dict[str, HostReport]) -> None:
    report = reports[NO_TOOLS]
    assert report.usable
    assert report.abilities["nft"] != ""
    assert "moved the clock by" in report.abilities["faketime"]
    lacking = whats(report, "lacking")
    assert "partition" in lacking
    assert "clock" in lacking
    assert all(finding.remedy for finding in report.findings if finding.level != "fine")
    assert abilities([report])[NO_TOOLS]["nft"] == report.abilities["nft"]


def test_a_host_without_python_is_unusable(reports: dict[str, HostReport]) -> None:
    assert not reports[NO_PYTHON].usable
    assert "no python3" in whats(reports[NO_PYTHON], "unusable")


def test_few_sessions_and_a_small_disk_are_seen(reports: dict[str, HostReport]) -> None:
    lacking = whats(reports[STUNTED], "lacking")
    assert "only 3 sessions" in lacking
    assert "0.0 GB of disk" in lacking


def test_a_user_who_cannot_become_root_is_unusable(reports: dict[str, HostReport]) -> None:
    assert not reports[NO_SUDO].usable
    assert "neither root nor sudo" in whats(reports[NO_SUDO], "unusable")


def test_sudo_without_a_password_will_do(reports: dict[str, HostReport]) -> None:
    # In a user namespace sudo belongs to nobody, and refuses to work for anybody.
    assert reports[SUDO].usable == (os.geteuid() == 0)
    if os.geteuid() == 0:
        assert reports[SUDO].abilities["nft"] == ""


def test_a_host_that_is_not_there_is_unusable_and_the_others_are_looked_at(reports: dict[str, HostReport]) -> None:
    assert not reports[GONE].usable
    assert "nsenter" in whats(reports[GONE], "unusable")


def test_the_clock_is_found_within_its_own_error(reports: dict[str, HostReport]) -> None:
    """Hosts of a lab share this machine's clock; 1 ms is for the two clocks that are read one after the other."""
    report = reports[FINE]
    assert report.clock_offset_ns is not None
    assert report.clock_error_ns is not None
    assert abs(report.clock_offset_ns) <= report.clock_error_ns + 1_000_000


def test_nothing_of_the_trial_is_left(lab: Lab, reports: dict[str, HostReport]) -> None:
    assert reports
    with Remote(FINE, lab.ssh_config) as remote:
        assert remote.run("nft list ruleset").text == ""
        assert "netem" not in remote.run("tc qdisc show").text
        assert remote.run("ls /tmp /var/lib/onethrone").text.split() == ["/tmp:", "/var/lib/onethrone:"]


def test_the_text_names_every_host_with_its_remedies(reports: dict[str, HostReport]) -> None:
    text = render(list(reports.values()))
    assert f"{NO_PYTHON}: unusable" in text
    for report in reports.values():
        assert all(finding.remedy in text for finding in report.findings if finding.level != "fine")


def test_the_config_says_which_hosts_there_are(tmp_path: Path) -> None:
    (tmp_path / "config").write_text('Host *\n User x\nHost a b "c"\nhost=d !e f?\nHostName z\n  Host a\n')
    assert names_in(tmp_path / "config") == ["a", "b", "c", "d"]


@pytest.mark.parametrize(("names", "status"), [(f"{FINE},{STUNTED}", 0), (f"{FINE},{GONE}", 254), ("", 254)])
def test_the_command_answers_in_json_and_with_its_exit_code(lab: Lab, names: str, status: int) -> None:
    config = ["-F", str(lab.ssh_config)] if names else []
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from harness.cli import main; main()",
            "hosts",
            "check",
            "--json",
            *config,
            "--hosts",
            names,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    if names:
        assert [host["host"] for host in json.loads(done.stdout)["hosts"]] == names.split(",")
