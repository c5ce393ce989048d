"""Onethrone's own election server as the system under test: the node archive, started with ZooKeeper's `zoo.cfg`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from harness.hosts import archive
from harness.systems.base import (
    Command,
    Ensemble,
    HostTime,
    ProcessStarted,
    ProcessStopped,
    Profile,
    Role,
    Said,
    Statement,
    Unreadable,
)
from harness.systems.zookeeper.settings import ZooKeeperSettings, zoo_cfg
from harness.workloads.zookeeper import ZooKeeperClients
from node import bugs

ARCHIVE = "onethrone-node.pyz"
EVENTS, JOURNAL, OUTPUT = "events.jsonl", "journal.jsonl", "server.log"
_BUGS = tuple(bugs.names())
LINE_SHOWN = 500
"""Characters of a line that cannot be read which go into the history."""


class Onethrone:
    """See `harness.systems.base.System`, and `Life` there."""

    Settings = ZooKeeperSettings
    logs = ("zoo.cfg", OUTPUT, EVENTS, JOURNAL)

    def __init__(self, settings: ZooKeeperSettings, ensemble: Ensemble) -> None:
        self._settings = settings
        self._ensemble = ensemble

    def profile(self) -> Profile:
        return Profile(
            "onethrone",
            self._settings.bounds(),
            self._settings.detect_s,
            observers=True,
            groups=True,
            bugs=_BUGS,
            simulated=True,
            settings=self._settings.timing,
        )

    def identity(self, host: str) -> str:
        return str(self._ensemble.places[host].sid)

    def follow(self, host: str) -> OnethroneEvents:
        return OnethroneEvents()

    def clients(self) -> ZooKeeperClients:
        return ZooKeeperClients(self._settings.client_port)

    def cannot(self, host: str) -> Mapping[str, str]:
        return {}

    def life(self) -> Onethrone:
        return self

    def files(self, host: str) -> dict[str, bytes]:
        return {
            ARCHIVE: archive.build("node"),
            "zoo.cfg": zoo_cfg(self._settings, self._ensemble, host, {"maxClientCnxns": "256"}),
            "data/myid": b"%d\n" % self._ensemble.places[host].sid,
        }

    def command(self, host: str) -> Command:
        directory = self._ensemble.places[host].directory
        argv = ["python3", f"{directory}/{ARCHIVE}", "serve", "--config", f"{directory}/zoo.cfg"]
        argv += ["--events", f"{directory}/{EVENTS}", "--journal", f"{directory}/{JOURNAL}"]
        if self._ensemble.bug:
            argv += ["--bug", self._ensemble.bug]
        clck = ("127.0.0.1", self._settings.client_port)
        return Command(tuple(argv), directory, f"{directory}/{OUTPUT}", clck=clck)


class OnethroneEvents:
    """The server writes ops already: one JSON object a line, with the host's true monotonic clock."""

    path = EVENTS

    def read(self, line: str) -> Iterator[Statement]:
        if not line.strip():
            return
        try:
            event = _decoder.decode(line)
            at = HostTime(event.host_time)
            if event.f == "state":
                state = msgspec.convert(event.value, _ReportedState)
                leader = None if state.leader is None else str(state.leader)
                yield Said(
                    at, state.role, leader, state.epoch, state.established, state.phase == "broadcast", event.value
                )
            elif event.f == "started":
                yield ProcessStarted(at, event.value)
            elif event.f == "stopped":
                yield ProcessStopped(at, event.value)
        except msgspec.MsgspecError as error:
            yield Unreadable(line[:LINE_SHOWN], str(error))


class _ReportedEvent(msgspec.Struct):
    host_time: int
    f: str
    value: dict[str, Any]


class _ReportedState(msgspec.Struct):
    role: Role
    phase: str | None = None
    leader: int | None = None
    epoch: int | None = None
    established: bool = False


_decoder = msgspec.json.Decoder(_ReportedEvent)
