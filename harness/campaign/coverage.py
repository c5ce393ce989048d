"""What a run reached: counted from its history, in one pass.

The model.  A history is read once, in the order of time, beside the checkers' own picture of the ensemble
(`checker.availability.Availability`).  What is counted:

*   `faults`      kind -> the word that it was aimed by -> how often it was verified to be in force;
*   `refused`     kind -> how often it did not come into force, or nobody knows;
*   `victims`     kind -> the state that a victim was in when the fault began -> how often;
*   `partitions`  shape -> what it made of the links, and on which side the leader was -> how often;
*   `states`      an abstract state of the whole ensemble -> how often it was entered.

An *abstract state* forgets who and which: it is how many servers are in which role and phase, how far each one's epoch
is behind the highest (0, 1, or 2 and more), and what is left of the links:

    1 leading broadcast, 2 following broadcast, 1 LOOKING -1, 1 down | clean 4+1

*Elections.*  A stretch without a leader is one in which a majority was owed a leader (as `convergence` has it) and no
leader of that majority was followed by a quorum.  It is put down to the last thing that the nemesis did before it
began: "kill" (the fault came into force), "kill over" (it ended), or "start".  Lengths go into bins of a twentieth of a
decade, so that a night of them is some hundred numbers; what a quantile gives is right within 6 %.

Everything here adds up: `add` merges the figures of another run.

Example: `read_history(path)` of a run in which the leader was killed once while it led:

    faults {"kill": {"leader": 1}}, victims {"kill": {"leading broadcast": 1}}
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import msgspec

from checker.availability import Availability
from checker.history import Op, Ordered, read
from checker.vocabulary import RunOp, Started, State, Stopped, ValueProblem, typed
from nemesis import storm
from nemesis.faults import KINDS
from nemesis.targets import WORDS

BINS_A_DECADE = 20
SLOWEST = 10
STATES_MAX = 20_000
"""Abstract states that are kept apart; the rest is counted together under `MORE`."""
MORE = "(more)"

VICTIMS = (
    "LOOKING",
    *(
        f"{role} {phase}"
        for role in ("leading", "following")
        for phase in ("discovery", "synchronization", "broadcast")
    ),
    "paused",
    "down",
)
"""The states of a victim that are looked for; an observer's are counted when they come."""

LINKS, SUBSTITUTE = "links", "a substitute"
"""In place of a word: the shape needs no aim; the word fitted nobody just then."""

Counts = dict[str, int]
Table = dict[str, Counts]


class CoverageStretch(msgspec.Struct, array_like=True):
    """One of the longest times without a leader."""

    ms: float
    after: str
    at_s: float
    """When it began, in seconds of the run."""
    run: str = ""
    """Where it was seen; filled in by who knows."""
    setting: str = ""
    mix: str = ""
    servers: int = 0
    seed: int = 0
    """Of a simulated run, which leaves no folder: with these it can be had again."""


class Lengths(msgspec.Struct):
    """How long the stretches of one sort were: a histogram, with bins on a logarithmic scale of milliseconds."""

    count: int = 0
    total_ms: float = 0.0
    max_ms: float = 0.0
    bins: dict[int, int] = {}

    def take(self, ms: float) -> None:
        place = math.floor(BINS_A_DECADE * math.log10(max(ms, 1.0)))
        self.count += 1
        self.total_ms += ms
        self.max_ms = max(self.max_ms, ms)
        self.bins[place] = self.bins.get(place, 0) + 1

    def add(self, other: Lengths) -> None:
        self.count += other.count
        self.total_ms += other.total_ms
        self.max_ms = max(self.max_ms, other.max_ms)
        _add(self.bins, other.bins)

    def quantile(self, share: float) -> float:
        """In milliseconds, within 6 %; 0 of nothing."""
        left = share * self.count
        for place in sorted(self.bins):
            left -= self.bins[place]
            if left <= 0:
                return min(self.max_ms, 10 ** ((place + 0.5) / BINS_A_DECADE))
        return self.max_ms


class Coverage(msgspec.Struct):
    """The figures of one run, or of many."""

    faults: Table = {}
    refused: Counts = {}
    victims: Table = {}
    partitions: Table = {}
    states: Counts = {}
    elections: dict[str, Lengths] = {}
    slowest: list[CoverageStretch] = []
    epochs: int = 0
    """Leaders that were established."""

    def add(self, other: Coverage) -> None:
        for name in ("faults", "victims", "partitions"):
            mine: Table = getattr(self, name)
            for key, counts in getattr(other, name).items():
                _add(mine.setdefault(key, {}), counts)
        _add(self.refused, other.refused)
        for state, count in other.states.items():
            self.enter(state, count)
        for after, lengths in other.elections.items():
            self.elections.setdefault(after, Lengths()).add(lengths)
        self.slowest = sorted(self.slowest + other.slowest, key=lambda s: -s.ms)[:SLOWEST]
        self.epochs += other.epochs

    def enter(self, state: str, count: int = 1) -> None:
        if state not in self.states and len(self.states) >= STATES_MAX:
            state = MORE
        self.states[state] = self.states.get(state, 0) + count

    def verified(self) -> int:
        return sum(sum(words.values()) for words in self.faults.values())


def read_history(path: Path) -> Coverage:
    """Of the history at `path` (the file, or a run's folder).  Raises HistoryError, ValueProblem."""
    return of(read(path))


def of(ops: Iterable[Op]) -> Coverage:
    """Of these ops, in the history's order; values of them are put in place of others.  Raises ValueProblem."""
    reading = _Reading()
    order = Ordered()
    for op in ops:
        if op.process.__class__ is not int:
            order.push(op)
            for ready in order.pop_ready():
                reading.feed(ready)
    for ready in order.pop_all():
        reading.feed(ready)
    return reading.finish()


class _Reading:
    """One pass over one history."""

    def __init__(self) -> None:
        self.found = Coverage()
        self.run: RunOp | None = None
        self.world: Availability | None = None
        self._asked: dict[str, tuple[list[str], str]] = {}
        """Fault -> the states of its victims when it was asked for, and on which side of it the leader was."""
        self._after = "start"
        self._without: tuple[int, str] | None = None
        """Since when a majority that is owed a leader has none, and after what."""
        self._state = ""
        self._links: tuple[int, str] = (-1, "")
        self._reigns: dict[str, int] = {}

    def feed(self, op: Op) -> None:
        raw = op.value
        try:
            if not typed(op, self.run):
                return
        except ValueProblem:
            if self.run is None:
                raise
            return  # a line that no checker takes: they say so
        if isinstance(op.value, RunOp):
            self.run = op.value
            self.world = Availability(op.value)
            return
        world = self.world
        assert world is not None
        if op.process == "nemesis" and raw.get("step") == "start" and op.type == "invoke":
            self._ask(raw)
        world.feed(op)
        if op.process == "nemesis":
            self._nemesis(op, raw)
        elif isinstance(op.value, State):
            self._reign(str(op.process), op.value)
        elif not isinstance(op.value, Started | Stopped):
            return
        self._elect(op)
        state = self._abstract()
        if state != self._state:
            self._state = state
            self.found.enter(state)

    def finish(self) -> Coverage:
        return self.found

    # ---- faults ----------------------------------------------------------------------------------------------------

    def _ask(self, raw: dict[str, Any]) -> None:
        world = self.world
        assert world is not None
        victims = [host for host in raw.get("targets") or raw.get("hosts") or () if host in world.running]
        grudge = raw.get("grudge")
        side = ""
        if isinstance(grudge, dict):
            drops = {(a, b) for a, others in grudge.items() for b in others}
            side = f"{links(world.voters, drops)}, {self._side(drops)}"
        self._asked[str(raw.get("fault"))] = ([self._describe(host) for host in victims], side)

    def _side(self, drops: set[tuple[str, str]]) -> str:
        """Where the leader is when these links are cut."""
        world = self.world
        assert world is not None
        leading = world.leading()
        if not leading:
            return "nobody leads"
        leader = max(leading, key=lambda host: getattr(world.states[host], "epoch", 0) or 0)
        near = [v for v in world.voters if v == leader or not drops & {(v, leader), (leader, v)}]
        if len(near) == len(world.voters):
            return "the leader untouched"
        if len(near) == 1:
            return "the leader alone"
        return f"the leader with {'a' if world.quorums.of(world.sids(near)) else 'no'} quorum"

    def _nemesis(self, op: Op, raw: dict[str, Any]) -> None:
        if op.type == "ok":
            self._after = op.f if raw.get("step") == "start" else f"{op.f} over"
        if raw.get("step") != "start" or op.type == "invoke":
            return
        states, side = self._asked.pop(str(raw.get("fault")), ([], ""))
        if op.type != "ok" or not raw.get("evidence"):
            self.found.refused[op.f] = self.found.refused.get(op.f, 0) + 1
            return
        word = str(raw.get("reason") or "").partition(" (")
        _count(self.found.faults, op.f, SUBSTITUTE if word[1] else word[0] or LINKS)
        for state in states:
            _count(self.found.victims, op.f, state)
        if side and _cuts(op.f):
            _count(self.found.partitions, str(raw.get("shape")), side)

    # ---- the ensemble ----------------------------------------------------------------------------------------------

    def _describe(self, host: str) -> str:
        world = self.world
        assert world is not None
        state = world.states[host]
        if world.running[host] is False:
            return "down"
        if ("paused", host) in world.possible:
            return "paused"
        if state is None:
            return "starting"
        if state.role == "LOOKING":
            return "LOOKING"
        return f"{state.role.lower()} {state.phase or ''}".rstrip()

    def _abstract(self) -> str:
        world = self.world
        assert world is not None
        if self._links[0] != world.revision:
            drops = {(atom[1], atom[2]) for atom in world.sure if atom[0] == "drops"}
            self._links = (world.revision, links(world.voters, drops))
        epochs = {
            host: state.epoch if state.epoch is not None else state.accepted_epoch or 0
            for host, state in world.states.items()
            if state is not None
        }
        highest = max(epochs.values(), default=0)
        counts: Counts = {}
        for host in world.running:
            behind = min(2, highest - epochs[host]) if host in epochs else 0
            words = f"{self._describe(host)}{f' -{behind}' if behind > 0 else ''}"
            counts[words] = counts.get(words, 0) + 1
        return f"{', '.join(f'{n} {words}' for words, n in sorted(counts.items()))} | {self._links[1]}"

    def _reign(self, host: str, state: State) -> None:
        if state.is_established and state.epoch is not None:
            self.found.epochs += self._reigns.get(host) != state.epoch
            self._reigns[host] = state.epoch

    def _elect(self, op: Op) -> None:
        world = self.world
        assert world is not None
        majority = world.majority()
        led = majority is not None and any(
            leader in majority and world.quorums.of(world.sids([v for v in majority if world.follows(v, leader)]))
            for leader in world.leading()
        )
        if majority is not None and not led:
            if self._without is None:
                self._without = (op.time, self._after)
        elif self._without is not None:
            since, after = self._without
            self._without = None
            if led:  # a majority that was broken up before it had one tells nothing of how long it takes
                self._elected((op.time - since) / 1e6, after, since / 1e9)

    def _elected(self, ms: float, after: str, at_s: float) -> None:
        self.found.elections.setdefault(after, Lengths()).take(ms)
        self.found.slowest.append(CoverageStretch(round(ms, 3), after, round(at_s, 3)))
        self.found.slowest.sort(key=lambda stretch: -stretch.ms)
        del self.found.slowest[SLOWEST:]


# ---- links -----------------------------------------------------------------------------------------------------------


def links(servers: Iterable[str], drops: Collection[tuple[str, str]]) -> str:
    """What these drops leave of the links between the servers.

    "whole"; "clean 3+2" when each part is whole in itself and hears nothing of the others; "partial 5" when some links
    are cut both ways and yet all that is connected is connected through others; "one-way 4+1" when a link is cut in one
    direction.  The numbers are the sizes of the parts that are connected both ways.
    """
    names = list(servers)
    pairs = [(a, b) for n, a in enumerate(names) for b in names[n + 1 :]]
    cut = {(a, b): ((a, b) in drops) + ((b, a) in drops) for a, b in pairs}
    if not any(cut.values()):
        return "whole"
    part = {name: {name} for name in names}
    for (a, b), directions in cut.items():
        if not directions and part[a] is not part[b]:
            part[a] |= part[b]
            for name in part[b]:
                part[name] = part[a]
    parts = sorted({id(members): len(members) for members in part.values()}.values(), reverse=True)
    sizes = "+".join(map(str, parts))
    if 1 in cut.values():
        return f"one-way {sizes}"
    inside = any(directions for (a, b), directions in cut.items() if part[a] is part[b])
    return f"{'partial' if inside else 'clean'} {sizes}"


# ---- what there is to reach ------------------------------------------------------------------------------------------


def reachable(kinds: Collection[str]) -> tuple[Table, Table, list[str]]:
    """What a storm of these kinds may reach: faults by word, victims by state, shapes of partitions; all counted 0."""
    cards = [card for card in (*storm.deposing(), *storm.others()) if card.kind in kinds]
    faults: Table = {}
    for card in cards:
        faults.setdefault(card.kind, {})[card.targets or LINKS] = 0
    for card in storm.for_good():
        if card.kind in kinds:
            faults.setdefault(card.kind, {}).update({"leader": 0, "follower": 0})
    order = [*WORDS, LINKS]
    faults = {kind: {word: 0 for word in order if word in faults[kind]} for kind in KINDS if kind in faults}
    victims = {kind: dict.fromkeys(VICTIMS, 0) for kind in faults}
    shapes = list(dict.fromkeys(card.shape for card in cards if _cuts(card.kind)))
    return faults, victims, shapes


def _cuts(kind: str) -> bool:
    """Whether faults of this kind part the servers into sides."""
    return kind in KINDS and KINDS[kind].look == "cut"


def never(found: Coverage, kinds: Collection[str]) -> dict[str, list[str]]:
    """What a storm of these kinds may reach and none did."""
    faults, victims, shapes = reachable(kinds)
    return {
        "faults": [f"{k} of {w}" for k, words in faults.items() for w in words if not found.faults.get(k, {}).get(w)],
        "victims": [
            f"{k} while {s}" for k, states in victims.items() for s in states if not found.victims.get(k, {}).get(s)
        ],
        "partitions": [shape for shape in shapes if shape not in found.partitions],
    }


def _count(table: Table, row: str, column: str) -> None:
    counts = table.setdefault(row, {})
    counts[column] = counts.get(column, 0) + 1


def _add(mine: dict[Any, int], other: dict[Any, int]) -> None:
    for key, count in other.items():
        mine[key] = mine.get(key, 0) + count
