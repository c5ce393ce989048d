"""From what the config says to an authenticated connection, within one deadline.

Socket, SSH banner, key exchange, the host's key, authentication: each has its own way to hang (a stopped listener takes
TCP connections and says nothing), so each gets what is left of the deadline.  Whatever was opened on the way is closed
again when a later step fails.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import fnmatch
import logging
import os
import random
import signal
import socket
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import paramiko
from paramiko import Channel, ChannelException, HostKeys, PKey, SSHException, Transport
from paramiko.hostkeys import HostKeyEntry, InvalidHostKey

from harness import ConnectionLost, DeadlinePassed, HostError
from harness.hosts.ssh.config import Endpoint, resolve

SESSIONS_MAX = 5
"""Channels with a command at one time.  sshd's MaxSessions is 10, and it takes ended sessions down late: with 8 it
refused one now and then, with 6 never; one is kept in reserve."""

_TCP_USER_TIMEOUT_MS = 10_000
_KEEPALIVE_S = 5
_OPEN_RETRY_S = 0.05
_JUMPS_MAX = 8


_LOG = "onethrone.ssh"
# Without a handler of ours Python prints paramiko's tracebacks to standard error; every error is raised as well.
logging.getLogger(_LOG).addHandler(logging.NullHandler())


class Deadline:
    """A point in time that a number of waits share."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._until = time.monotonic() + seconds

    def left_s(self) -> float:
        return max(0.0, self._until - time.monotonic())

    @property
    def passed(self) -> bool:
        return time.monotonic() >= self._until


@dataclass
class SshConnection:
    """One authenticated SSH connection, with all that was opened for it."""

    name: str
    transport: Transport
    proxy: subprocess.Popen[bytes] | None = None
    jump: SshConnection | None = None
    sessions: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(SESSIONS_MAX))

    @property
    def alive(self) -> bool:
        return self.transport.is_active()

    def close(self) -> None:
        self.transport.close()
        if self.proxy is not None:
            _end_proxy(self.proxy)
        if self.jump is not None:
            self.jump.close()

    def open_session(self, deadline: Deadline) -> Channel:
        """A channel for one command.  The caller gives it back with `close_session`.

        To open a channel runs nothing, so it is safe to try again when sshd says that there are too many.
        """
        if not self.sessions.acquire(timeout=deadline.left_s()):
            raise DeadlinePassed(
                self.name,
                f"no channel was free within {deadline.seconds:g} s",
                remedy=f"{SESSIONS_MAX} commands are still running over this connection; give them shorter deadlines.",
            )
        try:
            while True:
                try:
                    return self.transport.open_session(timeout=max(0.001, deadline.left_s()))
                except ChannelException as error:
                    if deadline.left_s() <= _OPEN_RETRY_S:
                        raise HostError(
                            self.name,
                            f"sshd refused a channel for {deadline.seconds:g} s: {error.text}",
                            remedy="Its MaxSessions is too low, or others use up its sessions: "
                            f"set MaxSessions to 10 in the host's sshd_config (this connection needs {SESSIONS_MAX}).",
                        ) from None
                    time.sleep(random.uniform(_OPEN_RETRY_S / 2, _OPEN_RETRY_S))
        except (SSHException, EOFError, OSError) as error:
            self.sessions.release()
            raise self.failed("a channel could not be opened", error, deadline) from None
        except HostError:
            self.sessions.release()
            raise

    def close_session(self, channel: Channel) -> None:
        with contextlib.suppress(SSHException, EOFError, OSError):
            channel.close()
        self.sessions.release()

    def lost(self, what: str, command: str = "") -> ConnectionLost:
        """The error for a connection that broke while `what` went on."""
        remedy = "Connect again; whether a command that was under way ran is unknown."
        return ConnectionLost(self.name, f"the connection was lost; {what}", command=command, remedy=remedy)

    def failed(self, what: str, error: BaseException | None, deadline: Deadline, command: str = "") -> HostError:
        """The error for an operation that did not end well: too late, or the connection broke, or something else."""
        reason = f": {error}" if error is not None and str(error) else ""
        if deadline.passed or isinstance(error, TimeoutError):
            return DeadlinePassed(
                self.name,
                f"no answer within {deadline.seconds:g} s; {what}",
                command=command,
                remedy="The host is overloaded, stopped or cut off; connect again, or give it more time.",
            )
        if not self.alive:
            return self.lost(f"{what}{reason}", command)
        return HostError(self.name, f"{what}{reason}", command=command)


def connect(
    endpoint: Endpoint, ssh_config: Path | None, deadline: Deadline, *, accept_new: bool = False
) -> SshConnection:
    """Connect, check the host's key, and log in.  HostError, ConnectionLost or DeadlinePassed say what went wrong.

    `accept_new` writes an unknown host key down in the first known_hosts file; a changed key is refused always.
    """
    return _connect(endpoint, ssh_config, deadline, accept_new, depth=0)


def _connect(
    endpoint: Endpoint, ssh_config: Path | None, deadline: Deadline, accept_new: bool, depth: int
) -> SshConnection:
    proxy: subprocess.Popen[bytes] | None = None
    proxy_errors: IO[bytes] | None = None
    jump: SshConnection | None = None
    transport: Transport | None = None
    sock: socket.socket | Channel | None = None
    stage = f"connecting to {endpoint.hostname} port {endpoint.port}"
    try:
        if endpoint.proxy_command:
            stage = f"starting its ProxyCommand ({endpoint.proxy_command})"
            sock, proxy, proxy_errors = _start_proxy(endpoint.proxy_command)
        elif endpoint.proxy_jump:
            jump = _connect_jump(endpoint, ssh_config, deadline, accept_new, depth)
            stage = f"connecting to {endpoint.hostname} port {endpoint.port} from {jump.name}"
            target = (endpoint.hostname, endpoint.port)
            sock = jump.transport.open_channel(
                "direct-tcpip", target, ("127.0.0.1", 0), timeout=max(0.001, deadline.left_s())
            )
        else:
            sock = _dial(endpoint, deadline)
        stage = "waiting for its SSH banner and key exchange"
        transport = Transport(sock)
        # A little longer than start_client waits, which is to be the one that gives up.
        transport.banner_timeout = transport.handshake_timeout = deadline.left_s() + 1
        transport.set_log_channel(_LOG)
        known = _known_keys(endpoint)
        _prefer(transport, known)
        transport.start_client(timeout=max(0.001, deadline.left_s()))
        # paramiko returns when its time is over just as it does when the key exchange is done.
        if deadline.passed:
            raise TimeoutError
        stage = "checking its host key"
        _check_host_key(endpoint, transport.get_remote_server_key(), known, accept_new)
        stage = f"logging in as {endpoint.user}"
        _log_in(endpoint, transport, deadline)
        transport.set_keepalive(_KEEPALIVE_S)
        return SshConnection(endpoint.name, transport, proxy, jump)
    except BaseException as error:
        if transport is not None:
            transport.close()
        if sock is not None:
            sock.close()
        if proxy is not None:
            _end_proxy(proxy)
        said = _tail(proxy_errors)
        if jump is not None:
            jump.close()
        if isinstance(error, HostError) or not isinstance(error, (SSHException, EOFError, OSError)):
            raise
        raise _explain(endpoint, stage, error, said, deadline) from None
    finally:
        if proxy_errors is not None:
            proxy_errors.close()


def _explain(endpoint: Endpoint, stage: str, error: Exception, said: str, deadline: Deadline) -> HostError:
    if deadline.passed or isinstance(error, TimeoutError):
        return DeadlinePassed(
            endpoint.name,
            f"no answer within {deadline.seconds:g} s while {stage}",
            output=said,
            remedy="The host, or its sshd, is stopped, overloaded or cut off; try `ssh` by hand.",
        )
    remedy = f"Check that sshd runs there; try: ssh {endpoint.name}"
    if isinstance(error, socket.gaierror):
        remedy = "No config has this host and no name service knows it: add it to the OpenSSH config (HostName)."
    return ConnectionLost(endpoint.name, f"{stage} failed: {error or type(error).__name__}", output=said, remedy=remedy)


# --- sockets ----------------------------------------------------------------------------------------------------------


def _dial(endpoint: Endpoint, deadline: Deadline) -> socket.socket:
    sock = socket.create_connection((endpoint.hostname, endpoint.port), timeout=max(0.001, deadline.left_s()))
    for level, option, value in (
        # Without it paramiko's small packets wait for the peer's delayed ACK: 46 ms for a command instead of 3 ms.
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_S),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
        # A black hole is noticed by this alone: paramiko's keepalive waits for no answer.
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _TCP_USER_TIMEOUT_MS),
    ):
        sock.setsockopt(level, option, value)
    return sock


def _start_proxy(command: str) -> tuple[socket.socket, subprocess.Popen[bytes], IO[bytes]]:
    """A ProxyCommand on a socket pair: paramiko.ProxyCommand polls, this does not."""
    ours, theirs = socket.socketpair()
    errors = tempfile.TemporaryFile()  # noqa: SIM115 - the caller reads and closes it
    try:
        proxy = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {command}"],
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=errors,
            # A group of its own, to be ended as a whole; and Ctrl-C is for the controller.
            start_new_session=True,
        )
    except BaseException:
        ours.close()
        errors.close()
        raise
    finally:
        theirs.close()
    return ours, proxy, errors


def _end_proxy(proxy: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(proxy.pid, number)
        try:
            proxy.wait(2)
        except subprocess.TimeoutExpired:
            continue
        break


def _tail(errors: IO[bytes] | None, limit_bytes: int = 2000) -> str:
    if errors is None:
        return ""
    errors.seek(max(0, errors.seek(0, os.SEEK_END) - limit_bytes))
    return errors.read().decode(errors="replace").strip()


def _connect_jump(
    endpoint: Endpoint, ssh_config: Path | None, deadline: Deadline, accept_new: bool, depth: int
) -> SshConnection:
    if depth >= _JUMPS_MAX:
        raise HostError(endpoint.name, f"more than {_JUMPS_MAX} jumps", remedy="Its ProxyJump leads in a circle.")
    *before, last = endpoint.proxy_jump
    parts = urlsplit(last if "://" in last else f"ssh://{last}")
    hop = resolve(parts.hostname or last, ssh_config)
    if parts.username:
        hop = replace(hop, user=parts.username)
    if parts.port:
        default = hop.host_key_name in (hop.hostname, f"[{hop.hostname}]:{hop.port}")
        key_name = f"[{hop.hostname}]:{parts.port}" if default else hop.host_key_name
        hop = replace(hop, port=parts.port, host_key_name=key_name)
    if before:
        hop = replace(hop, proxy_jump=tuple(before))
    return _connect(hop, ssh_config, deadline, accept_new, depth + 1)


# --- host keys --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _KnownKeys:
    trusted: list[PKey]
    revoked: list[PKey]


def _known_keys(endpoint: Endpoint) -> _KnownKeys:
    """The host's keys in its known_hosts files; a file that is missing knows nothing.

    paramiko.HostKeys keeps one key of a type per host, and reads neither patterns nor @revoked.
    """
    known = _KnownKeys([], [])
    for path in endpoint.known_hosts:
        try:
            lines = path.read_text(errors="replace").splitlines()
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


def _prefer(transport: Transport, known: _KnownKeys) -> None:
    """Ask for a key of a type that is known: a host has several, and shows one."""
    options = transport.get_security_options()
    wanted = []
    for name in (key.get_name() for key in known.trusted):
        wanted += ["rsa-sha2-512", "rsa-sha2-256"] if name == "ssh-rsa" else [name]
    offered = list(options.key_types)
    first = [kind for kind in dict.fromkeys(wanted) if kind in offered]
    options.key_types = tuple(first + [kind for kind in offered if kind not in first])


def _check_host_key(endpoint: Endpoint, key: PKey, known: _KnownKeys, accept_new: bool) -> None:
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


# --- authentication ---------------------------------------------------------------------------------------------------


def _log_in(endpoint: Endpoint, transport: Transport, deadline: Deadline) -> None:
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
