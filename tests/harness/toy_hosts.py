"""A provisioner of somebody else's, in one file: its "hosts" are sshd processes on loopback addresses of this machine.

It is known to the harness by nothing but an entry point (see test_provision.py).
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from harness import HarnessError, UsageError
from harness.hosts.provision.base import Hosts, HostSpec, Missing, Standing, parse_count

PORT = 22022
DEADLINE_S = 60.0
_SERVE = "mount -t tmpfs none /run && mkdir -m 755 /run/sshd && exec /usr/sbin/sshd -D -f {config} -E {config}.log"


class ToyProvisioner:
    """See `base.Provisioner`."""

    scheme = "toy"

    def parse(self, text: str) -> HostSpec:
        return HostSpec(self.scheme, tuple(f"t{number}" for number in range(1, parse_count(text) + 1)))

    def missing(self) -> Sequence[Missing]:
        gone = Missing("sshd", "each host's login", "openssh-server")
        return [] if Path("/usr/sbin/sshd").exists() and "TOY_LACKS" not in os.environ else [gone]

    def up(self, spec: HostSpec, directory: Path | None = None, *, standing: bool = False) -> Hosts:
        from tests.addresses import network

        if directory is not None and directory.exists():
            raise UsageError("the directory is taken", where=str(directory))
        path = directory or Path(tempfile.mkdtemp(prefix="toy-"))
        path.mkdir(exist_ok=True)
        (path / "toy.json").write_text("[]")
        net = network()
        addresses = {name: f"{net}.{number}" for number, name in enumerate(spec.names, 1)}
        keys = {name: self._key(path / f"{name}.key") for name in ("user", *spec.names)}
        (path / "authorized_keys").write_text(keys["user"])
        (path / "known_hosts").write_text("".join(f"{name} {keys[name]}" for name in spec.names))
        (path / "ssh_config").write_text("".join(self._entry(path, *host) for host in addresses.items()))
        pids = [self._serve(path, name, address, standing) for name, address in addresses.items()]
        (path / "toy.json").write_text(json.dumps(pids))
        until = time.monotonic() + DEADLINE_S
        for address in addresses.values():
            while True:
                with contextlib.suppress(OSError), socket.create_connection((address, PORT), 1):
                    break
                if time.monotonic() > until:
                    self.down(path)
                    raise HarnessError(f"nothing listens at {address}")
                time.sleep(0.02)
        return Hosts(spec.names, path / "ssh_config", addresses, path)

    def down(self, directory: Path) -> bool:
        mark = directory / "toy.json"
        if not mark.exists():
            return False
        for pid in json.loads(mark.read_text()):
            with contextlib.suppress(OSError):  # it has ended
                if os.fsencode(directory) in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)
                    self._wait_for_the_end_of(pid)
        until = time.monotonic() + DEADLINE_S
        while directory.exists():  # a process that is being killed may still make a file in it
            shutil.rmtree(directory, ignore_errors=True)
            assert time.monotonic() < until, f"{directory} does not go"
        return True

    @staticmethod
    def _wait_for_the_end_of(pid: int) -> None:
        until = time.monotonic() + DEADLINE_S
        while Path(f"/proc/{pid}/cmdline").read_bytes():  # OSError, or empty for a zombie: it has ended
            assert time.monotonic() < until, f"process {pid} does not end"
            time.sleep(0.01)

    def list(self) -> Sequence[Standing]:
        return ()

    @staticmethod
    def _key(path: Path) -> str:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True, timeout=DEADLINE_S)
        return path.with_name(path.name + ".pub").read_text()

    @staticmethod
    def _entry(path: Path, name: str, address: str) -> str:
        return (
            f"Host {name}\n  HostName {address}\n  Port {PORT}\n  HostKeyAlias {name}\n  User {getpass.getuser()}\n"
            f"  IdentityFile {path}/user.key\n  IdentitiesOnly yes\n  UserKnownHostsFile {path}/known_hosts\n"
        )

    @staticmethod
    def _serve(path: Path, name: str, address: str, standing: bool) -> int:
        config = path / f"{name}.sshd"
        config.write_text(
            f"ListenAddress {address}:{PORT}\nHostKey {path}/{name}.key\nAuthorizedKeysFile {path}/authorized_keys\n"
            "StrictModes no\nUsePAM no\nPasswordAuthentication no\nPidFile none\nSubsystem sftp internal-sftp\n"
        )
        # As root it wants /run/sshd, which only a started service makes: give it one that nobody else sees.
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        command = ["unshare", *user, "--mount", "sh", "-c", _SERVE.format(config=config)]
        if not standing:
            command = ["setpriv", "--pdeathsig", "KILL", *command]
        null = subprocess.DEVNULL
        return subprocess.Popen(command, stdin=null, stdout=null, stderr=null, start_new_session=True).pid


PROVISIONER = ToyProvisioner()
