"""What tests of the transport wait for, and for how long."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.harness.sshd import Sshd

SLACK_S = 30.0
"""For a slow machine; what has no deadline of its own would take for ever, or as long as sshd's or TCP's minutes."""

DEADLINE_S = 4.0
"""Long enough for a command to begin before it passes, on a slow machine too."""


@contextlib.contextmanager
def returns_within(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds + SLACK_S


@contextlib.contextmanager
def stopped(sshd: Sshd, *, listener: bool = False) -> Iterator[None]:
    """While this lasts sshd answers nothing, though the kernel still takes what is sent to it."""
    os.kill(sshd.process.pid, signal.SIGSTOP) if listener else sshd.signal_sessions(signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(sshd.process.pid, signal.SIGCONT) if listener else sshd.signal_sessions(signal.SIGCONT)


def wait_until(what: Callable[[], bool]) -> None:
    """Until it is so, or a slow machine would have got there; who waits looks at what came of it."""
    until = time.monotonic() + SLACK_S
    while not what() and time.monotonic() < until:
        time.sleep(0.01)


def runs(pid: int) -> bool:
    """Whether this `sleep` has not ended: the number may be another process's by now."""
    try:
        return b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
