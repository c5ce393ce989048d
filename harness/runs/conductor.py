"""Drives the conductor (`nemesis.conductor`) on hosts: its times, its threads, and what it writes.

The conductor's calls and the ops that follow from them are made under one lock, so that the history's order is the
order of the conductor's decisions.  Orders are sent by the threads of a pool that is as large at the end of the night
as at its beginning; a host that does not answer occupies one of them until the deadline.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from harness.hosts.injector_client import Answer
from harness.results.recorder import Recorder
from harness.runs.observer import Observer
from harness.watch.progress import Progress
from harness.watch.scene import PHASES
from nemesis.conductor import START, STOP, Conductor, Dispatch, Due, HostAnswer, Note, Retry, ToDo
from nemesis.faults import Order, Resolved
from nemesis.schedule import Schedule
from nemesis.targets import View

LOG = logging.getLogger("onethrone.nemesis")

STEPS_AT_ONCE = 6
STEP_DEADLINE_S = 20.0
"""For a step on all of its hosts; a graceful stop that takes longer becomes a kill on the host before that."""

SendAll = Callable[[Mapping[str, Order], float], Mapping[str, Answer]]
"""Sends each host its order, all at once, and returns within the deadline (s) what each answered."""


class ConductorOnHosts:
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
        self._conductor = Conductor(schedule)
        self._send_all = send_all
        self._addresses = addresses
        self._record = record
        self._observer = observer
        self._progress = progress
        self._lock = threading.Lock()
        self.errors: list[str] = []
        """What the harness itself failed at; a fault that a host refused is in the history, not here."""

    def run(self) -> None:
        """Walk through the timeline, then take back what is left."""
        started = time.monotonic()
        with ThreadPoolExecutor(STEPS_AT_ONCE, thread_name_prefix="nemesis") as pool:
            try:
                for due in self._conductor.timeline():
                    if self._record.failed.wait(max(0.0, started + due.at_s - time.monotonic())):
                        break
                    self._due(pool, due)
            finally:
                with self._noted("the end"):
                    self._begin(pool, self._decided(self._conductor.take_back))

    def _due(self, pool: ThreadPoolExecutor, due: Due) -> None:
        with contextlib.nullcontext() if due.fault is None else self._noted(f"{due.fault.id} {due.fault.kind}"):
            self._begin(pool, self._decided(lambda: self._conductor.due(due, self._view())))

    def _view(self) -> View:
        return self._observer.view(self._conductor.broken)

    def _begin(self, pool: ThreadPoolExecutor, steps: list[Dispatch | Retry]) -> None:
        for step in steps:
            pool.submit(self._carry_out, step)

    def _decided(self, decide: Callable[[], ToDo]) -> list[Dispatch | Retry]:
        """The steps that the conductor decided on.  Its notes are in the history when this returns."""
        with self._lock:
            todo = decide()
            notes = [what for what in todo if isinstance(what, Note)]
            for note in notes:
                self._record.note(note.process, note.type, note.f, note.value, error=note.error)
        for words in filter(None, map(_words, notes)):
            self._progress.say(words)
        return [what for what in todo if not isinstance(what, Note)]

    def _carry_out(self, step: Dispatch | Retry) -> None:
        """In a thread: the step, and the ones that follow from the answers to it."""
        fault = step.resolved.fault
        steps = [step]
        with self._noted(f"{fault.id} {fault.kind}"):
            while steps:
                step = steps.pop(0)
                if isinstance(step, Dispatch):
                    steps += self._decided(self._sent(step))
                elif self._record.failed.wait(step.after_s):
                    return
                else:
                    steps += self._decided(lambda: self._conductor.again(fault.id))

    def _sent(self, send: Dispatch) -> Callable[[], ToDo]:
        """Sends, and returns how to ask the conductor what to do about the answers."""
        resolved, origin_ns = send.resolved, self._record.origin_ns
        orders = resolved.orders(self._addresses) if send.step == START else resolved.undo(self._addresses)
        asked_ns = time.monotonic_ns()
        try:
            answers = self._send_all(orders, STEP_DEADLINE_S)
        except Exception as error:  # the hosts may have done it: the conductor undoes what nobody knows of
            LOG.exception("%s", resolved.fault.id)
            self._failed(f"{resolved.fault.id} {resolved.fault.kind}", error)
            answers = {host: Answer(ok=False, error="the harness failed to send", unknown=True) for host in orders}
        took_ms = (time.monotonic_ns() - asked_ns) / 1e6
        found = {
            host: HostAnswer(answer.ok, answer.verified, answer.error, answer.unknown, answer.began_ns - origin_ns)
            for host, answer in answers.items()
        }
        return lambda: self._conductor.answered(resolved.fault.id, found, took_ms)

    @contextlib.contextmanager
    def _noted(self, what: str) -> Iterator[None]:
        """A step that raises must not vanish in its thread: the run is incomplete then, and says why."""
        try:
            yield
        except Exception as error:
            LOG.exception("%s", what)
            self._failed(what, error)

    def _failed(self, what: str, error: Exception) -> None:
        self.errors.append(f"{what}: {type(error).__name__}: {error}")


def _words(note: Note) -> str:
    """The note for the progress on the terminal; "" where there is nothing to say."""
    resolved, step = note.resolved, note.value.get("step")
    if resolved is None:
        name = str(note.value["phase"])
        return PHASES.get(name, name)
    short = f"{resolved.fault.id} {resolved.fault.kind}"
    if note.type == "invoke":
        return ""
    if step == STOP:
        return f"{short} is over" if note.type == "ok" else f"{short}: not surely over: {note.error}"
    if note.type == "ok":
        return f"{resolved.fault.id} {_in_words(resolved)}  [verified in {note.value['in_place_ms']:.0f} ms]"
    if not resolved.hosts:
        return f"{short}: {note.error}"
    return f"{resolved.fault.id} {_in_words(resolved)}: not in effect: {note.error}"


def _in_words(resolved: Resolved) -> str:
    fault = resolved.fault
    params = " ".join(f"{name}={value}" for name, value in fault.params.items())
    whom = ", ".join(resolved.targets or resolved.hosts)
    return " ".join(
        filter(None, [fault.kind, fault.shape, params, f"of {whom}", f"({resolved.reason})" if resolved.reason else ""])
    )
