"""A child process with deadlines: ended when it has not done its next step in time, first asked, then forced.

    child = Child(["command", "run", ...], folder)     # `harness.campaign.work`, in a session of its own
    child.allow(180, "making hosts")                   # it has 180 s for what it does now
    child.poll()                                       # None while it lives; it is ended when the time is up

The rules:

1.  When the time is up it gets SIGTERM, on which a run heals its hosts and judges what there is; `end_s` later SIGKILL,
    which also a process that is stopped cannot escape.
2.  What it left behind in its session is killed before its id can be given to somebody else.
3.  After a restart of the controller, children of the one before are known by their command lines, which name the
    campaign's folder: a process id may be somebody else's by then.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

KILLED_S = 10.0
"""For a process that was killed to be gone."""


class Child:
    """One process and its session."""

    def __init__(self, words: list[str], folder: Path, end_s: float) -> None:
        """Its standard output goes to `out` in the folder, its standard error to `log`.  Raises OSError."""
        self.why = ""
        """For what it is being ended; empty is nothing."""
        self._end_s = end_s
        self._until = float("inf")
        self._kill_at = float("inf")
        self._doing = ""
        command = [sys.executable, "-m", "harness.campaign.work", str(os.getpid()), *words]
        with (folder / "out").open("wb") as out, (folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=log, start_new_session=True
            )
        self.pid = self._process.pid

    def allow(self, seconds: float, doing: str) -> None:
        """It has so long from now, for what it does now."""
        self._until = time.monotonic() + seconds
        self._doing = f"{doing} took longer than {seconds:g} s"

    def poll(self) -> int | None:
        """Its exit code (negative: the signal that killed it) when it is gone; until then None."""
        now = time.monotonic()
        if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            kill_session(self.pid)
            return self._process.wait()
        if now >= self._kill_at:
            kill_session(self.pid)
        elif now >= self._until and not self.why:
            self.end(self._doing)
        return None

    def end(self, why: str) -> None:
        """Ask it to end; it is forced `end_s` later."""
        if not self.why:
            self.why = why
            self._kill_at = time.monotonic() + self._end_s
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        self.why = self.why or "it was killed"
        kill_session(self.pid)


def kill_session(pid: int) -> None:
    """SIGKILL to a session's whole group; its leader is not reaped yet, so the id is still its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def alive(words: list[bytes]) -> list[int]:
    """Processes whose command line has all these words, each somewhere: children whose controller died."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                line = (entry / "cmdline").read_bytes()
                if line and all(word in line for word in words):
                    found.append(int(entry.name))
    return found


def end_orphans(words: list[bytes], end_s: float) -> int:
    """Waits until the children of a controller that died are gone: the kernel told them to end.  How many there were.

    What is left after `end_s` is killed.
    """
    first = alive(words)
    kill_at = time.monotonic() + end_s
    left = first
    while left and (now := time.monotonic()) < kill_at + KILLED_S:
        for pid in left if now >= kill_at else ():
            kill_session(pid)
        time.sleep(0.05)
        left = alive(words)
    return len(first)
