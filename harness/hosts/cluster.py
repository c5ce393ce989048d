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
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from checker.counted import counted
from harness import HostError, UsageError
from harness.hosts.check import abilities, check_hosts
from harness.hosts.provision import registry
from harness.hosts.provision.base import Hosts
from harness.hosts.ssh.config import resolve
from harness.hosts.ssh.remote import Remote
from harness.plan.hosts import host_spec
from harness.plan.schema import Plan
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
    spec = host_spec(plan.hosts)
    with contextlib.ExitStack() as stack:
        if spec.made:
            progress.say(f"making {counted(len(spec.names), f'{spec.scheme} host')}")
        made = stack.enter_context(registry.hosts_for(spec))
        names, ssh_config = made.names, made.ssh_config
        progress.say(f"checking {', '.join(names)}")
        reports = check_hosts(names, ssh_config)
        unusable = [f"{r.host}: {f.what}. {f.remedy}" for r in reports for f in r.findings if f.level == "unusable"]
        if unusable:
            raise UsageError("; ".join(unusable), where="hosts", remedy="`onethrone hosts check` shows everything.")
        remotes = {name: stack.enter_context(Remote(name, ssh_config)) for name in names}
        with ThreadPoolExecutor(CONNECTING_AT_ONCE) as pool:
            list(pool.map(Remote.connect, remotes.values()))
            addresses = dict(zip(names, pool.map(lambda name: _addresses(remotes[name], made), names), strict=True))
            roots = pool.map(lambda name: remotes[name].run("id -u").text == "0", names)
            privilege = {name: "" if root else "sudo -n " for name, root in zip(names, roots, strict=True)}
        _refuse_shared(addresses)
        yield Cluster(remotes, addresses, abilities(reports), privilege)


def _addresses(remote: Remote, hosts: Hosts) -> tuple[str, ...]:
    """The host's addresses; first the one that its provisioner says, or that the controller knows it by."""
    listed = json.loads(remote.run("PATH=$PATH:/usr/sbin:/sbin ip -json address show up").stdout)
    own = [
        entry["local"]
        for interface in listed
        for entry in interface.get("addr_info", ())
        if entry.get("scope") == "global" and not ipaddress.ip_address(entry["local"]).is_loopback
    ]
    if remote.name in hosts.addresses:
        given = hosts.addresses[remote.name]
        return (given, *(address for address in own if address != given))
    if not own:
        raise HostError(
            remote.name, "it has no address that another host could reach", remedy="Give it a network interface."
        )
    known = _resolved(resolve(remote.name, hosts.ssh_config).hostname)
    return tuple(sorted(own, key=lambda address: (address not in known, ":" in address)))


def _refuse_shared(addresses: Mapping[str, Sequence[str]]) -> None:
    """Hosts behind NAT may all have the same address, which then is none by which they could reach each other."""
    by_address: dict[str, list[str]] = {}
    for name, (first, *_) in addresses.items():
        by_address.setdefault(first, []).append(name)
    shared = [f"{' and '.join(names)} all have the address {one}" for one, names in by_address.items() if names[1:]]
    if shared:
        remedy = "Put the address by which hosts reach each other in the OpenSSH config (HostName)."
        raise UsageError("; ".join(shared), where="hosts", remedy=remedy)


def _resolved(hostname: str) -> set[str]:
    try:
        return {str(info[4][0]) for info in socket.getaddrinfo(hostname, None)}
    except OSError:
        return set()  # a name that only the jump host knows
