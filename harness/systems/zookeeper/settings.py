"""What servers of ZooKeeper's kind are configured with: their settings, the bounds that follow, and their `zoo.cfg`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from harness.systems.base import Claim, Ensemble
from node.properties import escaped

Port = Annotated[int, Meta(gt=0, le=65_535)]


class ZooKeeperSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The settings of every server, with ZooKeeper's meanings: limits are in ticks."""

    tick_ms: Annotated[int, Meta(gt=0, le=60_000)] = 500
    init_limit: Annotated[int, Meta(gt=0, le=1000)] = 4
    sync_limit: Annotated[int, Meta(gt=0, le=1000)] = 2
    max_notification_interval_ms: Annotated[int, Meta(gt=0, le=3_600_000)] = 1000
    quorum_port: Port = 2888
    election_port: Port = 3888
    client_port: Port = 2181

    def problems(self) -> Sequence[str]:
        """See `harness.systems.base.Checked`."""
        if len({self.quorum_port, self.election_port, self.client_port}) != 3:
            return ["quorum_port, election_port and client_port are not three different ports"]
        return []

    @property
    def timing(self) -> dict[str, int]:
        """Those that a run's history names."""
        named = ("tick_ms", "init_limit", "sync_limit", "max_notification_interval_ms")
        return {name: getattr(self, name) for name in named}

    @property
    def detect_s(self) -> float:
        """A follower gives its leader up `sync_limit` ticks after the last ping; half a second is for a busy host."""
        return self.sync_limit * self.tick_ms / 1000 + 0.5

    def bounds(self) -> tuple[Claim, Claim]:
        """The bounds of `convergence` and `stepping-down`; the modules of these promises in `checker` say why."""
        ticks = 3 * self.init_limit + self.sync_limit
        step_ticks = max(self.init_limit, self.sync_limit) + 2
        return (
            Claim(
                "convergence",
                "within",
                (ticks * self.tick_ms + self.max_notification_interval_ms + 1000) / 1000,
                "3 * init_limit * tick + sync_limit * tick + max_notification_interval + 1 s",
            ),
            Claim(
                "stepping-down",
                "within",
                (step_ticks * self.tick_ms + 1000) / 1000,
                "(max(init_limit, sync_limit) + 2) * tick + 1 s",
            ),
        )


def zoo_cfg(settings: ZooKeeperSettings, ensemble: Ensemble, host: str, more: Mapping[str, str]) -> bytes:
    """A server's `zoo.cfg`, with the keys of `more`; section 7 of the protocol gives their meanings."""
    place = ensemble.places[host]
    lines = [
        f"tickTime={settings.tick_ms}",
        f"initLimit={settings.init_limit}",
        f"syncLimit={settings.sync_limit}",
        f"dataDir={escaped(place.directory)}/data",
        f"clientPort={settings.client_port}",
        f"fastleader.maxNotificationInterval={settings.max_notification_interval_ms}",
        *(f"{key}={value}" for key, value in more.items()),
    ]
    if place.address.startswith("127."):
        # Several servers share this host's ports, each on a loopback address of its own.
        lines.append(f"clientPortAddress={place.address}")
    for other in sorted(ensemble.places.values(), key=lambda p: p.sid):
        role = "observer" if other.host in ensemble.observers else "participant"
        lines.append(f"server.{other.sid}={other.address}:{settings.quorum_port}:{settings.election_port}:{role}")
    for number, group in enumerate(ensemble.groups, 1):
        lines.append(f"group.{number}={':'.join(map(str, ensemble.sids(group)))}")
    if ensemble.groups:
        lines += [f"weight.{ensemble.places[name].sid}={weight}" for name, weight in ensemble.weights.items()]
    return ("\n".join(lines) + "\n").encode()
