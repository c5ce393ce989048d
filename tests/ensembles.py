"""Ensembles of real servers for tests: either system, or both mixed, on loopback or on the hosts of a lab.

On loopback every server listens on the same ports of an address of its own in 127.0.0.0/8.  A server dies with the test
process, however that ends, and `Servers.close` (it is a context manager) leaves no process behind.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from harness import HarnessError
from harness.hosts.provision.lab import Lab
from harness.hosts.ssh.remote import Remote
from harness.systems import registry
from harness.systems.base import Command, Ensemble, Place, ProcessStarted, ProcessStopped, Said, System, Unreadable
from harness.systems.zookeeper.settings import ZooKeeperSettings
from harness.workloads.base import ClientError, SocketLike
from harness.workloads.zookeeper import ZooKeeperClient, four_letter_word
from tests import addresses

SETTINGS = ZooKeeperSettings(
    tick_ms=500, init_limit=10, sync_limit=8, client_port=22181, quorum_port=22888, election_port=23888
)
_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


class Servers:
    """Some servers that form one ensemble: `systems_by_host` says what each is; n1 is server 1, and so on."""

    def __init__(
        self,
        directory: Path,
        systems_by_host: Mapping[str, str],
        settings: ZooKeeperSettings = SETTINGS,
        observers: Collection[str] = (),
    ) -> None:
        network = addresses.network()
        self.directories = {host: directory / host for host in systems_by_host}
        self._set_up(
            systems_by_host, settings, lambda host, sid: (f"{network}.{sid}", str(directory / host)), observers
        )

    def _set_up(
        self,
        systems_by_host: Mapping[str, str],
        settings: ZooKeeperSettings,
        where: Callable[[str, int], tuple[str, str]],
        observers: Collection[str] = (),
    ) -> None:
        """`where` gives a server's address, and its directory as it is seen there."""
        self.hosts = tuple(systems_by_host)
        self.places = {host: Place(host, sid, *where(host, sid)) for sid, host in enumerate(self.hosts, 1)}
        self.client_port = settings.client_port
        ensemble = Ensemble(self.places, observers)
        self.systems: dict[str, System] = {
            host: registry.make(name, settings, ensemble) for host, name in systems_by_host.items()
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        for host in self.hosts:
            for path, content in self.systems[host].life().files(host).items():
                file = self.directories[host] / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)

    def start(self, *hosts: str) -> None:
        """Start these servers, or all of them; does not wait for anything."""
        for host in hosts or self.hosts:
            command = self.systems[host].life().command(host)
            with open(self.directories[host] / Path(command.output).name, "ab") as output:
                self.processes[host] = subprocess.Popen(
                    self.argv(host, command),
                    cwd=self.directories[host],
                    env={**os.environ, **command.env},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    preexec_fn=_die_with_parent,  # noqa: PLW1509 (one system call, no locks)
                )

    def argv(self, host: str, command: Command) -> Sequence[str]:
        return command.argv

    def pid(self, host: str) -> int:
        """The process id of the server, on this machine."""
        return self.processes[host].pid

    def kill(self, host: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal, and wait for what it does: the end, or the stop of every thread (which takes a while)."""
        pid = self.pid(host)
        os.kill(pid, number)
        if number in (signal.SIGKILL, signal.SIGTERM):
            self.processes[host].wait(20)
        elif number == signal.SIGSTOP:
            end = time.monotonic() + 20
            while not _is_stopped(pid):
                assert time.monotonic() < end, f"{host} does not stop"
                time.sleep(0.002)

    def connect(self, host: str, deadline_s: float = 10.0) -> SocketLike:
        return self.connect_to(host, self.client_port, deadline_s)

    def connect_to(self, host: str, port: int, deadline_s: float = 10.0) -> SocketLike:
        return socket.create_connection((self.places[host].address, port), timeout=deadline_s)

    def client(self, host: str, deadline_s: float = 20.0) -> ZooKeeperClient:
        return ZooKeeperClient.connect(self.connect(host), deadline_s)

    def ask(self, host: str, word: str) -> str:
        """The answer to a four-letter word; "" when there is none."""
        try:
            return four_letter_word(self.connect(host), word, 10.0)
        except (OSError, EOFError, HarnessError, ClientError):
            return ""

    def peer_state(self, host: str) -> str:
        """`zk_peer_state` of `mntr`, such as "leading - broadcast"; "" while the server does not serve."""
        for line in self.ask(host, "mntr").splitlines():
            key, _, value = line.partition("\t")
            if key == "zk_peer_state":
                return value.strip()
        return ""

    def states(self) -> dict[str, str]:
        return {host: self.peer_state(host) for host in self.hosts}

    def leader(self) -> str | None:
        """The host whose server says that it leads in the broadcast phase, if there is exactly one."""
        leaders = [host for host, state in self.states().items() if state == "leading - broadcast"]
        return leaders[0] if len(leaders) == 1 else None

    def wait_for(self, what: str, condition: Callable[[], Any], deadline_s: float = 90.0) -> Any:
        """Wait until the condition gives something true, and return that; fail with the end of every log otherwise."""
        end = time.monotonic() + deadline_s
        while not (result := condition()):
            dead = {host: p.returncode for host, p in self.processes.items() if p.poll() is not None}
            if time.monotonic() > end:
                logs = "\n".join(f"--- {host}\n{self.log(host)[-3000:]}" for host in self.hosts)
                raise AssertionError(f"{what}: not within {deadline_s} s; ended: {dead}; {self.states()}\n{logs}")
            time.sleep(0.02)
        return result

    def wait_until_all_serve(self, *hosts: str, deadline_s: float = 90.0) -> str:
        """Wait until one of these hosts (by default all) leads and the others follow, in broadcast: the leader."""

        def settled() -> str | None:
            states = {host: self.peer_state(host) for host in hosts or self.hosts}
            leader = self.leader()
            return leader if leader and all(state.endswith("broadcast") for state in states.values()) else None

        found: str = self.wait_for(f"a leader followed by all of {hosts or self.hosts}", settled, deadline_s)
        return found

    def log(self, host: str) -> str:
        """Everything the server wrote to its stdout and stderr."""
        path = self.directories[host] / Path(self.systems[host].life().command(host).output).name
        return path.read_text(errors="replace") if path.exists() else ""

    def events(self, host: str) -> list[dict[str, Any]]:
        """What the server has said so far, as ops, each with its time by the host's clock that it read."""
        system = self.systems[host]
        follow = system.follow(host)
        path = self.directories[host] / follow.path
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
        statements = [statement for line in lines for statement in follow.read(line)]
        return [self._event(host, said) for said in statements if not isinstance(said, Unreadable)]

    def _event(self, host: str, said: Said | ProcessStarted | ProcessStopped) -> dict[str, Any]:
        sid_of = {self.systems[name].identity(name): place.sid for name, place in self.places.items()}
        value = said.value(self.places[host].sid, sid_of) if isinstance(said, Said) else said.more
        f = {Said: "state", ProcessStarted: "started", ProcessStopped: "stopped"}[type(said)]
        at = {"host_time": said.at.host_ns, "wall_ns": said.at.wall_ns}
        return {"f": f, "value": value} | {clock: ns for clock, ns in at.items() if ns is not None}

    def close(self) -> None:
        for host in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid(host), signal.SIGKILL)
        for process in self.processes.values():
            process.wait(20)

    def __enter__(self) -> Servers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class LabServers(Servers):
    """The same on the hosts of a lab, each server in a folder `name` of its host; asked over SSH."""

    def __init__(
        self,
        lab: Lab,
        remotes: Mapping[str, Remote],
        name: str,
        systems_by_host: Mapping[str, str],
        settings: ZooKeeperSettings = SETTINGS,
    ) -> None:
        self._lab = lab
        self._remotes = remotes
        self.directories = {host: lab.directory / "hosts" / host / "state" / name for host in systems_by_host}
        self._set_up(systems_by_host, settings, lambda host, _: (lab.hosts[host], f"/var/lib/onethrone/{name}"))

    def argv(self, host: str, command: Command) -> Sequence[str]:
        user = () if os.geteuid() == 0 else ("-U",)
        enter = ("nsenter", *user, "-t", str(self._lab.pids[host]), "-m", "-u", "-i", "-n", "-p", "--")
        return (*enter, "sh", "-c", 'cd "$0" && exec "$@"', command.cwd, *command.argv)

    def pid(self, host: str) -> int:
        """The one child of `nsenter`, which enters a process namespace by forking; itself while there is none."""
        parent = self.processes[host].pid
        try:
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        except OSError:
            return parent
        return int(children[0]) if children else parent

    def connect(self, host: str, deadline_s: float = 10.0) -> SocketLike:
        return self.connect_to(host, self.client_port, deadline_s)

    def connect_to(self, host: str, port: int, deadline_s: float = 10.0) -> SocketLike:
        return self._remotes[host].forward(self.places[host].address, port, deadline_s)


def _is_stopped(pid: int) -> bool:
    states = []
    for task in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):  # a thread that has ended meanwhile
            states.append(task.read_text().rpartition(")")[2].split()[0])
    return set(states) == {"T"}


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
