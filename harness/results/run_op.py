"""The value of the op `run`, the first of every history: what a checker and a reader must know beforehand.

It is made here for runs on hosts and for simulated ones, from what the system under test says of itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness import UsageError
from harness.systems.base import Ensemble, System

SCHEMA = 1

BOUNDS = {"convergence": "convergence_s", "stepping-down": "stepping_down_s"}
"""The promises that hold within a bound, and the names of these bounds in the op."""

OF_CLIENTS = "durability"
"""The promise that rests on what clients wrote and read."""


def run_value(
    name: str,
    seed: int,
    system: System,
    ensemble: Ensemble,
    bounds: Mapping[str, float] | None = None,
    *,
    simulated: bool = False,
) -> dict[str, Any]:
    """`bounds`: by their names, those that the run sets itself, in seconds, in place of the system's.

    Raises UsageError for a plug-in that states no bound.
    """
    profile, own = system.profile(), dict(bounds or {})
    bounded = {BOUNDS[claim.promise]: claim for claim in profile.claims if claim.promise in BOUNDS and claim.bound_s}
    for promise, bound in BOUNDS.items():
        if bound not in bounded:
            raise UsageError(
                f"{profile.name} states no bound for {promise}",
                remedy="A plug-in states one with a Claim, also where the promise is only reported.",
            )
    reported = {claim.promise: claim.why for claim in profile.claims if claim.kind == "reported"}
    if system.clients() is None:
        reported[OF_CLIENTS] = f"{profile.name} has no client that could write and read"
    return {
        "schema": SCHEMA,
        "name": name,
        "seed": seed,
        "system": profile.name,
        **({"simulated": True} if simulated else {}),
        "bug": ensemble.bug or None,
        "ensemble": {
            host: {
                "sid": place.sid,
                "role": "observer" if host in ensemble.observers else "participant",
                "address": place.address or None,
            }
            for host, place in ensemble.places.items()
        },
        "quorum": _quorum(ensemble),
        "settings": dict(profile.settings),
        "bounds": {bound: claim.bound_s for bound, claim in bounded.items()} | own,
        "unjudged": list(reported),
        "why": {claim.promise: claim.formula for bound, claim in bounded.items() if bound not in own} | reported,
    }


def _quorum(ensemble: Ensemble) -> dict[str, Any]:
    if not ensemble.groups:
        return {"kind": "majority"}
    return {
        "kind": "hierarchical",
        "groups": {str(number): ensemble.sids(group) for number, group in enumerate(ensemble.groups, 1)},
        "weights": {str(ensemble.places[host].sid): weight for host, weight in ensemble.weights.items()},
    }
