"""The seam to a system under test: what the harness asks of an election system, and nothing of how it asks.

The model.  A *plug-in* is a class that is made for one ensemble: `System(settings, ensemble)`.  It does nothing itself.
It answers questions:

    profile()       what people and checkers need to know: its claims with their bounds, and what it can be
    identity(host)  the id that the system itself uses for the server of a host
    follow(host)    the file in which that server reports what it does, and how its lines are read
    life()          the files of a server, the command that starts it, and what is fetched in the end
    clients()       how values are written and read; None: durability is not judged, and the report says so
    cannot(host)    the kinds of fault that make no sense here, each with the reason

The rules:

1.  Before there are hosts (a plan is checked, a schedule is drawn) a system is made for places without an address.
    `profile`, `identity`, `clients` and `cannot` have to answer then, too.
2.  What a server says is a *statement* (`Statement`).  It is about one instant, and holds what the server said at once.
    A field that it did not say is None; it is never filled from another statement.
3.  A bound is in seconds and comes from here.  It goes into the history's op `run`: the checkers know no formula.
4.  A promise that a system does not claim is reported, and has no part in the verdict.
5.  Nothing outside `harness/systems/` asks for a system by its name.

Example: `tests/toys/claimant.py` is a whole plug-in in one file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from harness.workloads.base import Clients

Role = Literal["LOOKING", "FOLLOWING", "LEADING", "OBSERVING"]


@dataclass(frozen=True)
class Place:
    """Where one server lives: its host, its sid, the address its peers know it by, and its directory on the host.

    The sid is an ordinal, from 1.  `address` and `directory` are empty before there are hosts.
    """

    host: str
    sid: int
    address: str = ""
    directory: str = ""


@dataclass(frozen=True)
class Ensemble:
    """The servers of one run: `places` by host, in the order of their sids.

    `groups` are the hosts of each group where quorums are hierarchical, `weights` those that are not 1.  `bug` is a
    planted bug, for tests of the harness itself; empty is the correct server.
    """

    places: Mapping[str, Place]
    observers: Collection[str] = ()
    groups: Sequence[Sequence[str]] = ()
    weights: Mapping[str, int] = field(default_factory=dict)
    bug: str = ""

    def sids(self, hosts: Iterable[str]) -> list[int]:
        return [self.places[host].sid for host in hosts]


# ---- what a server says ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HostTime:
    """When something happened, in nanoseconds.

    By the host's true monotonic clock (`host_ns`), or by the wall clock that the server sees (`wall_ns`; a clock fault
    shifts it).  `error_ns` is how far off the number itself may be.
    """

    host_ns: int | None = None
    wall_ns: int | None = None
    error_ns: int = 0


@dataclass(frozen=True, slots=True)
class Said:
    """One statement of one server about one instant: whom it has for its leader, in which epoch.

    `leader` is an `identity`.  `established`: it leads, and a quorum has acknowledged its epoch.  `serving`: it has
    joined its leader, or leads those that have joined.  `more` holds the fields of the op `state` (docs/history.md)
    that go beyond that, such as `round`, `vote` and `accepted_epoch`.
    """

    at: HostTime
    role: Role
    leader: str | None = None
    epoch: int | None = None
    established: bool = False
    serving: bool | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

    def value(self, sid: int, sid_of: Mapping[str, int]) -> dict[str, Any]:
        """The value of the op `state`, of server `sid`.  The id of nobody in `sid_of` is no leader that is known."""
        phase = {True: "broadcast", False: None, None: None}[self.serving]
        return {
            "sid": sid,
            "role": self.role,
            "phase": phase,
            "leader": None if self.leader is None else sid_of.get(self.leader),
            "epoch": self.epoch,
            "established": self.established,
            **self.more,
        }


@dataclass(frozen=True, slots=True)
class ProcessStarted:
    """The server's process runs.  `more` are fields of the op `started`."""

    at: HostTime
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProcessStopped:
    """The server says that it ends.  `more` are fields of the op `stopped`."""

    at: HostTime
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A line that should have been a statement and is none, and why.  It is dated by the time at which it was read."""

    line: str
    why: str


Statement = Said | ProcessStarted | ProcessStopped | Unreadable


class Follow(Protocol):
    """How a server's own reports are read while a run goes on.  It lives across restarts of the server."""

    @property
    def path(self) -> str:
        """The file that the server writes, relative to the place's directory."""

    def read(self, line: str) -> Iterable[Statement]:
        """The statements that complete with this line; none for a line that says nothing of leadership."""


# ---- what a system is ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Claim:
    """What a system claims of one promise.

    "always": it holds.  "within": it holds within `bound_s`, which is `formula` in words.  "reported": it is looked at
    and not judged, because of `why`.  `convergence` and `stepping-down` need a bound in either case: the acts at the
    end of a run last as long.
    """

    promise: str
    kind: Literal["always", "within", "reported"] = "always"
    bound_s: float = 0.0
    formula: str = ""
    why: str = ""


@dataclass(frozen=True)
class Profile:
    """What the harness has to know of a system, in this ensemble, with these settings."""

    name: str
    claims: Sequence[Claim]
    detect_s: float
    """Seconds until the ensemble notices that its leader is gone; faults that are to cost a leader last longer."""
    epoch_word: str = "epoch"
    """What this system calls an epoch, for people: "term"."""
    observers: bool = False
    """Whether a server may take part without a vote."""
    groups: bool = False
    """Whether quorums may be hierarchical."""
    bugs: Collection[str] = ()
    """The names of the bugs that can be planted."""
    simulated: bool = False
    """Whether its protocol core is the one that the simulator runs."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings that go into the op `run`."""


@dataclass(frozen=True)
class Command:
    """How a server is started: `env` is added to the host's environment, `output` gets stdout and stderr, appended.

    `clck` is the address (on the host) at which the server answers the four-letter word `clck` with its own clocks;
    None where it has no such word, and a bent clock is verified without it.
    """

    argv: tuple[str, ...]
    cwd: str
    output: str
    env: dict[str, str] = field(default_factory=dict)
    clck: tuple[str, int] | None = None


class Life(Protocol):
    """How a server comes to be on its host.  Paths are relative to the place's directory."""

    @property
    def logs(self) -> tuple[str, ...]:
        """The files to fetch from each host when the run ends."""

    def files(self, host: str) -> dict[str, bytes]:
        """The files that must be there before the server starts."""

    def command(self, host: str) -> Command: ...


@runtime_checkable
class Checked(Protocol):
    """Settings that may contradict each other."""

    def problems(self) -> Sequence[str]:
        """What is wrong with them together; each begins with the key that it is about.  Ranges of single keys are said
        by `msgspec.Meta` in their types."""


class System(Protocol):
    """A system under test, for one ensemble."""

    Settings: Any
    """The plug-in's own table of a plan, `[system.NAME]`: a class of `msgspec.Struct`, each key with a default."""

    def __init__(self, settings: Any, ensemble: Ensemble) -> None: ...
    def profile(self) -> Profile: ...
    def identity(self, host: str) -> str: ...
    def follow(self, host: str) -> Follow: ...
    def life(self) -> Life: ...
    def clients(self) -> Clients | None: ...
    def cannot(self, host: str) -> Mapping[str, str]: ...
