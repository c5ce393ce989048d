"""What may be asked of a host: each request as an operation that does, verifies, and can be undone.

The model.  A fault, by its id, holds things here: rules of the network, servers down, servers paused, a bent clock.
`undo` gives back all that it holds, and verifies that; what another fault holds too stays held.

    start       {"server": {"argv", "cwd", "env", "stdout", "stderr", "clock", "stop_s", "clck"}}    or none: as before
    stop        {"how": "stop" | "kill"}                    end the server for good, by no fault
    net         {"fault", "links": {address: what}, "flap": {"cut_ms", "whole_ms"}}
                what comes from there:  {"drop": true}, {"loss_percent": 5}, {"bytes_per_s": 1000}
                what goes there:        {"slow": {"bytes_per_s"}}, {"delay": {"delay_ms", "jitter_ms"}},
                                        {"reorder": {"percent", "delay_ms"}}, {"duplicate" or "corrupt": {"percent"}}
    kill        {"fault", "how": "kill" | "stop", "isolate": bool}
    pause       {"fault"}
    clock       {"fault", "change", "offset_ms" | "rate" | "period_ms"}
    undo        {"fault"}
    undo-all, status, abilities
    (ping, hello, tail, drain, shutdown are the resident's)

The rules:

1.  Before the deed the guardian is told what would have to be undone.
2.  A deed that fails half-way is taken back before it is refused.
3.  To undo what is not in force is no error: the lease, or an earlier undo, was first.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from typing import Any, Callable, Dict, Generator, Iterable, List, Optional, Set

from nemesis.injector import abilities, clocks, linux, net, queues, tails
from nemesis.injector.errors import Refused, Unsure
from nemesis.injector.processes import Op, ServerProcess, check_definition

CLOCK_GAP_S = 0.06
"""Between the two readings that show a clock's rate: long against the blur of a reading, short for who waits."""
CLOCK_SETTLES_S = 5.0
"""So long two readings are tried for between which no other fault bends the same clock."""


class ThisHost:
    """All that is in force on this host."""

    def __init__(
        self,
        folder: str,
        notify: Callable[..., None],
        later: Callable[[float, Callable[[], None]], None],
        guard: Callable[[Dict[str, Any]], None],
    ) -> None:
        self.folder = folder
        self._notify = notify
        self._later = later
        self._guard = guard
        self.rules = net.Rules(folder)
        self.queues = queues.Queues()
        self.servers: Dict[str, ServerProcess] = {}
        self._toggles: Dict[str, List[int]] = {}
        self._unsure: Set[str] = set()
        """Faults that were taken back, and it did not show."""

    def operation(self, request: Dict[str, Any]) -> Op:
        """Raises Refused for a request that is not understood."""
        known: Dict[str, Callable[[Dict[str, Any]], Op]] = {
            "start": self._start, "stop": self._stop, "net": self._net, "kill": self._kill, "pause": self._pause,
            "clock": self._clock, "undo": self._undo, "undo-all": lambda request: self.undo_all(),
            "status": self._status, "abilities": self._abilities,
        }  # fmt: skip
        do = request.get("do")
        if do not in known:
            raise Refused("there is no request %r; there are: %s" % (do, ", ".join(known)))
        if do in ("net", "kill", "pause", "clock", "undo"):
            fault = request.get("fault")
            if not isinstance(fault, str) or not net.FAULT_ID.match(fault):
                raise Refused("fault: %r is not an id of letters, digits and _" % (fault,))
        return known[str(do)](request)

    # ---- servers -----------------------------------------------------------------------------------------------------

    def _start(self, request: Dict[str, Any]) -> Op:
        if "server" in request:
            definition = check_definition(request["server"])
            old = self.servers.get(definition["name"])
            if old is not None and old.who is not None:
                raise Refused("%s runs already, as process %d" % (old.name, old.who.pid))
            self.servers[definition["name"]] = ServerProcess(self.folder, definition, self._notify)
            server = self.servers[definition["name"]]
        else:
            server = self._server(request)
        return (yield from self._bring_up(server))

    def _stop(self, request: Dict[str, Any]) -> Op:
        server = self._server(request)
        server.wanted = False
        verified = yield from server.kill("kill" if request.get("how") == "kill" else "stop")
        self._tell()
        return verified

    def _bring_up(self, server: ServerProcess) -> Op:
        coming = server.start()
        try:
            verified = yield from self._through(coming)
        finally:
            self._tell()
        return verified

    def _through(self, operation: Op) -> Op:
        """As the operation goes, with the guardian told of a process as soon as there is one."""
        while True:
            try:
                delay = next(operation)
            except StopIteration as stop:
                result: Dict[str, Any] = stop.value
                return result
            self._tell()
            yield delay

    def _server(self, request: Dict[str, Any]) -> ServerProcess:
        name = request.get("name", "server")
        if not isinstance(name, str) or name not in self.servers:
            raise Refused("no server %r was ever started here" % (name,))
        return self.servers[name]

    # ---- faults ------------------------------------------------------------------------------------------------------

    def _net(self, request: Dict[str, Any]) -> Op:
        fault_id, links = request["fault"], net.check_links(request.get("links"))
        flap = request.get("flap")
        if flap is not None:
            periods = [flap.get(name) if isinstance(flap, dict) else None for name in ("cut_ms", "whole_ms")]
            if not all(isinstance(ms, (int, float)) and 10 <= ms <= 60_000 for ms in periods):
                raise Refused("flap: cut_ms and whole_ms have to be from 10 to 60000")
        yield from ()
        verified = self._set_net(fault_id, net.NetFault(self._queued(fault_id, links)))
        if fault_id in self.queues.faults:
            verified["queues"] = len(self.queues.faults[fault_id])
        if flap is not None:
            self._toggles[fault_id] = [time.monotonic_ns()]
            self._later(flap["cut_ms"] / 1000, lambda: self._toggle(fault_id, flap))
        return verified

    def _queued(self, fault_id: str, links: Dict[str, net.Link]) -> Dict[str, net.Link]:
        """The links, those that need a queue with the class of one that is made for them."""
        slow = {address: link for address, link in links.items() if set(link) & set(queues.VERBS)}
        if not slow:
            return links
        planned = self.queues.plan(slow)
        self._tell(table=True, devices=[queue.device for queue in planned.values()])
        self.queues.add(fault_id, planned)
        return {**links, **{address: {"class": queue.classid} for address, queue in planned.items()}}

    def _toggle(self, fault_id: str, flap: Dict[str, float]) -> None:
        """A flap's timer: cut what is whole, or make whole what is cut; ends with the fault."""
        fault = self.rules.faults.get(fault_id)
        if fault is None or fault_id not in self._toggles:
            return
        try:
            self.rules.set(fault_id, fault._replace(cut=not fault.cut))
        except Refused as error:
            self._notify("flap-failed", fault=fault_id, error=str(error))
            return
        self._toggles[fault_id].append(time.monotonic_ns())
        self._notify("toggle", fault=fault_id, cut=not fault.cut)
        self._later(flap["whole_ms" if fault.cut else "cut_ms"] / 1000, lambda: self._toggle(fault_id, flap))

    def _set_net(self, fault_id: str, fault: Optional[net.NetFault]) -> Dict[str, Any]:
        if fault is not None:
            self._tell(table=True)
        try:
            return self.rules.set(fault_id, fault)
        except Refused:
            self.queues.remove(fault_id)
            raise

    def _kill(self, request: Dict[str, Any]) -> Op:
        fault_id, how = request["fault"], request.get("how", "kill")
        if how not in ("kill", "stop"):
            raise Refused("how: %r is neither kill nor stop" % (how,))
        server = self._server(request)
        verified: Dict[str, Any] = {}
        if request.get("isolate"):
            verified.update(self._set_net(fault_id, net.NetFault({}, isolate=True)))
        server.down.add(fault_id)
        try:
            verified.update((yield from server.kill(how)))
        except Refused as refused:
            yield from self._give_back_refused(fault_id, refused)
            raise
        self._tell()
        return verified

    def _pause(self, request: Dict[str, Any]) -> Op:
        fault_id, server = request["fault"], self._server(request)
        server.paused.add(fault_id)
        self._tell()
        try:
            return (yield from server.pause())
        except Refused as refused:
            yield from self._give_back_refused(fault_id, refused)
            raise

    def _clock(self, request: Dict[str, Any]) -> Op:
        fault_id, server = request["fault"], self._server(request)
        if server.clock is None:
            raise Refused("%s was not started with a clock that can be bent (server: clock)" % server.name)
        change: Dict[str, Any] = {
            name: request[name] for name in ("change", "offset_ms", "rate", "period_ms") if name in request
        }
        server.clock.set(fault_id, change)
        self._tell()
        server.nudge()
        if change["change"] == "strobe":
            self._later(change["period_ms"] / 1000, lambda: self._strobe(server, fault_id, change["period_ms"]))
        try:
            return (yield from self._read_clock(server))
        except Refused as refused:
            yield from self._give_back_refused(fault_id, refused)
            raise

    def _strobe(self, server: ServerProcess, fault_id: str, period_ms: float) -> None:
        """A strobe's timer: leap and stand still again; ends with the fault."""
        clock = server.clock
        if clock is None or fault_id not in clock.faults:
            return
        try:
            if clock.strobe_ms() == period_ms:
                clock.leap()
        except OSError as error:
            self._notify("strobe-failed", fault=fault_id, error=str(error))
            return
        self._later(period_ms / 1000, lambda: self._strobe(server, fault_id, period_ms))

    def _read_clock(self, server: ServerProcess) -> Op:
        """Evidence of the bend in force, from the server's own clock or a probe's; Refused if it does not show."""
        clock, until = server.clock, time.monotonic() + CLOCK_SETTLES_S
        assert clock is not None
        while True:
            who, bend = server.who, clock.bend
            if who is None:
                return {"pid": None, "down": True}
            address = server.definition.get("clck")
            readings = None
            if address and not server.paused:
                readings = yield from _ask(address)
            by = "the server" if readings else "a probe"
            if readings is None:
                readings = yield from clocks.probe(clock, who.pid, CLOCK_GAP_S)
            # Another fault that begins or ends between the readings makes them a rate that nobody asked for.
            same = clock.bend == bend and server.who == who
            if same or clock.strobe_ms() is not None or time.monotonic() > until:
                return {"pid": who.pid, **clocks.judge(readings, clock, by)}

    # ---- taking back -------------------------------------------------------------------------------------------------

    def _undo(self, request: Dict[str, Any]) -> Op:
        return (yield from self._give_back(request["fault"]))

    def _give_back_refused(self, fault_id: str, refused: Refused) -> Generator[float, None, None]:
        """What a fault holds that did not come into effect."""
        try:
            yield from self._give_back(fault_id)
        except Refused as error:
            raise Unsure("%s; and it is not surely given back: %s" % (refused, error)) from None

    def _give_back(self, fault_id: str) -> Op:
        """All that the fault holds; the network first, so that a server comes up into a whole one.

        If it does not show that all is given back, that is looked at once more when it is asked for again.
        """
        again = fault_id in self._unsure
        self._unsure.add(fault_id)
        verified: Dict[str, Any] = {}
        if fault_id in self.rules.faults:
            verified.update(self.rules.set(fault_id, None))
        if fault_id in self.queues.faults:
            self.queues.remove(fault_id)
            verified["queues"] = 0
        toggles = self._toggles.pop(fault_id, None)
        if toggles is not None:
            verified["toggles"] = len(toggles)
        for server in self.servers.values():
            if server.clock is not None and (again or fault_id in server.clock.faults):
                server.clock.undo(fault_id)
                server.nudge()
                verified["clock"] = yield from self._read_clock(server)
            if again or fault_id in server.paused:
                server.paused.discard(fault_id)
                verified.update((yield from server.resume()))
            if fault_id in server.down:
                server.down.discard(fault_id)
                if server.wanted:
                    verified.update((yield from self._bring_up(server)))
        self._unsure.discard(fault_id)
        self._tell()
        return verified or {"not_in_force": True}

    def _in_force(self) -> List[str]:
        found = set(self.rules.faults)
        for server in self.servers.values():
            found |= server.down | server.paused | set(server.clock.faults if server.clock is not None else ())
        return sorted(found)

    def undo_all(self) -> Op:
        """Everything but the down: a killed server stays down, for nobody would watch it."""
        faults, problems = self._in_force(), []
        for heal in (self.rules.heal, self.queues.heal):
            try:
                heal()
            except Refused as error:
                problems.append(str(error))
        self._toggles = {}
        for server in self.servers.values():
            server.paused.clear()
            server.down.clear()
            try:
                yield from server.resume()
                for fault_id in list(server.clock.faults) if server.clock is not None else []:
                    assert server.clock is not None
                    server.clock.undo(fault_id)
                server.nudge()
            except (Refused, OSError) as error:
                problems.append(str(error))
        if problems:
            raise Refused("; ".join(problems))
        self._tell()
        return {"faults": faults}

    def end_servers(self, gracefully: bool) -> Op:
        """Stop every server for good."""
        ended: Dict[str, Any] = {}
        for server in self.servers.values():
            server.wanted = False
            ended[server.name] = yield from server.kill("stop" if gracefully else "kill")
        self._tell()
        return ended

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

    # ---- what is so ------------------------------------------------------------------------------------------------

    def reap(self) -> None:
        for server in self.servers.values():
            server.reap()

    def status(self) -> Dict[str, Any]:
        return {"faults": self._in_force(), "servers": {name: one.status() for name, one in self.servers.items()}}

    def _status(self, request: Dict[str, Any]) -> Op:
        yield from ()
        return {**self.status(), "packets": self.rules.packets()}

    def _abilities(self, request: Dict[str, Any]) -> Op:
        return (yield from abilities.probe())

    def count(self, path: str) -> Dict[str, int]:
        return tails.count(path)

    def _tell(self, table: bool = False, devices: Iterable[str] = ()) -> None:
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


def _ask(address: List[Any]) -> Generator[float, None, Optional[List[clocks.Reading]]]:
    """Two readings of the server's own clock, by the four-letter word `clck`; None if it does not say."""
    readings = []
    for gap_s in (0.0, CLOCK_GAP_S):
        yield gap_s
        before = time.time_ns()
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.settimeout(0.2)  # loopback: only a listener whose queue is full makes this wait
            try:
                sock.connect((address[0], int(address[1])))
                sock.sendall(b"clck")
                sock.setblocking(False)
                text, until = b"", time.monotonic() + 1.0
                while not text.rstrip().endswith(b"}"):
                    try:
                        chunk = sock.recv(4096)
                    except BlockingIOError:
                        chunk = None
                    if chunk == b"" or time.monotonic() > until:
                        return None
                    if chunk is None:
                        yield 0.001
                    else:
                        text += chunk
                said = json.loads(text)
                readings.append(clocks.Reading(before, time.time_ns(), said["wall_ns"], said["monotonic_ns"]))
            except (OSError, ValueError, KeyError):
                return None
    return readings
