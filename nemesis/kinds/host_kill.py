"""Hosts that die with their servers."""

from __future__ import annotations

from nemesis.kinds.base import Card, OnServers


class HostKill(OnServers):
    name = "host-kill"
    doc = "The host dies: its packets vanish without a reset, then its server is killed; started again at the end."
    needs = "nft"
    effect = "down"
    deposing = (Card(name, "leader", place=3),)
    others = (Card(name, "previous-leader"), Card(name, "follower"))
    for_good = (Card(name, "", place=2),)
    outlasts = True
    simplicity = 4
    look = "down"
    order = {"do": "kill", "how": "kill", "isolate": True}
    begun = ("dies with its host", "die with their hosts")
