"""A simulated ensemble as it is asked for: groups and weights on the command line, or the plan of a run on hosts."""

from __future__ import annotations

import re

from harness import UsageError
from harness.plan import schema as plans
from harness.plan import toml
from harness.plan.checks import wrong_voters
from harness.simulator.simulated_run import SimulatorSettings
from harness.systems.zookeeper.settings import ZooKeeperSettings

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
    """Raises UsageError for an ensemble that no server could lead, with every reason."""
    sids = range(1, servers + 1)
    observers = sids[servers - settings.observers :]
    found = wrong_voters(sids, observers, settings.groups, settings.weights)
    toml.refuse("", [f"--{key}: {what}" if key else what for key, what in found])


def of_plan(plan: plans.Plan) -> SimulatorSettings:
    """The ensemble of a run on hosts.  Observers come last here; the others keep the order that elections go by.

    The servers of a system that is configured otherwise than ours get the default settings.
    """
    ensemble, servers = plan.ensemble, plan.system_settings
    servers = servers if isinstance(servers, ZooKeeperSettings) else ZooKeeperSettings()
    ordered = sorted(plans.host_names(plan), key=lambda name: name in ensemble.observers)
    sid_of = {name: sid for sid, name in enumerate(ordered, 1)}
    return SimulatorSettings(
        tick_ms=servers.tick_ms,
        init_limit=servers.init_limit,
        sync_limit=servers.sync_limit,
        max_notification_interval_ms=servers.max_notification_interval_ms,
        observers=len(ensemble.observers),
        groups=tuple(tuple(sid_of[name] for name in group) for group in ensemble.groups),
        weights={sid_of[name]: weight for name, weight in ensemble.weights.items()},
    )
