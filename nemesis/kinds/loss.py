"""Links that lose packets."""

from __future__ import annotations

import random
from typing import Any

from nemesis.kinds.base import PERCENT, Card, OnLinks, Params


class PacketLoss(OnLinks):
    name = "loss"
    doc = "A random share of the packets of the links vanishes."
    params = {"percent": PERCENT}
    others = (Card(name, "", "shatter"), Card(name, "leader", "isolate"))
    simplicity = 7

    def link(self, params: Params) -> dict[str, Any]:
        return {"loss_percent": params["percent"]}

    def draw(self, rng: random.Random, variant: str) -> Params:
        return {"percent": rng.choice((2, 5, 10, 20, 40))}
