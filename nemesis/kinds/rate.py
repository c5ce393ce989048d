"""Links that drop what is over a rate."""

from __future__ import annotations

import random
from typing import Any

from nemesis.kinds.base import BYTES_PER_S, Card, OnLinks, Params, log_uniform


class Rate(OnLinks):
    name = "rate"
    doc = "The links carry a limited number of bytes a second; the excess is dropped."
    params = {"bytes_per_s": BYTES_PER_S}
    others = (Card(name, "", "shatter"), Card(name, "leader", "isolate"))
    simplicity = 8

    def link(self, params: Params) -> dict[str, Any]:
        return {"bytes_per_s": params["bytes_per_s"]}

    def draw(self, rng: random.Random, variant: str) -> Params:
        return {"bytes_per_s": log_uniform(rng, 1_000, 50_000)}
