"""A real sshd on a loopback address, with keys of its own, that can be stopped and stunted."""

from __future__ import annotations

import contextlib
import getpass
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

from tests.addresses import network

DEADLINE_S = 60.0


def make_key(path: Path, passphrase: str = "") -> str:
    """Make a key pair at `path`; the public half."""
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", str(path)]
    subprocess.run(command, check=True, timeout=DEADLINE_S, stdin=subprocess.DEVNULL)
    return path.with_name(path.name + ".pub").read_text().strip()


PORT = 22022


class Sshd:
    """sshd for the user of this process.  `config` is an OpenSSH config in which it is the host `here`."""

    def __init__(self, directory: Path, *settings: str) -> None:
        self.directory = directory
        self.address = f"{network()}.1"
        self.port = PORT
        self.user = getpass.getuser()
        host_key = make_key(directory / "host_key")
        (directory / "authorized_keys").write_text(make_key(directory / "user_key") + "\n")
        self.known_hosts = directory / "known_hosts"
        self.known_hosts.write_text(f"[{self.address}]:{self.port} {host_key}\n")
        (directory / "sshd_config").write_text(
            "\n".join(
                [
                    *settings,
                    f"ListenAddress {self.address}:{self.port}",
                    f"HostKey {directory}/host_key",
                    f"AuthorizedKeysFile {directory}/authorized_keys",
                    "StrictModes no",
                    "UsePAM no",
                    "PasswordAuthentication no",
                    "KbdInteractiveAuthentication no",
                    "PidFile none",
                    "Subsystem sftp internal-sftp",
                ]
            )
            + "\n"
        )
        self.config = directory / "ssh_config"
        self.write_config()
        sshd = f"exec /usr/sbin/sshd -D -f {directory}/sshd_config -E {directory}/sshd.log"
        if os.geteuid() == 0:
            # As root it wants /run/sshd, which only a started service makes: give it one that nobody else sees.
            sshd = f"mount -t tmpfs none /run && mkdir -m 755 /run/sshd && {sshd}"
            command = ["unshare", "--mount", "sh", "-c", sshd]
        else:
            command = ["sh", "-c", sshd]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        until = time.monotonic() + DEADLINE_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection((self.address, self.port), 1):
                return
            assert self.process.poll() is None, (directory / "sshd.log").read_text()
            assert time.monotonic() < until, "sshd did not listen"
            time.sleep(0.02)

    def write_config(self, *more: str, **changes: str) -> None:
        """Write the client's config again, with other values."""
        settings = {
            "HostName": self.address,
            "Port": str(self.port),
            "User": self.user,
            "IdentityFile": str(self.directory / "user_key"),
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": str(self.known_hosts),
            "GlobalKnownHostsFile": "/dev/null",
        } | changes
        lines = ["Host here", *(f"  {name} {value}" for name, value in settings.items()), *more]
        self.config.write_text("\n".join(lines) + "\n")

    def sessions(self) -> list[int]:
        """The processes that serve one connection each, with those that they in turn made."""
        found, todo = [], [self.process.pid]
        while todo:
            pid = todo.pop()
            with contextlib.suppress(OSError):
                children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
                found += children
                todo += children
        return found

    def signal_sessions(self, number: signal.Signals) -> None:
        for pid in self.sessions():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def __enter__(self) -> Sshd:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pid in [*self.sessions(), self.process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(DEADLINE_S)
