"""`onethrone lab`: `onethrone hosts up`, `down` and `list` for the hosts of one kind, and a shell on one of them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import click

from harness import UsageError
from harness.cli.hosts import DIRECTORY, JSON, choose, end, make, nothing_here, show, standing
from harness.hosts.provision import registry

_SCHEME = "lab"


@click.group()
def lab() -> None:
    """Make throw-away hosts on this machine, out of namespaces, each with a real sshd.

    \b
      onethrone lab up --hosts 5 --dir lab
      onethrone run -F lab/ssh_config --hosts n1,n2,n3,n4,n5
      onethrone lab down
    """


@lab.command()
@click.option("--hosts", metavar="N", default="5", help="Number of hosts.")
@click.option(
    "--dir", "directory", type=click.Path(path_type=Path), default=Path("lab"), help="The folder for their files."
)
@JSON
def up(hosts: str, directory: Path, as_json: bool) -> None:
    """Make a lab that stays up until `onethrone lab down`."""
    make(registry.parse(f"{_SCHEME}:{hosts}"), directory, as_json, "lab")


@lab.command()
@DIRECTORY
@JSON
def down(directory: Path | None, as_json: bool) -> None:
    """Remove a lab, completely.

    Without --dir, remove the only lab that is up and not in use: no run made it, and nobody is logged in to its hosts.
    """
    end(directory, [_SCHEME], as_json, "lab")


@lab.command(name="list")
@JSON
def list_(as_json: bool) -> None:
    """List the labs on this machine, and who uses them."""
    show([_SCHEME], as_json, "labs")


@lab.command()
@click.argument("host")
@click.argument("command", nargs=-1)
@DIRECTORY
def shell(host: str, command: tuple[str, ...], directory: Path | None) -> None:
    """Open a shell on HOST, or run COMMAND there."""
    found = standing([_SCHEME])
    if directory is not None:
        found = [one for one in found if one.directory == directory.resolve()]
        if not found:
            raise nothing_here(directory.resolve(), "lab")
    one = choose(found, "lab")
    if host not in one.hosts.names:
        names = ", ".join(one.hosts.names)
        raise UsageError(f"there is no host {host!r}", where=str(one.directory), remedy=f"The hosts are: {names}")
    ssh = shutil.which("ssh")
    if ssh is None:
        raise UsageError(
            "there is no `ssh` on this machine", remedy="Install it as root: apt-get install openssh-client"
        )
    os.execv(ssh, [ssh, "-F", str(one.hosts.ssh_config), host, *command])
