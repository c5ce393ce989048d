"""`onethrone lab`: labs that stand on their own, for a person or for many runs."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import click

from harness import UsageError
from harness.hosts.provision.lab import HOSTS_MAX, Lab, end, running

_DIRECTORY = click.option("--dir", "directory", type=click.Path(path_type=Path), help="The lab's directory.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object on standard output.")


@click.group()
def lab() -> None:
    """Hosts made of namespaces on this machine, each with a real sshd.

    \b
      onethrone lab up --hosts 5 --dir lab
      onethrone run -F lab/ssh_config --hosts n1,n2,n3,n4,n5
      onethrone lab down
    """


@lab.command()
@click.option("--hosts", type=click.IntRange(1, HOSTS_MAX), default=5, help="How many hosts.")
@click.option(
    "--dir", "directory", type=click.Path(path_type=Path), default=Path("lab"), help="Where the hosts' files are kept."
)
@_JSON
def up(hosts: int, directory: Path, as_json: bool) -> None:
    """Make a lab that stands until `onethrone lab down`."""
    made = Lab.up(hosts, directory, ephemeral=False)
    if as_json:
        click.echo(json.dumps(_facts(made)))
        return
    names = list(made.hosts)
    span = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
    click.echo(f"{span} {'is' if len(names) == 1 else 'are'} up in {made.directory}")
    click.echo(f"  ssh -F {made.ssh_config} {names[0]}")
    click.echo(f"  onethrone lab down --dir {made.directory}")


@lab.command()
@_DIRECTORY
@_JSON
def down(directory: Path | None, as_json: bool) -> None:
    """End a lab, and remove every trace of it."""
    path = _only_one().directory if directory is None else directory.resolve()
    if not (path / "lab.json").exists():
        raise UsageError("no lab is up here", where=str(path), remedy="`onethrone lab list` names those that are.")
    end(path)
    click.echo(json.dumps({"ended": str(path)}) if as_json else f"the lab in {path} is gone")


@lab.command(name="list")
@_JSON
def list_(as_json: bool) -> None:
    """Name the labs that are up on this machine."""
    labs = running()
    if as_json:
        click.echo(json.dumps({"labs": [_facts(one) for one in labs]}))
        return
    for one in labs:
        kind = "ends with the run that made it" if one.ephemeral else "stands until `onethrone lab down`"
        click.echo(f"{one.directory}  {len(one.hosts)} hosts  {kind}")
    if not labs:
        click.echo("no lab is up")


@lab.command()
@click.argument("host")
@click.argument("command", nargs=-1)
@_DIRECTORY
def shell(host: str, command: tuple[str, ...], directory: Path | None) -> None:
    """Open a shell on HOST, or run COMMAND there."""
    one = _only_one() if directory is None else Lab.open(directory)
    if host not in one.hosts:
        raise UsageError(
            f"there is no host {host!r}", where=str(one.directory), remedy=f"Its hosts: {', '.join(one.hosts)}"
        )
    ssh = shutil.which("ssh")
    if ssh is None:
        raise UsageError(
            "there is no `ssh` on this machine", remedy="Install it as root: apt-get install openssh-client"
        )
    os.execv(ssh, [ssh, "-F", str(one.ssh_config), host, *command])


def _only_one() -> Lab:
    labs = running()
    if len(labs) != 1:
        what = "no lab is up" if not labs else f"{len(labs)} labs are up"
        remedy = (
            "`onethrone lab up` makes one."
            if not labs
            else "Choose with --dir: " + ", ".join(str(one.directory) for one in labs)
        )
        raise UsageError(what, remedy=remedy)
    return labs[0]


def _facts(one: Lab) -> dict[str, object]:
    return {
        "directory": str(one.directory),
        "ssh_config": str(one.ssh_config),
        "hosts": one.hosts,
        "ephemeral": one.ephemeral,
    }
