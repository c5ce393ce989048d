"""`onethrone run`: from the words on the command line to a plan, and from a plan to an exit code."""

from __future__ import annotations

import json
import random
from pathlib import Path

import click
import msgspec

from harness import UsageError
from harness.cli.durations import Duration
from harness.hosts.provision import registry as provisioners
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
    help="Repeat this schedule, or the one in this run's folder.",
)
@click.option("--kinds", metavar="A,B", help="Draw only these kinds of fault. Default: all that the hosts can do.")
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
@click.option("--bug", help="Plant this bug in every server, to test the harness itself.")
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
    """
    from harness.runs.run import carry_out
    from harness.watch.progress import Progress

    schedule = folders.meant(schedule) if schedule is not None else None  # `latest` may move while we read
    plan = plans.load(plan_path) if plan_path else _plan_beside(schedule) if schedule and not hosts else plans.Plan()
    if hosts:
        plan = plan.replace(hosts=on_hosts(plan.hosts, provisioners.parse(hosts)))
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
    nemesis: dict[str, object] = {}
    if schedule is not None:
        nemesis["schedule"] = str(_schedule_file(schedule).resolve())
    if kinds is not None:
        nemesis["kinds"] = tuple(kind.strip() for kind in kinds.split(","))
    if lease is not None:
        nemesis["lease_s"] = lease
    plan = plan.replace(nemesis=msgspec.structs.replace(plan.nemesis, **nemesis))
    if bug is not None:
        plan = plan.replace(ensemble=msgspec.structs.replace(plan.ensemble, bug=bug))
    plan = _of_system(plan, system or plan.system)
    plan = plan.replace(name=_name(name) or plan.name or plans.system_of(plan).profile().name)
    checks.check(plan, plan_path or "onethrone run")

    outcome = carry_out(plan, results, Progress(quiet=quiet))
    if as_json:
        click.echo(json.dumps(outcome.to_json()))
    else:
        click.echo(outcome.summary)
    # A promise that was seen broken stays broken; any other verdict on half a run is not what was asked for.
    failed = outcome.failure and outcome.valid is not False
    return exits.HARNESS_FAILED if failed else exits.of(outcome.valid)


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


def _plan_beside(schedule: Path) -> plans.Plan:
    beside = _schedule_file(schedule).parent / "plan.toml"
    if not beside.is_file():
        raise UsageError(f"--schedule {schedule}: there is no plan beside it that says on which hosts; give --hosts")
    return plans.load(beside)
