"""Whether a host's key is a known one: known_hosts files read as OpenSSH reads them, and new keys saved if wanted."""

from __future__ import annotations

import fcntl
import fnmatch
import os
from dataclasses import dataclass
from pathlib import Path

from paramiko import HostKeys, PKey, SSHException, Transport
from paramiko.hostkeys import HostKeyEntry, InvalidHostKey

from harness import HostError
from harness.hosts.ssh.config import Endpoint
from harness.results import files


@dataclass(frozen=True)
class KnownKeys:
    """What the known_hosts files say of one host."""

    trusted: list[PKey]
    revoked: list[PKey]


def known_keys(endpoint: Endpoint) -> KnownKeys:
    """The host's keys in its known_hosts files; a file that is missing knows nothing.

    paramiko.HostKeys keeps one key of a type per host, and reads neither patterns nor @revoked.
    """
    known = KnownKeys([], [])
    for path in endpoint.known_hosts:
        try:
            lines = files.read(path).decode(errors="replace").splitlines()
        except OSError:
            continue
        for line in lines:
            marker, _, rest = line.strip().partition(" ") if line.lstrip().startswith("@") else ("", "", line)
            if marker not in ("", "@revoked") or rest.lstrip().startswith("#"):
                continue
            try:
                entry = HostKeyEntry.from_line(rest)
            except (InvalidHostKey, SSHException, ValueError):
                continue
            if entry is not None and entry.key is not None and _names(entry.hostnames or [], endpoint.host_key_name):
                (known.revoked if marker else known.trusted).append(entry.key)
    return known


def _names(patterns: list[str], name: str) -> bool:
    def matches(pattern: str) -> bool:
        if pattern.startswith("|1|"):
            return HostKeys.hash_host(name, pattern) == pattern
        # OpenSSH knows * and ? alone; the brackets of [host]:port are none of fnmatch's.
        return fnmatch.fnmatchcase(name, pattern.replace("[", "[[]"))

    if any(pattern.startswith("!") and matches(pattern[1:]) for pattern in patterns):
        return False
    return any(matches(pattern) for pattern in patterns)


def prefer(transport: Transport, known: KnownKeys) -> None:
    """Ask for a key of a type that is known: a host has several, and shows one."""
    options = transport.get_security_options()
    wanted = []
    for name in (key.get_name() for key in known.trusted):
        wanted += ["rsa-sha2-512", "rsa-sha2-256"] if name == "ssh-rsa" else [name]
    offered = list(options.key_types)
    first = [kind for kind in dict.fromkeys(wanted) if kind in offered]
    options.key_types = tuple(first + [kind for kind in offered if kind not in first])


def check_host_key(endpoint: Endpoint, key: PKey, known: KnownKeys, accept_new: bool) -> None:
    """HostError unless the key is a known one, or it may be saved: `accept_new`, and no other key is known."""
    if key in known.trusted and key not in known.revoked:
        return
    shown = f"{key.get_name()} {key.fingerprint}"
    files = ", ".join(str(path) for path in endpoint.known_hosts) or "no file"
    if known.trusted or known.revoked:
        raise HostError(
            endpoint.name,
            f"the host key is not the known one: it showed {shown}",
            remedy=f"Either this is another host, or it was made anew; in the latter case remove the key of "
            f"{endpoint.host_key_name} from {files} (ssh-keygen -R).",
        )
    if not accept_new and endpoint.host_key_policy != "accept-new":
        raise HostError(
            endpoint.name,
            f"the host key is not known: it showed {shown}",
            remedy=f"Compare it with the host's own, and put it in {files} under {endpoint.host_key_name} "
            "(log in by hand once), or say `StrictHostKeyChecking accept-new` in the OpenSSH config.",
        )
    if endpoint.known_hosts:
        _write_down(endpoint, key, endpoint.known_hosts[0])


def _write_down(endpoint: Endpoint, key: PKey, path: Path) -> None:
    if path == Path(os.devnull):
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(f"{endpoint.host_key_name} {key.get_name()} {key.get_base64()}\n")
