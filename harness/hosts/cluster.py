"""The hosts of a run: made here or given, connected, looked at, and known by the addresses that their peers use.

    with cluster(plan, progress) as hosts:
        hosts.remotes["n1"].run(["hostname"])
        hosts.addresses["n1"]                  # ('10.42.0.1',)

The first address of a host is the one that goes into the servers' configuration; packets between hosts are told apart
by all of them.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from harness import HostError, UsageError
from harness.hosts.check import abilities, check_hosts
from harness.hosts.provision.lab import Lab
from harness.hosts.ssh.config import resolve
from harness.hosts.ssh.remote import Remote
from harness.plan.schema import Plan, host_names
from harness.watch.progress import Progress

CONNECTING_AT_ONCE = 10
"""sshd's MaxStartups turns connections away at random from the eleventh on; hosts may share one jump host."""


@dataclass(frozen=True)
class Cluster:
    """Hosts that are up and connected.  `abilities`: by host and ability, "" or the reason why it is not there."""

    remotes: dict[str, Remote]
    addresses: dict[str, tuple[str, ...]]
    abilities: Mapping[str, Mapping[str, str]]
    privilege: dict[str, str]
    """What a command on the host begins with to run as root: "" or "sudo -n "."""


@contextlib.contextmanager
def cluster(plan: Plan, progress: Progress) -> Iterator[Cluster]:
    """The plan's hosts for as long as the block lasts.  UsageError when one is not fit for a run, with the remedy."""
    with contextlib.ExitStack() as stack:
        if plan.hosts.lab:
            progress.say(f"making {plan.hosts.lab} hosts out of namespaces")
            lab = stack.enter_context(Lab.up(plan.hosts.lab))
            ssh_config: Path | None = lab.ssh_config
        else:
            ssh_config = Path(plan.hosts.ssh_config) if plan.hosts.ssh_config else None
        names = host_names(plan)
        progress.say(f"looking at {', '.join(names)}")
        reports = check_hosts(names, ssh_config)
        unusable = [f"{r.host}: {f.what}. {f.remedy}" for r in reports for f in r.findings if f.level == "unusable"]
        if unusable:
            raise UsageError("; ".join(unusable), where="hosts", remedy="`onethrone hosts check` shows everything.")
        remotes = {name: stack.enter_context(Remote(name, ssh_config)) for name in names}
        with ThreadPoolExecutor(CONNECTING_AT_ONCE) as pool:
            list(pool.map(Remote.connect, remotes.values()))
            addresses = dict(
                zip(names, pool.map(lambda name: _addresses(remotes[name], ssh_config), names), strict=True)
            )
            roots = pool.map(lambda name: remotes[name].run("id -u").text == "0", names)
            privilege = {name: "" if root else "sudo -n " for name, root in zip(names, roots, strict=True)}
        yield Cluster(remotes, addresses, abilities(reports), privilege)


def _addresses(remote: Remote, ssh_config: Path | None) -> tuple[str, ...]:
    """The host's own global addresses; first the one that the controller knows it by, if it is one of them."""
    listed = json.loads(remote.run("PATH=$PATH:/usr/sbin:/sbin ip -json address show up").stdout)
    own = [
        entry["local"]
        for interface in listed
        for entry in interface.get("addr_info", ())
        if entry.get("scope") == "global" and not ipaddress.ip_address(entry["local"]).is_loopback
    ]
    if not own:
        raise HostError(
            remote.name, "it has no address that another host could reach", remedy="Give it a network interface."
        )
    known = _resolved(resolve(remote.name, ssh_config).hostname)
    return tuple(sorted(own, key=lambda address: (address not in known, ":" in address)))


def _resolved(hostname: str) -> set[str]:
    try:
        return {str(info[4][0]) for info in socket.getaddrinfo(hostname, None)}
    except OSError:
        return set()  # a name that only the jump host knows
