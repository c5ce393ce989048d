"""A lab: hosts made of Linux namespaces on this machine, each with its own network, processes, files and real sshd.

    with Lab.up(3) as lab:
        subprocess.run(["ssh", "-F", lab.ssh_config, "n1", "hostname"])

`LabProvisioner` is the lab behind the seam (`base.Provisioner`), under the scheme "lab".  This module starts a lab's
warden, writes the hosts' files, finds labs among the processes and ends them.  What a host is made of, and why nothing
is left behind, stands in `warden`.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from harness import HarnessError, UsageError
from harness.hosts.provision import lab_files, warden
from harness.hosts.provision.base import HOSTS_MAX, Hosts, HostSpec, Missing, Standing, parse_count
from harness.hosts.provision.lab_files import PATH

NETWORK = "10.42.0"
UP_DEADLINE_S = warden.READY_DEADLINE_S + 10
DOWN_DEADLINE_S = 30.0

_WARDEN = Path(warden.__file__).resolve()
_USER_NAMESPACE = ("unshare", "--user", "--map-root-user", "--map-auto", "--")
_TOOLS = (
    Missing("ip", "the hosts' network", "iproute2"),
    Missing("nsenter", "the way into a host", "util-linux"),
    Missing("unshare", "a user's own namespaces", "util-linux"),
    Missing("sshd", "each host's login", "openssh-server"),
    Missing("ssh-keygen", "the hosts' keys", "openssh-client"),
)
_TOOLS_WITHOUT_ROOT = (Missing("newuidmap", "namespaces without root", "uidmap"),)


@dataclass
class Lab:
    """A lab that is up.  `hosts` maps names to addresses, `pids` names to the host's process 1 on this machine."""

    directory: Path
    hosts: dict[str, str]
    pids: dict[str, int]
    warden_pid: int
    creator: int
    """The process that this lab ends with; 0 for one that stands until it is ended."""
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def ephemeral(self) -> bool:
        return self.creator != 0

    @property
    def ssh_config(self) -> Path:
        """A complete OpenSSH config: `ssh -F <this> n1` works for a person as well."""
        return self.directory / "ssh_config"

    @classmethod
    def up(cls, hosts: int, directory: Path | str | None = None, *, ephemeral: bool = True) -> Lab:
        """Make `hosts` hosts, n1 to nN, keeping their files below `directory` (by default a new one in /var/tmp).

        An ephemeral lab ends with this process.  UsageError: the directory is taken, or this machine cannot make
        namespaces; the error says what is missing.  HarnessError: it should have worked, and did not.
        """
        if not 1 <= hosts <= HOSTS_MAX:
            raise UsageError(f"a lab of {hosts} hosts", remedy=f"Ask for 1 to {HOSTS_MAX}.")
        path = _choose(directory)
        wrapper = () if os.geteuid() == 0 else _USER_NAMESPACE
        creator = os.getpid() if ephemeral else 0
        words = ["serve", str(path), str(hosts), NETWORK, str(creator)]
        with tempfile.TemporaryFile() as complaints:
            process = subprocess.Popen(
                [*wrapper, sys.executable, "-I", "-S", str(_WARDEN), *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
                # Ctrl-C is for the controller, who still needs its hosts to put everything right.
                start_new_session=True,
                env={"PATH": PATH, "LC_ALL": "C.UTF-8"},
            )
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                with process.stdin, process.stdout:
                    _hear(process.stdout, "watching", complaints, path)
                    lab_files.write_files(path, _addresses(hosts))
                    process.stdin.write(b"go\n")
                    process.stdin.flush()
                    pids = _in_order(_hear(process.stdout, "hosts", complaints, path))
                lab = cls(path, _addresses(hosts), pids, process.pid, creator, process)
                lab_files.write_ssh_config(lab.ssh_config, lab.hosts, pids)
            except BaseException:
                process.terminate()
                try:
                    process.wait(DOWN_DEADLINE_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    with contextlib.suppress(subprocess.TimeoutExpired):  # it waits for the disk, and is the kernel's
                        process.wait(DOWN_DEADLINE_S)
                raise
        return lab

    @classmethod
    def open(cls, directory: Path | str) -> Lab:
        """The lab that is up in `directory`.  UsageError when there is none."""
        path = Path(directory).resolve()
        try:
            facts = json.loads((path / "lab.json").read_text())
            pids = _in_order(facts["hosts"])
        except (OSError, ValueError, KeyError):
            raise UsageError(
                "no lab is up here", where=str(path), remedy="`onethrone lab list` names those that are."
            ) from None
        lab = cls(path, _addresses(len(pids)), pids, int(facts["warden"]), int(facts["creator"]))
        if not _is_warden(lab.warden_pid, path):
            raise UsageError(
                "the lab here has died",
                where=str(path),
                remedy=f"`onethrone lab down --dir {path}` removes what is left of it.",
            )
        return lab

    def down(self) -> None:
        """End the lab: on return its processes, namespaces and files are gone.  Ending it twice is allowed."""
        end(self.directory, self.warden_pid)
        if self._process is not None:
            try:
                self._process.wait(DOWN_DEADLINE_S)
            except subprocess.TimeoutExpired:
                raise HarnessError(f"the lab in {self.directory} did not end (process {self.warden_pid})") from None

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()


def running() -> list[Lab]:
    """The labs that are up on this machine and can be seen by this user, found among the processes, not in a file."""
    labs = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (path := _warden_directory(int(entry.name))) is not None:
            with contextlib.suppress(UsageError):
                lab = Lab.open(path)
                if lab.warden_pid == int(entry.name):
                    labs.append(lab)
    return sorted(labs, key=lambda lab: str(lab.directory))


def end(directory: Path, warden_pid: int | None = None) -> None:
    """End the lab in `directory`, or remove what is left of one whose processes were killed."""
    if warden_pid is None:
        try:
            warden_pid = int(json.loads((directory / "lab.json").read_text())["warden"])
        except (OSError, ValueError, KeyError):
            warden_pid = None
    if warden_pid is not None and _is_warden(warden_pid, directory):
        with contextlib.suppress(ProcessLookupError):
            os.kill(warden_pid, signal.SIGTERM)
        until = time.monotonic() + DOWN_DEADLINE_S
        while _is_warden(warden_pid, directory) and time.monotonic() < until:
            time.sleep(0.005)
    if (directory / "lab.json").exists():
        # Files of a lab made without root belong to sub-ids, which only its user namespace may remove.
        wrapper = () if os.geteuid() == 0 else _USER_NAMESPACE
        subprocess.run(
            [*wrapper, sys.executable, "-I", "-S", str(_WARDEN), "sweep", str(directory)],
            timeout=DOWN_DEADLINE_S,
            check=False,
        )
    if (directory / "lab.json").exists():
        raise HarnessError(
            f"the lab in {directory} cannot be removed", remedy="Another user made it: end it as that user."
        )


class LabProvisioner:
    """See `base.Provisioner`."""

    scheme = "lab"

    def __init__(self) -> None:
        self._made: dict[Path, Lab] = {}
        """The labs of this process, whose wardens are its children and have to be waited for."""

    def parse(self, text: str) -> HostSpec:
        """ "lab:5" is five hosts, n1 to n5."""
        return HostSpec(self.scheme, tuple(f"n{number}" for number in range(1, parse_count(text) + 1)))

    def missing(self) -> Sequence[Missing]:
        """The programs that a lab needs, and this machine does not have."""
        tools = _TOOLS if os.geteuid() == 0 else (*_TOOLS, *_TOOLS_WITHOUT_ROOT)
        return [tool for tool in tools if shutil.which(tool.tool, path=PATH) is None]

    def up(self, spec: HostSpec, directory: Path | None = None, *, standing: bool = False) -> Hosts:
        """Make a lab; see `Lab.up` for the errors."""
        lab = Lab.up(len(spec.names), directory, ephemeral=not standing)
        self._made[lab.directory] = lab
        return _hosts(lab)

    def down(self, directory: Path) -> bool:
        """End the lab in `directory`, or remove what is left of one whose processes were killed."""
        path = directory.resolve()
        lab = self._made.pop(path, None)
        if lab is not None:
            lab.down()
        elif (path / "lab.json").exists():
            end(path)
        else:
            return False
        return True

    def list(self) -> Sequence[Standing]:
        """The labs that are up, each with the processes that made it for themselves or are logged in to its hosts."""
        return [
            Standing(lab.directory, _hosts(lab), lab.creator, tuple(f"process {pid} ({_words(pid)})" for pid in users))
            for lab in running()
            for users in [sorted({*filter(None, [lab.creator]), *_logged_in(lab)})]
        ]


PROVISIONER = LabProvisioner()


def _hosts(lab: Lab) -> Hosts:
    return Hosts(tuple(lab.hosts), lab.ssh_config, lab.hosts, lab.directory)


def _logged_in(lab: Lab) -> Iterator[int]:
    """The processes that have an SSH connection to a host of this lab: the parents of their ProxyCommands."""
    ways_in = {str(pid).encode() for pid in lab.pids.values()}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it has ended
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if words[0].endswith(b"nsenter") and b"-t" in words and words[words.index(b"-t") + 1] in ways_in:
                    yield _parent(entry)


def _parent(process: Path) -> int:
    # The second field, the name, is in brackets and may contain any of these.
    return int((process / "stat").read_text().rpartition(")")[2].split()[1])


def _words(pid: int) -> str:
    """A process's command line, as far as it helps to recognise it."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:
        return "it has just ended"
    name = os.path.basename(os.fsdecode(words[0]))
    return " ".join([name, *map(os.fsdecode, words[1:])])[:120]


def _in_order(pids: dict[str, int]) -> dict[str, int]:
    return {f"n{number}": int(pids[f"n{number}"]) for number in range(1, len(pids) + 1)}


def _addresses(hosts: int) -> dict[str, str]:
    return {f"n{number}": f"{NETWORK}.{number}" for number in range(1, hosts + 1)}


def _warden_directory(pid: int) -> Path | None:
    """The directory of the lab that this process is the warden of; None when it is not one, or has ended."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return None
    marks = [at for at, word in enumerate(words) if word == b"serve" and words[at - 1].endswith(b"/warden.py")]
    return Path(os.fsdecode(words[marks[0] + 1])) if marks and not words[0].endswith(b"unshare") else None


def _is_warden(pid: int, directory: Path) -> bool:
    return _warden_directory(pid) == directory


# --- before the first process -----------------------------------------------------------------------------------------


def _choose(directory: Path | str | None) -> Path:
    """A directory for the lab, that is not there yet, or is empty.  The warden makes it."""
    if directory is None:
        # Not /tmp, which may be in memory: a lab's files belong on a real disk.
        return Path("/var/tmp", f"onethrone-lab-{secrets.token_hex(6)}")
    path = Path(directory).resolve()
    if any(character.isspace() or character in ":,\"'%$\\" for character in str(path)):
        remedy = "Choose one without spaces, quotes, and the characters : , % $ \\"
        raise UsageError("an OpenSSH config cannot name this directory", where=str(path), remedy=remedy)
    if Path("/var/lib") in (path, *path.parents):
        raise UsageError("a lab cannot be kept below /var/lib, which its hosts see", where=str(path))
    try:
        taken = next(path.iterdir(), None) if path.exists() else None
    except OSError as error:
        what = f"no lab can be kept here: {error.strerror}"
        raise UsageError(what, where=str(path), remedy="Choose another --dir.") from None
    if taken is not None:
        is_lab = (path / "lab.json").exists()
        remedy = f"`onethrone lab down --dir {path}` ends it." if is_lab else "Choose another --dir."
        what = "a lab is here already" if is_lab else f"the directory is not empty: {taken.name} is in it"
        raise UsageError(what, where=str(path), remedy=remedy)
    return path


def _hear(stdout: IO[bytes], word: str, complaints: IO[bytes], path: Path) -> Any:
    """What the warden says next, which is to be `word`; anything else is the reason why there is no lab."""
    ready, _, _ = select.select([stdout], [], [], UP_DEADLINE_S)
    line = stdout.readline() if ready else b""
    answer = json.loads(line) if line else {}
    if word in answer:
        return answer[word]
    if answer.get("taken"):
        raise UsageError(f"no lab can be kept here: {answer['error']}", where=str(path), remedy="Choose another --dir.")
    complaints.seek(0)
    said = complaints.read().decode(errors="replace").strip()
    with contextlib.suppress(OSError):
        said += (path / "lab.log").read_text(errors="replace").strip()
    raise _why_not(answer.get("error") or said or f"nothing was heard of it within {UP_DEADLINE_S:.0f} s")


# --- when it does not work --------------------------------------------------------------------------------------------


def _why_not(complaint: str) -> Exception:
    """What keeps this machine from making a lab, in words, with the remedy."""
    if os.geteuid() == 0:
        if "ermission" in complaint or "not permitted" in complaint:
            return UsageError(
                f"root may not make namespaces here: {complaint}",
                remedy="In a container, start it with --privileged.",
            )
        return HarnessError(f"the lab did not come up: {complaint}")
    user = pwd.getpwuid(os.geteuid()).pw_name if _has_name() else str(os.geteuid())
    remedies = []
    for name in ("/etc/subuid", "/etc/subgid"):
        if not _has_sub_ids(name, user):
            remedies.append(f"as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}")
            break
    for setting, bad, good in (
        ("kernel/unprivileged_userns_clone", "0", "1"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "0"),
        ("user/max_user_namespaces", "0", "10000"),
    ):
        with contextlib.suppress(OSError):
            if Path("/proc/sys", setting).read_text().strip() == bad:
                remedies.append(f"allow user namespaces, as root: sysctl -w {setting.replace('/', '.')}={good}")
    remedies.append("or run as root" if remedies else "Run as root, or find out what forbids user namespaces here.")
    return UsageError(f"a lab cannot be made without root here: {complaint}", remedy="; ".join(remedies))


def _has_name() -> bool:
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return True


def _has_sub_ids(file: str, user: str) -> bool:
    try:
        lines = Path(file).read_text().splitlines()
    except OSError:
        return False
    return any(line.split(":")[0] in (user, str(os.geteuid())) for line in lines)
