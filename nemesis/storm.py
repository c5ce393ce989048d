"""Draws a schedule from a seed: a calm start, a storm, and an end in two acts.

The model.  A storm is a row of *bouts*.  Each bout is a few faults that overlap and are all over before the bout is;
the rest of it is a gap in which the ensemble may settle, so that there is always a throne to torment.  One fault of
each bout is aimed at the throne (the leader, or its majority), since an ensemble that keeps its leader shows nothing.

The rules:

1.  A schedule is a function of its arguments.
2.  Faults are dealt from shuffled decks: every kind that is able comes once before any comes twice.  So every seed
    mixes well, also in a short run.
3.  Lengths go by `detect_s`, how long the ensemble takes to notice that its leader is gone (syncLimit times tickTime):
    a fault of the throne lasts longer than that, a passing one may be shorter.
4.  A bout's fault may outlast it (`lasting`), into one of the next bouts: what it held, comes back in the middle of
    somebody else's election, with a history from before.
5.  For good break at most as many servers as leave a majority whole, in ways that separate them cleanly from it (down,
    paused, or cut in both directions).  Otherwise nobody would be owed a leader in act one.

Example: `draw(7, 5)` is a minute for five servers, about 19 faults of 9 kinds, with acts of 12 s at the end.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import msgspec

from nemesis.faults import FREEZE, JUMP, KINDS, SKEW, STROBE, Fault
from nemesis.schedule import Schedule, ScheduleError

NFT, TBF, FAKETIME, NETEM = "nft", "tbf", "faketime", "netem"

MIN_DURATION_S = 20.0
FAULTS_A_MINUTE = 18


class Card(NamedTuple):
    """A fault without its times.  The length is a share (low, high) of what the bout has for faults."""

    kind: str
    targets: str
    shape: str = ""
    low: float = 0.5
    high: float = 1.0
    change: str = ""


# Faults that surely cost the leader its throne, if they last longer than detect_s.
THRONE = (
    Card("kill", "leader"),
    Card("stop", "leader"),
    Card("host-kill", "leader"),
    Card("pause", "leader"),
    Card("partition", "leader", "isolate"),
    Card("partition", "majority-without-leader", "split"),
    Card("kill", "majority-with-leader"),
    Card("clock", "leader", change=FREEZE),
)

# Anything else.
OTHERS = (
    Card("partition", "", "halves"),
    Card("partition", "", "majorities-ring"),
    Card("partition", "leader", "bridge"),
    Card("partition", "random", "bridge"),
    Card("partition", "leader", "one-way"),
    Card("partition", "leader", "deaf"),
    Card("partition", "leader", "mute"),
    Card("partition", "follower", "isolate"),
    Card("partition", "majority-with-leader", "split"),
    Card("partition", "", "shatter", 0.2, 0.6),
    Card("flap", "leader", "link"),
    Card("flap", "follower", "isolate"),
    Card("flap", "leader", "isolate"),
    Card("loss", "", "shatter"),
    Card("loss", "leader", "isolate"),
    Card("rate", "", "shatter"),
    Card("rate", "leader", "isolate"),
    Card("slow", "", "shatter"),
    Card("slow", "leader", "isolate"),
    Card("delay", "", "shatter"),
    Card("delay", "leader", "isolate"),
    Card("reorder", "", "shatter"),
    Card("duplicate", "", "shatter"),
    Card("corrupt", "random", "isolate"),
    Card("kill", "follower", low=0.1),
    Card("kill", "previous-leader", low=0.1),
    Card("kill", "elected", low=0.1),
    Card("kill", "all", low=0.1, high=0.4),
    Card("stop", "follower", low=0.1),
    Card("host-kill", "previous-leader"),
    Card("host-kill", "follower"),
    Card("pause", "random", low=0.02, high=0.3),
    Card("pause", "elected", low=0.02, high=0.3),
    Card("pause", "previous-leader"),
    Card("pause", "followers"),
    Card("pause", "minority"),
    Card("pause", "all", low=0.05, high=0.5),
    Card("clock", "leader", change=JUMP),
    Card("clock", "followers", change=JUMP),
    Card("clock", "leader", change=SKEW),
    Card("clock", "minority", change=SKEW),
    Card("clock", "random", change=STROBE),
    Card("clock", "follower", change=FREEZE),
)

# What one server may suffer for several bouts.
LASTING = ("kill", "stop", "host-kill", "pause", "partition")
ONE_SERVER = ("leader", "elected", "previous-leader", "follower", "random")
LASTING_BOUTS_MAX = 3

# Clean enough to leave a core that is owed a leader.
FOR_GOOD = (
    Card("kill", ""),
    Card("host-kill", ""),
    Card("pause", ""),
    Card("stop", ""),
    Card("partition", "", "isolate"),
)


def draw(
    seed: int,
    servers: int,
    duration_s: float = 60.0,
    *,
    abilities: Collection[str] = (NFT, TBF, FAKETIME),
    kinds: Collection[str] = (),
    detect_s: float = 1.5,
    settle_s: float = 2.0,
    act_s: float | None = None,
    spared: int | None = None,
    lasting: float = 0.0,
) -> Schedule:
    """A schedule for `servers` voters.

    `abilities` are what every host is able to do (`Kind.needs`), `kinds` narrows the kinds down (empty is all that are
    able), `settle_s` is the gap at the end of each bout, `act_s` the length of each of the two acts at the end (a fifth
    of the whole, at most 30 s, if it is not given), `spared` how many voters, whichever they are, may be broken for
    good and leave a quorum (a minority of them if it is not given), `lasting` the chance that a fault of one server,
    other than the throne's, outlasts its bout.  Raises ScheduleError.
    """
    _check_kinds(kinds, abilities)
    if servers < 3:
        raise ScheduleError(f"an ensemble of {servers} loses its quorum with any server; a schedule needs at least 3")
    fault_s = 1.2 * detect_s + 1.0
    bout_s = 0.4 + fault_s + settle_s
    calm, core_at, act = _phases(duration_s, act_s)
    bouts = int((core_at - calm) / bout_s)
    if duration_s < MIN_DURATION_S or bouts < 1:
        least = _least_s(bout_s, act_s)
        raise ScheduleError(
            f"{duration_s:g} s is too short for a storm and two acts of {act:g} s; take {least:g} s or more"
        )
    able = [name for name, kind in KINDS.items() if kind.needs in ("", *abilities) and (not kinds or name in kinds)]
    rng = random.Random(f"storm {seed} {servers} {duration_s} {detect_s} {settle_s} {act} {able}")
    longer = random.Random(f"lasting {seed} {servers}")
    throne, others = _Deck(rng, THRONE, able), _Deck(rng, OTHERS, able)
    bout_s = (core_at - calm) / bouts  # what is left over goes to the gaps
    drawn: list[Fault] = []
    usual = max(2, round(FAULTS_A_MINUTE * duration_s / 60 / bouts) - 1)  # beside the one that the throne gets
    for begins in (calm + bout_s * index for index in range(bouts)):
        first, rest = (
            throne.deal() or others.deal(),
            [others.deal() for _ in range(usual + rng.choice((-1, 0, 0, 0, 1)))],
        )
        if first is not None:
            drawn.append(_timed(rng, first, begins + rng.uniform(0, 0.3), fault_s, least_s=1.2 * detect_s))
        passing = [
            _timed(rng, card, begins + rng.uniform(0, 0.4 * fault_s), 0.6 * fault_s)
            for card in rest
            if card is not None
        ]
        drawn += [_lasting(longer, fault, begins, bout_s, fault_s, core_at, lasting) for fault in passing]
    drawn += _for_good(rng, able, (servers - 1) // 2 if spared is None else spared, core_at)
    drawn.sort(key=lambda fault: fault.at_s)
    return Schedule(
        seed=seed,
        servers=servers,
        duration_s=duration_s,
        calm_s=round(calm, 3),
        core_at_s=round(core_at, 3),
        all_at_s=round(core_at + act, 3),
        faults=tuple(msgspec.structs.replace(fault, id=f"f{index}") for index, fault in enumerate(drawn, 1)),
    )


def _phases(duration_s: float, act_s: float | None) -> tuple[float, float, float]:
    """When the calm and the storm are over, and how long an act is."""
    act = min(30.0, duration_s / 5) if act_s is None else act_s
    return min(3.0, duration_s / 20), duration_s - 2 * act, act


def _least_s(bout_s: float, act_s: float | None) -> float:
    """The shortest duration, in tenths of a second, that has room for one bout: the calm, too, grows with it.

    The room grows by more than half of what the duration grows by, so this ends.
    """
    tenths = math.ceil(10 * max(MIN_DURATION_S, bout_s + 2 * (act_s or 0)))
    while True:
        calm, core_at, _ = _phases(tenths / 10, act_s)
        if int((core_at - calm) / bout_s) >= 1:
            return tenths / 10
        tenths += 1


class _Deck:
    """Deals cards so that every kind comes once before any comes twice, and within a kind every card."""

    def __init__(self, rng: random.Random, cards: Sequence[Card], able: Collection[str]) -> None:
        self._rng = rng
        self._cards = {kind: [card for card in cards if card.kind == kind] for kind in able}
        self._cards = {kind: of_kind for kind, of_kind in self._cards.items() if of_kind}
        self._kinds: list[str] = []
        self._left: dict[str, list[Card]] = {kind: [] for kind in self._cards}

    def deal(self) -> Card | None:
        """The next card; None of an empty deck."""
        if not self._cards:
            return None
        if not self._kinds:
            self._kinds = list(self._cards)
            self._rng.shuffle(self._kinds)
        kind = self._kinds.pop()
        if not self._left[kind]:
            self._left[kind] = list(self._cards[kind])
            self._rng.shuffle(self._left[kind])
        return self._left[kind].pop()


def _timed(rng: random.Random, card: Card, at_s: float, fault_s: float, least_s: float = 0.05) -> Fault:
    for_s = max(least_s, fault_s * rng.uniform(card.low, card.high))
    return Fault(
        id="",
        kind=card.kind,
        at_s=round(at_s, 3),
        for_s=round(for_s, 3),
        targets=card.targets,
        shape=card.shape,
        params=_params(rng, card),
    )


def _lasting(
    rng: random.Random, fault: Fault, begins: float, bout_s: float, fault_s: float, core_at_s: float, chance: float
) -> Fault:
    """The fault, or a longer one that is over while the faults of a later bout are in force."""
    alone = fault.kind in LASTING and fault.targets in ONE_SERVER and fault.shape in ("", "isolate")
    if not alone or rng.random() >= chance:
        return fault
    over = begins + rng.randint(1, LASTING_BOUTS_MAX) * bout_s + rng.uniform(0, fault_s)
    if over > core_at_s:
        return fault
    return msgspec.structs.replace(fault, for_s=round(over - fault.at_s, 3))


def _params(rng: random.Random, card: Card) -> dict[str, Any]:
    """The kind's own parameters, drawn on a scale that is logarithmic where a factor is what matters."""
    drawn: dict[str, dict[str, Any]] = {
        JUMP: {"change": JUMP, "offset_ms": _log(rng, 500, 60_000)},
        SKEW: {"change": SKEW, "rate": rng.choice((0.5, 0.7, 0.9, 1.2, 2.0, 4.0))},
        STROBE: {"change": STROBE, "period_ms": _log(rng, 50, 800)},
        FREEZE: {"change": FREEZE},
        "flap": {"cut_ms": _log(rng, 50, 800), "whole_ms": _log(rng, 50, 800)},
        "loss": {"percent": rng.choice((2, 5, 10, 20, 40))},
        "rate": {"bytes_per_s": _log(rng, 1_000, 50_000)},
        "slow": {"bytes_per_s": _log(rng, 300, 20_000)},
        "delay": {"delay_ms": _log(rng, 5, 500), "jitter_ms": _log(rng, 1, 100)},
        "reorder": {"percent": rng.choice((5, 20, 50)), "delay_ms": _log(rng, 5, 100)},
        "duplicate": {"percent": rng.choice((5, 20, 50))},
        "corrupt": {"percent": rng.choice((1, 5, 20))},
    }
    return drawn.get(card.change or card.kind, {})


def _log(rng: random.Random, low: float, high: float) -> int:
    return round(math.exp(rng.uniform(math.log(low), math.log(high))))


def _for_good(rng: random.Random, able: Collection[str], spared: int, core_at_s: float) -> list[Fault]:
    """The leader and, where more may be spared, others; half a second before the storm is over."""
    cards = [card for card in FOR_GOOD if card.kind in able]
    if not cards or not spared:
        return []
    words = ["leader", *["follower"] * (spared - 1)][: rng.randint(max(1, spared - 1), spared)]
    return [
        Fault(id="", kind=card.kind, at_s=round(core_at_s - 0.5 + 0.1 * index, 3), targets=word, shape=card.shape)
        for index, (word, card) in enumerate((word, rng.choice(cards)) for word in words[:4])
    ]


def _check_kinds(kinds: Collection[str], abilities: Collection[str]) -> None:
    for kind in kinds:
        if kind not in KINDS:
            raise ScheduleError(f"there is no kind {kind!r} of fault; there are: {', '.join(KINDS)}")
        needs = KINDS[kind].needs
        if needs and needs not in abilities:
            raise ScheduleError(f"{kind} needs {needs}, which not all hosts have")
