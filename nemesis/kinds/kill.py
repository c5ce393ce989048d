"""Servers that are killed."""

from __future__ import annotations

from nemesis.kinds.base import Card, OnServers


class Kill(OnServers):
    name = "kill"
    doc = "The server is killed (SIGKILL) and started again at the end."
    effect = "down"
    deposing = (Card(name, "leader", place=1), Card(name, "majority-with-leader", place=7))
    others = (
        Card(name, "follower", low=0.1),
        Card(name, "previous-leader", low=0.1),
        Card(name, "elected", low=0.1),
        Card(name, "all", low=0.1, high=0.4),
    )
    for_good = (Card(name, "", place=1),)
    outlasts = True
    simplicity = 0
    look = "down"
    order = {"do": "kill", "how": "kill"}
    begun = ("is killed", "are killed")
