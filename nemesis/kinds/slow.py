"""Links that queue what is over a rate."""

from __future__ import annotations

import random

from nemesis.kinds.base import BYTES_PER_S, AtSender, Card, Params, log_uniform


class Slow(AtSender):
    name = "slow"
    doc = "Packets queue at their sender and arrive late, at a limited number of bytes a second."
    needs = "tbf"
    params = {"bytes_per_s": BYTES_PER_S}
    others = (Card(name, "", "shatter"), Card(name, "leader", "isolate"))
    simplicity = 9

    def draw(self, rng: random.Random, variant: str) -> Params:
        return {"bytes_per_s": log_uniform(rng, 300, 20_000)}
