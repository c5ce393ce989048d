"""A simulated ensemble as it is asked for: groups and weights on the command line, or the plan of a run on hosts."""

from __future__ import annotations

import re

from harness import UsageError
from harness.plan import schema as plans
from harness.simulator.simulated_run import SimulatorSettings

MIN_PARTICIPANTS = 3

_GROUPS = re.compile(r"\d{1,3}(,\d{1,3})*(/\d{1,3}(,\d{1,3})*)*")
_WEIGHTS = re.compile(r"\d{1,3}=\d{1,4}(,\d{1,3}=\d{1,4})*")


def groups(text: str) -> tuple[tuple[int, ...], ...]:
    """ "1,2,3/4,5,6": the sids of two groups."""
    if not _GROUPS.fullmatch(text):
        raise UsageError(f"--groups {text!r}: give each group's sids, as in 1,2,3/4,5,6/7,8,9")
    return tuple(tuple(map(int, group.split(","))) for group in text.split("/"))


def weights(text: str) -> dict[int, int]:
    """ "4=2,9=0": servers whose weight is not 1."""
    if not _WEIGHTS.fullmatch(text):
        raise UsageError(f"--weights {text!r}: give sids with their weights, as in 4=2,9=0")
    return {int(sid): int(weight) for sid, weight in (pair.split("=") for pair in text.split(","))}


def check(servers: int, settings: SimulatorSettings) -> None:
    """Raises UsageError for an ensemble that nobody could lead."""
    voters = servers - settings.observers
    if voters < MIN_PARTICIPANTS:
        raise UsageError(f"{servers} servers with {settings.observers} observers leave fewer than 3 participants")
    sids = sorted(sid for group in settings.groups for sid in group)
    if settings.groups and sids != list(range(1, voters + 1)):
        raise UsageError(f"--groups: each of the participants 1 to {voters} belongs to exactly one of them")
    if settings.weights and not settings.groups:
        raise UsageError("--weights: they count within groups only", remedy="Give --groups, too.")
    strangers = set(settings.weights).difference(sids)
    if strangers:
        raise UsageError(f"--weights: server {min(strangers)} is in no group")
    if settings.groups and not any(settings.weights.get(sid, 1) for sid in sids):
        raise UsageError("--weights: nobody weighs anything, so nobody can be elected")


def of_plan(plan: plans.Plan) -> SimulatorSettings:
    """The ensemble of a run on hosts.  Observers come last here; the others keep the order that elections go by."""
    ensemble = plan.ensemble
    ordered = sorted(plans.host_names(plan), key=lambda name: name in ensemble.observers)
    sid_of = {name: sid for sid, name in enumerate(ordered, 1)}
    return SimulatorSettings(
        tick_ms=ensemble.tick_ms,
        init_limit=ensemble.init_limit,
        sync_limit=ensemble.sync_limit,
        max_notification_interval_ms=ensemble.max_notification_interval_ms,
        observers=len(ensemble.observers),
        groups=tuple(tuple(sid_of[name] for name in group) for group in ensemble.groups),
        weights={sid_of[name]: weight for name, weight in ensemble.weights.items()},
    )
