"""The injectors of all hosts: started and ended together, kept alive, and given orders that begin at one instant.

    with Injectors(remotes, directory, lease_s=30, on_lines=..., on_event=...) as injectors:
        injectors["n1"].request("start", server={...}).expect()
        injectors.send_all(orders(resolved, addresses), deadline_s=20)      # on all hosts at one instant

One thread, for all hosts, sends the heartbeats that renew the leases and measure the hosts' clocks.  Nothing is added
per fault.  `send_all` writes every order before the first is sent, and gives all hosts one instant, a few milliseconds
ahead, at which to begin.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any

from harness.hosts.archive import build
from harness.hosts.injector_client import HEARTBEAT_S, Answer, Injector, OnEvent, OnLines
from harness.hosts.ssh.remote import Remote

AHEAD_MAX_NS = 20_000_000
"""Maximum time between sending an order to several hosts and the instant at which they begin."""


class Injectors(Mapping[str, Injector]):
    """The injectors of all hosts, with one thread for their heartbeats."""

    def __init__(
        self,
        remotes: Mapping[str, Remote],
        directory: str,
        *,
        lease_s: float = 30.0,
        privilege: Mapping[str, str] | None = None,
        python: str = "python3",
        on_lines: OnLines | None = None,
        on_event: OnEvent | None = None,
    ) -> None:
        self._heartbeat_s = min(HEARTBEAT_S, lease_s / 6)
        self._injectors = {
            name: Injector(
                remote,
                directory,
                lease_s=lease_s,
                privilege=(privilege or {}).get(name, ""),
                python=python,
                on_lines=on_lines,
                on_event=on_event,
            )
            for name, remote in remotes.items()
        }
        self._ending = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="injectors-heartbeat", daemon=True)

    def __getitem__(self, host: str) -> Injector:
        return self._injectors[host]

    def __iter__(self) -> Iterator[str]:
        return iter(self._injectors)

    def __len__(self) -> int:
        return len(self._injectors)

    def __enter__(self) -> Injectors:
        try:
            self.start()
        except BaseException:
            self.shutdown(deadline_s=5.0)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.shutdown()

    def start(self, deadline_s: float = 60.0) -> None:
        """Start the injectors on all hosts.  Raises the first HostError."""
        archive = build("nemesis.injector")
        with ThreadPoolExecutor(min(10, len(self) or 1)) as pool:
            list(pool.map(lambda injector: injector.start(archive, deadline_s), self._injectors.values()))
        self._heart.start()

    def shutdown(self, deadline_s: float = 30.0) -> dict[str, Answer]:
        """Undo everything on all hosts, stop the servers and the residents.  Never raises: the answers say."""
        self._ending.set()
        with ThreadPoolExecutor(min(10, len(self) or 1)) as pool:
            answers = dict(
                zip(self, pool.map(lambda one: one.shutdown(deadline_s), self._injectors.values()), strict=True)
            )
        if self._heart.ident is not None:
            self._heart.join(timeout=10)
        return answers

    def send_all(self, orders: Mapping[str, Mapping[str, Any]], deadline_s: float) -> dict[str, Answer]:
        """Each host its order; all begin at one instant.  By host the answer, within `deadline_s`."""
        until = time.monotonic() + deadline_s
        injectors = [self._injectors[host] for host in orders]
        at_ns = None
        if len(injectors) > 1:
            way_ns = max(injector.clock.way_ns() for injector in injectors)
            at_ns = time.monotonic_ns() + min(AHEAD_MAX_NS, 2_000_000 + 500_000 * len(injectors) + 2 * way_ns)
        sent = [(injector, injector.prepare(orders[injector.host], at_ns)) for injector in injectors]
        for injector, pending in sent:
            injector.send(pending)
        return {injector.host: injector.wait(pending, until) for injector, pending in sent}

    def request_all(self, do: str, deadline_s: float = 10.0, **fields: Any) -> dict[str, Answer]:
        """The same request to all hosts."""
        return self.send_all({host: {"do": do, **fields} for host in self}, deadline_s)

    def _beat(self) -> None:
        while not self._ending.wait(self._heartbeat_s):
            for injector in self._injectors.values():
                injector.ping()
