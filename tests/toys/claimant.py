"""A third system under test, as somebody else would write it: `onethrone run --system tests.toys.claimant:Claimant`.

Its servers elect a leader and do nothing else, so it has no clients.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from harness.systems.base import (
    Claim,
    Command,
    Ensemble,
    HostTime,
    ProcessStarted,
    Profile,
    Said,
    Statement,
    Unreadable,
)

SERVER = Path(__file__).with_name("claimant_server.py")


class ClaimantSettings(msgspec.Struct, frozen=True):
    port: Annotated[int, Meta(gt=0, le=65_535)] = 7000
    votes: Annotated[int, Meta(ge=0, le=50)] = 0
    """With how many a server leads; 0 is a majority."""


class Claimant:
    Settings = ClaimantSettings
    logs = ("events.jsonl", "server.log", "vote.json")

    def __init__(self, settings: ClaimantSettings, ensemble: Ensemble) -> None:
        self._settings = settings
        self._places = ensemble.places

    def profile(self) -> Profile:
        return Profile(
            "claimant",
            (
                Claim("unique-leader"),
                Claim("convergence", "within", 6.0, "five times the longest silence"),
                Claim("stepping-down", "within", 2.5, "the silence, a beat, and two seconds for a busy host"),
                Claim("evidence", "reported", why="it does not name its voters"),
                Claim("epochs", "reported", why="it does not say what is on its disk"),
            ),
            detect_s=1.2,
            epoch_word="term",
        )

    def identity(self, host: str) -> str:
        return f"claimant-of-{host}"

    def follow(self, host: str) -> ClaimantEvents:
        return ClaimantEvents()

    def clients(self) -> None:
        return None

    def cannot(self, host: str) -> Mapping[str, str]:
        return {"clock": "its events are dated by the clock that would be bent"}

    def life(self) -> Claimant:
        return self

    def files(self, host: str) -> dict[str, bytes]:
        return {SERVER.name: SERVER.read_bytes()}

    def command(self, host: str) -> Command:
        directory = self._places[host].directory
        peers = [f"{self.identity(name)}={place.address}" for name, place in self._places.items()]
        votes = self._settings.votes or len(peers) // 2 + 1
        words = (self.identity(host), str(self._settings.port), str(votes), *peers)
        return Command(("python3", f"{directory}/{SERVER.name}", *words), directory, f"{directory}/server.log")


class Event(msgspec.Struct):
    at: int
    started: int = 0
    role: Literal["LOOKING", "FOLLOWING", "LEADING"] = "LOOKING"
    term: int = 0
    leader: str | None = None


class ClaimantEvents:
    path = "events.jsonl"

    def read(self, line: str) -> Iterator[Statement]:
        try:
            event = msgspec.json.decode(line, type=Event)
        except msgspec.MsgspecError as error:
            yield Unreadable(line[:500], str(error))
            return
        at = HostTime(event.at)
        if event.started:
            yield ProcessStarted(at, {"pid": event.started})
        else:
            leads = event.role == "LEADING"
            serving = event.role != "LOOKING"
            yield Said(at, event.role, event.leader, event.term if serving else None, leads, serving)
