"""Logging in with the keys that an OpenSSH config and an agent offer, in OpenSSH's order."""

from __future__ import annotations

import base64
import contextlib
import socket

import paramiko
from paramiko import PKey, SSHException, Transport

from harness import HostError
from harness.hosts.ssh.config import Endpoint
from harness.hosts.ssh.connection import Deadline


def log_in(endpoint: Endpoint, transport: Transport, deadline: Deadline) -> None:
    """Try each key until the host accepts one.  HostError says which keys were tried, and what became of each."""
    tried: list[str] = []
    allowed: list[str] = []
    for label, key in _keys(endpoint, tried, deadline):
        transport.auth_timeout = max(0.001, deadline.left_s())
        try:
            partial = transport.auth_publickey(endpoint.user, key)
        except paramiko.BadAuthenticationType as error:
            allowed = error.allowed_types
            break
        except paramiko.AuthenticationException:
            if deadline.passed or not transport.is_active():
                raise
            tried.append(f"{label}: refused")
            continue
        if not partial:
            return
        allowed = list(partial)
        break
    raise HostError(
        endpoint.name,
        f"{endpoint.user} could not log in" + (f": the host also asks for {', '.join(allowed)}" if allowed else ""),
        output="; ".join(tried) or "there was no key to try",
        remedy=f"Put a public key in the host's authorized_keys of {endpoint.user}, and its private half in the "
        "OpenSSH config (IdentityFile) or in an agent; a key with a passphrase must be in an agent.",
    )


def _keys(endpoint: Endpoint, tried: list[str], deadline: Deadline) -> list[tuple[str, PKey]]:
    """The keys to try, in OpenSSH's order: the agent's (only those named when IdentitiesOnly), then the files'."""
    files: list[tuple[str, PKey]] = []
    named: set[bytes] = set()
    for path in endpoint.identity_files:
        # The public half names a key of the agent, also where the private half is not on this machine.
        with contextlib.suppress(OSError, ValueError, IndexError):
            named.add(base64.b64decode(path.with_name(path.name + ".pub").read_text().split()[1]))
        if not path.is_file():
            continue
        try:
            key = PKey.from_path(path)
        except (SSHException, ValueError, TypeError, OSError) as error:
            # cryptography asks for the password of an encrypted key with a TypeError.
            tried.append(f"{path}: {'has a passphrase' if isinstance(error, TypeError) else error}")
            continue
        named.add(key.asbytes())
        files.append((str(path), key))
    keys = [
        (f"agent key {key.get_fingerprint().hex()}", key)
        for key in _agent_keys(endpoint.agent, tried, deadline)
        if not endpoint.identities_only or key.asbytes() in named
    ]
    return keys + files


class _Agent(paramiko.agent.AgentSSH):
    """An agent at a socket of our choice; paramiko's own knows $SSH_AUTH_SOCK alone, and waits for ever."""

    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__()
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(timeout_s)
        self.sock.connect(path)
        self._connect(self.sock)  # type: ignore[attr-defined]


def _agent_keys(path: str, tried: list[str], deadline: Deadline) -> tuple[PKey, ...]:
    if not path:
        return ()
    try:
        return _Agent(path, max(0.001, deadline.left_s())).get_keys()
    except (OSError, SSHException) as error:
        tried.append(f"agent {path}: {error}")
        return ()
