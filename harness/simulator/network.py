"""Connections as TCP has them, in virtual time.

The model.  Between two hosts there is a `Path` for each direction, and faults and weather change what it does.  A
connection is a `Link` with two `Pipe`s, one for each direction.  A message takes its path's delay, and never overtakes
the one before it on its pipe.  The rules, as in TCP over a network that loses packets:

1.  A message that the path drops when it would arrive (a partition, loss, a policed rate) *stalls* its pipe: nothing
    behind it arrives either.  It is tried again after 200, 400, 800 ms ..., and when it gets through, all that waited
    follows.
2.  A path that is cut takes the acknowledgements of the other direction with it.  Ten messages more get through
    there (the initial window of RFC 6928), then that direction stalls too.
3.  On the election port a sender whose data stays unacknowledged for tickTime x syncLimit loses the connection
    (`node.agent.links` sets TCP_USER_TIMEOUT); the other end is not told: the connection is half open.
4.  A connection that is cut (a reset) loses everything under way.  Nothing arrives on it ever after.  Each end is told
    once, at once or when it next sends, if at all.
5.  A host accepts for a server that stands still: the kernel does.  A server hears of an accepted connection with the
    first whole message, and gives up one on which none came in time.
6.  What arrives for an end that was closed is answered with a reset.
"""

from __future__ import annotations

import random
from heapq import heappush
from typing import Any

from harness.simulator.clock import MS, SECOND
from harness.simulator.ground import FIN, RESET, Ground, LinkEnd, Path, Pipe, SimulatedLink, SimulatedProcess
from harness.simulator.knobs import Knobs
from node.protocol.events import Accepted, Connected, Dial, Lost, Received
from node.protocol.messages import ELECTION, Message, QuorumPacket, SnapshotStream

RTO_FIRST, RTO_LONGEST = 200 * MS, 120 * SECOND
WINDOW = 10
HEADERS = 66
"""Bytes of Ethernet, IP and TCP around a message."""


class Network:
    """All paths and connections of a world."""

    def __init__(self, world: Ground, knobs: Knobs, seed: int, patience: int, attempt: int) -> None:
        """`patience`: tickTime x syncLimit; `attempt`: how long a dial waits for an answer to its SYN; both ns."""
        self.world = world
        self.patience = patience
        self.attempt = attempt
        self.random = random.Random(f"network {seed}").random
        self.messages = 0
        rng = random.Random(f"paths {seed}")
        names = list(world.hosts)
        self.paths = {
            (a, b): Path(max(1000, round(knobs.delay * rng.uniform(0.5, 2)))) for a in names for b in names if a != b
        }
        self._shape = _shape(knobs.delay_tail, rng)
        self._knobs = knobs
        self._weather = random.Random(f"weather {seed}")
        self._links: dict[SimulatedLink, None] = {}

    # ---- messages --------------------------------------------------------------------------------------------------

    def send(self, pipe: Pipe, message: Message | LinkEnd) -> None:
        link = pipe.link
        if link.dead:
            if link.silently and link.opened[pipe.end]:
                link.silently = False
                self.world.at(self.world.now + self.delay(pipe.path), self.lose, link, pipe.end, "reset by the peer")
            return
        pipe.queue.append(message)
        if not pipe.stalled:
            self.schedule(pipe, message)

    def schedule(self, pipe: Pipe, message: Message | LinkEnd) -> None:
        world, path = self.world, pipe.path
        if path.disturbed:
            arrives = self.disturbed_arrival(path, message)
        else:
            arrives = world.now + path.base * self._shape[int(self.random() * 256)] // 1024
        if arrives <= pipe.last:
            arrives = pipe.last + 1
        pipe.last = arrives
        world.sequence += 1
        heappush(world.queue, (arrives, world.sequence, self.deliver, (pipe,)))

    def delay(self, path: Path) -> int:
        """For a packet by itself (a SYN, a reset)."""
        return path.base * self._shape[int(self.random() * 256)] // 1024 + path.delay

    def disturbed_arrival(self, path: Path, message: Message | LinkEnd) -> int:
        now = self.world.now
        leaves = max(now, path.held_until)
        if path.slow:
            leaves = path.busy_until = max(leaves, path.busy_until) + size_of(message) * SECOND // path.slow
        arrives = leaves + path.base * self._shape[int(self.random() * 256)] // 1024 + path.delay
        if path.jitter:
            arrives = max(now + 1, arrives + round((2 * self.random() - 1) * path.jitter))
        if path.reorder[0] and self.random() >= path.reorder[0]:
            arrives += path.reorder[1]  # the others are delayed, so the share overtakes them (netem's way)
        return arrives

    def gets_through(self, path: Path, message: Message | LinkEnd | None) -> bool:
        """Whether a packet that would arrive now does."""
        if path.blocked:
            return False
        if path.disturbed:
            if path.lost and self.random() < path.lost:
                return False
            if path.rate:
                # A policer with a bucket of a tenth of a second: what is over the rate vanishes.
                now = self.world.now
                free = max(path.busy_until, now - SECOND // 10) + size_of(message) * SECOND // path.rate
                if free > now:
                    return False
                path.busy_until = free
        return True

    def deliver(self, pipe: Pipe) -> None:
        """The first message of the pipe arrives, if anything does."""
        if pipe.stalled or not pipe.queue or pipe.link.dead:
            return
        path = pipe.path
        if (path.blocked or path.disturbed) and not self.gets_through(path, pipe.queue[0]):
            self.stall(pipe)
            return
        if pipe.back.blocked:
            if not pipe.unacked:
                self.begin_waiting(pipe)
            if pipe.unacked >= WINDOW:
                self.stall(pipe)
                return
            pipe.unacked += 1
        elif pipe.since:
            pipe.unacked = pipe.since = 0
        self.hand_over(pipe, pipe.queue.popleft())

    def hand_over(self, pipe: Pipe, message: Message | LinkEnd) -> None:
        link, end = pipe.link, 1 - pipe.end
        process = link.procs[end]
        assert process is not None
        if message.__class__ is LinkEnd:
            if link.opened[end]:
                self.lose(link, end, message.reason)
            link.dead = True
            self._links.pop(link, None)
            return
        if not link.opened[end]:
            self.kill(link)
            if link.opened[pipe.end] and not pipe.back.blocked:
                self.world.at(self.world.now + self.delay(pipe.back), self.lose, link, pipe.end, RESET.reason)
            return
        self.messages += 1
        conn = link.conns[end]
        if not conn:
            if self.world.now > link.accepted_at + self.patience:
                link.opened[end] = False  # it was given up long ago
                self.hand_over(pipe, message)
                return
            conn = link.conns[end] = process.new_accepted(link.pipes[end])
            self.world.tell(process, Accepted(conn, link.port))
        self.world.tell(process, Received(conn, message))  # type: ignore[arg-type]

    # ---- stalls ----------------------------------------------------------------------------------------------------

    def stall(self, pipe: Pipe) -> None:
        pipe.stalled = True
        pipe.rto = RTO_FIRST
        self.world.at(self.world.now + pipe.rto, self.retry, pipe)
        self.begin_waiting(pipe)

    def begin_waiting(self, pipe: Pipe) -> None:
        if not pipe.since:
            pipe.since = self.world.now
            if pipe.link.port == ELECTION:
                self.world.at(self.world.now + self.patience, self.user_timeout, pipe, pipe.since)

    def retry(self, pipe: Pipe) -> None:
        if pipe.link.dead or not pipe.stalled:
            return
        if not self.gets_through(pipe.path, pipe.queue[0]) or (pipe.back.blocked and pipe.unacked >= WINDOW):
            pipe.rto = min(2 * pipe.rto, RTO_LONGEST)
            self.world.at(self.world.now + pipe.rto, self.retry, pipe)
            return
        pipe.stalled = False
        if pipe.back.blocked:
            pipe.unacked += 1
        else:
            pipe.since = pipe.unacked = 0
        self.hand_over(pipe, pipe.queue.popleft())
        for message in list(pipe.queue):
            self.schedule(pipe, message)

    def user_timeout(self, pipe: Pipe, since: int) -> None:
        """Rule 3."""
        link = pipe.link
        if pipe.since == since and not link.dead and (pipe.stalled or pipe.back.blocked):
            self.world.reached("unacknowledged-too-long")
            self.kill(link, silently=True)
            self.lose(link, pipe.end, "Connection timed out")

    # ---- connections -----------------------------------------------------------------------------------------------

    def dial(self, process: SimulatedProcess, dial: Dial) -> None:
        target = self.world.at_address[dial.address[0]]
        here = process.host.name
        link = SimulatedLink(dial.port, process, dial.conn, (self.paths[here, target], self.paths[target, here]))
        process.conns[dial.conn] = link.pipes[0]
        process.links[link] = 0
        self.syn(link, target, self.world.now + dial.timeout_ms * MS)

    def syn(self, link: SimulatedLink, target: str, deadline: int) -> None:
        """One attempt of a dial, and the next one if there is no answer."""
        if not link.opened[0] or link.up:
            return
        now = self.world.now
        if now >= deadline:
            self.lose(link, 0, "no connection in time")
            return
        self.world.at(now + self.delay(link.pipes[0].path), self.syn_arrives, link, target)
        self.world.at(min(now + self.attempt, deadline), self.syn, link, target, deadline)

    def syn_arrives(self, link: SimulatedLink, target: str) -> None:
        there, back = link.pipes[0].path, link.pipes[1].path
        if not link.opened[0] or link.up or not self.gets_through(there, None):
            return
        process = self.world.hosts[target].process
        if not self.gets_through(back, None):
            return
        answered = self.world.now + self.delay(back)
        if process is None:
            self.world.at(answered, self.refuse, link)
            return
        if link.procs[1] is None:
            link.procs[1] = process
            link.opened[1] = True
            link.accepted_at = self.world.now
            process.links[link] = 1
        self.world.at(answered, self.connected, link)

    def refuse(self, link: SimulatedLink) -> None:
        if not link.up:
            self.lose(link, 0, "Connection refused")

    def connected(self, link: SimulatedLink) -> None:
        process = link.procs[0]
        if link.up or not link.opened[0] or process is None:
            return
        if link.dead:  # whoever accepted it has died meanwhile
            self.lose(link, 0, RESET.reason)
            return
        link.up = True
        self._links[link] = None
        self.world.tell(process, Connected(link.conns[0]))

    def hang_up(self, pipe: Pipe) -> None:
        """This end closes, after what it has sent."""
        self.close(pipe, FIN)

    def close(self, pipe: Pipe, how: LinkEnd) -> None:
        link, end = pipe.link, pipe.end
        process = link.procs[end]
        link.opened[end] = False
        if process is not None:
            process.links.pop(link, None)
        if link.up and not link.dead:
            self.send(pipe, how)
        elif not link.up:
            link.dead = True

    def kill(self, link: SimulatedLink, silently: bool = False) -> None:
        link.dead = True
        link.silently = silently
        link.pipes[0].queue.clear()
        link.pipes[1].queue.clear()
        self._links.pop(link, None)

    def lose(self, link: SimulatedLink, end: int, reason: str) -> None:
        """The process at this end is told that its connection is over."""
        process = link.procs[end]
        if not link.opened[end] or process is None:
            return
        link.opened[end] = False
        process.links.pop(link, None)
        if link.conns[end]:
            self.world.tell(process, Lost(link.conns[end], reason))

    def abandon(self, process: SimulatedProcess, rng: random.Random) -> None:
        """Its process is gone: of what is under way to its peers a random part still arrives, and then the end."""
        for link, end in list(process.links.items()):
            pipe = link.pipes[end]
            whole = rng.random() < 0.5
            if not whole and pipe.queue:
                self.world.reached("cut-in-the-middle")
                for _ in range(rng.randint(1, len(pipe.queue))):
                    pipe.queue.pop()
            self.close(pipe, FIN if whole else RESET)

    # ---- weather ---------------------------------------------------------------------------------------------------

    def begin_weather(self, until: int) -> None:
        """Stalls and resets, from now until then."""
        for rate, happen in ((self._knobs.stalls, self.hold_a_path), (self._knobs.resets, self.reset_a_link)):
            if rate:
                self._again(rate, happen, until)

    def _again(self, rate: float, happen: Any, until: int) -> None:
        at = self.world.now + max(1, round(self._weather.expovariate(rate) * SECOND))
        if at < until:
            self.world.at(at, self._happen, rate, happen, until)

    def _happen(self, rate: float, happen: Any, until: int) -> None:
        happen()
        self._again(rate, happen, until)

    def hold_a_path(self) -> None:
        path = self.paths[self._weather.choice(list(self.paths))]
        path.held_until = self.world.now + round(self._weather.uniform(0.01, 0.4) * SECOND * self.world.pace)
        path.disturbed = True
        self.world.at(path.held_until, self.release, path, path.held_until)

    def release(self, path: Path, held_until: int) -> None:
        if path.held_until == held_until:
            path.held_until = 0
            path.add_up()

    def reset_a_link(self) -> None:
        if not self._links:
            return
        link = self._weather.choice(list(self._links))
        ends = [0, 1]
        if self._weather.random() < self._knobs.half_open:
            self.world.reached("half-open")
            ends = self._weather.choice(([0], [1], []))
        self.kill(link, silently=True)
        for end in ends:
            self.world.at(self.world.now + self.delay(link.pipes[end].back), self.lose, link, end, "reset by the peer")


def _shape(tail: str, rng: random.Random) -> list[int]:
    """256 multiples of the median delay, in 1024ths: a distribution to draw from quickly."""
    if tail == "narrow":
        return [round(1024 * rng.uniform(0.8, 1.2)) for _ in range(256)]
    if tail == "wide":
        return [round(1024 * rng.uniform(0.1, 4)) for _ in range(256)]
    return [round(1024 * min(40.0, rng.paretovariate(1.2) * 0.6)) for _ in range(256)]


def size_of(message: Message | LinkEnd | None) -> int:
    """About how many bytes it takes on the wire; None is a packet without data."""
    if message.__class__ is QuorumPacket:
        data = message.data
        return HEADERS + 20 + (len(data) if data else 0)
    if isinstance(message, SnapshotStream):
        return HEADERS + len(message.stream)
    config = getattr(message, "config", None)
    return HEADERS + (44 + len(config) if config else 30 if message is not None else 0)
