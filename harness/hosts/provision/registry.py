"""Finds the provisioner that a text asks for: our own by the table below, others by the entry points of packages.

    parse("lab:5")                              a scheme and what it makes of the rest
    parse("n1,n2,n3", Path("ssh_config"))       names without a scheme: hosts that exist

An entry point of the group `onethrone.hosts` has the name of a scheme, and is an instance of a `base.Provisioner`:

    [project.entry-points."onethrone.hosts"]
    toy = "toy_hosts:PROVISIONER"
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from harness import UsageError
from harness.hosts.provision.base import Hosts, HostSpec, Provisioner, refuse_missing

GROUP = "onethrone.hosts"

_EXISTING = "ssh"
_OURS = {
    "lab": "harness.hosts.provision.lab:PROVISIONER",
    _EXISTING: "harness.hosts.provision.ssh_config:PROVISIONER",
}
"""Not entry points: a checkout that is not installed has them too, and no package can take their place."""


def schemes() -> tuple[str, ...]:
    """Every scheme that is known, ours first."""
    return tuple(dict.fromkeys([*_OURS, *(found.name for found in entry_points(group=GROUP))]))


@cache
def provisioner(scheme: str) -> Provisioner:
    """The one instance of this scheme's provisioner.  UsageError when there is none, or it cannot be loaded."""
    if scheme in _OURS:
        module, _, attribute = _OURS[scheme].partition(":")
        ours: Provisioner = getattr(importlib.import_module(module), attribute)
        return ours
    found = list(entry_points(group=GROUP, name=scheme))
    if not found:
        raise UsageError(f"there is no kind of host {scheme!r}{_nearest(scheme)}")
    if len(found) > 1:
        places = " and ".join(one.value for one in found)
        raise UsageError(f"two packages make {scheme} hosts: {places}", remedy="Uninstall one of them.")
    return _load(found[0])


def parse(text: str, ssh_config: Path | None = None) -> HostSpec:
    """The hosts that `text` asks for, checked.  UsageError says what is wrong with it."""
    scheme, colon, _ = text.strip().partition(":")
    if "," in scheme or not (colon or scheme in schemes()):
        return existing(text.split(","), ssh_config)
    spec = provisioner(scheme).parse(text.strip())
    if spec.made and ssh_config is not None:
        raise UsageError(
            f"{text}: hosts that are made here have an OpenSSH config of their own",
            remedy="Leave out the OpenSSH config, or name hosts that exist.",
        )
    return replace(spec, ssh_config=ssh_config)


def existing(names: Sequence[str], ssh_config: Path | None = None) -> HostSpec:
    """Hosts that somebody else makes, known by these names to `ssh_config`.  Raises UsageError."""
    return replace(provisioner(_EXISTING).parse(f"{_EXISTING}:{','.join(names)}"), ssh_config=ssh_config)


def up(spec: HostSpec, directory: Path | None = None, *, standing: bool = False) -> Hosts:
    """Make the hosts, after this machine was found to have what that takes.  See `Provisioner.up` for the errors."""
    maker = provisioner(spec.scheme)
    refuse_missing(maker.scheme, maker.missing())
    return maker.up(spec, directory, standing=standing)


@contextlib.contextmanager
def hosts_for(spec: HostSpec) -> Iterator[Hosts]:
    """The hosts for as long as the block lasts."""
    hosts = up(spec)
    try:
        yield hosts
    finally:
        if hosts.directory is not None:
            provisioner(spec.scheme).down(hosts.directory)


def _load(found: EntryPoint) -> Provisioner:
    try:
        loaded: Provisioner = found.load()
    except Exception as error:  # a package of somebody else's: whatever it raises is a reason why it cannot be used
        raise UsageError(
            f"{found.value}, which makes {found.name} hosts, cannot be loaded: {type(error).__name__}: {error}",
            remedy="Repair or uninstall the package that declares it.",
        ) from error
    if loaded.scheme != found.name:
        raise UsageError(
            f"{found.value} calls its scheme {loaded.scheme!r}, and its entry point {found.name!r}",
            remedy="They have to be the same: repair the package that declares it.",
        )
    return loaded


def _nearest(scheme: str) -> str:
    known = schemes()
    close = difflib.get_close_matches(scheme, known, n=1)
    return f" (did you mean {close[0]}?)" if close else f" (there are: {', '.join(known)})"
