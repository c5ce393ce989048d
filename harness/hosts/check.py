"""What each host can and cannot do, before a run finds out.

A host is *usable* when a run can be carried out on it at all: SSH, root, Python.  What it lacks beyond that rules out
some kinds of fault, which are refused at plan time with the reason that was found here
(`Schedule.refusals(abilities(reports))`).
Everything is tried out on the host, by the injector's own `nemesis.injector.abilities`, whose source is sent there.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from harness import HostError, UsageError
from harness.hosts.ssh.connection import SESSIONS_MAX
from harness.hosts.ssh.remote import Remote
from harness.results import files
from nemesis.faults import KINDS
from nemesis.injector import abilities as probe

PYTHON_MIN = (3, 9)
DISK_FREE_MIN_BYTES = 1 << 30
CLOCK_OFFSET_MAX_NS = 1_000_000_000
STATE_DIRECTORY = "/var/lib/onethrone"

_PROBE = Path(probe.__file__)
_PROBE_DEADLINE_S = 90.0
_CLOCK_EXCHANGES = 15
_CLOCK_SERVER = "import sys, time\nfor line in iter(sys.stdin.readline, ''):\n  print(time.time_ns(), flush=True)"
_REMEDIES = {
    "nft": "Install nftables on the host (Debian: apt-get install nftables), and see that root may use it.",
    "netem": "The host's kernel needs the module sch_netem (Debian: linux-image-amd64; modprobe sch_netem).",
    "tbf": "The host's kernel needs the module sch_tbf (modprobe sch_tbf), and the host iproute2.",
    "faketime": "Install libfaketime on the host (Debian: apt-get install faketime).",
}
_PACKAGES = {"ip": "iproute2", "tc": "iproute2", "timeout": "coreutils", "sha256sum": "coreutils"}


class _Found(Protocol):
    def __call__(self, level: str, what: str, remedy: str = "") -> None: ...


@dataclass
class Finding:
    """One thing that was looked at.  `level` is `fine`, `lacking` (some faults are ruled out) or `unusable`."""

    level: str
    what: str
    remedy: str = ""


@dataclass
class HostReport:
    """What was found on one host.  `abilities` say "" where the host is able, otherwise why it is not."""

    host: str
    findings: list[Finding] = field(default_factory=list)
    abilities: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    clock_offset_ns: int | None = None
    clock_error_ns: int | None = None

    @property
    def usable(self) -> bool:
        """Whether a run can be carried out on it at all."""
        return all(finding.level != "unusable" for finding in self.findings)


def check_hosts(names: Sequence[str], ssh_config: Path | None = None, *, accept_new: bool = False) -> list[HostReport]:
    """Look at all hosts at once; the reports come in the order of the names.  Takes some 150 s at most, usually 1 s."""
    with ThreadPoolExecutor(len(names)) as pool:
        return list(pool.map(lambda name: check_host(name, ssh_config, accept_new=accept_new), names))


def check_host(name: str, ssh_config: Path | None = None, *, accept_new: bool = False) -> HostReport:
    """Look at one host.  What is wrong with the host is in the report; UsageError is for the config."""
    report = HostReport(name)
    with Remote(name, ssh_config, accept_new=accept_new) as remote:
        try:
            remote.connect()
            report.findings.append(Finding("fine", "SSH connects, and the host key is the known one"))
            _look(remote, report)
        except HostError as error:
            what = f"{error.what}: {error.output}" if error.output else error.what
            report.findings.append(Finding("unusable", what, error.remedy))
    return report


def abilities(reports: Sequence[HostReport]) -> Mapping[str, Mapping[str, str]]:
    """By host and ability: "" where the host is able, otherwise the reason.  What `Schedule.refusals` takes."""
    return {report.host: report.abilities for report in reports}


def _look(remote: Remote, report: HostReport) -> None:
    def found(level: str, what: str, remedy: str = "") -> None:
        report.findings.append(Finding(level, what, remedy))

    sudo = ""
    if remote.run("id -u").text != "0":
        if remote.run("sudo -n true", check=False).status != 0:
            remedy = "Log in as root, or give the user sudo without a password (NOPASSWD) on the host."
            found("unusable", "neither root nor sudo without a password", remedy)
            return
        sudo = "sudo -n "
    found("fine", "sudo without a password" if sudo else "root")

    version = remote.run("python3 -c 'import sys; print(*sys.version_info[:3])'", check=False)
    numbers = tuple(int(part) for part in version.text.split()) if version.status == 0 else ()
    if numbers < PYTHON_MIN:
        has = "Python " + ".".join(map(str, numbers)) if numbers else "no python3"
        needed = ".".join(map(str, PYTHON_MIN))
        found("unusable", f"{has}; {needed} or later is needed", "Install it (Debian: apt-get install python3).")
        return
    found("fine", "Python " + ".".join(map(str, numbers)))

    answer = remote.run(
        f"{sudo}python3 - {STATE_DIRECTORY}", input=_PROBE.read_bytes(), deadline_s=_PROBE_DEADLINE_S, idempotent=True
    )
    _read_probe(json.loads(answer.stdout), report, found)
    _look_at_clock(remote, report, found)
    sessions = remote.count_sessions(SESSIONS_MAX)
    if sessions < SESSIONS_MAX:
        remedy = f"Set MaxSessions to 10 in the host's sshd_config ({SESSIONS_MAX} at least)."
        found("lacking", f"sshd allows only {sessions} sessions at once", remedy)
    else:
        found("fine", f"sshd allows {SESSIONS_MAX} sessions at once")


def _read_probe(facts: dict[str, Any], report: HostReport, found: _Found) -> None:
    report.abilities = facts.pop("abilities")
    report.facts = facts
    for ability, reason in report.abilities.items():
        kinds = [kind.name for kind in KINDS.values() if kind.needs == ability]
        if not reason:
            found("fine", f"{ability} works")
        elif kinds:
            found("lacking", f"no {ability} ({reason}): rules out {', '.join(kinds)}", _REMEDIES[ability])
        else:
            found("fine", f"no {ability} ({reason}), which no fault needs")
    for tool, package in _PACKAGES.items():
        if not facts["tools"][tool]:
            found("lacking", f"there is no {tool}", f"Install it (Debian: apt-get install {package}).")
    free = facts["disk_free_bytes"]
    if not facts["disk_writable"]:
        remedy = "Its file system is read-only, or belongs to somebody else."
        found("unusable", f"{STATE_DIRECTORY} cannot be written", remedy)
    elif free < DISK_FREE_MIN_BYTES:
        found("lacking", f"{free / 1e9:.1f} GB of disk are free", f"Make room below {STATE_DIRECTORY}: 1 GB at least.")
    else:
        found("fine", f"{free / 1e9:.1f} GB of disk are free")


def _look_at_clock(remote: Remote, report: HostReport, found: _Found) -> None:
    """The host's wall clock against ours; it was read at some time between sending and receiving (Cristian)."""
    process = remote.spawn(["python3", "-u", "-c", _CLOCK_SERVER])
    try:
        best_ns: int | None = None
        for _ in range(_CLOCK_EXCHANGES):
            sent_ns, began_ns = time.time_ns(), time.monotonic_ns()
            process.send_line(b"")
            line = process.read_line(15.0)
            took_ns = time.monotonic_ns() - began_ns
            if line is None:
                raise HostError(remote.name, "the clock's reader ended", output=process.stderr)
            if best_ns is None or took_ns < best_ns:
                best_ns = took_ns
                report.clock_offset_ns = int(line) - (sent_ns + took_ns // 2)
                report.clock_error_ns = took_ns // 2
    finally:
        process.close()
    assert report.clock_offset_ns is not None
    assert report.clock_error_ns is not None
    offset_ms, error_ms = report.clock_offset_ns / 1e6, report.clock_error_ns / 1e6
    text = f"its clock is {offset_ms:+.3f} ms off ours, give or take {error_ms:.3f} ms"
    if abs(report.clock_offset_ns) - report.clock_error_ns > CLOCK_OFFSET_MAX_NS:
        found("lacking", text, "Reports allow for it; logs are easier to read with NTP on the host (Debian: chrony).")
    else:
        found("fine", text)


# --- for people -------------------------------------------------------------------------------------------------------


def render(reports: Sequence[HostReport], *, all_findings: bool = False) -> str:
    """The reports as text: what is not fine, with the remedy, and what is in one line."""
    lines = []
    for report in reports:
        lacking = sum(finding.level == "lacking" for finding in report.findings)
        state = "unusable" if not report.usable else f"usable, lacks {lacking}" if lacking else "fine"
        lines.append(f"{report.host}: {state}")
        fine = [finding.what for finding in report.findings if finding.level == "fine"]
        if fine and not all_findings:
            lines.append(f"  fine      {'; '.join(fine)}")
        for finding in report.findings:
            if finding.level != "fine" or all_findings:
                lines.append(f"  {finding.level:<9} {finding.what}")
                if finding.remedy:
                    lines.append(f"            {finding.remedy}")
    return "\n".join(lines)


def names_in(ssh_config: Path) -> list[str]:
    """The hosts that a config names outright, without patterns."""
    try:
        text = files.read(ssh_config, files.PLAN_BYTES_MAX).decode()
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(ssh_config)) from None
    except UnicodeDecodeError as error:
        raise UsageError(f"is not an OpenSSH config: {error}", where=str(ssh_config)) from None
    words = [word for line in re.findall(r"(?im)^\s*Host[ \t=]+(.*)$", text) for word in line.split()]
    return [word.strip('"') for word in dict.fromkeys(words) if not re.search(r"[*?!]", word)]
