"""How harsh a simulated world is: a seed's own knobs.

The model.  It is swarm testing (Groce et al., 2012): a world in which everything goes wrong a little finds less than
many worlds in each of which some things go wrong a lot, and others never.  So each seed draws every knob by itself, and
every knob has a fair chance of zero.  A knob is weather, not a fault: it is in no schedule and no checker knows of it.
So what it may do is bounded by what the promises allow for: after the storm no connection is cut and no disk hangs, and
in an ensemble with a short tick, whose time-outs are short, all of the weather's times are (`pace`).

Example: `draw(7)` might be a world with 3 ms between servers and a long tail, no stalls, disks that take 0.4 ms for a
sync and sometimes 200 ms, servers that die between two effects, and only five kinds of faults.
"""

from __future__ import annotations

import math
import random

import msgspec

from harness.simulator.clock import MS, US
from nemesis import storm
from nemesis.faults import KINDS

ORDINARY_TICK_MS = 500
"""The weather below is such as an ensemble with this tick can stand."""


class Knobs(msgspec.Struct, frozen=True):
    """Times are in nanoseconds, rates in times a second, chances from 0 to 1."""

    delay: int = 500 * US
    """The median time of a message on the wire; each direction of each link has its own, around this."""
    delay_tail: str = "narrow"
    """The distribution around the median: narrow, wide, or heavy (a few messages take many times as long)."""
    stalls: float = 0.0
    """How often one direction of a link holds everything back for a while (up to 400 ms)."""
    resets: float = 0.0
    """How often a connection is cut with whatever is under way on it."""
    half_open: float = 0.0
    """Of those, the share that one end, or neither, is told of."""
    sync: int = 0
    """The median time that a sync of the disk takes; the server stands still for it."""
    slow_syncs: float = 0.0
    """The chance that a sync takes 50 to 400 ms."""
    drift_ppm: int = 0
    """How far a host's clock may run off true time, either way."""
    worst_instant: float = 0.0
    """The chance that a killed server dies between two effects of its choosing, rather than at once."""
    restart_crashes: float = 0.0
    """The chance that a server that starts again dies soon after, and is started once more."""
    fault_latency: int = 5 * MS
    """The longest that a host takes to carry a fault out after it was told; some are earlier than others."""
    start_latency: int = 50 * MS
    """The longest that a server takes to be up after it was started."""
    client_rate: float = 5.0
    """Operations a second of all clients together."""
    workers: int = 3
    kinds: tuple[str, ...] = ()
    """The kinds of fault that a schedule is drawn from; empty is all."""
    snap_count: int = 0
    """After about so many transactions a server writes a snapshot and forgets the older ones; 0 is its own default."""
    observers: int = 0
    """So many servers, the last ones, are observers, where the settings leave that to the seed."""
    lasting: float = 0.0
    """The chance that a fault of one server outlasts its bout, when a schedule is drawn."""


def pace(tick_ms: int) -> float:
    """What the weather's times are multiplied by, in an ensemble with this tick."""
    return min(1.0, tick_ms / ORDINARY_TICK_MS)


def paced(knobs: Knobs, tick_ms: int) -> Knobs:
    """The knobs as they work in an ensemble with this tick; a stall's and a slow sync's time go by `pace` as well."""
    by = pace(tick_ms)
    return msgspec.structs.replace(
        knobs,
        delay=round(knobs.delay * by),
        sync=round(knobs.sync * by),
        start_latency=round(knobs.start_latency * by),
    )


def draw(seed: int) -> Knobs:
    """The knobs of a seed."""
    rng = random.Random(f"knobs {seed}")

    def sometimes(chance: float, low: float, high: float) -> float:
        """Zero, or with this chance something between, on a logarithmic scale."""
        value = math.exp(rng.uniform(math.log(low), math.log(high)))
        return value if rng.random() < chance else 0.0

    knobs = Knobs(
        delay=round(math.exp(rng.uniform(math.log(50), math.log(8_000)))) * US,
        delay_tail=rng.choice(("narrow", "narrow", "wide", "heavy")),
        stalls=round(sometimes(0.4, 0.2, 3), 3),
        resets=round(sometimes(0.4, 0.05, 1.5), 3),
        half_open=rng.choice((0.0, 0.3, 0.8)),
        sync=round(sometimes(0.5, 50, 5_000)) * US,
        slow_syncs=round(sometimes(0.3, 0.002, 0.05), 4),
        drift_ppm=round(sometimes(0.4, 20, 5_000)),
        worst_instant=rng.choice((0.0, 0.3, 0.7, 1.0)),
        restart_crashes=rng.choice((0.0, 0.0, 0.3, 0.8)),
        fault_latency=round(sometimes(0.7, 0.2, 20) * MS),
        start_latency=round(math.exp(rng.uniform(math.log(1), math.log(200)))) * MS,
        client_rate=rng.choice((1.0, 2.0, 4.0, 8.0)),
        workers=rng.choice((1, 3, 5)),
    )
    knobs = msgspec.structs.replace(knobs, kinds=_swarm(rng))
    shape = random.Random(f"shape {seed}")
    return msgspec.structs.replace(
        knobs,
        snap_count=shape.choice((0, 0, 0, 16, 32, 100)),
        observers=shape.choice((0, 0, 0, 0, 0, 0, 1, 2)),
        lasting=shape.choice((0.0, 0.0, 0.3, 0.7)),
    )


def _swarm(rng: random.Random) -> tuple[str, ...]:
    """All kinds in a third of the worlds; otherwise each with its own even chance, and one that deposes the leader.

    A world in which no leader is ever deposed shows nothing.
    """
    if rng.random() < 1 / 3:
        return ()
    chance = rng.choice((0.3, 0.5, 0.7))
    kept = {kind for kind in KINDS if rng.random() < chance}
    deposing = list(dict.fromkeys(card.kind for card in storm.deposing()))
    if not kept.intersection(deposing):
        kept.add(rng.choice(deposing))
    return tuple(kind for kind in KINDS if kind in kept)
