"""Servers whose clock lies."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from nemesis.kinds.base import Card, Fault, FaultError, OnServers, Param, Params, log_uniform
from nemesis.wording import listed

JUMP, SKEW, STROBE, FREEZE = "jump", "skew", "strobe", "freeze"

_PARAM_OF_CHANGE = {JUMP: "offset_ms", SKEW: "rate", STROBE: "period_ms", FREEZE: ""}


class BentClock(OnServers):
    name = "clock"
    doc = (
        "The server's own clock, wall and monotonic, jumps ahead, runs at another rate, strobes (stands still and "
        "leaps, in turn) or freezes; the host's clock is not touched."
    )
    needs = "faketime"
    params = {
        "change": Param("what happens to it", choices=(JUMP, SKEW, STROBE, FREEZE)),
        "offset_ms": Param("jump: how far ahead", 1, 86_400_000, optional=True),
        "rate": Param("skew: its seconds to a true second", 0.5, 10, optional=True),
        "period_ms": Param("strobe: how long it stands still before it leaps", 10, 10_000, optional=True),
    }
    effect = "clock"
    deposing = (Card(name, "leader", variant=FREEZE, place=8),)
    others = (
        Card(name, "leader", variant=JUMP),
        Card(name, "followers", variant=JUMP),
        Card(name, "leader", variant=SKEW),
        Card(name, "minority", variant=SKEW),
        Card(name, "random", variant=STROBE),
        Card(name, "follower", variant=FREEZE),
    )
    simplicity = 5
    look = "clock"
    order = {"do": "clock"}

    def check_params(self, fault: Fault) -> None:
        change = fault.params["change"]
        needed = _PARAM_OF_CHANGE[change]
        extra = set(fault.params) - {"change", needed}
        if extra:
            raise FaultError("params", f"a {change} of a clock has no {sorted(extra)[0]}")
        if needed and needed not in fault.params:
            raise FaultError("params", f"a {change} of a clock needs {needed}")

    def about(self, params: Params) -> dict[str, Any]:
        """Whether the clock runs at the rate of true time while the fault lasts: a jump does not change the rate."""
        return {"runs_ordinarily": params["change"] == JUMP}

    def draw(self, rng: random.Random, variant: str) -> Params:
        drawn: dict[str, Params] = {
            JUMP: {"change": JUMP, "offset_ms": log_uniform(rng, 500, 60_000)},
            SKEW: {"change": SKEW, "rate": rng.choice((0.5, 0.7, 0.9, 1.2, 2.0, 4.0))},
            STROBE: {"change": STROBE, "period_ms": log_uniform(rng, 50, 800)},
            FREEZE: {"change": FREEZE},
        }
        return drawn.get(variant, {})

    def tell(self, begins: bool, hosts: list[str], value: Mapping[str, Any]) -> str:
        many = len(hosts) > 1
        clock = f"{listed(hosts)}'s clock{'s' if many else ''}"
        if begins:
            return f"{clock} {'are' if many else 'is'} bent ({value.get('change', self.name)})"
        return f"{clock} {'run' if many else 'runs'} on"
