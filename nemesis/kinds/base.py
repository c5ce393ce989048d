"""What a kind of fault is: the seam between what goes wrong and everybody who has to know about it.

The model.  A `Fault` is data: a line of a schedule.  A `Kind` answers every question that depends on the kind:

    check, params      which parameters it takes, and within which bounds
    needs              the ability that each host must have
    effects            what it takes from whom, as plain data, for the history
    orders             the requests to the injectors of the hosts
    deposing, others, for_good, draw, outlasts      how a storm draws it
    simplicity         how early the shrinker prefers it
    look, tell         how reports draw it, and what they say

Most kinds derive from `OnServers` or `OnLinks` and only set attributes.  The rules:

1.  A kind holds no state, and does no I/O.
2.  Nothing outside a kind's file compares kinds by name.  What carries a kind out is registered under its name: in
    the simulator in `harness.simulator.carriers`; on a host, by the request (`do`) that `orders` makes.
3.  `effects` uses the words of the history (`docs/history.md`); `checker` owns what they mean.
4.  `draw` makes the same calls of its `rng` on every call.  `nemesis.storm` says why.

Example: `nemesis/kinds/loss.py` is a whole kind.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import msgspec

from nemesis.wording import links_of, listed

Params = dict[str, Any]
Order = dict[str, Any]
"""One request to one injector, as `nemesis.injector.operations` documents it."""

Effects = list[dict[str, Any]]

LEAST_SIMPLE = 11
"""The simplicity of kinds that the shrinker has no preference for."""


class FaultError(ValueError):
    """A fault that makes no sense.  `field` is the field of `Fault` that is wrong."""

    def __init__(self, field: str, what: str) -> None:
        self.field = field
        super().__init__(what)


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One line of a schedule.  `at_s` is in seconds since the schedule's beginning."""

    id: str
    kind: str
    at_s: float
    for_s: float | None = None
    targets: str = ""
    shape: str = ""
    params: Params = msgspec.field(default_factory=dict)


class Param(NamedTuple):
    """A parameter of a kind: what it is, and its bounds or its choices.  Its name carries the unit."""

    doc: str
    low: float = 0.0
    high: float = 0.0
    choices: tuple[str, ...] = ()
    optional: bool = False


class Card(NamedTuple):
    """A fault as a storm deals it, without its times.

    `low` and `high` bound its length, as shares of the time that its bout has for faults.  `variant` is for kinds that
    draw more than one thing (a clock jumps or freezes).  `place` orders the cards of different kinds where a seed's
    draw depends on the order; at the same place the order of the registry decides.
    """

    kind: str
    targets: str
    shape: str = ""
    low: float = 0.5
    high: float = 1.0
    variant: str = ""
    place: int = 100


class Kind:
    """A kind of fault.  Subclasses set the attributes and override what differs."""

    name: ClassVar[str]
    doc: ClassVar[str]
    """One sentence: what goes wrong."""
    needs: ClassVar[str] = ""
    """The ability that each host must have (`nemesis.injector.abilities`); "" is none."""
    shaped: ClassVar[bool] = False
    """Whether it acts on links, and so takes a shape (`nemesis.grudges`)."""
    params: ClassVar[Mapping[str, Param]] = {}
    effect: ClassVar[str]
    """The history's word for what it takes: down, paused, drops, degraded or clock."""

    deposing: ClassVar[tuple[Card, ...]] = ()
    """Cards that surely depose the leader if they last longer than the ensemble takes to notice."""
    others: ClassVar[tuple[Card, ...]] = ()
    """All other cards."""
    for_good: ClassVar[tuple[Card, ...]] = ()
    """Cards that break a server until the end, and separate it cleanly from the majority that is left."""
    outlasts: ClassVar[bool] = False
    """Whether one server may suffer it for several bouts."""

    simplicity: ClassVar[int] = LEAST_SIMPLE
    """The shrinker's order of kinds: 0 is the simplest."""

    look: ClassVar[str] = "other"
    """How reports draw it: cut, down, paused, clock, poor or other."""

    def check_params(self, fault: Fault) -> None:
        """Rules beyond the bounds of each parameter, which hold by now.  Raises FaultError."""

    def effects(self, hosts: Sequence[str], grudge: Mapping[str, Sequence[str]]) -> Effects:
        """What a resolved fault on these hosts, or with these links, takes from whom."""
        raise NotImplementedError

    def about(self, params: Params) -> dict[str, Any]:
        """Further fields of the history's ops on a fault with these parameters."""
        return {}

    def orders(
        self,
        fault: Fault,
        hosts: Sequence[str],
        grudge: Mapping[str, Sequence[str]],
        addresses: Mapping[str, Sequence[str]],
    ) -> dict[str, Order]:
        """One request for each host that has to act.  `addresses` are all IP addresses of each host, as literals."""
        raise NotImplementedError

    def draw(self, rng: random.Random, variant: str) -> Params:
        """Parameters for a card of this kind."""
        return {}

    def tell(self, begins: bool, hosts: list[str], value: Mapping[str, Any]) -> str:
        """A clause for a narrative, from the history's op: the fault begins, or is over."""
        raise NotImplementedError


class OnServers(Kind):
    """A kind that acts on the servers of its targets."""

    order: ClassVar[Order]
    """The request, without the fault's id and parameters."""
    begun: ClassVar[tuple[str, str]]
    """The verb that follows one server, and several, when the fault begins."""
    over: ClassVar[tuple[str, str]] = ("is started again", "are started again")

    def effects(self, hosts: Sequence[str], grudge: Mapping[str, Sequence[str]]) -> Effects:
        return [{self.effect: list(hosts)}]

    def orders(
        self,
        fault: Fault,
        hosts: Sequence[str],
        grudge: Mapping[str, Sequence[str]],
        addresses: Mapping[str, Sequence[str]],
    ) -> dict[str, Order]:
        return {host: {**self.order, "fault": fault.id, **fault.params} for host in hosts}

    def tell(self, begins: bool, hosts: list[str], value: Mapping[str, Any]) -> str:
        return f"{listed(hosts)} {(self.begun if begins else self.over)[len(hosts) > 1]}"


class OnLinks(Kind):
    """A kind that acts on the links of a grudge: a host drops or loses what *comes to* it."""

    shaped = True
    needs = "nft"
    effect = "degraded"
    look = "poor"
    at_sender: ClassVar[bool] = False
    """Whether the kernel does it to what a host *sends* (queues: netem, tbf), so that the senders have to act."""

    def effects(self, hosts: Sequence[str], grudge: Mapping[str, Sequence[str]]) -> Effects:
        return [{self.effect: grudge}]

    def link(self, params: Params) -> dict[str, Any]:
        """What the injector does to the packets of a link."""
        raise NotImplementedError

    def more(self, params: Params) -> Order:
        """Further fields of the request."""
        return {}

    def orders(
        self,
        fault: Fault,
        hosts: Sequence[str],
        grudge: Mapping[str, Sequence[str]],
        addresses: Mapping[str, Sequence[str]],
    ) -> dict[str, Order]:
        link, more = self.link(fault.params), self.more(fault.params)
        return {
            host: {
                "do": "net",
                "fault": fault.id,
                "links": {address: link for other in others for address in addresses[other]},
                **more,
            }
            for host, others in (_turned(grudge) if self.at_sender else grudge).items()
        }

    def tell(self, begins: bool, hosts: list[str], value: Mapping[str, Any]) -> str:
        links = links_of(value.get("grudge") or {})
        return f"{links} disturbed ({self.name})" if begins else f"{links} calm again"


class AtSender(OnLinks):
    """A kind that a queue of the sender's kernel carries out, under the kind's own name."""

    at_sender = True

    def link(self, params: Params) -> dict[str, Any]:
        return {self.name: params}


def _turned(grudge: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    turned: dict[str, list[str]] = {}
    for host, others in grudge.items():
        for other in others:
            turned.setdefault(other, []).append(host)
    return turned


def log_uniform(rng: random.Random, low: float, high: float) -> int:
    """A number between the two, on a logarithmic scale: for parameters of which a factor is what matters."""
    return round(math.exp(rng.uniform(math.log(low), math.log(high))))


PERCENT = Param("share of the packets", 0.01, 100)
DELAY_MS = Param("how much later each packet comes", 1, 60_000)
BYTES_PER_S = Param("what one direction of a link carries", 100, 1e9)
