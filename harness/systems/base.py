"""What a run needs to know of a system under test: its files, its command, when it serves, and what it says of itself.

The model.  A *system* is built for one ensemble: the settings that every server gets (`plan.Ensemble`) and the *places*
where its servers live.  It does nothing itself.  It says, per host,

*   which files must be there before the server starts (`files`: paths relative to the place's directory);
*   how the server is started (`command`: argv, environment, working directory, and the file its output goes to);
*   which file reports what the server does (`events`, followed while the run goes on), and how a line of it becomes a
    history op (`translator`: one stateful object per host, for the life of the run);
*   whether it serves (`ready`) and what time it is for it (`clock`), asked with four-letter words over the client port.

Two systems are known: Onethrone's own server and Apache ZooKeeper.  Both read a `zoo.cfg` and answer the same words, so
that a run, the workload and the checkers need no case distinction.

Example:

    system = make("zookeeper", plan.ensemble, {"n1": Place("n1", 1, "10.42.0.1", "/var/lib/onethrone/run"), ...})
    put(system.files("n1")); start(system.command("n1"))
    translator = system.translator("n1")
    for line in followed: op = translator.translate(line)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from harness import UsageError
from harness.plan.schema import SYSTEMS, EnsemblePlan
from node.properties import escaped

Ask = Callable[[str], str]
"""Sends one four-letter word to a server's client port and returns the answer; raises OSError or ZooKeeperError."""


@dataclass(frozen=True)
class Place:
    """Where one server lives: its host, its sid, the address its peers know it by, and its directory on the host."""

    host: str
    sid: int
    address: str
    directory: str


@dataclass(frozen=True)
class Command:
    """How a server is started: `env` is added to the host's environment, `output` gets stdout and stderr, appended."""

    argv: tuple[str, ...]
    cwd: str
    output: str
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Clock:
    """What a server's own clocks say, in nanoseconds; None where the system has no way to be asked."""

    monotonic_ns: int | None
    wall_ns: int | None


class Translator(Protocol):
    """Turns the lines of one server's `events` file into history ops.  It lives across restarts of the server."""

    def translate(self, line: str) -> dict[str, Any] | None:
        """The op that the line reports, or None.

        Keys: `f`, `value`, and when it happened: either `host_time` (nanoseconds of the host's true monotonic clock),
        or `wall_ns` (nanoseconds since the epoch by the wall clock that the *server* sees: a clock fault shifts it)
        with `time_error_ns`, the resolution of that.  A line that cannot be read gives `f` "unreadable" and the line.
        """


class System(Protocol):
    """A system under test, for one ensemble.  Paths are relative to the place's directory unless absolute."""

    @property
    def name(self) -> str: ...
    @property
    def ports(self) -> tuple[int, ...]:
        """The ports that must be free on each host."""

    @property
    def client_port(self) -> int: ...
    @property
    def data(self) -> str:
        """The directory with what a server must not lose."""

    @property
    def events(self) -> str:
        """The file to follow, whose lines `translator` reads."""

    @property
    def logs(self) -> tuple[str, ...]:
        """What to fetch from each host when the run ends, `events` among it."""

    def files(self, host: str) -> dict[str, bytes]: ...
    def command(self, host: str) -> Command: ...
    def translator(self, host: str) -> Translator: ...
    def ready(self, ask: Ask) -> bool: ...
    def clock(self, ask: Ask) -> Clock: ...


def make(name: str, ensemble: EnsemblePlan, places: Mapping[str, Place]) -> System:
    """The system of that name; raises UsageError when there is none."""
    if name == "onethrone":
        from harness.systems.onethrone import Onethrone

        return Onethrone(ensemble, places)
    if name == "zookeeper":
        from harness.systems.zookeeper import ZooKeeper

        return ZooKeeper(ensemble, places)
    raise UsageError(f"system {name!r}: there is no such system (there are: {', '.join(SYSTEMS)})")


def zoo_cfg(ensemble: EnsemblePlan, places: Mapping[str, Place], host: str, more: Mapping[str, str]) -> bytes:
    """A server's `zoo.cfg`, the same for both systems up to `more`; protocol section 7 gives the keys."""
    place = places[host]
    lines = [
        f"tickTime={ensemble.tick_ms}",
        f"initLimit={ensemble.init_limit}",
        f"syncLimit={ensemble.sync_limit}",
        f"dataDir={escaped(place.directory)}/data",
        f"clientPort={ensemble.client_port}",
        f"fastleader.maxNotificationInterval={ensemble.max_notification_interval_ms}",
        *(f"{key}={value}" for key, value in more.items()),
    ]
    if place.address.startswith(
        "127."
    ):  # several servers share this host's ports, each on a loopback address of its own
        lines.append(f"clientPortAddress={place.address}")
    for other in sorted(places.values(), key=lambda p: p.sid):
        role = "observer" if other.host in ensemble.observers else "participant"
        lines.append(f"server.{other.sid}={other.address}:{ensemble.quorum_port}:{ensemble.election_port}:{role}")
    sid_of = {place.host: place.sid for place in places.values()}
    for number, group in enumerate(ensemble.groups, 1):
        lines.append(f"group.{number}={':'.join(str(sid_of[name]) for name in group)}")
    if ensemble.groups:
        lines += [f"weight.{sid_of[name]}={weight}" for name, weight in ensemble.weights.items()]
    return ("\n".join(lines) + "\n").encode()


def peer_state(ask: Ask) -> str:
    """`zk_peer_state` of `mntr`, such as "leading - broadcast"; "" while the server does not serve."""
    for line in ask("mntr").splitlines():
        key, _, value = line.partition("\t")
        if key == "zk_peer_state":
            return value.strip()
    return ""


def serves(ask: Ask) -> bool:
    """Whether the server is a member of an established ensemble, by its own account."""
    return peer_state(ask).endswith("broadcast")
