"""What each host is asked to do for a fault: a resolved fault as requests to the injectors.

The model.  An injector knows addresses and processes of its own host, and no kinds of fault beyond these primitives:
`net` (what to drop, lose or slow down, by the address that it comes from), `kill`, `pause` and `clock`.  `orders` turns
a resolved fault into one request per host; `undo` of the fault's id takes back whatever the fault did there.

The rules:

1.  A function of its arguments: no I/O.
2.  A host drops and loses what *comes to* it; queues (tbf, netem) a kernel applies to what a host *sends*, so for their
    kinds the grudge is turned round.

Example: n1, of three, is cut off from n2:

    {"n1": {"do": "net", "fault": "f1", "links": {"10.42.0.2": {"drop": true}}},
     "n2": {"do": "net", "fault": "f1", "links": {"10.42.0.1": {"drop": true}}}}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nemesis.faults import KINDS, Resolved

Order = dict[str, Any]

_PROCESS: dict[str, Order] = {
    "kill": {"do": "kill", "how": "kill"},
    "stop": {"do": "kill", "how": "stop"},
    "host-kill": {"do": "kill", "how": "kill", "isolate": True},
    "pause": {"do": "pause"},
}


def orders(resolved: Resolved, addresses: Mapping[str, Sequence[str]]) -> dict[str, Order]:
    """One request per host that has to act; `addresses` are all the IP addresses of each host, as literals."""
    fault = resolved.fault
    if fault.kind in _PROCESS:
        return {host: {**_PROCESS[fault.kind], "fault": fault.id} for host in resolved.hosts}
    if fault.kind == "clock":
        return {host: {"do": "clock", "fault": fault.id, **fault.params} for host in resolved.hosts}
    at_sender = KINDS[fault.kind].needs in ("netem", "tbf")
    grudge = _turned(resolved.grudge) if at_sender else resolved.grudge
    link: dict[str, Any] = {fault.kind: fault.params} if at_sender else _of_link(fault.kind, fault.params)
    flap = {"flap": dict(fault.params)} if fault.kind == "flap" else {}
    return {
        host: {
            "do": "net",
            "fault": fault.id,
            "links": {address: link for other in others for address in addresses[other]},
            **flap,
        }
        for host, others in grudge.items()
    }


def undo(resolved: Resolved, addresses: Mapping[str, Sequence[str]]) -> dict[str, Order]:
    """The requests that take the fault back, to the same hosts."""
    return {host: {"do": "undo", "fault": resolved.fault.id} for host in orders(resolved, addresses)}


def _of_link(kind: str, params: Mapping[str, Any]) -> dict[str, Any]:
    if kind == "loss":
        return {"loss_percent": params["percent"]}
    if kind == "rate":
        return {"bytes_per_s": params["bytes_per_s"]}
    return {"drop": True}


def _turned(grudge: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    turned: dict[str, list[str]] = {}
    for host, others in grudge.items():
        for other in others:
            turned.setdefault(other, []).append(host)
    return turned
