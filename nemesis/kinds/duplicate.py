"""Links that deliver packets twice."""

from __future__ import annotations

import random

from nemesis.kinds.base import PERCENT, AtSender, Card, Params


class Duplicate(AtSender):
    name = "duplicate"
    doc = "A random share of the packets comes twice."
    needs = "netem"
    params = {"percent": PERCENT}
    others = (Card(name, "", "shatter"),)

    def draw(self, rng: random.Random, variant: str) -> Params:
        return {"percent": rng.choice((5, 20, 50))}
