"""What a simulated world is made of: hosts, the processes on them, the links between these, and time.

The model.  The queue holds what happens next, as (time, sequence, function, arguments).  Things of one instant happen
in the order in which they were asked for.  `network` moves messages over this ground, and `world` lives on it: it steps
the cores and performs their effects.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heappush
from typing import Any, NamedTuple

from harness.simulator.clock import SimulatedClock
from node.agent.journal import Journal
from node.agent.storage import Disk
from node.config import Config
from node.protocol.events import Durable, Effect, Event
from node.protocol.messages import Message
from node.protocol.server import Server


class LinkEnd:
    """The end of a pipe's messages: a FIN or a reset that comes after them."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


FIN, RESET = LinkEnd("closed by the peer"), LinkEnd("reset by the peer")


class Path:
    """What one direction between two hosts does to packets."""

    __slots__ = ("base", "blocked", "busy_until", "delay", "disturbed", "faults", "held_until", "jitter", "lost",
                 "passed", "rate", "reorder", "slow")  # fmt: skip

    def __init__(self, base: int) -> None:
        self.base = base
        """Median delay."""
        self.blocked = 0
        """How many faults drop everything."""
        self.disturbed = False
        """Anything below is set."""
        self.faults: dict[str, tuple[Callable[[Path, dict[str, Any]], None], dict[str, Any]]] = {}
        """Degrading faults in force: by id, what the fault adds to the sum, and its parameters."""
        self.passed = 1.0
        """The share of packets that no fault loses."""
        self.lost = 0.0
        self.delay = self.jitter = self.rate = self.slow = 0
        self.reorder: tuple[float, int] = (0.0, 0)
        self.busy_until = 0
        self.held_until = 0

    def add_up(self) -> None:
        """What the faults in force do together."""
        self.passed = 1.0
        self.delay = self.jitter = self.rate = self.slow = 0
        self.reorder = (0.0, 0)
        for disturb, params in self.faults.values():
            disturb(self, params)
        self.lost = 1 - self.passed
        self.disturbed = bool(self.faults) or self.held_until > 0


class Pipe:
    """One direction of a connection; `end` is its sender's end of the link."""

    __slots__ = ("back", "end", "last", "link", "path", "queue", "rto", "since", "stalled", "unacked")

    def __init__(self, link: SimulatedLink, end: int, path: Path, back: Path) -> None:
        self.link = link
        self.end = end
        self.path = path
        self.back = back
        self.queue: deque[Message | LinkEnd] = deque()
        self.last = 0
        """When the last message arrives."""
        self.stalled = False
        self.since = 0
        """Since when something is unacknowledged, or 0."""
        self.unacked = 0
        self.rto = 0


class SimulatedLink:
    """One connection: end 0 dialled, end 1 accepted.  A process is told of its end while that is open."""

    __slots__ = ("accepted_at", "conns", "dead", "opened", "pipes", "port", "procs", "silently", "up")

    def __init__(self, port: str, dialler: SimulatedProcess, conn: int, paths: tuple[Path, Path]) -> None:
        self.port = port
        self.procs: list[SimulatedProcess | None] = [dialler, None]
        self.conns = [conn, 0]
        self.opened = [True, False]
        self.up = False
        self.dead = False
        """Nothing arrives any more."""
        self.silently = False
        """... and an end that sends is told so."""
        self.accepted_at = 0
        self.pipes = (Pipe(self, 0, *paths), Pipe(self, 1, *reversed(paths)))


class ClientRead(NamedTuple):
    """A client asks the server for what it has; `answer(process)` is called when the server gets to it."""

    answer: Callable[[SimulatedProcess], None]


class SimulatedHost:
    """A machine.  `address` is what servers dial."""

    def __init__(self, name: str, config: Config, address: str, clock: SimulatedClock) -> None:
        self.name = name
        self.config = config
        self.address = address
        self.clock = clock
        self.clock_base = clock.lead
        self.disk = Disk(Durable(0, 0, 0, b"", ()))
        self.process: SimulatedProcess | None = None
        self.lives = 0
        self.down: dict[str, None] = {}
        """Faults that hold its server down."""
        self.paused: dict[str, None] = {}
        """Faults that hold its server paused."""
        self.bends: dict[str, dict[str, Any]] = {}
        """Faults of its clock, with their parameters; the latest holds."""
        self.starting = False
        """Its server is to start when it is no longer paused."""
        self.events = 0
        """Reports of its server and its injector: the count of its stream."""
        self.journal: Journal | None = None
        self.log: Any = None


class SimulatedProcess:
    """One life of a server."""

    __slots__ = ("alive", "backlog", "busy", "conns", "doom", "doomed_by_disk", "held", "host", "last", "links", "next",
                 "on_death", "rest", "server", "timers", "wakes")  # fmt: skip

    def __init__(self, host: SimulatedHost, server: Server) -> None:
        self.host = host
        self.server = server
        self.alive = True
        self.held = False
        """It executes nothing: it is paused or busy."""
        self.busy: list[Any] | None = None
        """While it syncs: the effect that is under way, and the effects that come after it."""
        self.rest: list[Effect] = []
        """Effects that are still to be performed by a process that was paused while it synced."""
        self.backlog: deque[Any] = deque()
        self.conns: dict[int, Pipe] = {}
        self.links: dict[Any, int] = {}
        """Open connections, and which end is ours."""
        self.timers: dict[str, int] = {}
        """Due, by its own clock."""
        self.wakes: dict[str, int] = {}
        """The true time at which each timer is looked at next."""
        self.next = 2
        self.last = 0
        self.doom = -1
        """So many effects more are performed; -1: it is not doomed."""
        self.doomed_by_disk = ""
        """It dies "before" or "after" its next effect on the disk."""
        self.on_death: list[Callable[[], None]] = []

    def new_accepted(self, pipe: Pipe) -> int:
        conn = self.next
        self.next += 2
        self.conns[conn] = pipe
        return conn


class Ground:
    """Time and the hosts.  `pace` is what times of the world are multiplied with (`harness.simulator.knobs.pace`)."""

    def __init__(self, hosts: dict[str, SimulatedHost], pace: float) -> None:
        self.now = 0
        self.sequence = 0
        self.queue: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self.marks: dict[str, int] = {}
        """Coverage marks that were reached, and how often."""
        self.hosts = hosts
        self.at_address = {host.address: name for name, host in hosts.items()}
        self.pace = pace

    def at(self, when: int, do: Callable[..., None], *arguments: Any) -> None:
        """`do` is called with these arguments at this time."""
        self.sequence += 1
        heappush(self.queue, (when, self.sequence, do, arguments))

    def reached(self, mark: str) -> None:
        """A rare branch of the core, or one of the world's cruelties, happened (`harness.simulator.marks`)."""
        self.marks[mark] = self.marks.get(mark, 0) + 1

    def tell(self, process: SimulatedProcess, event: Event | ClientRead) -> None:
        """The process gets an event, now or as soon as it executes again; a world says how."""
        raise NotImplementedError
