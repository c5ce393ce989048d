"""Faults as data: what goes wrong, to whom, from when to when.

The model.  A `Fault` is a line of a schedule.  It names a kind of the catalogue (`KINDS`), its targets by a word
(`nemesis.targets`), for faults of the network a shape (`nemesis.grudges`), when it starts, how long it lasts, and the
kind's own parameters.  It holds no host names: `resolve` makes a `Resolved` of it when it is due.

A `Resolved` fault says exactly which servers and links it touches.  It goes into the history before anything is sent,
it can be carried out by the injectors (`nemesis.orders`) or by the simulator's world, and its `effects` tell a checker,
without knowledge of the kind, what the fault takes from whom:

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

Example: at 12.5 s, for 3 s, the leader of that moment is cut off:

    >>> fault = Fault(id="f3", kind="partition", shape="isolate", targets="leader", at_s=12.5, for_s=3.0)
    >>> resolve(fault, View(servers=("n1", "n2", "n3"), leader="n2"), seed=7).grudge
    {'n1': ['n2'], 'n2': ['n1', 'n3'], 'n3': ['n2']}
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from nemesis import grudges, targets
from nemesis.targets import View

Params = dict[str, Any]

_ID = re.compile(r"[A-Za-z0-9_]{1,64}")  # it names things in the kernel's tables


class FaultError(ValueError):
    """A fault that makes no sense.  `field` is the field of `Fault` that is wrong."""

    def __init__(self, field: str, what: str) -> None:
        self.field = field
        super().__init__(what)


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One line of a schedule.  `at_s` is seconds since the schedule's beginning."""

    id: str
    kind: str
    at_s: float
    for_s: float | None = None
    targets: str = ""
    shape: str = ""
    params: Params = msgspec.field(default_factory=dict)


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
    def effects(self) -> list[dict[str, Any]]:
        """What it takes from whom, as the module's docstring lists it."""
        return KINDS[self.fault.kind].effects(self)

    @property
    def runs_ordinarily(self) -> bool:
        """Whether its servers' clocks run at true time's rate while it lasts (a jump does not change the rate)."""
        return self.fault.kind != "clock" or self.fault.params["change"] == "jump"

    def value(self, step: str) -> dict[str, Any]:
        """The value of the history op for `step`: "start" or "stop"."""
        value: dict[str, Any] = {"fault": self.fault.id, "step": step, "hosts": list(self.hosts)}
        value |= {"targets": list(self.targets), "reason": self.reason} if self.fault.targets else {}
        value |= {"shape": self.fault.shape} if self.fault.shape else {}
        value |= {"grudge": self.grudge} if self.grudge else {}
        value |= self.fault.params
        if self.fault.kind == "clock":
            value["runs_ordinarily"] = self.runs_ordinarily
        return value | {"effects": self.effects if step == "start" else []}


# ---- the catalogue -------------------------------------------------------------------------------------------------


class Param(NamedTuple):
    """A parameter of a kind: its bounds (or its choices), its unit by its name, and what it is."""

    doc: str
    low: float = 0.0
    high: float = 0.0
    choices: tuple[str, ...] = ()
    optional: bool = False


class Kind(NamedTuple):
    """A kind of fault.

    `needs` is the ability that each host must have for it (`nemesis.injector.abilities`), `shaped` whether it is one of
    the network and takes a shape, `effects` computes what a resolved fault takes from whom.
    """

    name: str
    doc: str
    needs: str
    shaped: bool
    params: Mapping[str, Param]
    effects: Callable[[Resolved], list[dict[str, Any]]]


def _down(resolved: Resolved) -> list[dict[str, Any]]:
    return [{"down": list(resolved.hosts)}]


def _paused(resolved: Resolved) -> list[dict[str, Any]]:
    return [{"paused": list(resolved.hosts)}]


def _drops(resolved: Resolved) -> list[dict[str, Any]]:
    return [{"drops": resolved.grudge}]


def _degraded(resolved: Resolved) -> list[dict[str, Any]]:
    return [{"degraded": resolved.grudge}]


def _clock(resolved: Resolved) -> list[dict[str, Any]]:
    return [{"clock": list(resolved.hosts)}]


_PERCENT = Param("share of the packets", 0.01, 100)
_DELAY_MS = Param("how much later each packet comes", 1, 60_000)

JUMP, SKEW, STROBE, FREEZE = "jump", "skew", "strobe", "freeze"

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("partition", "Packets between servers vanish, by the shape of the grudge.", "nft", True, {}, _drops),
        Kind(
            "flap",
            "A partition that comes and goes on the host's own timer; a checker trusts its links in neither state.",
            "nft",
            True,
            {
                "cut_ms": Param("how long the links are cut each time", 10, 60_000),
                "whole_ms": Param("how long they are whole in between", 10, 60_000),
            },
            _degraded,
        ),
        Kind(
            "loss",
            "A random share of the packets of the links vanishes.",
            "nft",
            True,
            {"percent": _PERCENT},
            _degraded,
        ),
        Kind(
            "rate",
            "The links carry only so many bytes a second; what is over that vanishes.",
            "nft",
            True,
            {"bytes_per_s": Param("what one direction of a link carries", 100, 1e9)},
            _degraded,
        ),
        Kind(
            "slow",
            "Packets of the links queue at their sender, and come late, at so many bytes a second.",
            "tbf",
            True,
            {"bytes_per_s": Param("what one direction of a link carries", 100, 1e9)},
            _degraded,
        ),
        Kind(
            "delay",
            "Packets of the links come late, by the delay and up to the jitter more or less.",
            "netem",
            True,
            {"delay_ms": _DELAY_MS, "jitter_ms": Param("how much the delay varies", 0, 60_000, optional=True)},
            _degraded,
        ),
        Kind(
            "reorder",
            "A random share of the packets overtakes the others, which are delayed.",
            "netem",
            True,
            {"percent": _PERCENT, "delay_ms": _DELAY_MS},
            _degraded,
        ),
        Kind(
            "duplicate", "A random share of the packets comes twice.", "netem", True, {"percent": _PERCENT}, _degraded
        ),
        Kind(
            "corrupt",
            "A random share of the packets has a bit flipped.",
            "netem",
            True,
            {"percent": _PERCENT},
            _degraded,
        ),
        Kind("kill", "The server is killed (SIGKILL) and started again at the end.", "", False, {}, _down),
        Kind("stop", "The server is stopped gracefully (SIGTERM) and started again at the end.", "", False, {}, _down),
        Kind(
            "host-kill",
            "The host dies: its packets vanish without a reset, then its server is killed; started again at the end.",
            "nft",
            False,
            {},
            _down,
        ),
        Kind(
            "pause",
            "The server is stopped where it is (SIGSTOP), or, if it is down, as soon as it starts; it continues at the "
            "end.",
            "",
            False,
            {},
            _paused,
        ),
        Kind(
            "clock",
            "The server's own clock, wall and monotonic, jumps ahead, runs at another rate, strobes (stands still and "
            "leaps, in turn) or freezes; the host's clock is not touched.",
            "faketime",
            False,
            {
                "change": Param("what happens to it", choices=(JUMP, SKEW, STROBE, FREEZE)),
                "offset_ms": Param("jump: how far ahead", 1, 86_400_000, optional=True),
                "rate": Param("skew: its seconds to a true second", 0.5, 10, optional=True),
                "period_ms": Param("strobe: how long it stands still before it leaps", 10, 10_000, optional=True),
            },
            _clock,
        ),
    )
}

_OF_CHANGE = {JUMP: "offset_ms", SKEW: "rate", STROBE: "period_ms", FREEZE: ""}


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
    if kind.shaped and not fault.targets and fault.shape in ("isolate", "split", "deaf", "mute"):
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
    if fault.kind == "clock":
        needed = _OF_CHANGE[fault.params["change"]]
        extra = set(fault.params) - {"change", needed}
        if extra:
            raise FaultError("params", f"a {fault.params['change']} of a clock has no {sorted(extra)[0]}")
        if needed and needed not in fault.params:
            raise FaultError("params", f"a {fault.params['change']} of a clock needs {needed}")


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
        "",
        "## Kinds",
        "",
        "| kind | what goes wrong | needs | effects | parameters |",
        "|---|---|---|---|---|",
    ]
    for kind in KINDS.values():
        effects = kind.effects.__name__.lstrip("_")
        params = "; ".join(f"`{name}`: {_bounds(param)}" for name, param in kind.params.items())
        lines.append(f"| `{kind.name}` | {kind.doc} | {kind.needs or '-'} | {effects} | {params or '-'} |")
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
