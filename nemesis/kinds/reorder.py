"""Links on which packets overtake each other."""

from __future__ import annotations

import random

from nemesis.kinds.base import DELAY_MS, PERCENT, AtSender, Card, Params, log_uniform


class Reorder(AtSender):
    name = "reorder"
    doc = "A random share of the packets overtakes the others, which are delayed."
    needs = "netem"
    params = {"percent": PERCENT, "delay_ms": DELAY_MS}
    others = (Card(name, "", "shatter"),)

    def draw(self, rng: random.Random, variant: str) -> Params:
        return {"percent": rng.choice((5, 20, 50)), "delay_ms": log_uniform(rng, 5, 100)}
