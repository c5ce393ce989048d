"""Hosts that exist: somebody else makes and ends them, and an OpenSSH config says how to reach them.

    parse("ssh:n1,n2,n3")   ->  HostSpec("ssh", ("n1", "n2", "n3"), made=False)

The scheme may be left out ("n1,n2,n3").  Addresses, ports, keys and jump hosts belong in the OpenSSH config.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness import UsageError
from harness.hosts.provision.base import Hosts, HostSpec, Missing, Standing


class SshConfigProvisioner:
    """See `base.Provisioner`.  It makes nothing, so there is nothing to end."""

    scheme = "ssh"

    def parse(self, text: str) -> HostSpec:
        """The names behind the scheme, with commas between them."""
        names = tuple(name.strip() for name in text.partition(":")[2].split(",") if name.strip())
        if not names:
            raise UsageError("no host is named", remedy="Give the names of hosts with commas between them: n1,n2,n3.")
        for name in names:
            if ":" in name or name.startswith("-") or any(character.isspace() for character in name):
                remedy = "Give names; ports and addresses belong in the OpenSSH config (Port, HostName)."
                raise UsageError(f"{name!r} is not the name of a host", remedy=remedy)
        twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        if twice:
            raise UsageError(f"{', '.join(twice)}: a host is named twice", remedy="Name each host once.")
        return HostSpec(self.scheme, names, made=False)

    def missing(self) -> Sequence[Missing]:
        """Nothing: the harness speaks SSH itself."""
        return ()

    def up(self, spec: HostSpec, directory: Path | None = None, *, standing: bool = False) -> Hosts:
        """The hosts as they are.  UsageError when something would have to be made."""
        if directory is not None or standing:
            raise UsageError(f"{spec.text}: these hosts exist; there is nothing to make")
        return Hosts(spec.names, spec.ssh_config)

    def down(self, directory: Path) -> bool:
        """Nothing here was made."""
        return False

    def list(self) -> Sequence[Standing]:
        """Nothing here was made."""
        return ()


PROVISIONER = SshConfigProvisioner()
