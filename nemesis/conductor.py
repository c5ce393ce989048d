"""The conductor: a schedule and the answers of hosts in, history ops and orders out.

The model.  A driver has hosts, real or simulated, and a clock.  It walks the conductor's `timeline` and calls `due` at
each entry's time.  The conductor returns what to do, in order: write a `Note` to the history, `Dispatch` a fault's
start or stop to all of its hosts, or call `again` after a pause (`Retry`).  When all hosts have answered, the driver
calls `answered`, and does what that returns.  So a fault goes

    due        resolved to servers with what is known of the ensemble at that instant, and written as `invoke`
    ok         every host has read back that it is in effect, with what it read as the evidence
    fail       no host did it, so it did not happen
    info       some hosts did it, or nobody knows; whatever was done of it is undone at once

and in the same way when it is over.  The conductor has no threads, no clock and does no I/O.  `harness.runs.conductor`
drives it on hosts, `harness.simulator.nemesis` in a simulated world, and both write the same history.  The rules:

1.  Nothing is sent that is not in the history.
2.  A fault that did not come into effect everywhere is no fault: its halves are undone, and it counts for nothing.
3.  A step that takes long (a graceful stop, a host that does not answer) holds up no other.  A fault's stop waits for
    the answers to its own start.
4.  Whatever is in force when the schedule ends is taken back (`take_back`), in whatever way it ends.
5.  At one instant, first come the stops, then the phase, then the starts.
6.  A stop that a host did not confirm is sent again, up to `UNDO_TRIES` times in all.  Otherwise its servers would be
    in doubt for the rest of the run.
7.  What a fault for good holds counts as broken (`View.broken`) from its start to its stop, and is not hit again.

A server that two faults hold is given back when the last of them is over; the hosts see to that.

Example: the only host of a kill answers, and the fault is in force:

    >>> from nemesis.schedule import Schedule
    >>> kill = Fault(id="f1", kind="kill", at_s=1.0, for_s=2.0, targets="leader")
    >>> conductor = Conductor(Schedule(1, 3, 9.0, 1.0, 5.0, 7.0, (kill,)))
    >>> [due.at_s for due in conductor.timeline()]
    [0.0, 1.0, 1.0, 3.0, 5.0, 7.0, 9.0]
    >>> note, send = conductor.due(conductor.timeline()[2], View(("n1", "n2", "n3"), leader="n2"))
    >>> note.type, note.f, send.step, send.resolved.hosts
    ('invoke', 'kill', 'start', ('n2',))
    >>> [ok] = conductor.answered("f1", {"n2": HostAnswer(True, {"gone": True})}, took_ms=2.5)
    >>> ok.type, ok.value["evidence"]
    ('ok', {'n2': {'gone': True}})
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from nemesis.faults import Fault, Resolved, resolve
from nemesis.schedule import Schedule
from nemesis.targets import View

UNDO_TRIES, UNDO_AGAIN_S = 3, 2.0
"""Maximum number of times that a stop is sent, and seconds between them."""

PHASE, START, STOP = "phase", "start", "stop"

_ORDER = {STOP: 0, PHASE: 1, START: 2}


class Due(NamedTuple):
    """An entry of the timeline: a phase begins, or a fault starts or stops, `at_s` seconds after the beginning."""

    at_s: float
    step: str
    phase: str = ""
    fault: Fault | None = None


class HostAnswer(NamedTuple):
    """What one host answered to an order.

    `began` is when it began with it, in nanoseconds of the run.  `unknown`: nobody knows whether it was done.
    """

    ok: bool
    verified: dict[str, Any]
    error: str = ""
    unknown: bool = False
    began: int = 0


class Note(NamedTuple):
    """An op for the history, of this very moment.  `resolved` is the fault that it is about, or None."""

    process: str
    type: Literal["invoke", "ok", "fail", "info"]
    f: str
    value: dict[str, Any]
    error: str | None = None
    resolved: Resolved | None = None


class Dispatch(NamedTuple):
    """All hosts of the fault have to start or stop it; `answered` wants what they answered."""

    resolved: Resolved
    step: str


class Retry(NamedTuple):
    """`again` has to be called after so many seconds, unless the history can no longer be written."""

    resolved: Resolved
    after_s: float


ToDo = list[Note | Dispatch | Retry]


class _Begun:
    """A fault between its start and its end."""

    def __init__(self, resolved: Resolved) -> None:
        self.resolved = resolved
        self.in_force = False
        self.stopping = False
        """Its hosts have been told to stop it: it is over, or did not come into effect everywhere."""
        self.is_due = False
        """Its stop is due."""
        self.tries_left = UNDO_TRIES


class Conductor:
    """Carries out one schedule.  Not safe for use from several threads at once: the driver sees to that."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._begun: dict[str, _Begun] = {}
        self._broken: dict[str, tuple[str, ...]] = {}
        """By fault for good: the servers that it holds."""

    def timeline(self) -> list[Due]:
        """All phases, starts and stops, in the order in which they are due."""
        dues = [Due(at_s, PHASE, phase=name) for at_s, name in self._schedule.phases()]
        dues += [Due(step.at_s, step.step, fault=step.fault) for step in self._schedule.steps()]
        return sorted(dues, key=lambda due: (due.at_s, _ORDER[due.step]))

    @property
    def broken(self) -> list[str]:
        """The servers that faults for good hold, for the view that `due` wants."""
        return [server for held in self._broken.values() for server in held]

    def due(self, due: Due, view: View) -> ToDo:
        """What to do now that the entry is due.  `view` is what is known of the ensemble at this instant."""
        if due.fault is None:
            return [Note("controller", "info", "phase", {"phase": due.phase})]
        return self._start(due.fault, view) if due.step == START else self._stop(due.fault.id)

    def answered(self, fault_id: str, answers: Mapping[str, HostAnswer], took_ms: float) -> ToDo:
        """What to do now that all hosts have answered to the fault's last `Dispatch`, `took_ms` after it."""
        begun = self._begun[fault_id]
        return self._stopped(begun, answers) if begun.stopping else self._started(begun, answers, took_ms)

    def again(self, fault_id: str) -> ToDo:
        """What to do now that the pause of a `Retry` is over."""
        return self._undo(self._begun[fault_id])

    def take_back(self) -> ToDo:
        """What to do at the end, whenever that comes: stop everything that is not yet being stopped."""
        return [what for fault in self._schedule.faults if fault.id in self._begun for what in self._stop(fault.id)]

    # ---- one fault -------------------------------------------------------------------------------------------------

    def _start(self, fault: Fault, view: View) -> ToDo:
        resolved = resolve(fault, view, self._schedule.seed)
        if fault.for_s is None:
            self._broken[fault.id] = resolved.targets or resolved.hosts
        value = resolved.value(START)
        invoke = Note("nemesis", "invoke", fault.kind, value, None, resolved)
        if not resolved.hosts:
            error = f"nobody to hit: {resolved.reason}"
            return [invoke, Note("nemesis", "fail", fault.kind, value, error, resolved)]
        self._begun[fault.id] = _Begun(resolved)
        return [invoke, Dispatch(resolved, START)]

    def _started(self, begun: _Begun, answers: Mapping[str, HostAnswer], took_ms: float) -> ToDo:
        resolved, value = begun.resolved, begun.resolved.value(START)
        kind = resolved.fault.kind
        if all(answer.ok for answer in answers.values()):
            began = sorted((answer.began, number, host) for number, (host, answer) in enumerate(answers.items()))
            value |= {
                "evidence": {host: answer.verified for host, answer in answers.items()},
                "began": {host: began_ns for began_ns, _, host in began},
                "in_place_ms": round(took_ms, 3),
            }
            begun.in_force = True
            todo: ToDo = [Note("nemesis", "ok", kind, value, None, resolved)]
            return todo + self._undo(begun) if begun.is_due else todo
        error = _errors(answers)
        if any(answer.ok or answer.unknown for answer in answers.values()):
            todo = [Note("nemesis", "info", kind, value, error, resolved)]
            return todo + self._undo(begun)
        self._forget(begun)
        return [Note("nemesis", "fail", kind, value, error, resolved)]

    def _stop(self, fault_id: str) -> ToDo:
        begun = self._begun.get(fault_id)
        if begun is None:
            self._broken.pop(fault_id, None)
            return []
        begun.is_due = True
        return self._undo(begun) if begun.in_force and not begun.stopping else []

    def _undo(self, begun: _Begun) -> ToDo:
        begun.stopping = True
        begun.tries_left -= 1
        resolved = begun.resolved
        invoke = Note("nemesis", "invoke", resolved.fault.kind, resolved.value(STOP), None, resolved)
        return [invoke, Dispatch(resolved, STOP)]

    def _stopped(self, begun: _Begun, answers: Mapping[str, HostAnswer]) -> ToDo:
        resolved, error = begun.resolved, _errors(answers)
        evidence = {host: answer.verified for host, answer in answers.items() if answer.ok}
        value = resolved.value(STOP) | {"evidence": evidence}
        todo: ToDo = [Note("nemesis", "info" if error else "ok", resolved.fault.kind, value, error or None, resolved)]
        if error and begun.tries_left:
            return [*todo, Retry(resolved, UNDO_AGAIN_S)]
        self._forget(begun)
        return todo

    def _forget(self, begun: _Begun) -> None:
        fault_id = begun.resolved.fault.id
        del self._begun[fault_id]
        if begun.is_due:
            self._broken.pop(fault_id, None)


def _errors(answers: Mapping[str, HostAnswer]) -> str:
    """What kept hosts from doing it, each with its name; empty when all did it."""
    return "; ".join(f"{host}: {answer.error}" for host, answer in answers.items() if not answer.ok)
