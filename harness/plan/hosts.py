"""The table `[hosts]` of a plan: where the servers run, and how it is turned into a spec of hosts and back.

[hosts]
make = "lab:5"                                     # made for the run, as `--hosts lab:5`

[hosts]
names = ["n1", "n2", "n3"]                         # hosts that exist
ssh_config = "cluster/ssh_config"
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from harness import UsageError
from harness.hosts.provision import registry
from harness.hosts.provision.base import HOSTS_MAX, HostSpec

SIMULATED_MAX = 99
"""Maximum number of servers in a simulated run."""


class HostsPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the servers run."""

    make: str = ""
    """Which hosts to make, as `--hosts` takes it: "lab:5"; empty means that `names` are hosts that exist."""
    lab: int = 0
    """How plans of 0.1 say `make = "lab:5"`: the number alone."""
    names: tuple[str, ...] = ()
    ssh_config: str = ""
    """The OpenSSH config that knows `names`; empty is the user's own."""
    directory: str = "/var/lib/onethrone"
    """Where on each host a run keeps its files, in a folder of its own."""


def host_spec(hosts: HostsPlan) -> HostSpec:
    """The hosts that a plan asks for.  Raises UsageError."""
    ways = [hosts.make != "", hosts.lab != 0, hosts.names != ()].count(True)
    if ways != 1:
        what = "no hosts are given" if ways == 0 else "hosts are given in two ways"
        remedy = "Make them (make = 'lab:5'), or name hosts that exist (names = ['n1', 'n2', 'n3']), or use --hosts"
        raise UsageError(what, remedy=remedy)
    ssh_config = Path(hosts.ssh_config) if hosts.ssh_config else None
    made = hosts.make or (f"lab:{hosts.lab}" if hosts.lab else "")
    return registry.parse(made, ssh_config) if made else registry.existing(hosts.names, ssh_config)


def on_hosts(hosts: HostsPlan, spec: HostSpec) -> HostsPlan:
    """The same plan, with the hosts of `spec`."""
    return msgspec.structs.replace(
        hosts,
        make=spec.text if spec.made else "",
        lab=0,
        names=() if spec.made else spec.names,
        ssh_config=str(spec.ssh_config or ""),
    )


def names_of(hosts: HostsPlan) -> tuple[str, ...]:
    """The names of the hosts, in the order of the servers' ids.  Raises UsageError."""
    if HOSTS_MAX < hosts.lab <= SIMULATED_MAX:  # the plan of a simulated run, whose servers need no hosts
        return tuple(f"n{number}" for number in range(1, hosts.lab + 1))
    return host_spec(hosts).names
