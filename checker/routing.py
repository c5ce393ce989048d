"""Hands each op of a history to the promises that need it.

    chunk of the file --+-- clients' ops, in the order of the file ----------------> promises of clients
                        |
                        +-- other ops -> typed values -> sorted by time -> world --> promises of reports

Two orders, because clients run in the controller and share its clock, while reports of hosts arrive late.  An op of the
controller divides the ops of clients: those that follow a `phase` belong to it.

Clients' ops are nearly all of a history, so a promise takes them many at a time, in one loop (`feed_clients`).  The
others wait until there were `TOGETHER` ops of all kinds: one by one, between those of clients, each would find the
processor's caches cold.  No verdict depends on how many ops come at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from checker import vacuity
from checker.availability import Availability
from checker.history import Op, Ordered
from checker.promises.base import OfClients, Promise, of_clients, of_reports
from checker.promises.convergence import Convergence
from checker.promises.durability import Durability
from checker.promises.epochs import Epochs
from checker.promises.evidence import Evidence
from checker.promises.leader_history import LeaderHistory
from checker.promises.partial_connectivity import PartialConnectivity
from checker.promises.stepping_down import SteppingDown
from checker.promises.unique_leader import UniqueLeader
from checker.servers import FOR_EVER
from checker.vocabulary import EVERY, End, Phase, RunOp, ValueProblem, typed

PROMISES: tuple[Callable[[Availability], Promise], ...] = (
    UniqueLeader,
    Epochs,
    LeaderHistory,
    Durability,
    Evidence,
    Convergence,
    SteppingDown,
    PartialConnectivity,
)
"""In the order of `checker.names`."""

TOGETHER = 10_000
"""Number of ops after which those of servers, nemesis and controller among them go to the promises."""


AFTER_END = 'an op after "end", which is the last op of a run; take it out, or put "end" last'


class Routing:
    """All promises over one history: `feed` it the ops in the order of the file, then `drain` it."""

    def __init__(self, knowledge_ends: int = FOR_EVER) -> None:
        self.knowledge_ends = knowledge_ends
        self.run: RunOp | None = None
        self.world: Availability | None = None
        self.happened = vacuity.Happened()
        self.promises: list[Promise] = []
        self.of_clients: list[OfClients] = []
        self.feeds: dict[type, list[Callable[[Op], None]]] = {}
        """The type of a value -> who takes ops with it, the world first."""
        self.phase: str | None = None
        """The phase of the run that the file has reached."""
        self.waiting: list[Op] = []
        """Ops that are not clients', not yet typed and sorted."""
        self.order = Ordered()
        self.ended = False
        """The file has reached the `end` op."""
        self.ops = 0
        self.at = 0
        """The index of the op that was typed last, or that is at fault."""
        self.unknown_f: Counter[str] = Counter()

    def feed(self, ops: Sequence[Op]) -> None:
        """Takes the next ops.  Raises ValueProblem when the value of the op `at` is not right."""
        begin = 0
        while begin < len(ops):
            end = min(len(ops), begin + TOGETHER - self.ops % TOGETHER)
            self._divide(ops if end - begin == len(ops) else ops[begin:end])
            self.ops += end - begin
            begin = end
            if self.ops % TOGETHER == 0:
                self.pass_on()
        self._sort()

    def pass_on(self) -> None:
        """Hands over the ops that are old enough to be in their order, however few they are."""
        self._sort()
        self._hand_over(self.order.pop_ready())

    def drain(self) -> None:
        """Hands over all that is left; the history is at its end."""
        self._sort()
        self._hand_over(self.order.pop_all())

    def _divide(self, ops: Sequence[Op]) -> None:
        others = [op for op in ops if type(op.process) is not int]
        if self.run is not None and not any(op.process == "controller" for op in others):
            self._of_clients([op for op in ops if type(op.process) is int] if others else ops, others)
            return
        clients: list[Op] = []
        others = []
        for op in ops:
            if self.run is not None and type(op.process) is int:
                clients.append(op)
                continue
            others.append(op)
            if self.run is None or op.process == "controller":
                self._of_clients(clients, others)
                self._sort()
                clients, others = [], []
        self._of_clients(clients, others)

    def _of_clients(self, clients: Sequence[Op], others: list[Op]) -> None:
        """Takes clients' ops, and the `others` that stand among them in the file."""
        if self.ended and clients:
            self.at = min(op.index for op in (*clients[:1], *others[:1]))
            raise ValueProblem(AFTER_END)
        try:
            for promise in self.of_clients if clients else ():
                for op in promise.feed_clients(clients, self.phase):
                    self.unknown_f[op.f] += 1
        except ValueProblem as problem:
            self.waiting += [op for op in others if op.index < problem.index]
            self._sort()  # the first op that is at fault is the one to name
            self.at = problem.index
            raise
        self.waiting += others

    def _sort(self) -> None:
        """Gives the waiting ops typed values, and their places in the order of time."""
        waiting, self.waiting = self.waiting, []
        for op in waiting:
            self.at = op.index
            self._take(op)

    def _take(self, op: Op) -> None:
        if self.ended:
            raise ValueProblem(AFTER_END)
        if self.run is None and not (op.process == "controller" and op.f == "run"):
            raise ValueProblem('the first op has to be "run", by the process "controller"')
        if not typed(op, self.run):
            self.unknown_f[op.f] += 1
        elif isinstance(op.value, RunOp):
            if self.run is not None:
                raise ValueProblem("a second run op: a history is of one run")
            self._begin(op.value)
        else:
            if isinstance(op.value, Phase):
                self.phase = op.value.phase
            self.ended = isinstance(op.value, End)
            self.order.push(op)

    def _begin(self, run: RunOp) -> None:
        self.run = run
        self.world = world = Availability(run, self.knowledge_ends)
        self.promises = [promise(world) for promise in PROMISES]
        self.of_clients = [promise for promise in self.promises if of_clients(promise)]
        reported = [promise for promise in self.promises if of_reports(promise)]
        counts = [self.happened.feed]
        for kind in EVERY:
            feeds = [promise.feed for promise in reported if kind in promise.takes]
            self.feeds[kind] = [world.feed, *(counts if kind in self.happened.takes else ()), *feeds]

    def _hand_over(self, ops: Iterable[Op]) -> None:
        for op in ops:
            for feed in self.feeds[type(op.value)]:
                feed(op)
