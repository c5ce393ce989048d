"""Faults as data: what goes wrong, to whom, from when to when.

The model.  A `Fault` is a line of a schedule.  It names a kind of the registry (`KINDS`), its targets by a word
(`nemesis.targets`), for faults of the network a shape (`nemesis.grudges`), when it starts, how long it lasts, and the
kind's own parameters.  It holds no host names: `resolve` makes a `Resolved` of it when it is due.

A `Resolved` fault says exactly which servers and links it touches.  It goes into the history before anything is sent.
The injectors carry out its `orders`, the simulator's world carries out the same fault (`harness.simulator.carriers`),
and its `effects` tell a checker, without knowledge of the kind, what the fault takes from whom:

    {"down": [hosts]}           the server does not run
    {"paused": [hosts]}         it runs, but executes nothing
    {"drops": {a: [b]}}         a drops whatever comes from b
    {"degraded": {a: [b]}}      what comes to a from b may be lost, late, doubled, reordered or damaged
    {"clock": [hosts]}          its clock does not run at the rate of true time, or leapt

The rules:

1.  A fault that is `for_s` None lasts until the end's second act heals everything.
2.  A kind may need an ability of the hosts (`Kind.needs`).  A schedule with a fault that a host cannot do is refused
    before the run, with the reason; it is never recorded as done.
3.  Two faults may hold the same server or link.  What they take is given back when the last of them is over.
4.  Everything that depends on the kind is in the kind's own file (`nemesis.kinds`).

Example: at 12.5 s, for 3 s, the leader of that moment is cut off:

    >>> fault = Fault(id="f3", kind="partition", shape="isolate", targets="leader", at_s=12.5, for_s=3.0)
    >>> resolve(fault, View(servers=("n1", "n2", "n3"), leader="n2"), seed=7).grudge
    {'n1': ['n2'], 'n2': ['n1', 'n3'], 'n3': ['n2']}
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from nemesis import grudges, targets
from nemesis.kinds.base import Effects, Fault, FaultError, Kind, Order, Param
from nemesis.kinds.clock import BentClock
from nemesis.kinds.corrupt import Corrupt
from nemesis.kinds.delay import Delay
from nemesis.kinds.duplicate import Duplicate
from nemesis.kinds.flap import Flap
from nemesis.kinds.host_kill import HostKill
from nemesis.kinds.kill import Kill
from nemesis.kinds.loss import PacketLoss
from nemesis.kinds.partition import Partition
from nemesis.kinds.pause import Pause
from nemesis.kinds.rate import Rate
from nemesis.kinds.reorder import Reorder
from nemesis.kinds.slow import Slow
from nemesis.kinds.stop import Stop
from nemesis.targets import View

__all__ = ["KINDS", "Fault", "FaultError", "Kind", "Order", "Param", "Resolved", "check", "register", "resolve"]

_ID = re.compile(r"[A-Za-z0-9_]{1,64}")  # it names things in the kernel's tables

KINDS: dict[str, Kind] = {}
"""The registry, in the order in which kinds were registered.  What a seed draws depends on the order."""


def register(kind: Kind) -> None:
    """Add a kind.  Raises ValueError if its name is taken."""
    if kind.name in KINDS:
        raise ValueError(f"the kind {kind.name!r} is registered twice")
    KINDS[kind.name] = kind


for _kind in (Partition(), Flap(), PacketLoss(), Rate(), Slow(), Delay(), Reorder(), Duplicate(), Corrupt(),
              Kill(), Stop(), HostKill(), Pause(), BentClock()):  # fmt: skip
    register(_kind)


class Resolved(msgspec.Struct, frozen=True):
    """A fault that is due: the servers and links are known.

    `hosts` are those that an injector has to act on, in the order of their sids; `targets` those that the fault was
    aimed at, and `reason` how the word became these; `grudge` is the links that are cut or degraded.
    """

    fault: Fault
    hosts: tuple[str, ...]
    targets: tuple[str, ...]
    reason: str
    grudge: dict[str, list[str]] = {}

    @property
    def kind(self) -> Kind:
        return KINDS[self.fault.kind]

    @property
    def effects(self) -> Effects:
        """What it takes from whom, as the module's docstring lists it."""
        return self.kind.effects(self.hosts, self.grudge)

    def value(self, step: str) -> dict[str, Any]:
        """The value of the history op for `step`: "start" or "stop"."""
        value: dict[str, Any] = {"fault": self.fault.id, "step": step, "hosts": list(self.hosts)}
        value |= {"targets": list(self.targets), "reason": self.reason} if self.fault.targets else {}
        value |= {"shape": self.fault.shape} if self.fault.shape else {}
        value |= {"grudge": self.grudge} if self.grudge else {}
        value |= self.fault.params
        value |= self.kind.about(self.fault.params)
        return value | {"effects": self.effects if step == "start" else []}

    def orders(self, addresses: Mapping[str, Sequence[str]]) -> dict[str, Order]:
        """One request for each host that has to act.  `addresses` are all IP addresses of each host, as literals."""
        return self.kind.orders(self.fault, self.hosts, self.grudge, addresses)

    def undo(self, addresses: Mapping[str, Sequence[str]]) -> dict[str, Order]:
        """The requests that take the fault back, to the same hosts."""
        return {host: {"do": "undo", "fault": self.fault.id} for host in self.orders(addresses)}


def check(fault: Fault) -> None:
    """Raises FaultError, with the field that is wrong and what there is instead."""
    kind = KINDS.get(fault.kind)
    if kind is None:
        raise FaultError("kind", f"there is no kind {fault.kind!r}; there are: {', '.join(KINDS)}")
    if not _ID.fullmatch(fault.id):
        raise FaultError("id", f"{fault.id!r} is not an id of at most 64 letters, digits and _")
    if not 0 <= fault.at_s < 1e7:
        raise FaultError("at_s", f"{fault.at_s:g} is not a time since the beginning, in seconds")
    if fault.for_s is not None and not 0 < fault.for_s < 1e7:
        raise FaultError("for_s", f"{fault.for_s:g} is not a length of time, in seconds (null is: to the second act)")
    if fault.targets and fault.targets not in targets.WORDS:
        raise FaultError("targets", f"there is no target {fault.targets!r}; there are: {', '.join(targets.WORDS)}")
    if kind.shaped and fault.shape not in grudges.SHAPES:
        raise FaultError("shape", f"{fault.kind} needs a shape: {', '.join(grudges.SHAPES)}")
    if kind.shaped and not fault.targets and fault.shape in grudges.AIMED:
        raise FaultError("targets", f"the shape {fault.shape} needs targets: {', '.join(targets.WORDS)}")
    if not kind.shaped and fault.shape:
        raise FaultError("shape", f"{fault.kind} takes no shape")
    if not kind.shaped and not fault.targets:
        raise FaultError("targets", f"{fault.kind} needs targets: {', '.join(targets.WORDS)}")
    _check_params(fault, kind)


def _check_params(fault: Fault, kind: Kind) -> None:
    takes = ", ".join(kind.params) or "none"
    for name, value in fault.params.items():
        param = kind.params.get(name)
        if param is None:
            raise FaultError("params", f"{fault.kind} has no parameter {name!r}; it takes: {takes}")
        if param.choices:
            if value not in param.choices:
                raise FaultError(f"params.{name}", f"{value!r} is none of: {', '.join(param.choices)}")
        elif isinstance(value, bool) or not isinstance(value, int | float) or not param.low <= value <= param.high:
            raise FaultError(f"params.{name}", f"{value!r} is not a number from {param.low:g} to {param.high:g}")
    for name, param in kind.params.items():
        if name not in fault.params and not param.optional:
            raise FaultError("params", f"{fault.kind} needs {name} ({param.doc})")
    kind.check_params(fault)


def resolve(fault: Fault, view: View, seed: int) -> Resolved:
    """What the fault is now, for the ensemble as it is seen; a function of its arguments."""
    rng = targets.rng_of(seed, fault.id)
    hosts, reason = targets.pick(fault.targets, view, rng)
    if not KINDS[fault.kind].shaped:
        return Resolved(fault, hosts, hosts, reason)
    cut = grudges.to_dict(grudges.SHAPES[fault.shape](view.servers, hosts, rng))
    return Resolved(fault, _acting(cut, view.servers), hosts, reason, cut)


def _acting(cut: Mapping[str, Sequence[str]], servers: Sequence[str]) -> tuple[str, ...]:
    return tuple(server for server in servers if server in cut)


# ---- the catalogue as a page -----------------------------------------------------------------------------------------


def catalogue() -> str:
    """`docs/faults.md`, made from the code."""
    lines = [
        "# Faults",
        "",
        "Made from the code by `python -m nemesis.faults > docs/faults.md`; do not edit.",
        "[Writing a fault](writing-a-fault.md) says how to add a kind.",
        "",
        "## Kinds",
        "",
        "| kind | what goes wrong | needs | effects | parameters |",
        "|---|---|---|---|---|",
    ]
    for kind in KINDS.values():
        params = "; ".join(f"`{name}`: {_bounds(param)}" for name, param in kind.params.items())
        lines.append(f"| `{kind.name}` | {kind.doc} | {kind.needs or '-'} | {kind.effect} | {params or '-'} |")
    lines += ["", "## Targets", "", "| word | whom |", "|---|---|"]
    lines += [f"| `{word}` | {_first_line(choice)} |" for word, choice in targets.WORDS.items()]
    lines += ["", "## Shapes", "", "| shape | which links |", "|---|---|"]
    lines += [f"| `{name}` | {_first_line(shape)} |" for name, shape in grudges.SHAPES.items()]
    return "\n".join(lines) + "\n"


def _bounds(param: Param) -> str:
    bounds = ", ".join(param.choices) if param.choices else f"{param.low:g} to {param.high:g}"
    return f"{param.doc} ({bounds}{', optional' if param.optional else ''})"


def _first_line(documented: Callable[..., Any]) -> str:
    return (documented.__doc__ or "").strip().split("\n", 1)[0]


if __name__ == "__main__":
    print(catalogue(), end="")
