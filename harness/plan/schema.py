"""The plan of a run: everything that is needed to run it again, as one TOML file.

A plan has a table for each thing that it decides.  Every key has a default; a key that is not known is an error that
names it.  Example:

    name = "nightly"
    seed = 7
    system = "onethrone"

    [hosts]
    make = "lab:5"               # hosts made of namespaces on this machine; or:
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
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import msgspec
import tomli_w

from harness import UsageError
from harness.plan.hosts import HostsPlan as HostsPlan  # noqa: PLC0414 - a table of the plan, known here as well
from harness.plan.hosts import host_spec, names_of
from nemesis.faults import KINDS
from nemesis.schedule import SEED_MAX
from node import bugs

SYSTEMS = ("onethrone", "zookeeper")

Table = TypeVar("Table", bound=msgspec.Struct)


class EnsemblePlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
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


class TimePlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long things may take, in seconds."""

    limit_s: float = 60.0
    """From the first established leader to the end of the last act."""
    start_s: float = 60.0
    """For the hosts, injectors and servers to be up."""
    collect_s: float = 60.0
    """For final reads, stopping, and fetching what the hosts hold."""


class NemesisPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What goes wrong."""

    kinds: tuple[str, ...] = ()
    """The kinds of fault to draw from; empty is every kind that the hosts can do."""
    lease_s: float = 30.0
    """How long a host keeps its faults without hearing from the controller."""
    schedule: str = ""
    """A schedule to carry out as it is, instead of one drawn from the seed."""


class WorkloadPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What clients do."""

    workers: int = 3
    rate_per_s: float = 10.0
    """Operations a second, of all workers together."""


class BoundsPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the checkers hold the ensemble to; 0 is the formula over the ensemble's settings."""

    convergence_s: float = 0.0
    stepping_down_s: float = 0.0


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A run, before it happens."""

    name: str = ""
    """The folder of its runs under the results folder; empty is the system's name."""
    seed: int = 0
    system: str = "onethrone"
    hosts: HostsPlan = HostsPlan()
    ensemble: EnsemblePlan = EnsemblePlan()
    time: TimePlan = TimePlan()
    nemesis: NemesisPlan = NemesisPlan()
    workload: WorkloadPlan = WorkloadPlan()
    bounds: BoundsPlan = BoundsPlan()

    def replace(self, **changes: Any) -> Plan:
        return msgspec.structs.replace(self, **changes)

    def to_toml(self) -> str:
        return tomli_w.dumps(msgspec.to_builtins(self))


def load(path: Path) -> Plan:
    """Read a plan; a relative schedule or SSH config in it is relative to its own folder.

    What it says is not checked yet (`check`): options of the command line may still change it.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such plan") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: cannot be read as a plan: {error}") from None
    problems: list[str] = []
    plan = decode(document, Plan, problems)
    if plan is None:
        raise UsageError(f"{path}: " + "; ".join(problems))
    here = path.resolve().parent

    def beside(value: str) -> str:
        return str(here / value) if value else ""

    return plan.replace(
        hosts=msgspec.structs.replace(plan.hosts, ssh_config=beside(plan.hosts.ssh_config)),
        nemesis=msgspec.structs.replace(plan.nemesis, schedule=beside(plan.nemesis.schedule)),
    )


def decode(document: dict[str, Any], kind: type[Table], problems: list[str], at: str = "") -> Table | None:
    """A table of a TOML document as `kind`; None when it is not one, and `problems` says of each key what is wrong.

    `at` is the name of the table.  A key whose type is a table, or a list of them, is decoded in the same way.
    """
    hints = get_type_hints(kind)
    parts: dict[str, Any] = {}
    before = len(problems)
    for key, value in document.items():
        here = f"[{at}] {key}" if at else key
        if key not in hints:
            problems.append(f"{here}: there is no such key{_belongs(key, hints) or did_you_mean(key, hints)}")
            continue
        hint = hints[key]
        within = f"{at}.{key}" if at else key
        members = get_args(hint)
        if _is_table(hint) and isinstance(value, dict):
            parts[key] = decode(value, hint, problems, within)
        elif members and _is_table(members[0]) and isinstance(value, list) and all(isinstance(v, dict) for v in value):
            tables = (decode(v, members[0], problems, f"{within} {n}") for n, v in enumerate(value, 1))
            parts[key] = tuple(tables)
        else:
            try:
                parts[key] = msgspec.convert(value, hint)
            except msgspec.ValidationError as error:
                problems.append(f"{here}: {error}")
    return None if len(problems) > before else kind(**parts)


def _belongs(key: str, hints: dict[str, Any]) -> str:
    """Into which of the tables a key belongs that was given beside them, as the end of a sentence; empty: into none."""
    tables = [name for name, hint in hints.items() if _is_table(hint) and key in hint.__struct_fields__]
    return f"; it belongs into {' or '.join(f'{name} = {{ {key} = ... }}' for name in tables)}" if tables else ""


def _is_table(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, msgspec.Struct)


def check(plan: Plan, where: str) -> Plan:
    """Refuse a plan that cannot be run, saying every reason at once; returns the plan."""
    problems = [*_wrong_hosts(plan), *_wrong_numbers(plan), *_unknown_words(plan)]
    if problems:
        raise UsageError(f"{where}: " + "; ".join(problems))
    return plan


DAY_S = 86_400.0
WEEK_S = 7 * DAY_S
MAX_WORKERS = 16
MAX_RATE_PER_S = 1000.0
MIN_PARTICIPANTS = 3
"""Two participants tolerate no failure, so there is nothing that a nemesis could leave running."""

MAX_PATH = 60
"""Below it a host's injector has its Unix socket, whose whole path may have 107 characters."""

_DIRECTORY = re.compile(r"(/[A-Za-z0-9._-]+)+")


def _wrong_hosts(plan: Plan) -> list[str]:
    problems, directory = [], plan.hosts.directory
    try:
        problems += _wrong_voters(plan, host_spec(plan.hosts).names)
    except UsageError as error:
        problems.append(f"[hosts] {error.what}. {error.remedy}".rstrip(". "))
    if not _DIRECTORY.fullmatch(directory) or ".." in directory:
        problems.append(f"[hosts] directory: an absolute path of letters, digits, '.', '_', '-', not {directory!r}")
    if len(directory) + len(plan.name) > MAX_PATH:
        problems.append(f"name and [hosts] directory: at most {MAX_PATH} characters together; take a shorter name")
    return problems


def _wrong_numbers(plan: Plan) -> list[str]:
    ensemble = plan.ensemble
    at_most: dict[str, tuple[float, float]] = {
        "[ensemble] tick_ms": (ensemble.tick_ms, 60_000),
        "[ensemble] init_limit": (ensemble.init_limit, 1000),
        "[ensemble] sync_limit": (ensemble.sync_limit, 1000),
        "[ensemble] max_notification_interval_ms": (ensemble.max_notification_interval_ms, 3_600_000),
        "[ensemble] quorum_port": (ensemble.quorum_port, 65_535),
        "[ensemble] election_port": (ensemble.election_port, 65_535),
        "[ensemble] client_port": (ensemble.client_port, 65_535),
        "[time] limit_s": (plan.time.limit_s, WEEK_S),
        "[time] start_s": (plan.time.start_s, DAY_S),
        "[time] collect_s": (plan.time.collect_s, DAY_S),
        "[nemesis] lease_s": (plan.nemesis.lease_s, DAY_S),
        "[workload] workers": (plan.workload.workers, MAX_WORKERS),
        "[workload] rate_per_s": (plan.workload.rate_per_s, MAX_RATE_PER_S),
    }
    from_zero: dict[str, tuple[float, float]] = {
        "seed": (plan.seed, SEED_MAX),
        "[bounds] convergence_s": (plan.bounds.convergence_s, DAY_S),
        "[bounds] stepping_down_s": (plan.bounds.stepping_down_s, DAY_S),
    }
    problems = [
        *(f"{key}: above 0, at most {most:.0f}, not {n}" for key, (n, most) in at_most.items() if not 0 < n <= most),
        *(f"{key}: from 0 to {most:.0f}, not {n}" for key, (n, most) in from_zero.items() if not 0 <= n <= most),
    ]
    if len({ensemble.quorum_port, ensemble.election_port, ensemble.client_port}) != 3:
        problems.append("[ensemble] quorum_port, election_port and client_port are not three different ports")
    return problems


def _wrong_voters(plan: Plan, names: Sequence[str]) -> list[str]:
    problems, ensemble = [], plan.ensemble
    grouped = [name for group in ensemble.groups for name in group]
    for key, listed in (("observers", ensemble.observers), ("groups", grouped), ("weights", ensemble.weights)):
        problems += [f"[ensemble] {key}: {name} is not one of the hosts" for name in listed if name not in names]
    if ensemble.groups and sorted(grouped) != sorted(set(names) - set(ensemble.observers)):
        problems.append("[ensemble] groups: every participant belongs to exactly one group")
    if len(set(names) - set(ensemble.observers)) < MIN_PARTICIPANTS:
        problems.append(f"an election needs at least {MIN_PARTICIPANTS} participants")
    if any(weight < 0 for weight in ensemble.weights.values()):
        problems.append("[ensemble] weights: 0 or more")
    if ensemble.weights and not ensemble.groups:
        problems.append("[ensemble] weights: they count within groups only; give groups")
    elif grouped and not any(ensemble.weights.get(name, 1) for name in grouped):
        problems.append("[ensemble] weights: nobody weighs anything, so nobody can be elected")
    return problems


def _unknown_words(plan: Plan) -> list[str]:
    """What the plan names that there is not: systems, kinds of fault, planted bugs."""
    problems = []
    if plan.system not in SYSTEMS:
        problems.append(f"system: there is no {plan.system!r} (there are: {', '.join(SYSTEMS)})")
    for kind in plan.nemesis.kinds:
        if kind not in KINDS:
            problems.append(f"[nemesis] kinds: there is no {kind!r}{did_you_mean(kind, KINDS)}")
        elif plan.system == "zookeeper" and KINDS[kind].needs == "faketime":
            problems.append(
                f"[nemesis] kinds: {kind}: ZooKeeper's log has no other clock than the one that would be bent"
            )
    bug = plan.ensemble.bug
    if bug and plan.system != "onethrone":
        problems.append(f"[ensemble] bug: {bug} can be planted in onethrone's own server only, not in {plan.system}")
    elif bug and bug not in bugs.names():
        problems.append(f"[ensemble] bug: there is no {bug!r}{did_you_mean(bug, bugs.names())}")
    return problems


def host_names(plan: Plan) -> tuple[str, ...]:
    """The hosts in the order of their sids: the first is server 1.  Raises UsageError."""
    return names_of(plan.hosts)


def did_you_mean(key: str, known: Any) -> str:
    """The nearest of the known words, or all of them, as the end of a sentence that refuses `key`."""
    close = difflib.get_close_matches(key, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else f" (there are: {', '.join(known)})"
