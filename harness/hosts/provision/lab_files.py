"""The files of a lab: what each host has of its own in /etc, the keys, and the OpenSSH config of all hosts."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from harness import HarnessError
from harness.hosts.provision import warden

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where a lab's programs are looked for, whatever the caller's own PATH is."""

KEYS_DEADLINE_S = 40.0

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


def write_files(path: Path, hosts: Mapping[str, str]) -> None:
    """Everything but the OpenSSH config, which needs the hosts' processes.  `hosts`: address by name."""
    keys = path / "keys"
    keys.mkdir(mode=0o700)
    public = _generate_keys({name: keys / name for name in ("id_ed25519", *hosts)})
    (path / "known_hosts").write_text("".join(f"{name},{address} {public[name]}\n" for name, address in hosts.items()))
    own_lines = "".join(f"{address} {name}\n" for name, address in hosts.items())
    for name in hosts:
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
        _, complaint = maker.communicate(timeout=KEYS_DEADLINE_S)
        if maker.returncode != 0:
            raise HarnessError(f"ssh-keygen: {complaint.decode(errors='replace').strip()}")
        public[name] = files[name].with_name(files[name].name + ".pub").read_text().strip()
    return public


def write_ssh_config(path: Path, hosts: Mapping[str, str], pids: Mapping[str, int]) -> None:
    """An OpenSSH config that enters each host by its process 1; the network has no part in it.  Whole or not there."""
    text = "".join(
        _HOST_CONFIG.format(
            name=name,
            address=address,
            directory=path.parent,
            nsenter=shutil.which("nsenter", path=PATH),
            sshd=shutil.which("sshd", path=PATH),
            user="" if os.geteuid() == 0 else "-U ",
            pid=pids[name],
        )
        for name, address in hosts.items()
    )
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(text)
    temporary.rename(path)
