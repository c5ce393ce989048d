"""What a provisioner is: it turns a text such as "lab:5" into hosts that the harness reaches over SSH.

The model.  A *spec* says which hosts are wanted: their names, and the scheme of the provisioner that knows them.  `up`
turns a spec into *hosts*: names, an OpenSSH config in which they are known, and the addresses by which they reach each
other.  Nothing else crosses the seam, so the rest of the harness cannot tell namespaces from machines in a rack.

    spec = registry.parse("lab:5")              # HostSpec("lab", ("n1", ..., "n5"))
    with registry.hosts_for(spec) as hosts:
        hosts.ssh_config                        # ssh -F <this> n1

The rules:

1.  A spec is checked when it is parsed, before anything is made; so is what this machine lacks (`missing`).
2.  Hosts that were made end with the process that made them, even if it dies by SIGKILL.  Only `standing` hosts stay.
3.  `down` may be called twice, and after everything that made the hosts was killed.  Then it removes what is left.

A new provisioner is one module with one class.  A package declares an instance of it as an entry point of the group
`onethrone.hosts`, under the name of its scheme.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from harness import UsageError

HOSTS_MAX = 50
"""Maximum number of hosts that a provisioner makes for one cluster."""


@dataclass(frozen=True)
class HostSpec:
    """Which hosts are wanted.  `names` are in the order of the servers' ids."""

    scheme: str
    names: tuple[str, ...]
    made: bool = True
    """Whether the provisioner makes these hosts; else they exist, and outlive every run on them."""
    ssh_config: Path | None = None
    """The OpenSSH config of hosts that exist; None is the user's own."""

    @property
    def text(self) -> str:
        """What parses to this spec again, but for `ssh_config`."""
        return f"{self.scheme}:{len(self.names)}" if self.made else ",".join(self.names)

    def first(self, count: int) -> HostSpec:
        """The first `count` of these hosts."""
        return replace(self, names=self.names[:count])


@dataclass(frozen=True)
class Hosts:
    """Hosts that are up."""

    names: tuple[str, ...]
    ssh_config: Path | None
    """Knows every name; None is the user's own."""
    addresses: Mapping[str, str] = field(default_factory=dict)
    """By name, the address that the other hosts reach; a host that is not in it is asked for its own."""
    directory: Path | None = None
    """Where the provisioner keeps what it made, and what `down` takes; None if it made nothing."""


@dataclass(frozen=True)
class Missing:
    """A program that this machine lacks, and the Debian package that has it."""

    tool: str
    why: str
    package: str


@dataclass(frozen=True)
class Standing:
    """Hosts of one `up` that are still there."""

    directory: Path
    hosts: Hosts
    ends_with: int = 0
    """The process that these hosts end with; 0 if they stand until they are ended."""
    users: tuple[str, ...] = ()
    """The live processes that need these hosts, such as "process 4711 (onethrone run --hosts lab:5)"."""


class Provisioner(Protocol):
    """Makes hosts of one kind.  One instance serves all callers of a process."""

    scheme: str
    """The word before the colon of "lab:5"."""

    def parse(self, text: str) -> HostSpec:
        """The hosts that a text such as "lab:5" asks for.  UsageError says what is wrong with it."""

    def missing(self) -> Sequence[Missing]:
        """What this machine lacks to make hosts of this kind."""

    def up(self, spec: HostSpec, directory: Path | None = None, *, standing: bool = False) -> Hosts:
        """Make the hosts, and keep their files in `directory`, by default a new one.

        They end with this process, unless they are to be `standing`.  UsageError: the directory or this machine will
        not do.  HarnessError: it should have worked, and did not.
        """

    def down(self, directory: Path) -> bool:
        """End the hosts in this directory and remove every trace of them; False if there are none of this kind.

        HarnessError if something cannot be removed.
        """

    def list(self) -> Sequence[Standing]:
        """The hosts that are up on this machine, as far as this user may see them."""


def parse_count(text: str) -> int:
    """How many hosts "lab:5" asks for: from 1 to HOSTS_MAX.  Raises UsageError."""
    scheme, _, digits = text.partition(":")
    # The length is checked first: int() of a million digits takes its time.
    if re.fullmatch(r"0*[0-9]{1,4}", digits, re.ASCII) and 1 <= int(digits) <= HOSTS_MAX:
        return int(digits)
    found = f"{digits[:20]!r} is not one" if digits else "it is missing"
    raise UsageError(
        f"{text[:40]}: the number of hosts has to be from 1 to {HOSTS_MAX}; {found}", remedy=f"Give {scheme}:5, say."
    )


def refuse_missing(scheme: str, missing: Sequence[Missing]) -> None:
    """UsageError that names every program that this machine lacks, and how to install them; nothing if it has all."""
    if missing:
        packages = " ".join(sorted({one.package for one in missing}))
        raise UsageError(
            f"this machine cannot make {scheme} hosts: " + "; ".join(f"no {one.tool} ({one.why})" for one in missing),
            remedy=f"Install what is missing, as root: apt-get install {packages}",
        )
