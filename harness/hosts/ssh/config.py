"""What an OpenSSH config says about a host.

The `ssh` binary itself is asked (`ssh -G`), because it alone knows Include, Match, canonical names and the defaults of
this machine.  Without it paramiko reads the file, which does not follow Include: then a config with an Include is
refused, not half obeyed.
"""

from __future__ import annotations

import getpass
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from harness import UsageError
from harness.results import files

_SSH_G_DEADLINE_S = 20.0


@dataclass(frozen=True)
class Endpoint:
    """How to reach one host, and how to know that it is the one.

    `agent` is the socket of the agent to ask, "" for none.  `host_key_policy` is `yes` (a key must be known),
    `accept-new` (an unknown key is written down, a changed one refused).
    """

    name: str
    hostname: str
    port: int
    user: str
    identity_files: tuple[Path, ...]
    identities_only: bool
    agent: str
    proxy_command: str
    proxy_jump: tuple[str, ...]
    known_hosts: tuple[Path, ...]
    host_key_name: str
    host_key_policy: str
    ssh_config: Path | None = None
    """The config that says so; None is the user's own."""

    @property
    def command(self) -> str:
        """What a person types to log in there."""
        given = [] if self.ssh_config is None else ["-F", str(self.ssh_config)]
        return shlex.join(["ssh", *given, self.name])


def resolve(name: str, ssh_config: Path | None = None) -> Endpoint:
    """What `ssh -F ssh_config name` would use; without a file, the user's own config.

    UsageError when the file is missing, or OpenSSH does not accept it (with OpenSSH's words, which name the line).
    """
    if not name or name.startswith("-") or any(character.isspace() for character in name):
        raise UsageError(f"{name!r} is not the name of a host")
    if ssh_config is not None and not ssh_config.is_file():
        raise UsageError(
            "there is no such file", where=str(ssh_config), remedy="Give the OpenSSH config that knows the hosts."
        )
    ssh = shutil.which("ssh")
    settings = _ask_ssh(ssh, name, ssh_config) if ssh else _ask_paramiko(name, ssh_config)
    return replace(_endpoint(name, settings), ssh_config=ssh_config)


def _ask_ssh(ssh: str, name: str, ssh_config: Path | None) -> dict[str, list[str]]:
    command = [ssh, "-G", *(["-F", str(ssh_config)] if ssh_config else []), "--", name]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_SSH_G_DEADLINE_S, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise UsageError(
            f"`{' '.join(command)}` did not end within {_SSH_G_DEADLINE_S:.0f} s",
            where=str(ssh_config or "~/.ssh/config"),
            remedy="A `Match exec` or a name that cannot be looked up may hang; try the command by hand.",
        ) from None
    if done.returncode != 0:
        raise UsageError(done.stderr.strip() or f"ssh -G {name} failed", where=str(ssh_config or "~/.ssh/config"))
    settings: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        keyword, _, value = line.partition(" ")
        settings.setdefault(keyword.lower(), []).append(value)
    return settings


def _ask_paramiko(name: str, ssh_config: Path | None) -> dict[str, list[str]]:
    from paramiko import ConfigParseError, SSHConfig

    path = ssh_config or Path.home() / ".ssh" / "config"
    text = files.read(path, files.PLAN_BYTES_MAX).decode() if path.is_file() else ""
    if re.search(r"^\s*include\b", text, re.IGNORECASE | re.MULTILINE):
        raise UsageError(
            "the config has an Include, which only the `ssh` program can follow",
            where=str(path),
            remedy="Install openssh-client.",
        )
    try:
        found = SSHConfig.from_text(text).lookup(name)
    except ConfigParseError as error:
        raise UsageError(str(error), where=str(path)) from None
    settings = {keyword: [value] if isinstance(value, str) else list(value) for keyword, value in found.items()}
    settings.setdefault("user", [getpass.getuser()])
    settings.setdefault("identityfile", [f"~/.ssh/id_{kind}" for kind in ("rsa", "ecdsa", "ed25519")])
    settings.setdefault("userknownhostsfile", ["~/.ssh/known_hosts ~/.ssh/known_hosts2"])
    settings.setdefault("globalknownhostsfile", ["/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"])
    return settings


def _endpoint(name: str, settings: Mapping[str, list[str]]) -> Endpoint:
    def first(keyword: str, default: str = "") -> str:
        value = settings.get(keyword, [default])[0].strip()
        return "" if value.lower() == "none" else value

    hostname, port, user = first("hostname", name), int(first("port", "22")), first("user")
    home = str(Path.home())
    alias = first("hostkeyalias")
    tokens = {
        "h": hostname,
        "n": name,
        "p": str(port),
        "r": user,
        "u": getpass.getuser(),
        "d": home,
        "k": alias or name,
    }

    def expand(text: str) -> str:
        return re.sub(r"%(.)", lambda found: "%" if found[1] == "%" else tokens.get(found[1], found[0]), text)

    def path(text: str) -> Path:
        return Path(expand(text.strip('"'))).expanduser()

    known = " ".join([*settings.get("userknownhostsfile", []), *settings.get("globalknownhostsfile", [])])
    agent = first("identityagent", "SSH_AUTH_SOCK")
    if agent.startswith("$"):
        agent = os.environ.get(agent.strip("${}"), "")
    return Endpoint(
        name=name,
        hostname=hostname,
        port=port,
        user=user,
        identity_files=tuple(path(text) for text in settings.get("identityfile", []) if text.lower() != "none"),
        identities_only=first("identitiesonly").lower() == "yes",
        agent=os.environ.get("SSH_AUTH_SOCK", "") if agent == "SSH_AUTH_SOCK" else str(path(agent)) if agent else "",
        proxy_command=expand(first("proxycommand")),
        proxy_jump=tuple(hop.strip() for hop in first("proxyjump").split(",") if hop.strip()),
        known_hosts=tuple(path(text) for text in known.split() if text.lower() != "none"),
        # OpenSSH: a port that is not 22 is part of the name, unless an alias takes its place.
        host_key_name=alias or (hostname if port == 22 else f"[{hostname}]:{port}"),
        host_key_policy="accept-new"
        if first("stricthostkeychecking").lower() in ("accept-new", "no", "off", "false")
        else "yes",
    )
