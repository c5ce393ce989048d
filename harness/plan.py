"""The plan of a run: everything that is needed to run it again, as one TOML file.

A plan has a table for each thing that it decides.  Every key has a default; a key that is not known is an error that
names it.  Example:

    name = "nightly"
    seed = 7
    system = "onethrone"

    [hosts]
    lab = 5                      # hosts made of namespaces on this machine; or:
    # names = ["n1", "n2", "n3"]
    # ssh_config = "cluster/ssh_config"

    [ensemble]
    tick_ms = 500

    [time]
    limit_s = 60.0

A run writes its complete plan into its folder, so `onethrone run --plan RUN/plan.toml` is the same run once more.
"""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import tomli_w

from harness.errors import UsageError


class Hosts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the servers run."""

    lab: int = 0
    """How many hosts to make on this machine; 0 means that `names` are hosts that exist."""
    names: tuple[str, ...] = ()
    ssh_config: str = ""
    """The OpenSSH config that knows `names`; empty is the user's own."""
    directory: str = "/var/lib/onethrone"
    """Where on each host a run keeps its files, in a folder of its own."""


class Ensemble(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The settings that every server gets, with ZooKeeper's meanings."""

    tick_ms: int = 500
    init_limit: int = 4
    sync_limit: int = 2
    max_notification_interval_ms: int = 1000
    observers: tuple[str, ...] = ()
    groups: tuple[tuple[str, ...], ...] = ()
    """Hierarchical quorums: each group's hosts; empty is majority quorums."""
    weights: dict[str, int] = msgspec.field(default_factory=dict)
    quorum_port: int = 2888
    election_port: int = 3888
    client_port: int = 2181
    bug: str = ""
    """A planted bug, for tests of the harness itself; empty is the correct server."""


class Time(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long things may take, in seconds."""

    limit_s: float = 60.0
    """From the first established leader to the end of the last act."""
    start_s: float = 60.0
    """For the hosts, injectors and servers to be up."""
    collect_s: float = 60.0
    """For final reads, stopping, and fetching what the hosts hold."""


class Nemesis(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What goes wrong."""

    kinds: tuple[str, ...] = ()
    """The kinds of fault to draw from; empty is every kind that the hosts can do."""
    lease_s: float = 30.0
    """How long a host keeps its faults without hearing from the controller."""
    schedule: str = ""
    """A schedule to carry out as it is, instead of one drawn from the seed."""


class Workload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What clients do."""

    workers: int = 3
    rate_per_s: float = 10.0
    """Operations a second, of all workers together."""


class Bounds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the checkers hold the ensemble to; 0 is the formula over the ensemble's settings."""

    convergence_s: float = 0.0
    stepping_down_s: float = 0.0


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A run, before it happens."""

    name: str = ""
    """The folder of its runs under the results folder; empty is the system's name."""
    seed: int = 0
    system: str = "onethrone"
    hosts: Hosts = Hosts()
    ensemble: Ensemble = Ensemble()
    time: Time = Time()
    nemesis: Nemesis = Nemesis()
    workload: Workload = Workload()
    bounds: Bounds = Bounds()

    def replace(self, **changes: Any) -> Plan:
        return msgspec.structs.replace(self, **changes)

    def to_toml(self) -> str:
        return tomli_w.dumps(msgspec.to_builtins(self))


def load(path: Path) -> Plan:
    """Read a plan; a relative schedule or SSH config in it is relative to its own folder."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such plan") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: cannot be read as a plan: {error}") from None
    problems: list[str] = []
    hints = get_type_hints(Plan)
    parts: dict[str, Any] = {}
    for key, value in document.items():
        if key not in hints:
            problems.append(f"{key}: there is no such key{_did_you_mean(key, hints)}")
            continue
        if isinstance(value, dict) and isinstance(hints[key], type) and issubclass(hints[key], msgspec.Struct):
            known = {field.name for field in msgspec.structs.fields(hints[key])}
            unknown = [
                f"[{key}] {name}: there is no such key{_did_you_mean(name, known)}"
                for name in value
                if name not in known
            ]
            if unknown:
                problems.extend(unknown)
                continue
        try:
            parts[key] = msgspec.convert(value, hints[key])
        except msgspec.ValidationError as error:
            where, _, message = str(error).partition(" - at `$.") if " - at `$." in str(error) else (str(error), "", "")
            problems.append(f"[{key}] {message.rstrip('`')}: {where}" if message else f"{key}: {where}")
    if problems:
        raise UsageError(f"{path}: " + "; ".join(problems))
    plan = Plan(**parts)
    here = path.resolve().parent

    def beside(value: str) -> str:
        return str(here / value) if value else ""

    return check(
        plan.replace(
            hosts=msgspec.structs.replace(plan.hosts, ssh_config=beside(plan.hosts.ssh_config)),
            nemesis=msgspec.structs.replace(plan.nemesis, schedule=beside(plan.nemesis.schedule)),
        ),
        str(path),
    )


def check(plan: Plan, where: str) -> Plan:
    """Refuse a plan that cannot be run, saying every reason at once; returns the plan."""
    names = host_names(plan)
    problems = []
    if bool(plan.hosts.lab) == bool(plan.hosts.names):
        problems.append("[hosts] needs either lab (how many to make) or names (hosts that exist)")
    if not 0 <= plan.hosts.lab <= MAX_LAB_HOSTS:
        problems.append(f"[hosts] lab: from 1 to {MAX_LAB_HOSTS} hosts, not {plan.hosts.lab}")
    if len(set(names)) != len(names):
        problems.append("[hosts] names: a host is named twice")
    ensemble = plan.ensemble
    positive: dict[str, float] = {
        "[ensemble] tick_ms": ensemble.tick_ms,
        "[ensemble] init_limit": ensemble.init_limit,
        "[ensemble] sync_limit": ensemble.sync_limit,
        "[ensemble] max_notification_interval_ms": ensemble.max_notification_interval_ms,
        "[time] limit_s": plan.time.limit_s,
        "[time] start_s": plan.time.start_s,
        "[time] collect_s": plan.time.collect_s,
        "[nemesis] lease_s": plan.nemesis.lease_s,
    }
    problems += [f"{key}: must be above 0, not {value}" for key, value in positive.items() if not value > 0]
    grouped = [name for group in ensemble.groups for name in group]
    for key, listed in (("observers", ensemble.observers), ("groups", grouped), ("weights", ensemble.weights)):
        problems += [f"[ensemble] {key}: {name} is not one of the hosts" for name in listed if name not in names]
    if ensemble.groups and sorted(grouped) != sorted(set(names) - set(ensemble.observers)):
        problems.append("[ensemble] groups: every participant belongs to exactly one group")
    if len(set(names) - set(ensemble.observers)) < MIN_PARTICIPANTS:
        problems.append(f"an election needs at least {MIN_PARTICIPANTS} participants")
    if not 1 <= plan.workload.workers <= MAX_WORKERS:
        problems.append(f"[workload] workers: from 1 to {MAX_WORKERS}, not {plan.workload.workers}")
    if not 0 < plan.workload.rate_per_s <= MAX_RATE_PER_S:
        problems.append(f"[workload] rate_per_s: above 0, at most {MAX_RATE_PER_S:g}, not {plan.workload.rate_per_s}")
    if problems:
        raise UsageError(f"{where}: " + "; ".join(problems))
    return plan


MAX_LAB_HOSTS = 99
MAX_WORKERS = 16
MAX_RATE_PER_S = 1000.0
MIN_PARTICIPANTS = 3
"""Two participants tolerate no failure, so there is nothing that a nemesis could leave running."""


def host_names(plan: Plan) -> tuple[str, ...]:
    """The hosts in the order of their sids: the first is server 1."""
    return plan.hosts.names or tuple(f"n{i}" for i in range(1, plan.hosts.lab + 1))


def _did_you_mean(key: str, known: Any) -> str:
    close = difflib.get_close_matches(key, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else f" (there are: {', '.join(known)})"
