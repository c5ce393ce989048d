"""The server under test as a process: started, killed, stopped, paused, and its end noticed.

The model.  Faults *hold* a server: down or paused.  It runs freely when no fault holds it.  So two faults may overlap,
and the first that ends does not give back what the second still takes.  A server that starts under a fault that pauses
it is paused at once.

The rules:

1.  A server is the leader of a session and process group of its own; signals go to the group.
2.  A signal counts when /proc shows what it did: the process gone, or every one of its threads stopped, or not stopped.
3.  An end that nobody asked for is reported too: how (exit or signal), its code, and when it was noticed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import Any, Callable, Dict, Generator, List, Optional, Set

from nemesis.injector import clocks, linux
from nemesis.injector.errors import Refused

Op = Generator[float, None, Dict[str, Any]]
"""An operation in progress: yields seconds to wait, returns what was verified."""

DEFAULT_STOP_S = 10.0
"""Seconds between SIGTERM and SIGKILL."""


class ServerProcess:
    """One server: how it is started, its process if there is one, and the faults that hold it."""

    def __init__(self, folder: str, definition: Dict[str, Any], notify: Callable[..., None]) -> None:
        self.name: str = definition["name"]
        self.definition = definition
        self._notify = notify
        self._process: Optional[subprocess.Popen[bytes]] = None
        self.who: Optional[linux.Identity] = None
        self.wanted = False
        self.down: Set[str] = set()
        self.paused: Set[str] = set()
        self.starts = 0
        self._asked = ""
        self._last_code: Optional[int] = None
        mode = definition.get("clock")
        self.clock = clocks.FakeClock(os.path.join(folder, "clock-" + self.name), mode) if mode else None

    # ---- what may be asked for: generators that yield seconds to wait and return what was verified -----------------

    def start(self) -> Op:
        """Raises Refused when the process does not come up."""
        self.wanted = True
        if self.who is not None:
            return {"pid": self.who.pid, "already": True}
        if self.down:
            return {"pid": None, "held_down_by": sorted(self.down)}
        self._spawn()
        assert self.who is not None
        who = self.who
        if self.clock is not None:
            until = time.monotonic() + 5
            start = clocks.library_start(who.pid)
            while start is None and linux.alive(who) and time.monotonic() < until:
                yield 0.002
                start = clocks.library_start(who.pid)
            if start is None and linux.alive(who):
                raise Refused("libfaketime is not at work in process %d, so its clock cannot be bent" % who.pid)
            self.clock.started(start)
        if self.paused:
            yield from self._stop_threads(who)
        if not linux.alive(who):
            raise Refused("%s ended as soon as it was started: see its standard error" % self.name)
        return {"pid": who.pid, "paused": bool(self.paused)}

    def kill(self, how: str) -> Op:
        """SIGKILL, or SIGTERM and after `stop_s` SIGKILL; returns when the process is gone and reaped."""
        who = self.who
        if who is None:
            return {"pid": None, "already": True}
        self._asked = how
        escalated = False
        if how == "stop":
            linux.signal_group(who, signal.SIGTERM)
            until = time.monotonic() + float(self.definition.get("stop_s", DEFAULT_STOP_S))
            while self._lives() and time.monotonic() < until:
                yield 0.005
            escalated = self._lives()
        if how == "kill" or escalated:
            linux.signal_group(who, signal.SIGKILL)
        until = time.monotonic() + 10
        while self._lives():
            if time.monotonic() > until:
                raise Refused("process %d is still there 10 s after SIGKILL (in an uninterruptible wait?)" % who.pid)
            yield 0.001
        return {"pid": who.pid, "gone": True, "code": self._last_code, "killed_after_stop": escalated}

    def pause(self) -> Op:
        """SIGSTOP; returns when every thread is stopped."""
        who = self.who
        if who is None:
            return {"pid": None, "down": True}
        yield from self._stop_threads(who)
        return {"pid": who.pid, "states": sorted(set(linux.thread_states(who.pid).values()))}

    def resume(self) -> Op:
        """SIGCONT if no fault pauses it any more; returns when no thread is stopped."""
        who = self.who
        if who is None:
            return {"pid": None, "down": True}
        if self.paused:
            return {"pid": who.pid, "held_paused_by": sorted(self.paused)}
        linux.signal_group(who, signal.SIGCONT)
        until = time.monotonic() + 5
        while linux.alive(who) and "T" in linux.thread_states(who.pid).values():
            if time.monotonic() > until:
                raise Refused("process %d is still stopped 5 s after SIGCONT" % who.pid)
            yield 0.001
        return {"pid": who.pid, "states": sorted(set(linux.thread_states(who.pid).values()))}

    def nudge(self) -> None:
        """Wake the process from epoll, so that it looks at its clock; it may not notice a bend otherwise."""
        if self.who is not None and not self.paused:
            linux.signal_group(self.who, signal.SIGSTOP)
            linux.signal_group(self.who, signal.SIGCONT)

    # ---- the process -----------------------------------------------------------------------------------------------

    def reap(self) -> None:
        """Notice that the process has ended; called whenever a child may have."""
        process = self._process
        if process is None or process.poll() is None:
            return
        who, asked = self.who, self._asked
        self._process = self.who = None
        self._asked = ""
        code = process.returncode
        if who is not None:
            linux.forget_shared_memory(who.pid)
        self._last_code = code
        self._notify(
            "stopped",
            server=self.name,
            pid=process.pid,
            how="signal" if code < 0 else "exit",
            code=abs(code),
            asked=asked or None,
            host_time=time.monotonic_ns(),
        )

    def status(self) -> Dict[str, Any]:
        return {
            "pid": self.who.pid if self.who else None,
            "wanted": self.wanted,
            "down": sorted(self.down),
            "paused": sorted(self.paused),
            "clock": dict(self.clock.faults) if self.clock else {},
            "starts": self.starts,
        }

    def _lives(self) -> bool:
        self.reap()
        return self.who is not None

    def _stop_threads(self, who: linux.Identity) -> Generator[float, None, None]:
        """Returns when it stands still, or when no fault pauses it any more."""
        linux.signal_group(who, signal.SIGSTOP)
        until = time.monotonic() + 5
        while linux.alive(who) and not linux.stopped(who.pid) and self.paused:
            if time.monotonic() > until:
                raise Refused("process %d is not stopped 5 s after SIGSTOP" % who.pid)
            yield 0.001
        if not linux.alive(who):
            raise Refused("process %d ended before it could be paused" % who.pid)

    def _spawn(self) -> None:
        definition = self.definition
        environment = dict(os.environ)
        for name in ("LD_PRELOAD", "SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY"):
            environment.pop(name, None)
        environment.update(definition.get("env", {}))
        if self.clock is not None:
            self.clock.reset()
            environment.update(self.clock.environment())
        try:
            with open(definition["stdout"], "ab") as stdout, open(definition["stderr"], "ab") as stderr:
                self._process = subprocess.Popen(
                    definition["argv"],
                    cwd=definition.get("cwd") or None,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=stderr,
                    start_new_session=True,
                )
        except OSError as error:
            raise Refused("%s cannot be started: %s" % (self.name, error)) from None
        self.who = linux.identity(self._process.pid)
        self.starts += 1
        if self.who is None:
            self.reap()
            raise Refused("%s ended as soon as it was started: see %s" % (self.name, definition["stderr"]))


def check_definition(definition: object) -> Dict[str, Any]:
    """The "server" of a start request.  Raises Refused, naming the field."""
    if not isinstance(definition, dict):
        raise Refused('"server" has to be an object')
    argv = definition.get("argv")
    if not isinstance(argv, list) or not argv or not all(isinstance(word, str) for word in argv):
        raise Refused("server: argv: has to be a list of words")
    checked = dict(definition)
    checked.setdefault("name", "server")
    if not isinstance(checked["name"], str) or not checked["name"].isidentifier():
        raise Refused("server: name: %r is not a plain name" % (checked["name"],))
    for field in ("stdout", "stderr"):
        if not isinstance(checked.setdefault(field, os.devnull), str):
            raise Refused("server: %s: has to be a path" % field)
    if checked.get("clock") not in (None, "monotonic", "wall"):
        raise Refused("server: clock: %r is none of monotonic, wall, null" % (checked["clock"],))
    return checked


Servers = Dict[str, ServerProcess]
Words = List[str]
