"""The nemesis at work: a schedule carried out at its times, each fault written to the history before it is sent.

The model.  The conductor walks the schedule's steps.  A fault that is due is resolved to servers with what is known of
the ensemble at that instant, written as `invoke`, sent to all hosts that have to act, and written again as

    ok      every host has read back that it is in effect, with what it read as the evidence
    fail    no host did it, so it did not happen
    info    some did, or nobody knows; whatever was done of it is undone at once

and in the same way when it is over.  The rules:

1.  Nothing is sent that is not in the history.
2.  A fault that did not come into effect everywhere is no fault: its halves are undone, and it counts for nothing.
3.  A step that takes long (a graceful stop, a host that does not answer) holds up no other: steps run on a few threads
    of a pool that is as large at the end of the night as at its beginning.  A fault's stop waits for its own start.
4.  Whatever is in force when the conductor ends is taken back, in whatever way it ends.

A server hit by two faults at once is given back when the last of them is over; the injector sees to that.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from harness.hosts.injector_client import Answer
from harness.results.recorder import Recorder
from harness.runs.observer import Observer
from harness.watch.progress import Progress
from harness.watch.scene import PHASES
from nemesis.faults import Fault, Resolved, resolve
from nemesis.orders import Order, orders, undo
from nemesis.schedule import Schedule

LOG = logging.getLogger("onethrone.nemesis")

STEPS_AT_ONCE = 6
STEP_DEADLINE_S = 20.0
"""For a step on all of its hosts; a graceful stop that takes longer becomes a kill on the host before that."""

UNDO_TRIES, UNDO_AGAIN_S = 3, 2.0
"""A fault that is not surely over would leave its servers in doubt for the rest of the run: it is taken back again."""


SendAll = Callable[[Mapping[str, Order], float], Mapping[str, Answer]]
"""Sends each host its order, all at once, and returns within the deadline (s) what each answered."""


class Conductor:
    """Carries one schedule out.  `run` returns when it is over, or when the history can no longer be written."""

    def __init__(
        self,
        schedule: Schedule,
        send_all: SendAll,
        addresses: Mapping[str, tuple[str, ...]],
        record: Recorder,
        observer: Observer,
        progress: Progress,
    ) -> None:
        self._schedule = schedule
        self._send_all = send_all
        self._addresses = addresses
        self._record = record
        self._observer = observer
        self._progress = progress
        self._lock = threading.Lock()
        self._begun: dict[str, Future[Resolved | None]] = {}
        self._broken: dict[str, tuple[str, ...]] = {}
        """By fault for good: the servers that it holds."""
        self.errors: list[str] = []
        """What the harness itself failed at; a fault that a host refused is in the history, not here."""

    def run(self) -> None:
        """Walk through the phases and steps at their times, then take back what is left."""
        started = time.monotonic()
        timeline: list[tuple[float, str | tuple[str, Fault]]] = [
            *((at_s, name) for at_s, name in self._schedule.phases()),
            *((step.at_s, (step.step, step.fault)) for step in self._schedule.steps()),
        ]
        # At one time: first what ends, then the phase, then what begins.
        timeline.sort(key=lambda entry: (entry[0], _order(entry[1])))
        with ThreadPoolExecutor(STEPS_AT_ONCE, thread_name_prefix="nemesis") as pool:
            try:
                for at_s, what in timeline:
                    if self._record.failed.wait(max(0.0, started + at_s - time.monotonic())):
                        break
                    if isinstance(what, str):
                        self._phase(what)
                    else:
                        self._step(pool, *what)
            finally:
                self._take_everything_back(pool)

    def _phase(self, name: str) -> None:
        self._record.note("controller", "info", "phase", {"phase": name})
        self._progress.say(PHASES.get(name, name))

    def _step(self, pool: ThreadPoolExecutor, step: str, fault: Fault) -> None:
        if step == "start":
            self._begun[fault.id] = pool.submit(self._start, fault)
        elif fault.id in self._begun:
            pool.submit(self._end, fault, self._begun.pop(fault.id))

    def _take_everything_back(self, pool: ThreadPoolExecutor) -> None:
        for fault in self._schedule.faults:
            if fault.id in self._begun:
                pool.submit(self._end, fault, self._begun.pop(fault.id))

    # ---- one fault -----------------------------------------------------------------------------------------------

    def _start(self, fault: Fault) -> Resolved | None:
        """What is in force afterwards; None when nothing is."""
        with self._noted(fault):
            return self._inject(fault)
        return None

    def _end(self, fault: Fault, begun: Future[Resolved | None]) -> None:
        with self._noted(fault):
            resolved = begun.result(2 * STEP_DEADLINE_S)
            if resolved is not None:
                self._undo(resolved)
                self._progress.say(f"{fault.id} {fault.kind} is over")
            with self._lock:
                self._broken.pop(fault.id, None)

    @contextlib.contextmanager
    def _noted(self, fault: Fault) -> Iterator[None]:
        """A step that raises must not vanish in its thread: the run is incomplete then, and says why."""
        try:
            yield
        except Exception as error:
            LOG.exception("%s %s", fault.id, fault.kind)
            self.errors.append(f"{fault.id} {fault.kind}: {type(error).__name__}: {error}")

    def _inject(self, fault: Fault) -> Resolved | None:
        with self._lock:
            broken = [server for held in self._broken.values() for server in held]
            resolved = resolve(fault, self._observer.view(broken), self._schedule.seed)
            if fault.for_s is None:
                self._broken[fault.id] = resolved.targets or resolved.hosts
        value = resolved.value("start")
        self._record.note("nemesis", "invoke", fault.kind, value)
        if not resolved.hosts:
            self._record.note("nemesis", "fail", fault.kind, value, error=f"nobody to hit: {resolved.reason}")
            self._progress.say(f"{fault.id} {fault.kind}: nobody to hit ({resolved.reason})")
            return None
        asked_ns = time.monotonic_ns()
        answers = self._send_all(orders(resolved, self._addresses), STEP_DEADLINE_S)
        in_place_ms = (time.monotonic_ns() - asked_ns) / 1e6
        if all(answer.ok for answer in answers.values()):
            origin_ns = self._record.origin_ns
            value |= {
                "evidence": {host: answer.verified for host, answer in answers.items()},
                "began": {host: answer.began_ns - origin_ns for host, answer in answers.items()},
                "in_place_ms": round(in_place_ms, 3),
            }
            self._record.note("nemesis", "ok", fault.kind, value)
            self._progress.say(f"{fault.id} {_in_words(resolved)}  [verified in {in_place_ms:.0f} ms]")
            return resolved
        error = "; ".join(f"{host}: {answer.error}" for host, answer in answers.items() if not answer.ok)
        nothing = not any(answer.ok or answer.unknown for answer in answers.values())
        self._record.note("nemesis", "fail" if nothing else "info", fault.kind, value, error=error)
        self._progress.say(f"{fault.id} {_in_words(resolved)}: not in effect: {error}")
        if nothing:
            return None
        self._undo(resolved)
        return None

    def _undo(self, resolved: Resolved) -> None:
        for tries_left in reversed(range(UNDO_TRIES)):
            failed = self._try_to_undo(resolved)
            if not failed:
                return
            self._progress.say(f"{resolved.fault.id} {resolved.fault.kind}: not surely over: {failed}")
            if not tries_left or self._record.failed.wait(UNDO_AGAIN_S):
                return

    def _try_to_undo(self, resolved: Resolved) -> str:
        """Why it is not surely over; empty when it is."""
        kind, value = resolved.fault.kind, resolved.value("stop")
        self._record.note("nemesis", "invoke", kind, value)
        answers = self._send_all(undo(resolved, self._addresses), STEP_DEADLINE_S)
        failed = "; ".join(f"{host}: {answer.error}" for host, answer in answers.items() if not answer.ok)
        value |= {"evidence": {host: answer.verified for host, answer in answers.items() if answer.ok}}
        self._record.note("nemesis", "info" if failed else "ok", kind, value, error=failed or None)
        return failed


def _order(what: str | tuple[str, Fault]) -> int:
    if isinstance(what, str):
        return 1
    return 0 if what[0] == "stop" else 2


def _in_words(resolved: Resolved) -> str:
    fault = resolved.fault
    params = " ".join(f"{name}={value}" for name, value in fault.params.items())
    whom = ", ".join(resolved.targets or resolved.hosts)
    return " ".join(
        filter(None, [fault.kind, fault.shape, params, f"of {whom}", f"({resolved.reason})" if resolved.reason else ""])
    )
