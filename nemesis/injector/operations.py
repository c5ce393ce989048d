"""What may be asked of a host: each request as an operation that does, verifies, and can be undone.

The model.  A request with a `fault` begins one, and a deed carries it out (`nemesis.injector.deeds`).  `undo` gives
back everything that the fault holds here, and verifies that; what another fault holds too stays held.

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

1.  A deed that fails half-way is taken back before it is refused.
2.  To undo what is not in force is no error: the lease, or an earlier undo, was first.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Generator, List, Set

from nemesis.injector import abilities, net
from nemesis.injector.deeds import DEEDS, Deed
from nemesis.injector.errors import Refused, Unsure
from nemesis.injector.host import Host
from nemesis.injector.processes import Op, ServerProcess, check_definition


class Operations:
    """Makes an operation of each request to this host."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._deeds: Dict[str, Deed] = {do: deed(host) for do, deed in DEEDS.items()}
        self._unsure: Set[str] = set()
        """Faults that were taken back, and it did not show."""

    def operation(self, request: Dict[str, Any]) -> Op:
        """Raises Refused for a request that is not understood."""
        known: Dict[str, Callable[[Dict[str, Any]], Op]] = {
            "start": self._start, "stop": self._stop, **dict.fromkeys(self._deeds, self._begin),
            "undo": self._undo, "undo-all": lambda request: self.undo_all(),
            "status": self._status, "abilities": lambda request: abilities.probe(),
        }  # fmt: skip
        do = request.get("do")
        if do not in known:
            raise Refused("there is no request %r; there are: %s" % (do, ", ".join(known)))
        if do in self._deeds or do == "undo":
            fault = request.get("fault")
            if not isinstance(fault, str) or not net.FAULT_ID.match(fault):
                raise Refused("fault: %r is not an id of letters, digits and _" % (fault,))
        return known[str(do)](request)

    # ---- servers -----------------------------------------------------------------------------------------------------

    def _start(self, request: Dict[str, Any]) -> Op:
        servers = self.host.servers
        if "server" in request:
            definition = check_definition(request["server"])
            old = servers.get(definition["name"])
            if old is not None and old.who is not None:
                raise Refused("%s runs already, as process %d" % (old.name, old.who.pid))
            servers[definition["name"]] = ServerProcess(self.host.folder, definition, self.host.notify)
            server = servers[definition["name"]]
        else:
            server = self.host.server(request)
        return (yield from self.host.bring_up(server))

    def _stop(self, request: Dict[str, Any]) -> Op:
        server = self.host.server(request)
        server.wanted = False
        verified = yield from server.kill("kill" if request.get("how") == "kill" else "stop")
        self.host.tell_guardian()
        return verified

    def end_servers(self, gracefully: bool) -> Op:
        """Stop every server for good."""
        ended: Dict[str, Any] = {}
        for server in self.host.servers.values():
            server.wanted = False
            ended[server.name] = yield from server.kill("stop" if gracefully else "kill")
        self.host.tell_guardian()
        return ended

    # ---- faults ------------------------------------------------------------------------------------------------------

    def _begin(self, request: Dict[str, Any]) -> Op:
        fault_id, deed = request["fault"], self._deeds[request["do"]]
        try:
            return (yield from deed.begin(request))
        except Refused as refused:
            if fault_id in self._in_force():
                yield from self._give_back_refused(fault_id, refused)
            raise

    def _give_back_refused(self, fault_id: str, refused: Refused) -> Generator[float, None, None]:
        """What a fault holds that did not come into effect.

        The guardian is not told: it may be gone, which is why the fault was refused, and to undo too much does no harm.
        """
        try:
            yield from self._give_back(fault_id)
        except Refused as error:
            raise Unsure("%s; and it is not surely given back: %s" % (refused, error)) from None

    def _undo(self, request: Dict[str, Any]) -> Op:
        verified = yield from self._give_back(request["fault"])
        self.host.tell_guardian()
        return verified or {"not_in_force": True}

    def _give_back(self, fault_id: str) -> Op:
        """All that the fault holds.

        If it does not show that all is given back, that is looked at once more when it is asked for again.
        """
        again = fault_id in self._unsure
        self._unsure.add(fault_id)
        verified: Dict[str, Any] = {}
        for deed in self._deeds.values():
            verified.update((yield from deed.give_back(fault_id, again)))
        self._unsure.discard(fault_id)
        return verified

    def _in_force(self) -> List[str]:
        return sorted({fault for deed in self._deeds.values() for fault in deed.faults()})

    def undo_all(self) -> Op:
        """Everything but the down: a killed server stays down."""
        faults, problems = self._in_force(), []
        for deed in self._deeds.values():
            try:
                yield from deed.heal()
            except Refused as error:
                problems.append(str(error))
        if problems:
            raise Refused("; ".join(problems))
        self.host.tell_guardian()
        return {"faults": faults}

    # ---- what is so ------------------------------------------------------------------------------------------------

    def status(self) -> Dict[str, Any]:
        servers = {name: one.status() for name, one in self.host.servers.items()}
        return {"faults": self._in_force(), "servers": servers}

    def _status(self, request: Dict[str, Any]) -> Op:
        yield from ()
        return {**self.status(), "packets": self.host.rules.packets()}
