"""`onethrone hosts`."""

from __future__ import annotations

import json
import re
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import click

from harness import UsageError
from harness.results import exits


@click.group()
def hosts() -> None:
    """What the hosts of a cluster can and cannot do."""


@hosts.command(short_help="Look at each host, from TCP to its kernel.")
@click.option("--hosts", "words", metavar="lab:N|A,B,C", help="The hosts; without it, all that the config names.")
@click.option("-F", "--ssh-config", type=click.Path(path_type=Path), help="The OpenSSH config that knows the hosts.")
@click.option("--accept-new", is_flag=True, help="Write unknown host keys down instead of refusing them.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object on standard output.")
def check(words: str | None, ssh_config: Path | None, accept_new: bool, as_json: bool) -> int:
    """Look at each host, from TCP to what its kernel can do; 254 when one of them is unusable.

    \b
      onethrone hosts check -F ssh_config
      onethrone hosts check --hosts n1,n2,n3
      onethrone hosts check --hosts lab:3
    """
    from harness.hosts.check import check_hosts, names_in, render
    from harness.hosts.provision.lab import Lab

    made = re.fullmatch(r"lab:(\d+)", words or "")
    with Lab.up(int(made[1])) if made else nullcontext() as lab:
        if lab is not None:
            names, ssh_config = list(lab.hosts), lab.ssh_config
        elif words:
            names = [name.strip() for name in words.split(",") if name.strip()]
        elif ssh_config:
            names = names_in(ssh_config)
        else:
            names = []
        if not names:
            raise UsageError("no host is named", remedy="Give --hosts n1,n2,n3, or -F with a config that names hosts.")
        reports = check_hosts(names, ssh_config, accept_new=accept_new)
    if as_json:
        click.echo(json.dumps({"hosts": [asdict(report) | {"usable": report.usable} for report in reports]}))
    else:
        click.echo(render(reports))
    return 0 if all(report.usable for report in reports) else exits.WRONG_INPUT
