"""Deeds: what faults do to this host, one class for each request (`do`) that begins a fault.

The model.  A kind of fault makes requests (`nemesis.kinds`, `orders`), and a deed carries them out.  By fault it holds
things here: rules of the network, servers down, servers paused, a bent clock.  `DEEDS` has one under each request's
name; several kinds may share one.  The rules:

1.  `begin` returns when it has read back that the fault is in effect, with the evidence.  It tells the guardian what
    would have to be undone before it does anything.
2.  If `begin` raises Refused, the caller gives the fault back.
3.  `give_back` returns what it verified, or nothing where the fault held nothing.
4.  What another fault holds too stays held.
5.  Every wait is a `yield` of seconds: the resident answers others in the meantime.

Example: a deed that fills the disk would write a file in `begin`, delete it in `give_back`, and stand in `DEEDS` under
"fill".
"""

from __future__ import annotations

import json
import socket
import time
from typing import Any, Dict, Generator, List, Optional, Set, Type

from nemesis.injector import clocks, net, queues
from nemesis.injector.errors import Refused
from nemesis.injector.host import Host
from nemesis.injector.processes import Op, ServerProcess

CLOCK_GAP_S = 0.06
"""Seconds between the two readings that show a clock's rate: long against the blur of a reading, short to wait for."""
CLOCK_SETTLES_S = 5.0
"""Maximum seconds to look for two readings between which no other fault bends the same clock."""


class Deed:
    """One way to do harm to this host, and to take it back."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def begin(self, request: Dict[str, Any]) -> Op:
        """Do it, and return the evidence.  Raises Refused."""
        raise NotImplementedError

    def give_back(self, fault_id: str, again: bool) -> Op:
        """Give back what the fault holds.  `again`: it was given back before, and that did not show.

        Raises Refused when it does not show this time.
        """
        raise NotImplementedError

    def faults(self) -> Set[str]:
        """The faults that hold something."""
        raise NotImplementedError

    def heal(self) -> Op:
        """Give back what any fault holds, but start no server.  Raises Refused."""
        raise NotImplementedError


class NetDeed(Deed):
    """`net`: packets to or from addresses are dropped, lost, late, ...; with `flap`, now and then."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._toggles: Dict[str, List[int]] = {}

    def begin(self, request: Dict[str, Any]) -> Op:
        fault_id, links = request["fault"], net.check_links(request.get("links"))
        flap = request.get("flap")
        if flap is not None:
            periods = [flap.get(name) if isinstance(flap, dict) else None for name in ("cut_ms", "whole_ms")]
            if not all(isinstance(ms, (int, float)) and 10 <= ms <= 60_000 for ms in periods):
                raise Refused("flap: cut_ms and whole_ms have to be from 10 to 60000")
        yield from ()
        verified = set_net(self.host, fault_id, net.NetFault(self._queued(fault_id, links)))
        if fault_id in self.host.queues.faults:
            verified["queues"] = len(self.host.queues.faults[fault_id])
        if flap is not None:
            self._toggles[fault_id] = [time.monotonic_ns()]
            self.host.later(flap["cut_ms"] / 1000, lambda: self._toggle(fault_id, flap))
        return verified

    def _queued(self, fault_id: str, links: Dict[str, net.Link]) -> Dict[str, net.Link]:
        """The links, those that need a queue with the class of one that is made for them."""
        slow = {address: link for address, link in links.items() if set(link) & set(queues.VERBS)}
        if not slow:
            return links
        planned = self.host.queues.plan(slow)
        self.host.tell_guardian(table=True, devices=[queue.device for queue in planned.values()])
        self.host.queues.add(fault_id, planned)
        return {**links, **{address: {"class": queue.classid} for address, queue in planned.items()}}

    def _toggle(self, fault_id: str, flap: Dict[str, float]) -> None:
        """A flap's timer: cut what is whole, or make whole what is cut; ends with the fault."""
        fault = self.host.rules.faults.get(fault_id)
        if fault is None or fault_id not in self._toggles:
            return
        try:
            self.host.rules.set(fault_id, fault._replace(cut=not fault.cut))
        except Refused as error:
            self.host.notify("flap-failed", fault=fault_id, error=str(error))
            return
        self._toggles[fault_id].append(time.monotonic_ns())
        self.host.notify("toggle", fault=fault_id, cut=not fault.cut)
        self.host.later(flap["whole_ms" if fault.cut else "cut_ms"] / 1000, lambda: self._toggle(fault_id, flap))

    def give_back(self, fault_id: str, again: bool) -> Op:
        yield from ()
        verified: Dict[str, Any] = {}
        if fault_id in self.host.rules.faults:
            verified.update(self.host.rules.set(fault_id, None))
        if fault_id in self.host.queues.faults:
            self.host.queues.remove(fault_id)
            verified["queues"] = 0
        toggles = self._toggles.pop(fault_id, None)
        if toggles is not None:
            verified["toggles"] = len(toggles)
        return verified

    def faults(self) -> Set[str]:
        return set(self.host.rules.faults)

    def heal(self) -> Op:
        yield from ()
        self._toggles = {}
        problems = []
        for heal in (self.host.rules.heal, self.host.queues.heal):
            try:
                heal()
            except Refused as error:
                problems.append(str(error))
        return _healed(problems)


class ClockDeed(Deed):
    """`clock`: the server's clock jumps, runs at another rate, strobes or freezes."""

    def begin(self, request: Dict[str, Any]) -> Op:
        fault_id, server = request["fault"], self.host.server(request)
        if server.clock is None:
            raise Refused("%s was not started with a clock that can be bent (server: clock)" % server.name)
        change: Dict[str, Any] = {
            name: request[name] for name in ("change", "offset_ms", "rate", "period_ms") if name in request
        }
        server.clock.set(fault_id, change)
        self.host.tell_guardian()
        server.nudge()
        if change["change"] == "strobe":
            self.host.later(change["period_ms"] / 1000, lambda: self._strobe(server, fault_id, change["period_ms"]))
        return (yield from self._read_clock(server))

    def _strobe(self, server: ServerProcess, fault_id: str, period_ms: float) -> None:
        """A strobe's timer: leap and stand still again; ends with the fault."""
        clock = server.clock
        if clock is None or fault_id not in clock.faults:
            return
        try:
            if clock.strobe_ms() == period_ms:
                clock.leap()
        except OSError as error:
            self.host.notify("strobe-failed", fault=fault_id, error=str(error))
            return
        self.host.later(period_ms / 1000, lambda: self._strobe(server, fault_id, period_ms))

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

    def give_back(self, fault_id: str, again: bool) -> Op:
        verified: Dict[str, Any] = {}
        for server in self.host.servers.values():
            if server.clock is not None and (again or fault_id in server.clock.faults):
                server.clock.undo(fault_id)
                server.nudge()
                verified["clock"] = yield from self._read_clock(server)
        return verified

    def faults(self) -> Set[str]:
        return {fault for server in self.host.servers.values() if server.clock for fault in server.clock.faults}

    def heal(self) -> Op:
        yield from ()
        problems = []
        for server in self.host.servers.values():
            try:
                for fault_id in list(server.clock.faults) if server.clock is not None else []:
                    assert server.clock is not None
                    server.clock.undo(fault_id)
                server.nudge()
            except OSError as error:
                problems.append(str(error))
        return _healed(problems)


class PauseDeed(Deed):
    """`pause`: the server stands still."""

    def begin(self, request: Dict[str, Any]) -> Op:
        fault_id, server = request["fault"], self.host.server(request)
        server.paused.add(fault_id)
        self.host.tell_guardian()
        return (yield from server.pause())

    def give_back(self, fault_id: str, again: bool) -> Op:
        verified: Dict[str, Any] = {}
        for server in self.host.servers.values():
            if again or fault_id in server.paused:
                server.paused.discard(fault_id)
                verified.update((yield from server.resume()))
        return verified

    def faults(self) -> Set[str]:
        return {fault for server in self.host.servers.values() for fault in server.paused}

    def heal(self) -> Op:
        problems = []
        for server in self.host.servers.values():
            server.paused.clear()
            try:
                yield from server.resume()
            except Refused as error:
                problems.append(str(error))
        return _healed(problems)


class KillDeed(Deed):
    """`kill`: the server is killed, or stopped gracefully; with `isolate`, the host is cut off first."""

    def begin(self, request: Dict[str, Any]) -> Op:
        fault_id, how = request["fault"], request.get("how", "kill")
        if how not in ("kill", "stop"):
            raise Refused("how: %r is neither kill nor stop" % (how,))
        server = self.host.server(request)
        verified: Dict[str, Any] = {}
        if request.get("isolate"):
            verified.update(set_net(self.host, fault_id, net.NetFault({}, isolate=True)))
        server.down.add(fault_id)
        verified.update((yield from server.kill(how)))
        self.host.tell_guardian()
        return verified

    def give_back(self, fault_id: str, again: bool) -> Op:
        """The server comes up into a whole network: `NetDeed` has given back the isolation."""
        verified: Dict[str, Any] = {}
        for server in self.host.servers.values():
            if fault_id in server.down:
                server.down.discard(fault_id)
                if server.wanted:
                    verified.update((yield from self.host.bring_up(server)))
        return verified

    def faults(self) -> Set[str]:
        return {fault for server in self.host.servers.values() for fault in server.down}

    def heal(self) -> Op:
        """A killed server stays down: nobody would watch it."""
        yield from ()
        for server in self.host.servers.values():
            server.down.clear()
        return {}


DEEDS: Dict[str, Type[Deed]] = {"net": NetDeed, "clock": ClockDeed, "pause": PauseDeed, "kill": KillDeed}
"""By the request's `do`.  A fault is given back in this order: the network first, servers that were down last."""


def set_net(host: Host, fault_id: str, fault: net.NetFault) -> Dict[str, Any]:
    """Put a fault of the network in force, and return what was read back.  Raises Refused; nothing is in force then."""
    host.tell_guardian(table=True)
    try:
        return host.rules.set(fault_id, fault)
    except Refused:
        host.queues.remove(fault_id)
        raise


def _healed(problems: List[str]) -> Dict[str, Any]:
    if problems:
        raise Refused("; ".join(problems))
    return {}


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
