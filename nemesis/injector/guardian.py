"""The guardian: heals the host when the resident is killed.

The model.  A fork of the resident, made before the resident opens anything, with the reading end of a pipe.  The
resident writes down what will have to be undone *before* it does it.  When the pipe ends without a farewell, the
resident is dead: the guardian undoes the last thing written, and after one more lease kills the servers, which nobody
supervises now.

One line is one whole state:

    {"table": true, "queues": ["eth0"], "servers": [[pid, started]], "clocks": [...], "files": [...]}
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any, Dict, List

from nemesis.injector import clocks, linux, net, queues


class Guard:
    """The resident's end of the pipe."""

    def __init__(self, lease_s: float) -> None:
        reading, self._writing = os.pipe()
        if os.fork() == 0:
            code = 1
            try:
                os.close(self._writing)
                _watch(reading, lease_s)
                code = 0
            finally:
                os._exit(code)
        os.close(reading)

    def tell(self, state: Dict[str, Any]) -> None:
        """What would have to be undone from now on.  Raises OSError when there is no guardian any more."""
        os.write(self._writing, json.dumps(state).encode() + b"\n")

    def dismiss(self) -> None:
        """All is undone: nothing is left to guard."""
        try:
            os.write(self._writing, b'{"farewell": true}\n')
        except OSError:
            return


def _watch(reading: int, lease_s: float) -> None:
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    last: Dict[str, Any] = {}
    with os.fdopen(reading, "rb") as states:
        for line in states:
            try:
                last = json.loads(line)
            except ValueError:
                continue  # cut short by the resident's death: the state before it holds
    if not last.get("farewell"):
        heal(last, lease_s)


def heal(state: Dict[str, Any], lease_s: float) -> None:
    """Undo what the state says; then, a lease later, end the servers."""
    _say("the injector is gone: healing %s" % json.dumps(state))
    if state.get("table"):
        net.delete_table()
    for device in state.get("queues", []):
        queues.delete_root(device)
    for clock in state.get("clocks", []):
        try:
            clocks.heal_file(clock)
        except OSError as error:
            _say("cannot heal a clock: %s" % error)
    servers: List[linux.Identity] = [linux.Identity(*who) for who in state.get("servers", [])]
    for who in servers:
        linux.signal_group(who, signal.SIGCONT)
    until = time.monotonic() + lease_s
    while time.monotonic() < until and any(linux.alive(who) for who in servers):
        time.sleep(0.05)
    for who in servers:
        linux.kill(who)
    for path in state.get("files", []):
        try:
            os.unlink(path)
        except OSError:
            continue
    _say("healed; the servers are gone")


def _say(text: str) -> None:
    try:
        print("guardian: " + text, file=sys.stderr, flush=True)
    except OSError:
        return
