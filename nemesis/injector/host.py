"""This host, as the injector holds it: its servers, its rules and queues of the network, and the guardian's orders."""

from __future__ import annotations

import os
import signal
from typing import Any, Callable, Dict, Iterable

from nemesis.injector import linux, net, queues
from nemesis.injector.errors import Refused
from nemesis.injector.processes import Op, ServerProcess

Later = Callable[[float, Callable[[], None]], None]
"""Calls a function after so many seconds."""


class Host:
    """What deeds work on.  `notify` sends an event to the controller, `guard` tells the guardian what to undo."""

    def __init__(
        self,
        folder: str,
        notify: Callable[..., None],
        later: Later,
        guard: Callable[[Dict[str, Any]], None],
    ) -> None:
        self.folder = folder
        self.notify = notify
        self.later = later
        self._guard = guard
        self.rules = net.Rules(folder)
        self.queues = queues.Queues()
        self.servers: Dict[str, ServerProcess] = {}

    def server(self, request: Dict[str, Any]) -> ServerProcess:
        """The server that a request is about.  Raises Refused."""
        name = request.get("name", "server")
        if not isinstance(name, str) or name not in self.servers:
            raise Refused("no server %r was ever started here" % (name,))
        return self.servers[name]

    def bring_up(self, server: ServerProcess) -> Op:
        """Starts it, with the guardian told of its process as soon as there is one."""
        coming = server.start()
        try:
            while True:
                try:
                    delay = next(coming)
                except StopIteration as stop:
                    verified: Dict[str, Any] = stop.value
                    return verified
                self.tell_guardian()
                yield delay
        finally:
            self.tell_guardian()

    def end(self) -> None:
        """At the resident's end, at once: nothing of ours is left in force, and no server."""
        try:
            self.rules.heal()
        except Refused:
            net.delete_table()
        self.rules.close()
        for device in self.queues.devices():
            queues.delete_root(device)
        for server in self.servers.values():
            if server.who is not None:
                linux.signal_group(server.who, signal.SIGCONT)
                linux.kill(server.who)
            for name in ("clock-" + server.name, "clock-%s.new" % server.name, ".nft.history"):
                try:
                    os.unlink(os.path.join(self.folder, name))
                except OSError:
                    continue

    def reap(self) -> None:
        for server in self.servers.values():
            server.reap()

    def tell_guardian(self, table: bool = False, devices: Iterable[str] = ()) -> None:
        """What would have to be undone now; `table` and `devices` are about to be used."""
        running = [server for server in self.servers.values() if server.who is not None]
        bent = [server.clock for server in self.servers.values() if server.clock is not None]
        self._guard(
            {
                "table": table or bool(self.rules.faults),
                "queues": sorted({*devices, *self.queues.devices()}),
                "servers": [list(server.who) for server in running if server.who is not None],
                "clocks": [clock.to_guardian() for clock in bent],
                "files": [os.path.join(self.folder, name) for name in ("socket", "pid", ".nft.history")]
                + [clock.path for clock in bent],
            }
        )
