"""Onethrone's own election server as the system under test: the node archive, started with ZooKeeper's `zoo.cfg`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from harness.hosts import archive
from harness.plan.schema import EnsemblePlan
from harness.systems.base import Ask, Clock, Command, Place, serves, zoo_cfg

ARCHIVE = "onethrone-node.pyz"


class Onethrone:
    """See `harness.systems.System`."""

    name = "onethrone"
    data = "data"
    events = "events.jsonl"
    logs = ("zoo.cfg", "server.log", "events.jsonl", "journal.jsonl")

    def __init__(self, ensemble: EnsemblePlan, places: Mapping[str, Place]) -> None:
        self._ensemble = ensemble
        self._places = places
        self.client_port = ensemble.client_port
        self.ports = (ensemble.client_port, ensemble.quorum_port, ensemble.election_port)

    def files(self, host: str) -> dict[str, bytes]:
        return {
            ARCHIVE: archive.build("node"),
            "zoo.cfg": zoo_cfg(self._ensemble, self._places, host, {"maxClientCnxns": "256"}),
            f"{self.data}/myid": b"%d\n" % self._places[host].sid,
        }

    def command(self, host: str) -> Command:
        directory = self._places[host].directory
        argv = ["python3", f"{directory}/{ARCHIVE}", "serve", "--config", f"{directory}/zoo.cfg"]
        argv += ["--events", f"{directory}/{self.events}", "--journal", f"{directory}/journal.jsonl"]
        if self._ensemble.bug:
            argv += ["--bug", self._ensemble.bug]
        return Command(tuple(argv), directory, f"{directory}/server.log")

    def translator(self, host: str) -> OnethroneTranslator:
        return OnethroneTranslator()

    def ready(self, ask: Ask) -> bool:
        return serves(ask)

    def clock(self, ask: Ask) -> Clock:
        answer = json.loads(ask("clck"))
        return Clock(int(answer["monotonic_ns"]), int(answer["wall_ns"]))


class OnethroneTranslator:
    """The server writes ops already: one JSON object a line, with the host's true monotonic clock."""

    def translate(self, line: str) -> dict[str, Any] | None:
        if not line.strip():
            return None
        try:
            event = _decoder.decode(line)
        except msgspec.DecodeError as error:
            return {"f": "unreadable", "value": {"line": line[:500], "why": str(error)}}
        return {"f": event.f, "value": event.value, "host_time": event.host_time}


class _ReportedEvent(msgspec.Struct):
    host_time: int
    f: str
    value: Any = None


_decoder = msgspec.json.Decoder(_ReportedEvent)
