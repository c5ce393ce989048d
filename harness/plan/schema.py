"""The plan of a run: everything that is needed to run it again, as one TOML file.

A plan has a table for each thing that it decides.  Every key has a default; a key that is not known is an error that
names it.  A key that ends in `_s` takes seconds, or a length of time such as "10m".  Example:

    name = "nightly"
    seed = 7

    [system.onethrone]           # or, with the settings that it has by itself: system = "onethrone"
    tick_ms = 500

    [hosts]
    make = "lab:5"               # hosts made of namespaces on this machine; or:
    # names = ["n1", "n2", "n3"]
    # ssh_config = "cluster/ssh_config"

    [ensemble]
    observers = ["n5"]

    [time]
    limit_s = "1m"

A run writes its complete plan into its folder, so `onethrone run --plan RUN/plan.toml` is the same run once more.
`harness.plan.toml` reads and writes the file, `harness.plan.checks` refuses what cannot be carried out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from harness.plan import toml
from harness.plan.hosts import HostsPlan as HostsPlan  # noqa: PLC0414 - a table of the plan, known here as well
from harness.plan.hosts import names_of
from harness.systems import registry
from harness.systems.base import Ensemble, Place, System
from nemesis.schedule import SEED_MAX

DAY_S = 86_400.0
WEEK_S = 7 * DAY_S
MAX_WORKERS = 16
MAX_RATE_PER_S = 1000.0

UpToADay = Annotated[float, Meta(gt=0, le=DAY_S)]
Seed = Annotated[int, Meta(ge=0, le=SEED_MAX)]


class EnsemblePlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who takes part.  How the servers are configured is the system's own table."""

    observers: tuple[str, ...] = ()
    """Hosts whose servers take part without a vote."""
    groups: tuple[tuple[str, ...], ...] = ()
    """Hierarchical quorums: each group's hosts; empty is majority quorums."""
    weights: dict[str, Annotated[int, Meta(ge=0)]] = msgspec.field(default_factory=dict)
    bug: str = ""
    """A planted bug, for tests of the harness itself; empty is the correct server."""


class TimePlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long things may take, in seconds."""

    limit_s: Annotated[float, Meta(gt=0, le=WEEK_S)] = 60.0
    """From the first established leader to the end of the last act."""
    start_s: UpToADay = 60.0
    """For the hosts, injectors and servers to be up."""
    collect_s: UpToADay = 60.0
    """For final reads, stopping, and fetching what the hosts hold."""


class NemesisPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What goes wrong."""

    kinds: tuple[str, ...] = ()
    """The kinds of fault to draw from; empty is every kind that the hosts can do."""
    lease_s: UpToADay = 30.0
    """How long a host keeps its faults without hearing from the controller."""
    schedule: str = ""
    """A schedule to carry out as it is, instead of one drawn from the seed."""


class WorkloadPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What clients do."""

    workers: Annotated[int, Meta(gt=0, le=MAX_WORKERS)] = 3
    rate_per_s: Annotated[float, Meta(gt=0, le=MAX_RATE_PER_S)] = 10.0
    """Operations a second, of all workers together."""


class BoundsPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds in seconds that replace those that the system claims; 0 is the system's."""

    convergence_s: Annotated[float, Meta(ge=0, le=DAY_S)] = 0.0
    stepping_down_s: Annotated[float, Meta(ge=0, le=DAY_S)] = 0.0


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A run, before it happens."""

    name: str = ""
    """The folder of its runs under the results folder; empty is the system's name."""
    seed: Seed = 0
    system: str = registry.DEFAULT
    system_settings: msgspec.Struct | None = None
    """The system's own settings; None where all of them are its defaults."""
    hosts: HostsPlan = HostsPlan()
    ensemble: EnsemblePlan = EnsemblePlan()
    time: TimePlan = TimePlan()
    nemesis: NemesisPlan = NemesisPlan()
    workload: WorkloadPlan = WorkloadPlan()
    bounds: BoundsPlan = BoundsPlan()

    def replace(self, **changes: Any) -> Plan:
        return msgspec.structs.replace(self, **changes)

    def to_toml(self) -> str:
        return toml.to_toml(self)


def load(path: Path) -> Plan:
    """Read a plan; a relative schedule or SSH config in it is relative to its own folder.  Raises UsageError.

    What it says is not checked yet (`harness.plan.checks`): options of the command line may still change it.
    """
    problems: list[str] = []
    plan = toml.decode(toml.read(path), Plan, problems)
    toml.refuse(path, problems)
    assert plan is not None
    here = path.resolve().parent

    def beside(value: str) -> str:
        return str(here / value) if value else ""

    return plan.replace(
        hosts=msgspec.structs.replace(plan.hosts, ssh_config=beside(plan.hosts.ssh_config)),
        nemesis=msgspec.structs.replace(plan.nemesis, schedule=beside(plan.nemesis.schedule)),
    )


def host_names(plan: Plan) -> tuple[str, ...]:
    """The hosts in the order of their sids: the first is server 1.  Raises UsageError."""
    return names_of(plan.hosts)


def ensemble_of(plan: Plan, places: Mapping[str, Place] | None = None) -> Ensemble:
    """Who takes part; without `places`, as it is known before there are hosts."""
    if places is None:
        places = {name: Place(name, sid) for sid, name in enumerate(host_names(plan), 1)}
    who = plan.ensemble
    return Ensemble(places, who.observers, who.groups, who.weights, who.bug)


def system_of(plan: Plan, ensemble: Ensemble | None = None) -> System:
    """The system under test, for this ensemble (by default the plan's).  Raises UsageError where there is none."""
    return registry.make(plan.system, plan.system_settings, ensemble or ensemble_of(plan))
