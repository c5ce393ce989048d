"""`onethrone hosts`: what hosts can do, and hosts that stand on their own, for a person or for many runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import click

from checker.counted import counted
from harness import UsageError
from harness.hosts.provision import registry
from harness.hosts.provision.base import Hosts, HostSpec, Provisioner, Standing
from harness.results import exits

DIRECTORY = click.option("--dir", "directory", type=click.Path(path_type=Path), help="The folder of the hosts' files.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object on standard output.")


@click.group()
def hosts() -> None:
    """Check what hosts can do; make hosts that outlive a run, and remove them.

    \b
      onethrone hosts check -F ssh_config
      onethrone hosts up --hosts lab:5 --dir lab
      onethrone hosts down --dir lab
    """


@hosts.command(short_help="Check each host, from SSH to its kernel.")
@click.option("--hosts", "words", metavar="lab:N|A,B,C", help="The hosts. Default: all that the config names.")
@click.option(
    "-F", "--ssh-config", type=click.Path(path_type=Path), help="The OpenSSH config for the hosts. Default: your own."
)
@click.option("--accept-new", is_flag=True, help="Accept and save unknown host keys instead of refusing them.")
@JSON
def check(words: str | None, ssh_config: Path | None, accept_new: bool, as_json: bool) -> int:
    """Check each host, from SSH to what its kernel can do.  Exits with 254 if a host is unusable.

    \b
      onethrone hosts check -F ssh_config
      onethrone hosts check --hosts n1,n2,n3
      onethrone hosts check --hosts lab:3
    """
    from harness.hosts.check import check_hosts, names_in, render

    if words:
        spec = registry.parse(words, ssh_config)
    elif ssh_config and (names := names_in(ssh_config)):
        spec = registry.existing(names, ssh_config)
    else:
        raise UsageError("no host is named", remedy="Give --hosts n1,n2,n3, or -F with a config that names hosts.")
    with registry.hosts_for(spec) as up_hosts:
        reports = check_hosts(up_hosts.names, up_hosts.ssh_config, accept_new=accept_new)
    if as_json:
        click.echo(json.dumps({"hosts": [asdict(report) | {"usable": report.usable} for report in reports]}))
    else:
        click.echo(render(reports))
    return 0 if all(report.usable for report in reports) else exits.WRONG_INPUT


@hosts.command()
@click.option("--hosts", "words", metavar="lab:N", default="lab:5", help="The hosts to make: their kind and number.")
@click.option("--dir", "directory", type=click.Path(path_type=Path), required=True, help="The folder for their files.")
@JSON
def up(words: str, directory: Path, as_json: bool) -> None:
    """Make hosts that stay up until `onethrone hosts down`."""
    make(registry.parse(words), directory, as_json, "hosts")


@hosts.command()
@DIRECTORY
@JSON
def down(directory: Path | None, as_json: bool) -> None:
    """Remove hosts that were made on this machine, completely.

    Without --dir, remove the only ones that are up and not in use.
    """
    end(directory, registry.schemes(), as_json, "hosts")


@hosts.command(name="list")
@JSON
def list_(as_json: bool) -> None:
    """List the hosts that were made on this machine, and who uses them."""
    show(registry.schemes(), as_json, "hosts")


# ---- what `onethrone hosts` and `onethrone lab` share ----------------------------------------------------------------


def make(spec: HostSpec, directory: Path, as_json: bool, command: str) -> None:
    """Make standing hosts, and print how to reach and how to end them."""
    made = registry.up(spec, directory, standing=True)
    if as_json:
        click.echo(json.dumps(_facts(made) | {"ephemeral": False}))
        return
    first, last = made.names[0], made.names[-1]
    click.echo((f"{first} is" if first == last else f"{first} to {last} are") + f" up in {made.directory}")
    click.echo(f"  ssh -F {made.ssh_config} {first}")
    click.echo(f"  onethrone {command} down --dir {made.directory}")


def end(directory: Path | None, schemes: Sequence[str], as_json: bool, command: str) -> None:
    """End the hosts in `directory`, or the only ones that are not in use."""
    path = _only_unused(schemes, command).directory if directory is None else directory.resolve()
    if not any(provisioner.down(path) for provisioner in _provisioners(schemes)):
        raise nothing_here(path, command)
    click.echo(json.dumps({"ended": str(path)}) if as_json else f"the hosts in {path} are gone")


def show(schemes: Sequence[str], as_json: bool, key: str) -> None:
    """Print what is up on this machine."""
    found = standing(schemes)
    if as_json:
        facts = [_facts(one.hosts) | {"ephemeral": one.ends_with != 0, "users": one.users} for one in found]
        click.echo(json.dumps({key: facts}))
        return
    for one in found:
        count = len(one.hosts.names)
        used = f"in use by {', '.join(one.users)}" if one.users else "not in use"
        click.echo(f"{one.directory}  {counted(count, 'host')}  {used}")
    if not found:
        click.echo("no hosts are up")


def standing(schemes: Sequence[str]) -> list[Standing]:
    """All that is up on this machine, of these kinds."""
    return [one for provisioner in _provisioners(schemes) for one in provisioner.list()]


def nothing_here(path: Path, command: str) -> UsageError:
    """The error for a directory without hosts."""
    return UsageError("no hosts are up here", where=str(path), remedy=f"`onethrone {command} list` shows what is up.")


def choose(found: Sequence[Standing], command: str) -> Standing:
    """The only one of these.  UsageError when there is none, or a choice."""
    if not found:
        raise UsageError("no hosts are up", remedy=f"`onethrone {command} up` makes some.")
    if len(found) > 1:
        places = ", ".join(str(one.directory) for one in found)
        raise UsageError(f"hosts are up in {len(found)} places", remedy=f"Choose with --dir: {places}")
    return found[0]


def _provisioners(schemes: Sequence[str]) -> Iterator[Provisioner]:
    for scheme in schemes:
        try:
            yield registry.provisioner(scheme)
        except UsageError as error:  # one broken package must not keep the others' hosts from being ended
            click.echo(f"onethrone: {error}", err=True)


def _only_unused(schemes: Sequence[str], command: str) -> Standing:
    found = standing(schemes)
    unused = [one for one in found if not one.users]
    if found and not unused:
        raise UsageError(
            "; ".join(f"the hosts in {one.directory} are in use by {', '.join(one.users)}" for one in found),
            remedy=f"To end them nevertheless: onethrone {command} down --dir {found[0].directory}",
        )
    return choose(unused, command)


def _facts(made: Hosts) -> dict[str, object]:
    return {
        "directory": str(made.directory),
        "ssh_config": str(made.ssh_config),
        "hosts": {name: made.addresses.get(name) for name in made.names},
    }
