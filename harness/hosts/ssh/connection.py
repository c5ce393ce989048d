"""One authenticated SSH connection, its sessions, and the deadline that the steps of one operation share."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field

from paramiko import Channel, ChannelException, SSHException, Transport

from harness import ConnectionLost, DeadlinePassed, HostError

SESSIONS_MAX = 5
"""Channels with a command at one time.  sshd's MaxSessions is 10, and it takes ended sessions down late: with 8 it
refused one now and then, with 6 never; one is kept in reserve."""

_OPEN_RETRY_S = 0.05


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
            end_proxy(self.proxy)
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


def end_proxy(proxy: subprocess.Popen[bytes]) -> None:
    """End a ProxyCommand with all that it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(proxy.pid, number)
        try:
            proxy.wait(2)
        except subprocess.TimeoutExpired:
            continue
        break
