"""The controller's eyes: what the hosts report becomes history ops, and a view of the ensemble for the nemesis.

The model.  Each server's report is a line with the host's own time.  It is written to the history the moment it is
heard, its time mapped to the controller's clock.  Besides, the observer remembers what the last line of each server
said, since a fault aimed at "the leader" has to know who that is *now*.

The rule for who leads: of the servers whose last line says that they lead an established epoch, the one of the highest
epoch.  A server that is down leads nothing.  This view aims faults and tells a person what goes on; no verdict is made
from it (the checkers read the history, and nothing else).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

from harness.results.recorder import Recorder
from harness.watch.progress import Progress
from nemesis.targets import View

_REMEMBERED_LEADERS = 16


class Observer:
    """Takes reports from any thread; `view` and the waits may be asked from any other."""

    def __init__(
        self,
        record: Recorder,
        servers: Iterable[str],
        observers: Iterable[str],
        progress: Progress,
        epoch_word: str = "epoch",
    ) -> None:
        self._record = record
        self._progress = progress
        self.epoch_word = epoch_word
        self._servers = tuple(servers)
        self._observers = frozenset(observers)
        self._changed = threading.Condition()
        self._states: dict[str, dict[str, Any]] = {}
        self._ends: dict[str, dict[str, Any]] = {}
        self._up: set[str] = set()
        self._crowned: list[str] = []
        self._elected: str | None = None
        self._epochs: set[int] = set()
        self.unreadable = 0
        """Lines that were no op; each is in the history as it came."""

    def report(
        self, host: str, f: str, value: Any, *, controller_ns: int, host_time: int | None = None, error_ns: int = 0
    ) -> None:
        """A server's report, or its injector's about it; `host_time` None: it is dated by when it was read."""
        self._record.heard(host, f, value, controller_ns=controller_ns, host_time=host_time, error_ns=error_ns)
        with self._changed:
            if f == "state" and isinstance(value, dict):
                self._state(host, value)
            elif f == "started":
                self._up.add(host)
                self._states.pop(host, None)
            elif f == "stopped":
                self._up.discard(host)
                self._states.pop(host, None)
                self._ends[host] = value if isinstance(value, dict) else {}
            elif f == "unreadable":
                self.unreadable += 1
            self._changed.notify_all()

    def _state(self, host: str, value: dict[str, Any]) -> None:
        before = self._states.get(host, {})
        self._states[host] = value
        if value.get("role") == "LEADING" and before.get("role") != "LEADING":
            self._elected = host
        if _leads(value) and not (_leads(before) and before.get("epoch") == value.get("epoch")):
            self._crowned = [host, *(name for name in self._crowned if name != host)][:_REMEMBERED_LEADERS]
            if isinstance(value.get("epoch"), int):
                self._epochs.add(value["epoch"])
            self._progress.say(f"{host} leads {self.epoch_word} {value.get('epoch')}")
        elif _leads(before) and not _leads(value):
            self._progress.say(f"{host} stopped leading: {value.get('reason') or value.get('role')}")

    def view(self, broken: Iterable[str] = ()) -> View:
        """What the nemesis may know now; `broken` are the servers that stay broken until the second act."""
        with self._changed:
            leader = self._leader()
            return View(
                servers=self._servers,
                leader=leader,
                elected=self._elected if self._elected in self._up else None,
                previous_leaders=tuple(name for name in self._crowned if name != leader),
                observers=self._observers,
                down=frozenset(self._servers) - self._up,
                broken=frozenset(broken),
            )

    def _leader(self) -> str | None:
        leading = [
            (value.get("epoch") or 0, host)
            for host, value in self._states.items()
            if host in self._up and _leads(value)
        ]
        return max(leading)[1] if leading else None

    @property
    def epochs(self) -> int:
        """How many epochs were seen established."""
        with self._changed:
            return len(self._epochs)

    def wait(self, what: Callable[[Observer], bool], deadline_s: float) -> bool:
        """Wait until `what` holds, asked again at each report; False when it did not in time."""
        with self._changed:
            return self._changed.wait_for(lambda: what(self), deadline_s)

    def converged(self, servers: Iterable[str]) -> bool:
        """Whether all of these follow one leader among them, in broadcast, by their last reports."""
        servers = tuple(servers)
        states = [self._states.get(server, {}) for server in servers]
        leaders = {(state.get("leader"), state.get("epoch")) for state in states}
        return (
            len(leaders) == 1
            and all(state.get("phase") == "broadcast" for state in states)
            and any(state.get("role") == "LEADING" for state in states)
        )

    def situation(self, servers: Iterable[str]) -> str:
        """What each of these is by its last report, in words: "n1 follows server 3, n2 does not run (exit 254)"."""
        with self._changed:
            return ", ".join(f"{server} {self._word(server)}" for server in servers)

    def _word(self, server: str) -> str:
        if server not in self._up:
            end = self._ends.get(server)
            return "was never started" if end is None else f"does not run ({end.get('how')} {end.get('code')})"
        state = self._states.get(server, {})
        if state.get("role") in (None, "LOOKING"):
            return "is LOOKING" if state else "has said nothing"
        if state.get("phase") != "broadcast":
            return f"is in {state.get('phase')}"
        return "leads" if state["role"] == "LEADING" else f"follows server {state.get('leader')}"


def _leads(state: dict[str, Any]) -> bool:
    return state.get("role") == "LEADING" and bool(state.get("established"))
