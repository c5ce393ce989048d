"""`onethrone run`: from the words on the command line to a plan, and from a plan to an exit code."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from pathlib import Path

import click
import msgspec

from harness import UsageError
from harness.cli.durations import Duration
from harness.hosts.provision import registry as provisioners
from harness.hosts.provision.base import HostSpec
from harness.plan import checks
from harness.plan import schema as plans
from harness.plan.hosts import on_hosts
from harness.results import exits
from harness.results import folder as folders
from harness.systems import registry
from nemesis.schedule import SEED_MAX


@click.command()
@click.option(
    "--plan", "plan_path", type=click.Path(path_type=Path), help="Carry out this plan. The options below override it."
)
@click.option("--hosts", metavar="lab:N|A,B,C", help="Make N throw-away hosts (lab:N), or use hosts that exist.")
@click.option(
    "-F", "--ssh-config", type=click.Path(path_type=Path), help="The OpenSSH config for the hosts. Default: your own."
)
@click.option(
    "--time-limit",
    metavar="60s",
    type=Duration(),
    help="Length of the schedule, such as 90s or 10m: at least 31 s with the default settings. Default: 60 s.",
)
@click.option("--seed", type=click.IntRange(0, SEED_MAX), help="Draw the schedule from this seed. Default: a new one.")
@click.option(
    "--schedule",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="Repeat this schedule; of a run's folder its plan as well, on --hosts if they are given.",
)
@click.option(
    "--kinds",
    metavar="A,B",
    help="Inject only these kinds of fault, also of a given --schedule. Default: all that the hosts can do.",
)
@click.option(
    "--results", type=click.Path(path_type=Path), default=Path("results"), help="The folder that holds all runs."
)
@click.option("--name", help="Name of the run's folder in the results. Default: the system's name.")
@click.option(
    "--system",
    metavar="NAME|MODULE:CLASS",
    help="The system under test: an installed one, or your own plug-in. Default: the plan's, or onethrone.",
    shell_complete=lambda ctx, param, incomplete: [name for name in registry.names() if name.startswith(incomplete)],
)
@click.option(
    "--bug",
    metavar="NAME|none",
    help="Plant this bug in every server, to test the harness itself. none: leave out the bug of the plan.",
)
@click.option(
    "--lease",
    metavar="30s",
    type=Duration(least_s=1),
    help="How long a host keeps its faults after it last heard from the controller. Default: 30 s.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object on standard output.")
@click.option("--quiet", is_flag=True, help="Print nothing but the result.")
def run(
    plan_path: Path | None,
    hosts: str | None,
    ssh_config: Path | None,
    time_limit: float | None,
    seed: int | None,
    schedule: Path | None,
    kinds: str | None,
    results: Path,
    name: str | None,
    system: str | None,
    bug: str | None,
    lease: float | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Run a cluster on hosts, inject faults, and judge what happened.

    \b
      onethrone run --hosts lab:5 --time-limit 60 --seed 7
      onethrone run -F ssh_config --hosts n1,n2,n3
      onethrone run --plan results/latest/plan.toml
      onethrone run --schedule results/latest
      onethrone run --schedule results/latest --hosts lab:5 --kinds kill,pause
    """
    from harness.runs.run import carry_out
    from harness.watch.progress import Progress

    schedule = folders.meant(schedule) if schedule is not None else None  # `latest` may move while we read
    plan, said = _source(plan_path, schedule, hosts)
    if ssh_config:
        if not ssh_config.is_file():
            raise UsageError(f"--ssh-config {ssh_config}: there is no such file (or it is a folder)")
        plan = plan.replace(hosts=msgspec.structs.replace(plan.hosts, ssh_config=str(ssh_config.resolve())))
    if time_limit is not None:
        plan = plan.replace(time=msgspec.structs.replace(plan.time, limit_s=time_limit))
    if seed is not None:
        plan = plan.replace(seed=seed)
    elif plan_path is None and schedule is None:
        plan = plan.replace(seed=random.SystemRandom().randint(0, SEED_MAX))
    nemesis = {
        "schedule": None if schedule is None else str(_schedule_file(schedule).resolve()),
        "kinds": None if kinds is None else tuple(kind.strip() for kind in kinds.split(",")),
        "lease_s": lease,
    }
    given = {key: value for key, value in nemesis.items() if value is not None}
    plan = plan.replace(nemesis=msgspec.structs.replace(plan.nemesis, **given))
    if (
        kinds is None and plan.nemesis.schedule
    ):  # a plan's own kinds are for drawing: in 0.1, too, its schedule was whole
        plan = plan.replace(nemesis=msgspec.structs.replace(plan.nemesis, kinds=()))
    if bug is not None:
        plan = plan.replace(ensemble=msgspec.structs.replace(plan.ensemble, bug="" if bug == "none" else bug))
    plan = _of_system(plan, system or plan.system)
    plan = plan.replace(name=_name(name) or plan.name or plans.system_of(plan).profile().name)
    checks.check(plan, plan_path or "onethrone run")

    if plan.ensemble.bug:
        said.append(f"the bug {plan.ensemble.bug} is planted in every server; --bug none leaves it out")
    progress = Progress(quiet=quiet)
    for line in said:
        progress.say(line)
    outcome = carry_out(plan, results, progress)
    if as_json:
        click.echo(json.dumps(outcome.to_json()))
    else:
        click.echo(outcome.summary)
    # A promise that was seen broken stays broken; any other verdict on half a run is not what was asked for.
    failed = outcome.failure and outcome.valid is not False
    return exits.HARNESS_FAILED if failed else exits.of(outcome.valid)


def _source(plan_path: Path | None, schedule: Path | None, hosts: str | None) -> tuple[plans.Plan, list[str]]:
    """The plan that the options change: the one that is given, or that of the schedule's run; and what to say of it."""
    beside = None if plan_path or schedule is None else _plan_beside(schedule, needed=not hosts)
    source = plan_path or beside
    plan = plans.load(source) if source else plans.Plan()
    if not hosts:
        return plan, []
    said = []
    plan, left_out = _moved(plan, provisioners.parse(hosts))
    if beside is not None:
        if (beside.parent / "simulated.json").exists():
            plan = plan.replace(name="")  # of the folder of simulated runs
        said.append(f"the plan is {beside}, with the hosts {hosts}")
    if left_out:
        said.append(f"the plan's {left_out} left out: there are only {len(plans.host_names(plan))} hosts")
    return plan, said


def _of_system(plan: plans.Plan, system: str) -> plans.Plan:
    """The plan for another system; settings stay where both systems have the same ones."""
    try:
        kept = isinstance(plan.system_settings, registry.load(system).Settings)
    except UsageError as error:
        raise UsageError(str(error), where="--system") from None
    return plan.replace(system=system, system_settings=plan.system_settings if kept else None)


def _name(name: str | None) -> str | None:
    if name == "":  # an unset variable of a shell
        raise UsageError("it is empty", where="--name", remedy="Give a name, or leave --name out.")
    return name


def _schedule_file(path: Path) -> Path:
    file = path / "schedule.json" if path.is_dir() else path
    if not file.is_file():
        raise UsageError(f"--schedule {path}: there is no schedule; give a schedule.json, or the folder of a run")
    return file


def _plan_beside(schedule: Path, needed: bool) -> Path | None:
    """The plan of the run whose schedule it is."""
    beside = _schedule_file(schedule).parent / "plan.toml"
    if beside.is_file():
        return beside
    if needed:
        raise UsageError(f"--schedule {schedule}: there is no plan beside it that says on which hosts; give --hosts")
    return None


def _moved(plan: plans.Plan, spec: HostSpec) -> tuple[plans.Plan, str]:
    """The plan on other hosts: the first takes the place of the first, and so on; and who has no place among them."""
    try:
        places = dict(zip(plans.host_names(plan), spec.names, strict=False))
        without = [name for name in plans.host_names(plan) if name not in places]
    except UsageError:  # it names no hosts
        places, without = {}, []

    def moved(names: Iterable[str]) -> tuple[str, ...]:
        return tuple(places.get(name, name) for name in names if name not in without)

    who = plan.ensemble
    ensemble = msgspec.structs.replace(
        who,
        observers=moved(who.observers),
        groups=tuple(group for group in map(moved, who.groups) if group),
        weights={places.get(name, name): weight for name, weight in who.weights.items() if name not in without},
    )
    named = [*who.observers, *(name for group in who.groups for name in group), *who.weights]
    left_out = [name for name in without if name in named]
    words = f"{', '.join(left_out)} {'is' if len(left_out) == 1 else 'are'}" if left_out else ""
    return plan.replace(hosts=on_hosts(plan.hosts, spec), ensemble=ensemble), words
