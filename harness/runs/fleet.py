"""The servers of a run on their hosts: put there, started, listened to, stopped, fetched, and removed again.

Each host has an injector, which starts and ends the server, follows its events and carries faults out.  What is heard
becomes history through the observer; its times are the host's, mapped to the controller's clock by the injector's
exchange of stamps.
"""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

from harness import HostError
from harness.hosts.cluster import CONNECTING_AT_ONCE, Cluster
from harness.hosts.injector_client import Answer
from harness.hosts.injectors import Injectors
from harness.plan.schema import Plan
from harness.results.recorder import Recorder
from harness.runs.observer import Observer
from harness.systems.base import HostTime, ProcessStarted, Said, Statement, System, Unreadable
from nemesis.faults import Order

LOG = logging.getLogger("onethrone.fleet")

EVENTS = "events"
"""The stream of what a server reports of itself."""

_CLOCKS = "import time; print(time.time_ns() - time.monotonic_ns())"


class Fleet:
    """The injectors and servers of one run, for as long as the block lasts; nothing of them is left after it."""

    def __init__(
        self,
        plan: Plan,
        hosts: Cluster,
        system: System,
        directory: str,
        record: Recorder,
        observer: Observer,
    ) -> None:
        self._hosts = hosts
        self._directory = directory
        self._record = record
        self._observer = observer
        self._life = system.life()
        self._follows = {name: system.follow(name) for name in hosts.remotes}
        self._sids = {name: sid for sid, name in enumerate(hosts.remotes, 1)}
        self._sid_of = {system.identity(name): sid for name, sid in self._sids.items()}
        self._wall_ahead_ns: dict[str, int] = {}
        """How far each host's wall clock is ahead of its monotonic one."""
        self.errors: list[str] = []
        """What makes the run incomplete: hosts that were lost, faults that a host could not keep up."""
        self._injectors = Injectors(
            hosts.remotes,
            f"{directory}/injector",
            lease_s=plan.nemesis.lease_s,
            privilege=hosts.privilege,
            on_lines=self._lines,
            on_event=self._event,
        )

    def __enter__(self) -> Fleet:
        self._everywhere(lambda name: self._as_root(name, f"mkdir -p -m 755 {shlex.quote(self._directory)}/injector"))
        try:
            self._injectors.start()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def _remove(self) -> None:
        for host, answer in self._injectors.shutdown().items():
            if not answer.ok:
                LOG.warning("%s: the injector did not end in order: %s", host, answer.error)
        for host, problem in self._everywhere(
            lambda name: self._as_root(name, f"rm -rf {shlex.quote(self._directory)}"), raises=False
        ).items():
            LOG.warning("%s: %s is left behind: %s", host, self._directory, problem)

    def _as_root(self, name: str, command: str) -> None:
        self._hosts.remotes[name].run(f"{self._hosts.privilege[name]}{command}", deadline_s=20, idempotent=True)

    def _everywhere(self, do: Callable[[str], None], *, raises: bool = True) -> dict[str, str]:
        """The same on all hosts at once; what failed where, unless it `raises` (the first failure)."""
        problems: dict[str, str] = {}

        def attempt(name: str) -> None:
            try:
                do(name)
            except HostError as error:
                if raises:
                    raise
                problems[name] = str(error)

        with ThreadPoolExecutor(CONNECTING_AT_ONCE) as pool:
            list(pool.map(attempt, self._hosts.remotes))
        return problems

    # ---- servers -----------------------------------------------------------------------------------------------------

    def start_servers(self, deadline_s: float) -> None:
        """Put the servers' files on the hosts and start them, all at once.  Raises HostError."""
        self._everywhere(self._put_files)
        self._everywhere(self._compare_clocks)
        for name, injector in self._injectors.items():
            injector.tail(EVENTS, f"{self._directory}/{self._follows[name].path}")
        orders: dict[str, Order] = {name: {"do": "start", "server": self._server(name)} for name in self._injectors}
        for answer in self._injectors.send_all(orders, deadline_s).values():
            answer.expect()

    def _compare_clocks(self, name: str) -> None:
        said = self._hosts.remotes[name].run(["python3", "-c", _CLOCKS], idempotent=True).text
        self._wall_ahead_ns[name] = int(said)

    def _put_files(self, name: str) -> None:
        remote, privilege = self._hosts.remotes[name], self._hosts.privilege[name]
        if privilege:
            self._as_root(name, f'chown -R "$(id -u)" {shlex.quote(self._directory)}')
        for path, content in self._life.files(name).items():
            folder = shlex.quote(str(Path(self._directory, path).parent))
            remote.run(f"mkdir -p {folder}", idempotent=True)
            remote.put(content, f"{self._directory}/{path}")

    def _server(self, name: str) -> dict[str, Any]:
        command = self._life.command(name)
        bendable = not self._hosts.abilities[name].get("faketime", "unknown")
        server: dict[str, Any] = {
            "argv": list(command.argv),
            "cwd": command.cwd,
            "env": dict(command.env),
            "stdout": command.output,
            "stderr": command.output,
            "clock": "monotonic" if bendable else None,
        }
        if command.clck is not None:
            server["clck"] = list(command.clck)
        return server

    def stop_servers(self, deadline_s: float) -> None:
        """A graceful end of every server; one that does not end is killed by its injector."""
        for host, answer in self._injectors.request_all("stop", deadline_s, how="stop").items():
            if not answer.ok:
                LOG.warning("%s: the server did not stop in order: %s", host, answer.error)

    # ---- faults ------------------------------------------------------------------------------------------------------

    def send_all(self, orders: Mapping[str, Order], deadline_s: float) -> dict[str, Answer]:
        return self._injectors.send_all(orders, deadline_s)

    # ---- what hosts say ----------------------------------------------------------------------------------------------

    def _lines(self, host: str, stream: str, lines: list[str]) -> None:
        follow = self._follows[host]
        for line in lines:
            for statement in follow.read(line):
                self._state(host, statement)

    def _state(self, host: str, statement: Statement) -> None:
        """One statement becomes one op, dated by the host's clock that the server read."""
        if isinstance(statement, Unreadable):
            value = {"line": statement.line, "why": statement.why}
            self._observer.report(host, "unreadable", value, controller_ns=time.monotonic_ns())
        elif isinstance(statement, Said):
            self._report(host, "state", statement.value(self._sids[host], self._sid_of), statement.at)
        else:
            f = "started" if isinstance(statement, ProcessStarted) else "stopped"
            self._report(host, f, dict(statement.more), statement.at)

    def _report(self, host: str, f: str, value: Any, at: HostTime) -> None:
        """A wall clock was set beside the monotonic one when the servers were started."""
        host_time = at.host_ns
        if host_time is None:
            assert at.wall_ns is not None
            host_time = at.wall_ns - self._wall_ahead_ns[host]
        controller_ns, error_ns = self._injectors[host].to_controller_time(host_time)
        self._observer.report(
            host, f, value, controller_ns=controller_ns, host_time=host_time, error_ns=error_ns + at.error_ns
        )

    def _event(self, host: str, event: dict[str, Any]) -> None:
        """What the injector itself noticed: a server's end, a flap's toggle, a healing, or that it is lost."""
        name = event["event"]
        if name == "lost":
            self.errors.append(f"{host}: {event['reason']}")
            return
        if name in ("flap-failed", "strobe-failed"):
            self.errors.append(f"{host}: {event['fault']}: {event['error']}")
        value = {key: what for key, what in event.items() if key not in ("event", "seq", "host_time")}
        self._report(host, name, value, HostTime(event.get("host_time", 0)))

    def drain(self, deadline_s: float) -> dict[str, dict[str, int | None]]:
        """By host: how many events it holds, and how many arrived; null where nobody knows."""
        until = time.monotonic() + deadline_s
        counts: dict[str, dict[str, int | None]] = {}
        for host, injector in self._injectors.items():
            try:
                counts[host] = {**injector.drain(max(1.0, until - time.monotonic()))[EVENTS]}
            except (HostError, KeyError) as error:
                LOG.warning("%s: its events could not be counted: %s", host, error)
                counts[host] = {"sent": None, "received": injector.received.get(EVENTS)}
        return counts

    def collect(self, folders: Mapping[str, Path], deadline_s: float) -> None:
        """Fetch every host's logs and journal into its folder."""
        until = time.monotonic() + deadline_s

        def fetch(name: str) -> None:
            for log in self._life.logs:
                left_s = max(1.0, until - time.monotonic())
                try:
                    self._hosts.remotes[name].get(f"{self._directory}/{log}", folders[name] / log, deadline_s=left_s)
                except HostError as error:
                    LOG.warning("%s could not be fetched: %s", log, error)

        self._everywhere(fetch, raises=False)
