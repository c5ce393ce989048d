"""A partition that comes and goes."""

from __future__ import annotations

import random
from typing import Any

from nemesis.kinds.base import Card, OnLinks, Order, Param, Params, log_uniform


class Flap(OnLinks):
    name = "flap"
    doc = "A partition that comes and goes on the host's own timer; a checker trusts its links in neither state."
    params = {
        "cut_ms": Param("how long the links are cut each time", 10, 60_000),
        "whole_ms": Param("how long they are whole in between", 10, 60_000),
    }
    others = (
        Card(name, "leader", "link"),
        Card(name, "follower", "isolate"),
        Card(name, "leader", "isolate"),
    )
    simplicity = 6
    look = "cut"

    def link(self, params: Params) -> dict[str, Any]:
        return {"drop": True}

    def more(self, params: Params) -> Order:
        return {"flap": dict(params)}

    def draw(self, rng: random.Random, variant: str) -> Params:
        return {"cut_ms": log_uniform(rng, 50, 800), "whole_ms": log_uniform(rng, 50, 800)}
