"""Servers that stand still."""

from __future__ import annotations

from nemesis.kinds.base import Card, OnServers


class Pause(OnServers):
    name = "pause"
    doc = (
        "The server is stopped where it is (SIGSTOP), or, if it is down, as soon as it starts; it continues at the end."
    )
    effect = "paused"
    deposing = (Card(name, "leader", place=4),)
    others = (
        Card(name, "random", low=0.02, high=0.3),
        Card(name, "elected", low=0.02, high=0.3),
        Card(name, "previous-leader"),
        Card(name, "followers"),
        Card(name, "minority"),
        Card(name, "all", low=0.05, high=0.5),
    )
    for_good = (Card(name, "", place=3),)
    outlasts = True
    simplicity = 1
    look = "paused"
    order = {"do": "pause"}
    begun = ("is paused", "are paused")
    over = ("goes on", "go on")
