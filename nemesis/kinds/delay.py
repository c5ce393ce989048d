"""Links that are late."""

from __future__ import annotations

import random

from nemesis.kinds.base import DELAY_MS, AtSender, Card, Param, Params, log_uniform


class Delay(AtSender):
    name = "delay"
    doc = "Packets of the links come late, by the delay and up to the jitter more or less."
    needs = "netem"
    params = {"delay_ms": DELAY_MS, "jitter_ms": Param("how much the delay varies", 0, 60_000, optional=True)}
    others = (Card(name, "", "shatter"), Card(name, "leader", "isolate"))
    simplicity = 10

    def draw(self, rng: random.Random, variant: str) -> Params:
        return {"delay_ms": log_uniform(rng, 5, 500), "jitter_ms": log_uniform(rng, 1, 100)}
