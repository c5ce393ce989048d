"""Making, finding and ending labs; what a lab is stands in the package's docstring."""

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
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from harness import HarnessError, UsageError
from harness.hosts.provision import warden

HOSTS_MAX = 50
NETWORK = "10.42.0"
UP_DEADLINE_S = warden.READY_DEADLINE_S + 10
DOWN_DEADLINE_S = 30.0

_WARDEN = Path(warden.__file__).resolve()
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_USER_NAMESPACE = ("unshare", "--user", "--map-root-user", "--map-auto", "--")
_TOOLS = {
    "ip": "iproute2",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "sshd": "openssh-server",
    "ssh-keygen": "openssh-client",
}

_SSHD_CONFIG = """\
HostKey /etc/ssh/ssh_host_ed25519_key
AuthorizedKeysFile /etc/ssh/authorized_keys
# In a user namespace /etc belongs to nobody, which is not root.
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PermitUserEnvironment no
PrintMotd no
PrintLastLog no
UseDNS no
AcceptEnv LANG LC_*
LogLevel VERBOSE
PidFile none
Subsystem sftp internal-sftp
"""

_HOST_CONFIG = """\
Host {name}
  HostName {address}
  HostKeyAlias {name}
  User root
  IdentityFile {directory}/keys/id_ed25519
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile {directory}/known_hosts
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  ProxyCommand {nsenter} {user}-t {pid} -m -u -i -n -p -- {sshd} -i -f /etc/ssh/sshd_config -E /var/log/sshd.log

"""


@dataclass
class Lab:
    """A lab that is up.  `hosts` maps names to addresses, `pids` names to the host's process 1 on this machine."""

    directory: Path
    hosts: dict[str, str]
    pids: dict[str, int]
    warden_pid: int
    ephemeral: bool
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

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
        _require_tools()
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
                env={"PATH": _PATH, "LC_ALL": "C.UTF-8"},
            )
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                with process.stdin, process.stdout:
                    _hear(process.stdout, "watching", complaints, path)
                    _write_files(path, hosts)
                    process.stdin.write(b"go\n")
                    process.stdin.flush()
                    pids = _in_order(_hear(process.stdout, "hosts", complaints, path))
                lab = cls(path, _addresses(pids), pids, process.pid, ephemeral, process)
                _write_ssh_config(lab)
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
        lab = cls(path, _addresses(pids), pids, int(facts["warden"]), bool(facts["creator"]))
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


def _in_order(pids: dict[str, int]) -> dict[str, int]:
    return {f"n{number}": int(pids[f"n{number}"]) for number in range(1, len(pids) + 1)}


def _addresses(pids: dict[str, int]) -> dict[str, str]:
    return {name: f"{NETWORK}.{name[1:]}" for name in pids}


def _warden_directory(pid: int) -> Path | None:
    """The directory of the lab that this process is the warden of; None when it is not one, or has ended."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return None
    marks = [
        at for at, word in enumerate(words) if word == b"serve" and words[at - 1].endswith(b"/provision/warden.py")
    ]
    return Path(os.fsdecode(words[marks[0] + 1])) if marks and not words[0].endswith(b"unshare") else None


def _is_warden(pid: int, directory: Path) -> bool:
    return _warden_directory(pid) == directory


# --- before the first process -----------------------------------------------------------------------------------------


def _require_tools() -> None:
    missing = [tool for tool in _TOOLS if shutil.which(tool, path=_PATH) is None]
    if os.geteuid() != 0 and shutil.which("newuidmap", path=_PATH) is None:
        missing.append("newuidmap")
    if missing:
        packages = sorted({_TOOLS.get(tool, "uidmap") for tool in missing})
        raise UsageError(
            f"a lab needs {', '.join(missing)}, which this machine does not have",
            remedy=f"Install them as root: apt-get install {' '.join(packages)}",
        )


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


def _write_files(path: Path, hosts: int) -> None:
    keys = path / "keys"
    keys.mkdir(mode=0o700)
    public = _generate_keys(
        {"id_ed25519": keys / "id_ed25519"} | {f"n{n}": keys / f"n{n}" for n in range(1, hosts + 1)}
    )
    names = {f"n{number}": f"{NETWORK}.{number}" for number in range(1, hosts + 1)}
    (path / "known_hosts").write_text("".join(f"{name},{address} {public[name]}\n" for name, address in names.items()))
    own_lines = "".join(f"{address} {name}\n" for name, address in names.items())
    for name in names:
        own = path / "hosts" / name
        for part in (*warden.OWN_DIRECTORIES, "etc", "state", "var-lib/onethrone"):
            (own / part).mkdir(parents=True)
        for part in ("tmp", "var-tmp"):
            (own / part).chmod(0o1777)
        (own / "root").chmod(0o700)
        # sshd locks itself into this one; it must be root's alone.
        (own / "run" / "sshd").mkdir(mode=0o755)
        (own / "ssh" / "sshd_config").write_text(_SSHD_CONFIG)
        (own / "ssh" / "authorized_keys").write_text(public["id_ed25519"] + "\n")
        (keys / name).rename(own / "ssh" / "ssh_host_ed25519_key")
        (keys / f"{name}.pub").rename(own / "ssh" / "ssh_host_ed25519_key.pub")
        (own / "etc" / "hostname").write_text(f"{name}\n")
        (own / "etc" / "hosts").write_text(f"127.0.0.1 localhost\n{own_lines}")
        (own / "etc" / "group").write_text(Path("/etc/group").read_text())
        # A plain /bin/sh and an empty home: what a login shell reads at its start is paid for with each command.
        users = [line.split(":") for line in Path("/etc/passwd").read_text().splitlines()]
        lines = [":".join([*user[:6], "/bin/sh"] if user[0] == "root" else user) for user in users]
        (own / "etc" / "passwd").write_text("\n".join(lines) + "\n")
        (own / "etc" / "shadow").write_text("".join(f"{user[0]}:*:20000:0:99999:7:::\n" for user in users))
        (own / "etc" / "shadow").chmod(0o600)


def _generate_keys(files: dict[str, Path]) -> dict[str, str]:
    """Make a key pair at each path, all at once; the public halves, by name."""
    makers = {
        name: subprocess.Popen(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for name, file in files.items()
    }
    public = {}
    for name, maker in makers.items():
        _, complaint = maker.communicate(timeout=UP_DEADLINE_S)
        if maker.returncode != 0:
            raise HarnessError(f"ssh-keygen: {complaint.decode(errors='replace').strip()}")
        public[name] = files[name].with_name(files[name].name + ".pub").read_text().strip()
    return public


def _write_ssh_config(lab: Lab) -> None:
    hosts = [
        _HOST_CONFIG.format(
            name=name,
            address=lab.hosts[name],
            directory=lab.directory,
            nsenter=shutil.which("nsenter", path=_PATH),
            sshd=shutil.which("sshd", path=_PATH),
            user="" if os.geteuid() == 0 else "-U ",
            pid=pid,
        )
        for name, pid in lab.pids.items()
    ]
    temporary = lab.directory / "ssh_config.new"
    temporary.write_text("".join(hosts))
    temporary.rename(lab.ssh_config)


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
