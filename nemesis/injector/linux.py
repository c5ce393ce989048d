"""What /proc says of processes."""

from __future__ import annotations

import os
import signal
import time
from typing import Dict, List, NamedTuple, Optional


class Identity(NamedTuple):
    """A process, told apart from a later one with the same number by its start time (clock ticks since boot)."""

    pid: int
    started: int


def _stat(path: str) -> Optional[List[str]]:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None


def identity(pid: int) -> Optional[Identity]:
    """None if there is no such process, or only its zombie."""
    fields = _stat("/proc/%d/stat" % pid)
    if fields is None or fields[0] in "ZX":
        return None
    return Identity(pid, int(fields[19]))


def alive(who: Identity) -> bool:
    return identity(who.pid) == who


def thread_states(pid: int) -> Dict[int, str]:
    """The state letter of each thread: T is stopped."""
    try:
        threads = [int(name) for name in os.listdir("/proc/%d/task" % pid)]
    except OSError:
        return {}
    states = {}
    for thread in threads:
        fields = _stat("/proc/%d/task/%d/stat" % (pid, thread))
        if fields is not None:
            states[thread] = fields[0]
    return states


def stopped(pid: int) -> bool:
    """Whether every thread of the process is stopped."""
    states = thread_states(pid)
    return bool(states) and all(state == "T" for state in states.values())


def signal_group(who: Identity, number: int) -> bool:
    """Send a signal to the process and its group; False if it is gone."""
    if not alive(who):
        return False
    try:
        os.killpg(who.pid, number)
    except ProcessLookupError:
        return False
    return True


def forget_shared_memory(pid: int) -> None:
    """Remove what libfaketime left of a killed process in /dev/shm."""
    for name in ("faketime_shm_%d" % pid, "sem.faketime_sem_%d" % pid):
        try:
            os.unlink("/dev/shm/" + name)
        except OSError:
            continue


def kill(who: Identity, deadline_s: float = 5.0) -> bool:
    """SIGKILL to the group, and wait until the process is gone."""
    signal_group(who, signal.SIGKILL)
    until = time.monotonic() + deadline_s
    while alive(who) and time.monotonic() < until:
        time.sleep(0.002)
    forget_shared_memory(who.pid)
    return not alive(who)
