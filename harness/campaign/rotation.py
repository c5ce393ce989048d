"""Which run comes next at a place: a function of the plan, the place, and how many were dealt there before.

The model.  A place (an ensemble of hosts, or the simulator) has a deck: every setting that is for it, in every size
that it is large enough for, under every mix, as many times as the setting's share.  The deck is shuffled anew each time
it is through, from the plan's seed.  So every combination comes once before any comes twice, whenever the campaign was
killed and resumed in between.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from harness.campaign.plan import HOSTS, SIMULATOR, CampaignPlan, capacity, mixes_of


class Turn(NamedTuple):
    setting: str
    servers: int
    mix: str


def deal(plan: CampaignPlan, place: str, number: int) -> Turn:
    """The card with that number (from 0) at an ensemble of hosts, or at `SIMULATOR`."""
    cards = deck(plan, place)
    rounds, index = divmod(number, len(cards))
    order = list(cards)
    random.Random(f"deck {plan.seed} {place} {rounds}").shuffle(order)
    return order[index]


def deck(plan: CampaignPlan, place: str) -> tuple[Turn, ...]:
    """All cards of a place, in the plan's order."""
    world, largest = (SIMULATOR, 1 << 30) if place == SIMULATOR else (HOSTS, capacity(plan, place))
    return tuple(
        Turn(setting.name, servers, mix)
        for setting in plan.settings
        if world in setting.on
        for servers in setting.servers
        if servers <= largest
        for mix in mixes_of(plan, setting)
        for _ in range(setting.share)
    )
