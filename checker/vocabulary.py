"""The values of ops, as types: the tables of `docs/history.md` in Python.

`typed(op, run)` turns `op.value` into one of these types, and refuses a value that makes no sense, so no promise
meets half a value.  It ignores fields that are not named here (they are for people and for reports).
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import Annotated, Any, Literal

import msgspec

from checker import names
from checker.effects import EffectProblem, Effects
from checker.history import Op, Process
from checker.quorums import Quorum

SCHEMA = 1

Role = Literal["LOOKING", "FOLLOWING", "LEADING", "OBSERVING"]
ServerPhase = Literal["election", "discovery", "synchronization", "broadcast"]
Count = Annotated[int, msgspec.Meta(ge=0)]
"""An epoch, an interval, a weight: never negative."""
Bound = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
"""Seconds, at most 30 years: beyond that the nanoseconds of a violation leave 64 bits."""

NO_HOSTS = ("controller", "nemesis")
"""Names of processes that are not hosts."""


class ValueProblem(Exception):
    """The value of an op is not what its `f` requires; the message names the field."""

    index = -1
    """The index of the op, where a promise raised it: the op has left the hands of `checker.routing` by then."""


class ServerEntry(msgspec.Struct):
    """A host's server in the ensemble."""

    sid: int
    role: Literal["participant", "observer"] = "participant"


class QuorumRule(msgspec.Struct):
    """`groups`: group name -> sids; `weights`: sid -> weight, 1 where none is given."""

    kind: Literal["majority", "hierarchical"] = "majority"
    groups: dict[str, list[int]] = {}
    weights: dict[str, Count] = {}


class EnsembleSettings(msgspec.Struct):
    """What a bound is made of that the run does not state: limits in ticks, as in zoo.cfg.  0 is not stated."""

    tick_ms: Count = 0
    init_limit: Count = 0
    sync_limit: Count = 0
    max_notification_interval_ms: Count = 60_000


class Bounds(msgspec.Struct):
    """Bounds in seconds.  A null one follows from the settings, as in histories of version 0.1."""

    convergence_s: Bound | None = None
    stepping_down_s: Bound | None = None


class RunOp(msgspec.Struct, dict=True):
    """f `run`, the first op: what ran."""

    ensemble: dict[str, ServerEntry]
    settings: EnsembleSettings
    name: str = ""
    seed: int | str | None = None
    system: str = ""
    quorum: QuorumRule = msgspec.field(default_factory=QuorumRule)
    bounds: Bounds = msgspec.field(default_factory=Bounds)
    unjudged: list[str] = []
    """Promises, by their names of today, that the system does not report enough for."""
    schema: int = SCHEMA

    @property
    def voters(self) -> list[str]:
        """The hosts of the participants, in the order of their sids."""
        return sorted((h for h, s in self.ensemble.items() if s.role == "participant"), key=self.sid)

    @cached_property
    def effects(self) -> Effects:
        """What faults can do to the hosts."""
        return Effects(self.ensemble)

    def sid(self, host: str) -> int:
        return self.ensemble[host].sid

    def host(self, sid: int | None) -> str:
        """The host of `sid`, or `server SID` if it is not in the ensemble."""
        return next((h for h, s in self.ensemble.items() if s.sid == sid), f"server {sid}")

    def quorums(self) -> Quorum:
        weights = {int(sid): weight for sid, weight in self.quorum.weights.items()}
        return Quorum({self.sid(h) for h in self.voters}, self.quorum.groups.values(), weights)


PHASES_OF_0_1 = {"core": "majority", "all": "everyone"}
"""The acts of the end as release 0.1 named them in its histories."""


class Phase(msgspec.Struct):
    """f `phase`: the run's own phase; `majority` and `everyone` are the two acts of its end."""

    phase: Literal["calm", "storm", "majority", "everyone", "end", "core", "all"]

    def __post_init__(self) -> None:
        self.phase = PHASES_OF_0_1.get(self.phase, self.phase)  # type: ignore[assignment]


class State(msgspec.Struct, gc=False):
    """f `state`: a server's state after a transition.  Null: the system does not report it."""

    role: Role
    sid: int | None = None
    phase: ServerPhase | None = None
    round: int | None = None
    leader: int | None = None
    accepted_epoch: Count | None = None
    current_epoch: Count | None = None
    last_zxid: int | None = None
    epoch: Count | None = None
    established: bool = False
    evidence: dict[str, Any] | None = None
    """A leader's; that of other servers is dropped, since ops that wait for their order fill the memory."""

    @property
    def is_established(self) -> bool:
        """Whether it leads, and a quorum has acknowledged its epoch."""
        return self.established and self.role == "LEADING"


class Started(msgspec.Struct):
    """f `started`: the server's process runs."""

    sid: int | None = None
    pid: int | None = None
    accepted_epoch: Count | None = None
    current_epoch: Count | None = None


class Stopped(msgspec.Struct):
    """f `stopped`: the server's process is gone."""

    how: str | None = None
    code: int | None = None


class Healed(msgspec.Struct):
    """f `healed`: the injector undid faults by itself, without its controller.  Null: all of them."""

    faults: list[str] | None = None


class FaultOp(msgspec.Struct, gc=False):
    """A nemesis op: a fault begins, changes (a flap's toggle) or ends."""

    fault: str
    step: Literal["start", "change", "stop"]
    hosts: list[str] = []
    effects: list[dict[str, Any]] | None = None
    runs_ordinarily: bool | None = None
    evidence: dict[str, Any] | None = None
    after: int = msgspec.field(default=0, name="*after")
    """The fault's effects after this step, as a set of the run's `effects`."""
    listed: bool = msgspec.field(default=False, name="*listed")
    """The op listed its effects."""
    shown: bool = msgspec.field(default=False, name="*shown")
    """The op had evidence.  Effects and evidence themselves are not kept."""


class Stream(msgspec.Struct):
    """The events that a host wrote, and those of them that arrived; null: nobody knows."""

    sent: Count | None = None
    received: Count | None = None


class End(msgspec.Struct):
    """f `end`, the last op: the run is over, and how many events came from each host."""

    complete: bool = True
    streams: dict[str, Stream] = {}
    reason: str | None = None


_of_controller: dict[str, type[msgspec.Struct]] = {"run": RunOp, "phase": Phase, "end": End}
_of_server: dict[str, type[msgspec.Struct]] = {"state": State, "started": Started, "stopped": Stopped, "healed": Healed}


EVERY: tuple[type, ...] = (Phase, End, State, Started, Stopped, Healed, FaultOp)
"""The types of the values of all ops but `run` and those of clients."""

FOR_REPORTS = frozenset({"toggle"})
"""Reports that bear on no promise: the toggles of a flapping link."""


def typed(op: Op, run: RunOp | None) -> bool:
    """Puts the typed value into `op.value`.  Returns False for an `f` that is not known here.  Raises ValueProblem."""
    process: Any = op.process
    f = op.f
    server = run.ensemble.get(process) if run is not None else None
    if server is not None:
        kind = _of_server.get(f)
    elif process == "nemesis":
        kind = FaultOp
    elif process == "controller":
        kind = _of_controller.get(f)
    else:
        kind = _of_server.get(f)
    if kind is None:
        return False
    try:
        value: Any = msgspec.convert({} if op.value is None else op.value, kind)
    except msgspec.ValidationError as error:
        raise ValueProblem(f"the value of {f!r} is not right: {error}") from None
    if server is not None:
        if kind is State or kind is Started:
            _check_server(process, value, server)
    elif kind is RunOp:
        _check_run(value)
    elif run is None:
        raise ValueProblem('the first op has to be "run", by the process "controller"')
    elif kind is FaultOp:
        _compact(value, f, run)
    elif process != "controller":
        raise ValueProblem(f"{process!r} reports {f!r}, but it is not a host of the run's ensemble")
    op.value = value
    return True


def _check_run(run: RunOp) -> None:
    if run.schema != SCHEMA:
        raise ValueProblem(f"schema {run.schema} is not known; this checker reads schema {SCHEMA}")
    run.unjudged = [*names.current(run.unjudged)]
    for name in run.unjudged:
        if name not in names.ORDER:
            raise ValueProblem(f"unjudged: {name!r} is not a promise; they are {', '.join(names.ORDER)}")
    for host in NO_HOSTS:
        if host in run.ensemble:
            raise ValueProblem(f"ensemble: no host may be called {host!r}, which is a process of every run")
    sids = [server.sid for server in run.ensemble.values()]
    if len(set(sids)) < len(sids):
        raise ValueProblem("two servers of the ensemble have the same sid")
    if not run.voters:
        raise ValueProblem("the ensemble has no participant")
    _check_quorum(run)
    if run.bounds.convergence_s is not None and run.bounds.stepping_down_s is not None:
        return
    for name, value in (("tick_ms", run.settings.tick_ms), ("init_limit", run.settings.init_limit),
                        ("sync_limit", run.settings.sync_limit)):  # fmt: skip
        if value <= 0:
            raise ValueProblem(f"settings.{name} has to be more than 0, not {value}")


def _check_quorum(run: RunOp) -> None:
    for sid in run.quorum.weights:
        if not sid.isdecimal():
            raise ValueProblem(f"quorum.weights: {sid!r} is not a sid")
    if run.quorum.kind == "hierarchical":
        grouped = sorted(sid for group in run.quorum.groups.values() for sid in group)
        if grouped != sorted(run.sid(host) for host in run.voters):
            raise ValueProblem("quorum.groups: every participant has to be in exactly one group")
        if not any(run.quorum.weights.get(str(sid), 1) for sid in grouped):
            raise ValueProblem("quorum.weights: all are 0, so there is no quorum; give some participant a weight")


def _check_server(host: Process, value: State | Started, server: ServerEntry) -> None:
    if value.sid is not None and value.sid != server.sid:
        raise ValueProblem(f"{host} has sid {server.sid} in the run's ensemble, not {value.sid}")
    if isinstance(value, State):
        if value.role != "LEADING":
            value.evidence = None
        for kind in OF_SIDS if value.evidence else ():
            _check_sids(kind, (value.evidence or {}).get(kind))
        if value.established and (value.role != "LEADING" or value.epoch is None):
            raise ValueProblem('"established" is said of a leader, and with its "epoch"')


OF_SIDS = ("votes", "epoch_acks", "newleader_acks")


def _check_sids(kind: str, shown: Any) -> None:
    if shown is not None and not isinstance(shown, list | dict):
        raise ValueProblem(f"evidence.{kind} has to be a list of sids, or an object by sid, not {shown!r}")
    for sid in shown or ():
        if type(sid) is not int and not (isinstance(sid, str) and re.fullmatch("-?[0-9]{1,18}", sid)):
            raise ValueProblem(f"evidence.{kind}: {sid!r} is not a sid")


def _compact(fault: FaultOp, f: str, run: RunOp) -> None:
    """Keeps its effects as a set, in the place of effects and evidence."""
    listed, fault.listed = fault.effects, fault.effects is not None
    fault.shown = bool(fault.evidence)
    fault.effects = fault.evidence = None
    if fault.step == "stop":
        return
    if listed is None:
        fault.after = run.effects.unknown(f)
        return
    if fault.runs_ordinarily:
        listed = [{kind: what for kind, what in effect.items() if kind != "clock"} for effect in listed]
    try:
        fault.after = run.effects.of(listed)
    except EffectProblem as problem:
        raise ValueProblem(f"the value of {f!r} is not right: effects: {problem}") from None
