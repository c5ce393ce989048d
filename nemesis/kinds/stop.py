"""Servers that are stopped."""

from __future__ import annotations

from nemesis.kinds.base import Card, OnServers


class Stop(OnServers):
    name = "stop"
    doc = "The server is stopped gracefully (SIGTERM) and started again at the end."
    effect = "down"
    deposing = (Card(name, "leader", place=2),)
    others = (Card(name, "follower", low=0.1),)
    for_good = (Card(name, "", place=4),)
    outlasts = True
    simplicity = 3
    look = "down"
    order = {"do": "kill", "how": "stop"}
    begun = ("is stopped", "are stopped")
