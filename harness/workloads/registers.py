"""What clients do during a run: write unique values through the ensemble, read them, and note what they know of each.

The model.  Some workers, each a thread with one session on one server, take turns: a write of the next unused integer,
or a read of a value that some worker tried to write before.  Each operation is two ops of the history: `invoke` before
the first byte leaves, and after it `ok`, `fail` (it surely did not happen) or `info` (nobody knows).  How a value is
written and read is the system's business (`harness.workloads.base.Clients`).  The rules:

1.  A value is written by one request, once.  An unknown write is never tried again.
2.  A process is a client that does one thing after the other; one whose last operation ended as `info` may still be in
    it.  So after an `info` the worker goes on as a new process (Jepsen's rule).
3.  After an operation without an answer, and when there is no session, the worker goes to the next server.  Looking for
    a session is not an operation, and is not written.
4.  When everything is healed, `read_all` asks every server, after a sync on it, for every value that it has.  Values
    are consecutive, so the answer is short as ranges: [[1, 599], [601, 700]].

Example:

    workload = Workload(["n1", "n2", "n3"], system.clients(), connect, history, now=run_clock)
    workload.start()
    ...
    workload.stop(deadline_s=5)
    workload.read_all(deadline_s=30)
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from checker.history import OpType, Writer
from harness import HarnessError
from harness.workloads.base import ClientError, Clients, Failed, RegisterClient, SocketLike

RECONNECT_PAUSE_S = 0.2
"""Between two attempts of a worker to find a server that gives it a session."""
RECENT = 200
"""Reads ask for one of this many newest values."""

ConnectTo = Callable[[str, int], SocketLike]
"""Opens a connection to a port of a host, within a deadline of its own; raises OSError, EOFError or HarnessError."""


_Turn = tuple[int, str]
"""Who does an operation, and on which host's server."""


class Workload:
    """The clients of one run.  `now` gives nanoseconds since the run began, on the controller's clock."""

    def __init__(
        self,
        hosts: Sequence[str],
        clients: Clients,
        connect: ConnectTo,
        history: Writer,
        now: Callable[[], int],
        *,
        workers: int = 3,
        rate_per_s: float = 10.0,
        deadline_s: float = 2.0,
        seed: int = 0,
        first_process: int = 0,
    ) -> None:
        self._hosts = list(hosts)
        self._clients = clients
        self._connect = connect
        self._history = history
        self._now = now
        self._period_s = workers / rate_per_s
        self._deadline_s = deadline_s
        self._seed = seed
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._next_value = 1
        self._next_process = first_process
        self._workers = [_RegisterWorker(self, number) for number in range(workers)]
        self.counts: dict[str, Counter[str]] = {f: Counter() for f in ("create", "read", "read-all")}
        """By operation, how many ended as "ok", "fail" and "info"; updated while the workers run."""
        self.errors: list[str] = []
        """Of workers that ended by an error of their own (the history could not be written, say); normally empty."""

    def start(self) -> None:
        """Begin; returns at once."""
        for worker in self._workers:
            worker.thread.start()

    def stop(self, deadline_s: float = 10.0) -> bool:
        """Wake and end every worker; an operation under way ends as `info`.  True when all have ended in time."""
        self._stop.set()
        for worker in self._workers:
            worker.abort()
        end = time.monotonic() + deadline_s
        for worker in self._workers:
            if worker.thread.ident is not None:
                worker.thread.join(max(0.0, end - time.monotonic()))
        return not any(worker.thread.is_alive() for worker in self._workers)

    def read_all(self, deadline_s: float = 30.0) -> list[str]:
        """Read every value from every server, after a sync on it; returns the hosts that did not answer in time.

        Each attempt is an operation of its own (a process of its own too); a host is asked until it answers.
        """
        end = time.monotonic() + deadline_s
        missing = list(self._hosts)
        while missing:
            missing = [host for host in missing if time.monotonic() >= end or not self._read_all_of(host, end)]
            if time.monotonic() >= end:
                break
            if missing:
                time.sleep(RECONNECT_PAUSE_S)
        return missing

    def _read_all_of(self, host: str, end: float) -> bool:
        try:
            client = self._session(host)
        except (OSError, EOFError, HarnessError, ClientError):
            return False
        try:
            left = max(0.1, end - time.monotonic())
            turn = (self._new_process(), host)
            return self._operation(turn, "read-all", None, lambda: ranges(client.read_all(left))) == "ok"
        finally:
            client.close()

    # ---- what the workers share ----------------------------------------------------------------------------------

    def _new_process(self) -> int:
        with self._lock:
            self._next_process += 1
            return self._next_process - 1

    def _new_value(self) -> int:
        with self._lock:
            self._next_value += 1
            return self._next_value - 1

    def _operation(self, client: _Turn, f: str, value: object, call: Callable[[], object]) -> str:
        """One operation, from invoke to its end; `call` gives the value of its `ok`.  Returns the type of the end."""
        process, server = client
        self._history.append(process, "invoke", f, value, time=self._now(), server=server)
        end: OpType = "ok"
        error = None
        try:
            value = call()
        except ClientError as failure:
            end = "fail" if isinstance(failure, Failed) else "info"
            error = str(failure)
        self._history.append(process, end, f, value, time=self._now(), server=server, error=error)
        with self._lock:
            self.counts[f][end] += 1
        return end

    def _session(self, host: str) -> RegisterClient:
        return self._clients.connect(lambda port: self._connect(host, port), self._deadline_s)


class _RegisterWorker:
    """One thread: a session, a process number, and the next server to go to."""

    def __init__(self, workload: Workload, number: int) -> None:
        self._workload = workload
        self._random = random.Random(f"{workload._seed} client {number}")
        self._host_index = number
        self._client: RegisterClient | None = None
        self._process = workload._new_process()
        self.thread = threading.Thread(target=self._run, name=f"client-{number}", daemon=True)

    def abort(self) -> None:
        client = self._client
        if client is not None:
            client.abort()

    def _run(self) -> None:
        try:
            self._work()
        except (OSError, ValueError, HarnessError) as error:
            self._workload.errors.append(f"{self.thread.name}: {error}")
        finally:
            if self._client is not None:
                self._client.abort()

    def _work(self) -> None:
        workload = self._workload
        due = time.monotonic() + self._random.uniform(0, workload._period_s)
        while not workload._stop.wait(max(0.0, due - time.monotonic())):
            if self._client is None:
                self._client = self._find()
                if self._client is None or workload._stop.is_set():
                    return
            due = max(due + workload._period_s, time.monotonic())
            if self._operate(self._client) == "info":
                self._process = workload._new_process()
            if not self._client.usable:
                self._client.abort()
                self._client = None
                self._host_index += 1

    def _operate(self, client: RegisterClient) -> str:
        workload, turn = self._workload, (self._process, self._host)
        if self._random.random() < 0.5 and workload._next_value > 1:
            value = self._random.randint(max(1, workload._next_value - RECENT), workload._next_value - 1)
            return workload._operation(turn, "read", [value, None], lambda: [value, client.read(value)])
        value = workload._new_value()

        def create() -> int:
            client.write(value)
            return value

        return workload._operation(turn, "create", value, create)

    @property
    def _host(self) -> str:
        return self._workload._hosts[self._host_index % len(self._workload._hosts)]

    def _find(self) -> RegisterClient | None:
        """A session on some server, the current one first; None when the workload is to stop."""
        while not self._workload._stop.is_set():
            try:
                return self._workload._session(self._host)
            except (OSError, EOFError, HarnessError, ClientError):
                self._host_index += 1
                self._workload._stop.wait(RECONNECT_PAUSE_S)
        return None


def ranges(values: Iterable[int]) -> list[list[int]]:
    """Distinct integers as sorted inclusive ranges: {1, 2, 3, 7} is [[1, 3], [7, 7]]."""
    found: list[list[int]] = []
    for value in sorted(set(values)):
        if found and value == found[-1][1] + 1:
            found[-1][1] = value
        else:
            found.append([value, value])
    return found
