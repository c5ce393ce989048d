"""Links that damage packets."""

from __future__ import annotations

import random

from nemesis.kinds.base import PERCENT, AtSender, Card, Params


class Corrupt(AtSender):
    name = "corrupt"
    doc = "A random share of the packets has a bit flipped."
    needs = "netem"
    params = {"percent": PERCENT}
    others = (Card(name, "random", "isolate"),)

    def draw(self, rng: random.Random, variant: str) -> Params:
        return {"percent": rng.choice((1, 5, 20))}
