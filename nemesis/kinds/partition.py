"""Links that drop everything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nemesis.kinds.base import Card, OnLinks, Params
from nemesis.wording import links_of


class Partition(OnLinks):
    name = "partition"
    doc = "Packets between servers vanish, by the shape of the grudge."
    effect = "drops"
    deposing = (
        Card(name, "leader", "isolate", place=5),
        Card(name, "majority-without-leader", "split", place=6),
    )
    others = (
        Card(name, "", "halves"),
        Card(name, "", "majorities-ring"),
        Card(name, "leader", "bridge"),
        Card(name, "random", "bridge"),
        Card(name, "leader", "one-way"),
        Card(name, "leader", "deaf"),
        Card(name, "leader", "mute"),
        Card(name, "follower", "isolate"),
        Card(name, "majority-with-leader", "split"),
        Card(name, "", "shatter", 0.2, 0.6),
    )
    for_good = (Card(name, "", "isolate", place=5),)
    outlasts = True
    simplicity = 2
    look = "cut"

    def link(self, params: Params) -> dict[str, Any]:
        return {"drop": True}

    def tell(self, begins: bool, hosts: list[str], value: Mapping[str, Any]) -> str:
        return f"{links_of(value.get('grudge') or {})} {'cut' if begins else 'whole again'}"
