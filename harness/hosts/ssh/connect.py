"""From what the config says to an authenticated connection, within one deadline.

Socket, SSH banner, key exchange, the host's key, authentication: each has its own way to hang (a stopped listener takes
TCP connections and says nothing), so each gets what is left of the deadline.  Whatever was opened on the way is closed
again when a later step fails.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from paramiko import Channel, SSHException, Transport

from harness import ConnectionLost, DeadlinePassed, HostError
from harness.hosts.ssh.config import Endpoint, resolve
from harness.hosts.ssh.connection import Deadline, SshConnection, end_proxy
from harness.hosts.ssh.host_keys import check_host_key, known_keys, prefer
from harness.hosts.ssh.login import log_in

_TCP_USER_TIMEOUT_MS = 10_000
_KEEPALIVE_S = 5
_JUMPS_MAX = 8


_LOG = "onethrone.ssh"
# Without a handler of ours Python prints paramiko's tracebacks to standard error; every error is raised as well.
logging.getLogger(_LOG).addHandler(logging.NullHandler())


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
        known = known_keys(endpoint)
        prefer(transport, known)
        transport.start_client(timeout=max(0.001, deadline.left_s()))
        # paramiko returns when its time is over just as it does when the key exchange is done.
        if deadline.passed:
            raise TimeoutError
        stage = "checking its host key"
        check_host_key(endpoint, transport.get_remote_server_key(), known, accept_new)
        stage = f"logging in as {endpoint.user}"
        log_in(endpoint, transport, deadline)
        transport.set_keepalive(_KEEPALIVE_S)
        return SshConnection(endpoint.name, transport, proxy, jump)
    except BaseException as error:
        if transport is not None:
            transport.close()
        if sock is not None:
            sock.close()
        if proxy is not None:
            end_proxy(proxy)
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
            remedy=f"The host, or its sshd, is stopped, overloaded or cut off; try: {endpoint.command}",
        )
    remedy = f"Check that sshd runs there; try: {endpoint.command}"
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
