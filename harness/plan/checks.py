"""What cannot be carried out of a plan, said before anything is made.

A range of a single number stands in its type (`msgspec.Meta`), and `wrong_numbers` looks at all of them.  What follows
from several keys, or from the system under test, has a function here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from checker.counted import counted
from harness import UsageError
from harness.plan.schema import Plan, host_names, system_of
from harness.plan.toml import did_you_mean, refuse
from harness.systems.base import Checked, System
from nemesis.faults import KINDS

Server = TypeVar("Server", str, int)

MIN_PARTICIPANTS = 3
"""Two participants tolerate no failure, so there is nothing that a nemesis could leave running."""

MAX_PATH = 60
"""Maximum length of the directory and the name together: a host's injector has its Unix socket below them, whose whole
path may have 107 characters."""

_DIRECTORY = re.compile(r"(/[A-Za-z0-9._-]+)+")


def check(plan: Plan, where: Path | str) -> Plan:
    """Refuse a plan that cannot be run, with every reason, one a line; returns the plan.  Raises UsageError."""
    refuse(where, problems(plan))
    return plan


def problems(plan: Plan) -> list[str]:
    """Everything that is wrong with a plan; each begins with the table and the key."""
    ensemble = plan.ensemble
    found = [*_wrong_places(plan), *wrong_numbers(plan)]
    found += [
        f"[nemesis] kinds: there is no {kind!r}{did_you_mean(kind, KINDS)}"
        for kind in plan.nemesis.kinds
        if kind not in KINDS
    ]
    try:
        names = host_names(plan)
    except UsageError as error:
        return [f"[hosts] {error.what}. {error.remedy}".rstrip(". "), *found]
    found += [
        f"[ensemble] {key}: {what}" if key else what
        for key, what in wrong_voters(names, ensemble.observers, ensemble.groups, ensemble.weights)
    ]
    try:
        system = system_of(plan)
    except UsageError as error:
        return [*found, f"system: {error}"]
    return [*found, *_wrong_settings(plan), *_wrong_for(system, plan)]


# ---- numbers ---------------------------------------------------------------------------------------------------------


def wrong_numbers(table: msgspec.Struct, at: str = "") -> list[str]:
    """Every number of a table, and of the tables in it, that is out of the range that its type gives."""
    found = []
    for key, hint in get_type_hints(type(table), include_extras=True).items():
        value = getattr(table, key)
        here = f"[{at}] {key}" if at else key
        if isinstance(value, msgspec.Struct) and hint is type(value):
            found += wrong_numbers(value, f"{at}.{key}" if at else key)
        else:
            found += [f"{here}: {why}" for why in _out_of_range(value, hint)]
    return found


def _out_of_range(value: Any, hint: Any) -> Iterator[str]:
    if get_origin(hint) is Annotated:
        ranges = [part for part in get_args(hint)[1:] if isinstance(part, msgspec.Meta)]
        yield from (f"{_range(meta)}, not {value:g}" for meta in ranges if not _within(value, meta))
    elif isinstance(value, tuple) and get_origin(hint) is tuple:
        for part in value:
            yield from _out_of_range(part, get_args(hint)[0])
    elif isinstance(value, dict) and get_origin(hint) is dict:
        for part in value.values():
            yield from _out_of_range(part, get_args(hint)[1])


def _within(value: float, meta: msgspec.Meta) -> bool:
    """Not a number (nan) is within nothing."""
    return (
        (meta.gt is None or value > meta.gt)
        and (meta.ge is None or value >= meta.ge)
        and (meta.le is None or value <= meta.le)
    )


def _range(meta: msgspec.Meta) -> str:
    if meta.gt is not None:
        return f"above {meta.gt}, at most {meta.le:.0f}"
    return f"from {meta.ge} to {meta.le:.0f}" if meta.le is not None else f"{meta.ge} or more"


# ---- hosts, voters ---------------------------------------------------------------------------------------------------


def _wrong_places(plan: Plan) -> list[str]:
    found, directory = [], plan.hosts.directory
    if not _DIRECTORY.fullmatch(directory) or ".." in directory:
        found.append(f"[hosts] directory: an absolute path of letters, digits, '.', '_', '-', not {directory!r}")
    if len(directory) + len(plan.name) > MAX_PATH:
        found.append(f"name and [hosts] directory: at most {MAX_PATH} characters together; take a shorter name")
    return found


def wrong_voters(
    servers: Sequence[Server],
    observers: Collection[Server],
    groups: Sequence[Sequence[Server]],
    weights: Mapping[Server, int],
) -> Iterator[tuple[str, str]]:
    """What is wrong with who votes: the key that it is about ("" for none), and why.  Servers are hosts, or sids."""
    voters = [server for server in servers if server not in observers]
    grouped = [server for group in groups for server in group]
    for key, listed in (("observers", observers), ("groups", grouped), ("weights", weights)):
        yield from ((key, f"{_named(server)} is not one of the servers") for server in listed if server not in servers)
    if servers and len(voters) < MIN_PARTICIPANTS:
        yield (
            "",
            f"an election needs at least {MIN_PARTICIPANTS} participants, and "
            f"{counted(len(voters), 'server has', 'servers have')} a vote",
        )
    if groups and sorted(grouped) != sorted(voters):
        yield "groups", "each of the participants belongs to exactly one group"
    if weights and not groups:
        yield "weights", "they count within groups only; give groups"
    elif grouped:
        yield from (
            ("weights", f"{_named(server)} is in no group")
            for server in weights
            if server in servers and server not in grouped
        )
        if not any(weights.get(server, 1) for server in grouped):
            yield "weights", "all are 0, so no server can be elected"


def _named(server: str | int) -> str:
    return server if isinstance(server, str) else f"server {server}"


# ---- the system ------------------------------------------------------------------------------------------------------


def _wrong_settings(plan: Plan) -> list[str]:
    settings, at = plan.system_settings, f"system.{plan.system}"
    if settings is None:
        return []
    found = wrong_numbers(settings, at)
    return found + [f"[{at}] {what}" for what in (settings.problems() if isinstance(settings, Checked) else ())]


def _wrong_for(system: System, plan: Plan) -> list[str]:
    """What this system cannot be or do."""
    found, profile, bug = [], system.profile(), plan.ensemble.bug
    if plan.ensemble.observers and not profile.observers:
        found.append(f"[ensemble] observers: {profile.name} has none")
    if plan.ensemble.groups and not profile.groups:
        found.append(f"[ensemble] groups: {profile.name} counts majorities only")
    refused = {kind: why for host in host_names(plan) for kind, why in system.cannot(host).items()}
    found += [f"[nemesis] kinds: {kind}: {refused[kind]}" for kind in plan.nemesis.kinds if kind in refused]
    if bug and not profile.bugs:
        found.append(f"[ensemble] bug: no bug can be planted in {profile.name}, so not {bug} either")
    elif bug and bug not in profile.bugs:
        found.append(f"[ensemble] bug: there is no {bug!r}{did_you_mean(bug, profile.bugs)}")
    return found
