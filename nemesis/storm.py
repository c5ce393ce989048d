"""Draws a schedule from a seed: a calm start, a storm, and an end in two acts.

The model.  A storm is a row of *bouts*.  Each bout is a few faults that overlap and are all over before the bout is.
The rest of the bout is a gap in which the ensemble may settle, so that the next bout has a leader to hit.  One fault of
each bout is meant to depose the leader, since an ensemble that keeps its leader shows nothing.  What each kind of fault
can be drawn as, its cards, is in the kind's own file (`nemesis.kinds`).

The rules:

1.  A schedule is a function of its arguments.
2.  Faults are dealt from shuffled decks: every kind that the hosts can do comes once before any comes twice.  So every
    seed mixes well, also in a short run.
3.  Lengths depend on `detect_s`, how long the ensemble takes to notice that its leader is gone (syncLimit times
    tickTime).  A deposing fault lasts longer than that; any other may be shorter.
4.  A fault may outlast its bout (`lasting`) into one of the next bouts.  Its server then comes back in the middle of an
    election, with a history from before.
5.  Servers that break for good leave a majority whole, and are separated from it cleanly (down, paused, or cut in both
    directions).  Otherwise no majority would be owed a leader in act one.
6.  A new kind changes what every seed draws.

Example: `draw(7, 5)` is a minute for five servers, about 19 faults of 9 kinds, with acts of 12 s at the end.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Iterable, Sequence

import msgspec

from nemesis.faults import KINDS
from nemesis.kinds.base import Card, Fault, Params
from nemesis.schedule import Schedule, ScheduleError

NFT, TBF, FAKETIME, NETEM = "nft", "tbf", "faketime", "netem"

MIN_DURATION_S = 20.0
FAULTS_A_MINUTE = 18
"""Faults that a storm aims for, counted over the whole schedule."""

ONE_SERVER = ("leader", "elected", "previous-leader", "follower", "random")
"""Targets that are a single server; only such a fault may outlast its bout."""
LASTING_BOUTS_MAX = 3
"""Maximum number of bouts that a fault outlasts."""


def deposing() -> list[Card]:
    """The cards of all kinds that surely depose the leader, if they last longer than `detect_s`."""
    return _in_order(card for kind in KINDS.values() for card in kind.deposing)


def others() -> list[Card]:
    """The cards of all kinds that may hit anybody."""
    return _in_order(card for kind in KINDS.values() for card in kind.others)


def for_good() -> list[Card]:
    """The cards of all kinds that separate a server so cleanly that the majority without it is owed a leader."""
    return _in_order(card for kind in KINDS.values() for card in kind.for_good)


def _in_order(cards: Iterable[Card]) -> list[Card]:
    return sorted(cards, key=lambda card: card.place)


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
    other than a deposing one, outlasts its bout.  Raises ScheduleError.
    """
    _check_kinds(kinds, abilities)
    if servers < 3:
        raise ScheduleError(f"an ensemble of {servers} loses its quorum with any server; a schedule needs at least 3")
    fault_s = 1.2 * detect_s + 1.0
    bout_s = 0.4 + fault_s + settle_s
    calm, majority_at, act = _phases(duration_s, act_s)
    bouts = int((majority_at - calm) / bout_s)
    if duration_s < MIN_DURATION_S or bouts < 1:
        least = _least_s(bout_s, act_s)
        raise ScheduleError(
            f"{duration_s:g} s is too short for a storm and two acts of {act:g} s; take {least:g} s or more"
        )
    able = [name for name, kind in KINDS.items() if kind.needs in ("", *abilities) and (not kinds or name in kinds)]
    rng = random.Random(f"storm {seed} {servers} {duration_s} {detect_s} {settle_s} {act} {able}")
    longer = random.Random(f"lasting {seed} {servers}")
    first_deck, deck = _Deck(rng, deposing(), able), _Deck(rng, others(), able)
    bout_s = (majority_at - calm) / bouts  # what is left over goes to the gaps
    drawn: list[Fault] = []
    usual = max(2, round(FAULTS_A_MINUTE * duration_s / 60 / bouts) - 1)  # beside the deposing one
    for begins in (calm + bout_s * index for index in range(bouts)):
        first, rest = (
            first_deck.deal() or deck.deal(),
            [deck.deal() for _ in range(usual + rng.choice((-1, 0, 0, 0, 1)))],
        )
        if first is not None:
            drawn.append(_timed(rng, first, begins + rng.uniform(0, 0.3), fault_s, least_s=1.2 * detect_s))
        passing = [
            _timed(rng, card, begins + rng.uniform(0, 0.4 * fault_s), 0.6 * fault_s)
            for card in rest
            if card is not None
        ]
        drawn += [_lasting(longer, fault, begins, bout_s, fault_s, majority_at, lasting) for fault in passing]
    drawn += _for_good(rng, able, (servers - 1) // 2 if spared is None else spared, majority_at)
    drawn.sort(key=lambda fault: fault.at_s)
    return Schedule(
        seed=seed,
        servers=servers,
        duration_s=duration_s,
        calm_s=round(calm, 3),
        majority_at_s=round(majority_at, 3),
        everyone_at_s=round(majority_at + act, 3),
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
        calm, majority_at, _ = _phases(tenths / 10, act_s)
        if int((majority_at - calm) / bout_s) >= 1:
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
    rng: random.Random, fault: Fault, begins: float, bout_s: float, fault_s: float, majority_at_s: float, chance: float
) -> Fault:
    """The fault, or a longer one that is over while the faults of a later bout are in force."""
    alone = KINDS[fault.kind].outlasts and fault.targets in ONE_SERVER and fault.shape in ("", "isolate")
    if not alone or rng.random() >= chance:
        return fault
    over = begins + rng.randint(1, LASTING_BOUTS_MAX) * bout_s + rng.uniform(0, fault_s)
    if over > majority_at_s:
        return fault
    return msgspec.structs.replace(fault, for_s=round(over - fault.at_s, 3))


def _params(rng: random.Random, card: Card) -> Params:
    """The parameters of the card's kind.

    Every kind draws, and only the card's own kind is heard: so the rest of the storm does not depend on which card was
    dealt.  Kinds of servers draw first; seeds depend on it.
    """
    in_turn = sorted(KINDS.values(), key=lambda kind: kind.shaped)
    return {kind.name: kind.draw(rng, card.variant) for kind in in_turn}[card.kind]


def _for_good(rng: random.Random, able: Collection[str], spared: int, majority_at_s: float) -> list[Fault]:
    """The leader and, where more may be spared, others; half a second before the storm is over."""
    cards = [card for card in for_good() if card.kind in able]
    if not cards or not spared:
        return []
    words = ["leader", *["follower"] * (spared - 1)][: rng.randint(max(1, spared - 1), spared)]
    return [
        Fault(id="", kind=card.kind, at_s=round(majority_at_s - 0.5 + 0.1 * index, 3), targets=word, shape=card.shape)
        for index, (word, card) in enumerate((word, rng.choice(cards)) for word in words[:4])
    ]


def _check_kinds(kinds: Collection[str], abilities: Collection[str]) -> None:
    for kind in kinds:
        if kind not in KINDS:
            raise ScheduleError(f"there is no kind {kind!r} of fault; there are: {', '.join(KINDS)}")
        needs = KINDS[kind].needs
        if needs and needs not in abilities:
            raise ScheduleError(f"{kind} needs {needs}, which not all hosts have")
