"""The plan of a campaign: what is run, where, for how long, and what is kept, as one TOML file.

A campaign plan names *settings* (a system under test and its ensembles), *mixes* (kinds of fault that storms are drawn
from), and places (ensembles of hosts, processes of the simulator).  Every run takes one setting, one size, one mix and
one seed; its own plan (`harness.plan.schema.Plan`) is put together from these.  Every key has a default.

    name = "night"
    length = "8h"

    [hosts]
    ensembles = ["lab:5", "lab:3"]        # two ensembles, side by side

    [[settings]]
    name = "plain"
    servers = [5, 3]

`TEMPLATE` is the plan that `onethrone campaign --init` writes.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from harness import UsageError
from harness.hosts.provision import registry as provisioners
from harness.hosts.provision.base import HOSTS_MAX, HostSpec
from harness.plan import checks, durations, toml
from harness.plan.hosts import on_hosts
from harness.plan.schema import (
    DAY_S,
    BoundsPlan,
    EnsemblePlan,
    HostsPlan,
    NemesisPlan,
    Plan,
    Seed,
    TimePlan,
    WorkloadPlan,
)
from harness.plan.toml import did_you_mean
from harness.simulator import ensembles
from harness.simulator.knobs import Knobs
from harness.simulator.run import drawn, run_value
from harness.simulator.simulated_run import SimulatorSettings
from harness.systems import registry
from nemesis.faults import KINDS
from nemesis.schedule import ScheduleError
from node import bugs

PLAN = "campaign.toml"
"""The plan in a campaign's folder."""

HOSTS, SIMULATOR = "hosts", "simulator"
VALID, VIOLATION = "valid", "violation"
"""What a setting may expect."""
WORLDS = (HOSTS, SIMULATOR)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
LENGTH_MAX_S = 30 * 86_400

Deadline = Annotated[float, Meta(ge=0.1, le=DAY_S)]


class OnHosts(msgspec.Struct, frozen=True):
    """Where runs on hosts take place."""

    ensembles: tuple[str, ...] = ("lab:5",)
    """One for each ensemble, side by side: "lab:N", or the names of hosts with commas between; none: no such runs."""
    ssh_config: str = ""
    directory: str = "/var/lib/onethrone"


class InSimulator(msgspec.Struct, frozen=True):
    """What is simulated beside them."""

    processes: Annotated[int, Meta(ge=0, le=1024)] = 1
    """So many at once; 0: nothing is simulated."""
    batch: Annotated[int, Meta(ge=1, le=10_000)] = 50
    """Seeds of one process, one after the other."""
    limit_s: Annotated[float, Meta(ge=20, le=DAY_S)] = 60.0
    """Simulated seconds of a storm and its acts."""


class Setting(msgspec.Struct, frozen=True):
    """A system under test, and the ensembles that it forms."""

    name: str = "plain"
    share: Annotated[int, Meta(ge=1, le=1000)] = 1
    """How often it is taken, beside the shares of the others."""
    system: str = registry.DEFAULT
    system_settings: msgspec.Struct | None = None
    """The system's own settings; None where all of them are its defaults."""
    on: tuple[str, ...] = WORLDS
    servers: tuple[Annotated[int, Meta(ge=checks.MIN_PARTICIPANTS, le=HOSTS_MAX)], ...] = (5, 3)
    """Sizes of the ensemble; on hosts, those that an ensemble of hosts is large enough for."""
    mixes: tuple[str, ...] = ()
    """Names of mixes; empty is all of them."""
    ensemble: EnsemblePlan = EnsemblePlan()
    workload: WorkloadPlan = WorkloadPlan()
    bounds: BoundsPlan = BoundsPlan()
    expect: str = VALID
    """What its runs should come to: "valid", or "violation" where they are there to be found out."""


class Canary(msgspec.Struct, frozen=True):
    """A planted bug that has to be found, or the harness is blind and the verdict unknown."""

    bug: str = "half-quorum"
    system: ClassVar[str] = "onethrone"
    """The system whose servers can have it."""
    every: Annotated[int, Meta(ge=1, le=10**9)] = 100
    """It flies first, until it is found, and then again after so many runs of a place."""


class Deadlines(msgspec.Struct, frozen=True):
    """After which a process is ended, in seconds."""

    hosts_s: Deadline = 180.0
    """For hosts to be made, looked at and connected."""
    slack_s: Deadline = 60.0
    """Beyond what the phases of a run are planned for."""
    end_s: Deadline = 60.0
    """From SIGTERM, after which a run heals its hosts and is judged, to SIGKILL."""
    seed_s: Deadline = 120.0
    """For one simulated run."""
    judge_s: Deadline = 600.0
    replay_s: Deadline = 600.0
    shrink_s: Deadline = 600.0


class Budget(msgspec.Struct, frozen=True):
    """What a campaign may use."""

    disk_mb: Annotated[float, Meta(ge=1, le=1e9)] = 20_000.0
    """For all that it keeps."""
    free_mb: Annotated[float, Meta(ge=0, le=1e9)] = 1_000.0
    """To be left free on the disk."""


class Retention(msgspec.Struct, frozen=True):
    """What is kept of runs.  Failing runs on hosts are always kept whole."""

    passing: Annotated[int, Meta(ge=0, le=100_000)] = 40
    """Passing runs on hosts, spread over the campaign; compressed, without logs and journals."""
    failing_seeds: Annotated[int, Meta(ge=1, le=1000)] = 5
    """Folders of simulated runs for each failure; any other comes again from its seed, byte for byte."""


class CampaignPlan(msgspec.Struct, frozen=True):
    """A campaign, before it happens."""

    name: str = "campaign"
    seed: Seed = 0
    """The first; every run takes the next."""
    length: str = "8h"
    hosts: OnHosts = OnHosts()
    simulator: InSimulator = InSimulator()
    mixes: dict[str, tuple[str, ...]] = msgspec.field(
        default_factory=lambda: {
            "all": (),
            "crashes": ("kill", "stop", "host-kill", "pause"),
            "network": ("partition", "flap", "loss", "rate", "slow"),
            "time": ("clock", "pause", "kill"),
        }
    )
    """Kinds of fault by the name of the mix; an empty list is every kind that the hosts can do."""
    settings: tuple[Setting, ...] = (Setting(),)
    time: TimePlan = TimePlan()
    lease_s: Annotated[float, Meta(ge=1, le=DAY_S)] = 30.0
    canary: Canary = Canary()
    deadlines: Deadlines = Deadlines()
    budget: Budget = Budget()
    retention: Retention = Retention()
    report_s: Annotated[float, Meta(ge=1, le=DAY_S)] = 60.0
    """The report is written again after so many seconds, while the campaign goes on."""

    @property
    def length_s(self) -> float:
        return seconds_of(self.length, "length")

    def to_toml(self) -> str:
        return toml.to_toml(self)

    def setting(self, name: str) -> Setting:
        return next(setting for setting in self.settings if setting.name == name)

    def kinds(self) -> list[str]:
        """Every kind of fault that a run without a planted bug may draw."""
        honest = [setting for setting in self.settings if not setting.ensemble.bug]
        named = {k for setting in honest for mix in mixes_of(self, setting) for k in (self.mixes[mix] or KINDS)}
        return [kind for kind in KINDS if kind in named]


def seconds_of(text: str, where: str) -> float:
    """Seconds of a length of time such as "90s", "30m", "8h", "2d".  Raises UsageError."""
    length_s = durations.duration_s(text, where)
    if length_s > LENGTH_MAX_S:
        raise UsageError(f"{where} {text}: 30d at most")
    return length_s


def load(path: Path) -> CampaignPlan:
    """Read a plan and check it whole.  Raises UsageError with everything that is wrong, one problem a line."""
    document = toml.read(path, f"`onethrone campaign --init {path}` writes one.")
    problems: list[str] = []
    plan = toml.decode(document, CampaignPlan, problems)
    toml.refuse(path, problems)
    assert plan is not None
    if plan.hosts.ssh_config:
        beside = str(path.resolve().parent / plan.hosts.ssh_config)
        plan = msgspec.structs.replace(plan, hosts=msgspec.structs.replace(plan.hosts, ssh_config=beside))
    toml.refuse(path, _problems(plan))
    return plan


def hosts_of(plan: CampaignPlan, ensemble: str, servers: int = 0) -> HostsPlan:
    """The hosts of a run on this ensemble: the first `servers` of them (all, if 0)."""
    spec = spec_of(plan, ensemble)
    return on_hosts(HostsPlan(directory=plan.hosts.directory), spec.first(servers) if servers else spec)


def spec_of(plan: CampaignPlan, ensemble: str) -> HostSpec:
    """The hosts of an ensemble.  Raises UsageError."""
    spec = provisioners.parse(ensemble)
    if spec.made or not plan.hosts.ssh_config:
        return spec
    return replace(spec, ssh_config=Path(plan.hosts.ssh_config))


def capacity(plan: CampaignPlan, ensemble: str) -> int:
    return len(spec_of(plan, ensemble).names)


def run_plan(plan: CampaignPlan, hosts: HostsPlan, setting: Setting, mix: str, seed: int, name: str) -> Plan:
    """The plan of one run on hosts."""
    return Plan(
        name=name,
        seed=seed,
        system=setting.system,
        system_settings=setting.system_settings,
        hosts=hosts,
        ensemble=setting.ensemble,
        time=plan.time,
        nemesis=NemesisPlan(kinds=plan.mixes[mix], lease_s=plan.lease_s),
        workload=setting.workload,
        bounds=setting.bounds,
    )


def simulated(plan: CampaignPlan, setting: Setting, servers: int) -> SimulatorSettings:
    """The settings of a simulated run."""
    run = run_plan(plan, HostsPlan(lab=servers), setting, mixes_of(plan, setting)[0], 0, plan.name)
    return msgspec.structs.replace(ensembles.of_plan(run), duration_s=plan.simulator.limit_s)


def mixes_of(plan: CampaignPlan, setting: Setting) -> tuple[str, ...]:
    return setting.mixes or tuple(plan.mixes)


# ---- what cannot be carried out --------------------------------------------------------------------------------------


def _problems(plan: CampaignPlan) -> list[str]:
    problems = [*_wrong_words(plan), *checks.wrong_numbers(plan)]
    for setting in plan.settings:
        problems += _wrong_setting(plan, setting)
    return problems or _wrong_places(plan) or _wrong_runs(plan)


def _wrong_words(plan: CampaignPlan) -> list[str]:
    problems = []
    if not _NAME.fullmatch(plan.name) or plan.name in ("latest", "current"):
        problems.append(f"name: {plan.name!r} is not a name of at most 40 letters, digits, '.', '_' and '-'")
    try:
        seconds_of(plan.length, "length")
    except UsageError as error:
        problems.append(str(error))
    if not plan.mixes:
        problems.append("[mixes] there is none; all = [] is every kind of fault")
    for mix, kinds in plan.mixes.items():
        problems += [f"[mixes] {mix}: there is no {k!r}{did_you_mean(k, KINDS)}" for k in kinds if k not in KINDS]
    names = [setting.name for setting in plan.settings]
    problems += [f"[settings] name: two are named {name}" for name in dict.fromkeys(names) if names.count(name) > 1]
    if not names:
        problems.append("[[settings]] there is none")
    problems += [
        f"[settings] {setting.name}: expect: {VALID!r} or {VIOLATION!r}, not {setting.expect!r}"
        for setting in plan.settings
        if setting.expect not in (VALID, VIOLATION)
    ]
    if plan.canary.bug not in bugs.names():
        problems.append(f"[canary] bug: there is no {plan.canary.bug!r}{did_you_mean(plan.canary.bug, bugs.names())}")
    return problems


def _wrong_setting(plan: CampaignPlan, setting: Setting) -> list[str]:
    here, problems = f"[settings {setting.name}]", checks.wrong_numbers(setting, f"settings {setting.name}")
    if not _NAME.fullmatch(setting.name):
        problems.append(f"[settings] name: {setting.name!r} is not a name of letters, digits, '.', '_' and '-'")
    if not setting.on or not setting.servers:
        problems.append(f"{here} on and servers: at least one of each")
    return [
        *problems,
        *(f"{here} on: there is no {w!r}{did_you_mean(w, WORLDS)}" for w in setting.on if w not in WORLDS),
        *(
            f"{here} mixes: there is no {m!r}{did_you_mean(m, plan.mixes)}"
            for m in setting.mixes
            if m not in plan.mixes
        ),
    ]


def _wrong_places(plan: CampaignPlan) -> list[str]:
    problems = []
    seen: list[str] = []
    for ensemble in plan.hosts.ensembles:
        try:
            spec = spec_of(plan, ensemble)
        except UsageError as error:
            problems.append(f"[hosts] ensembles: {error.what}. {error.remedy}".rstrip(". "))
            continue
        if not spec.made:
            problems += [f"[hosts] ensembles: {name} is in two of them" for name in spec.names if name in seen]
            seen += spec.names
        if not any(_fits(plan, setting, ensemble) for setting in plan.settings):
            problems.append(f"[hosts] ensembles: {ensemble!r} is too small for every setting that is for hosts")
    if not plan.hosts.ensembles and not plan.simulator.processes:
        problems.append("[hosts] ensembles and [simulator] processes: there is no place to run anything")
    if plan.simulator.processes and not any(SIMULATOR in setting.on for setting in plan.settings):
        problems.append("[simulator] processes: no setting is for the simulator; set it to 0")
    return problems


def _fits(plan: CampaignPlan, setting: Setting, ensemble: str) -> bool:
    return HOSTS in setting.on and min(setting.servers) <= capacity(plan, ensemble)


def _wrong_runs(plan: CampaignPlan) -> list[str]:
    """The plans of the runs themselves have the last word."""
    problems = []
    for setting in plan.settings:
        places = [hosts_of(plan, e, n) for e in plan.hosts.ensembles for n in setting.servers if n <= capacity(plan, e)]
        if SIMULATOR in setting.on and plan.simulator.processes:
            places += [HostsPlan(lab=servers) for servers in setting.servers]
            if not registry.simulated(setting.system):
                problems.append(f"[settings {setting.name}] {setting.system} is not simulated; give on = ['hosts']")
        for hosts in places:
            for mix in mixes_of(plan, setting):
                run = run_plan(plan, hosts, setting, mix, 0, plan.name)
                problems += [f"[settings {setting.name}] {what}" for what in checks.problems(run)]
        if not problems:
            problems += _too_short(plan, setting)
    return problems


def _too_short(plan: CampaignPlan, setting: Setting) -> list[str]:
    """A storm and two acts that could prove something need their time: the bound of `convergence` says how much."""
    problems = []
    limits = {"[time] limit_s": plan.time.limit_s} if HOSTS in setting.on and plan.hosts.ensembles else {}
    if SIMULATOR in setting.on and plan.simulator.processes:
        limits["[simulator] limit_s"] = plan.simulator.limit_s
    for where, limit_s in limits.items():
        servers = min(setting.servers)
        settings = msgspec.structs.replace(simulated(plan, setting, servers), duration_s=limit_s)
        try:
            drawn(0, servers, settings, Knobs(), run_value(0, servers, "", settings))
        except (ScheduleError, msgspec.ValidationError, ValueError) as error:
            problems.append(f"{where}, for setting {setting.name}: {error}")
    return problems


TEMPLATE = """\
# A campaign of Onethrone.  You may leave out any key: this file shows the defaults.
#   onethrone campaign {path} --for 8h
#   onethrone campaign --resume

name = "campaign"             # the campaign's folder is results/<name>/<UTC time>/
seed = 0                      # of the first run; each run takes the next seed
length = "8h"                 # --for overrides it
lease_s = 30.0                # how long a host keeps its faults after it last heard from its run
report_s = 60.0               # seconds between two versions of the report

[hosts]                       # runs on hosts
ensembles = ["lab:5"]         # side by side: "lab:N" makes N hosts here, "n1,n2,n3" are your own; []: no runs on hosts
ssh_config = ""               # the OpenSSH config for your own hosts
directory = "/var/lib/onethrone"

[simulator]                   # at the same time, on this machine
processes = 1                 # 0: no simulation
batch = 50                    # seeds that a process runs
limit_s = 60.0                # simulated seconds of a run

[mixes]                       # the kinds of fault to draw (docs/faults.md)
all = []                      # every kind that the hosts can do
crashes = ["kill", "stop", "host-kill", "pause"]
network = ["partition", "flap", "loss", "rate", "slow"]
time = ["clock", "pause", "kill"]

[[settings]]                  # a system under test; each run takes one setting, one size, one mix
name = "plain"
share = 1                     # how often, relative to the shares of other settings
on = ["hosts", "simulator"]
servers = [5, 3]
mixes = []                    # [] is all of them

[settings.system.onethrone]   # as in the plan of a run; or, with the system's own defaults: system = "onethrone"
tick_ms = 500
init_limit = 4
sync_limit = 2
max_notification_interval_ms = 1000

# [[settings]]
# name = "observed"
# servers = [5]
# system = {{ onethrone = {{ tick_ms = 300 }} }}
# ensemble = {{ observers = ["n5"] }}
# workload = {{ workers = 3, rate_per_s = 10.0 }}             # what clients do; the rate of all together
# bounds = {{ convergence_s = 0.0, stepping_down_s = 0.0 }}   # seconds; 0 is the bound that the system claims
#
# [[settings]]                                                # a planted bug, to test the harness itself
# name = "planted"
# ensemble = {{ bug = "half-quorum" }}
# expect = "violation"                                        # finding it does not make the campaign invalid
#
# [[settings]]
# name = "zookeeper"
# system = "zookeeper"
# on = ["hosts"]
# mixes = ["crashes", "network"]

[time]                        # of a run on hosts
limit_s = 60.0                # calm, storm and the two acts
start_s = 60.0
collect_s = 60.0

[canary]                      # a planted bug; until it is found, the harness is blind and the verdict unknown
bug = "half-quorum"
every = 100                   # runs of a place between two canaries

[deadlines]                   # seconds after which a process is ended, and its history judged
hosts_s = 180.0               # to make, check and connect the hosts
slack_s = 60.0                # beyond the planned length of a run
end_s = 60.0                  # from SIGTERM to SIGKILL
seed_s = 120.0                # one simulated run
judge_s = 600.0
replay_s = 600.0
shrink_s = 600.0

[budget]
disk_mb = 20000.0             # for everything that the campaign keeps
free_mb = 1000.0              # to leave free on the disk

[retention]                   # failing runs on hosts are always kept complete
passing = 40                  # passing runs on hosts to keep, compressed
failing_seeds = 5             # folders of simulated runs to keep for each failure
"""
