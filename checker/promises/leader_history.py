"""Promise `best-history`: a leader starts from the best history of some quorum, and nothing that was committed is lost.

Two rules, from two sides:

1.  *By what leaders show.* An established leader's own (current epoch, last zxid), at its election, is at least that
    of some quorum: among its epoch acks, those that are not better than its `own`, itself included, hold a quorum.
    (It is what makes its history contain every committed transaction: a committed one is on a quorum, and two quorums
    meet.)  An ack whose epoch or zxid nobody knows is not held against it, and acks that hold no quorum at all are the
    business of `evidence`.

2.  *By what clients saw.*  Clients create values, each a number used once.  A value is *owed* once its create was
    acknowledged (`ok`), or once any read returned it: whether it was acknowledged or not, it was committed then.  A
    final read, which is a `read-all` of one server, after a sync, invoked in phase `all` or `end`, returns every value
    that was owed when it was invoked.  A value that a read returns and no client ever tried to create is a violation
    as well.

        create 7  invoke   ok                                        7 is owed from here on
        create 8  invoke         info                                8 may or may not be there ...
        read 8                         ok [8,8]                      ... and is owed from here on
        read-all on n2                          ok [[1,6],[8,8]]     7 is lost on n2

    Reads in between need not return what is owed: ZooKeeper's reads may be stale.  Of several final reads of a server
    the last one counts.

Clients are the controller's own, so their ops have one clock, and the file's order is their order.

Memory: one byte a value that was tried, in pages (10 million values: 10 MB), so nothing is kept of an op.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from checker.availability import Availability
from checker.history import Op
from checker.promises.base import Result, Violations
from checker.promises.evidence import sids_of
from checker.vocabulary import State, ValueProblem

UNTRIED, TRIED, FAILED, OWED = range(4)
_PAGE_BITS = 16
_PAGE = 1 << _PAGE_BITS
_IN_PAGE = _PAGE - 1
_NO_VALUE = "the value of 'create' has to be a number from 0 on, not {!r}"

LISTED_MAX = 100
"""Values that are named in a violation; the rest is counted."""

PROVEN_MAX = 10
"""Of those, the values for which the ops that say they are owed are named too."""

Ranges = list[tuple[int, int]]


class Values:
    """What is known of each value: untried, tried, failed or owed; one byte each, in pages."""

    def __init__(self) -> None:
        self.pages: dict[int, bytearray] = {}

    def __getitem__(self, value: int) -> int:
        page = self.pages.get(value >> _PAGE_BITS)
        return page[value & _IN_PAGE] if page is not None else UNTRIED

    def page(self, value: int) -> bytearray:
        """The page that holds `value`."""
        page = self.pages.get(value >> _PAGE_BITS)
        if page is None:
            page = self.pages[value >> _PAGE_BITS] = bytearray(_PAGE)
        return page

    def inside(self, ranges: Ranges) -> Iterator[tuple[int, int, int]]:
        """The parts of existing pages that `ranges` cover: page number, first, one past the last."""
        for first, last in ranges:
            low, high = first >> _PAGE_BITS, last >> _PAGE_BITS
            numbers: Iterable[int] = range(low, high + 1)
            if high - low > len(self.pages):
                numbers = [number for number in sorted(self.pages) if low <= number <= high]
            for number in numbers:
                if number in self.pages:
                    base = number << _PAGE_BITS
                    yield number, max(first - base, 0), min(last + 1 - base, _PAGE)

    def outside(self, ranges: Ranges) -> Iterator[tuple[int, int, int]]:
        """The parts of existing pages that `ranges` do not cover."""
        gaps, begin = [], 0
        for first, last in ranges:
            if first > begin:
                gaps.append((begin, first - 1))
            begin = last + 1
        gaps.append((begin, ((max(self.pages, default=0) + 1) << _PAGE_BITS) + begin))
        return self.inside(gaps)

    def owed_outside(self, ranges: Ranges) -> Iterator[int]:
        """The owed values that `ranges` do not cover, in order."""
        for number, begin, end in self.outside(ranges):
            page = self.pages[number]
            at = page.find(OWED, begin, end)
            while at >= 0:
                yield (number << _PAGE_BITS) + at
                at = page.find(OWED, at + 1, end)

    def untried_inside(self, ranges: Ranges) -> tuple[int, list[int]]:
        """How many values of `ranges` nobody tried, and the first of them."""
        count = sum(last - first + 1 for first, last in ranges)
        for number, begin, end in self.inside(ranges):
            page = self.pages[number]
            count -= end - begin - page.count(UNTRIED, begin, end)
        named: list[int] = []
        if count:
            for first, last in ranges:
                for value in range(first, last + 1):
                    if self[value] == UNTRIED:
                        named.append(value)
                        if len(named) == min(count, LISTED_MAX):
                            return count, named
        return count, named

    def owe(self, ranges: Ranges) -> list[int]:
        """Every value of `ranges` that somebody tried is owed from now on; those that were not before."""
        newly = []
        for number, begin, end in self.inside(ranges):
            page = self.pages[number]
            for what in (TRIED, FAILED):
                at = page.find(what, begin, end)
                while at >= 0:
                    page[at] = OWED
                    newly.append((number << _PAGE_BITS) + at)
                    at = page.find(what, at + 1, end)
        return newly


class FinalRead:
    """The last final read of a server: what it lacks."""

    def __init__(self, op: Op, missing: int, named: list[int]) -> None:
        self.op = op
        self.missing = missing
        self.named = named


class BestHistory:
    """`feed` takes what servers report, in order; `take` and `phase` take what clients did, in the file's order."""

    name = "best-history"
    takes: tuple[type, ...] = (State,)

    def __init__(self, world: Availability) -> None:
        self.world = world
        self.violations = Violations(self.name)
        self.values = Values()
        self.at = 0
        self.acknowledged = 0
        self.tried = 0
        self.reads = 0
        self.phase: str | None = None
        self.open_reads: dict[int | str, tuple[str | None, list[int]]] = {}
        """client -> the phase in which it invoked its read-all, and the values that came to be owed since."""
        self.final_reads: dict[str, FinalRead] = {}
        self.phantoms: list[tuple[Op, int, list[int]]] = []
        self.created_at: dict[int, list[int]] = {}
        """For values that a violation names: the ops that say they are owed (`explain` finds them)."""
        self.leaders_judged: set[tuple[str, int | None]] = set()
        self.leaders = 0

    # ---- by what clients saw ----

    def take(self, ops: Iterator[Op], others: list[Op]) -> Op | None:  # noqa: PLR0912, PLR0915 - no call may come between
        """Takes what clients did, in the file's order, and puts what servers and the nemesis told with the `others`.

        Returns the first op that is neither: the controller's, or one that no client is known to do; None: `ops` is at
        its end.  Raises ValueProblem; `at` is then the index of the op that is at fault.  Creates are the bulk of a
        history, and reads of what is owed, so they are dealt with here and not in methods: that costs a third more.
        """
        tried = acknowledged = reads = 0
        pages, page_bits, in_page = self.values.pages, _PAGE_BITS, _IN_PAGE  # locals are faster
        open_reads = self.open_reads
        op = None
        try:
            for op in ops:
                if type(op.process) is not int:
                    if op.process == "controller":
                        return op
                    others.append(op)
                elif op.f == "create":
                    value = op.value
                    if type(value) is not int:
                        raise ValueProblem(_NO_VALUE.format(value))
                    try:
                        page = pages[value >> page_bits]
                    except KeyError:
                        if value < 0:
                            raise ValueProblem(_NO_VALUE.format(value)) from None
                        page = self.values.page(value)
                    at = value & in_page
                    kind = op.type
                    if kind == "invoke":
                        tried += 1
                        if not page[at]:
                            page[at] = TRIED
                    elif kind == "ok":
                        acknowledged += 1
                        if open_reads and page[at] != OWED:
                            for _, since in open_reads.values():
                                since.append(value)
                        page[at] = OWED
                    elif kind == "fail" and page[at] != OWED:
                        page[at] = FAILED
                elif op.f == "read":
                    if op.type == "ok":
                        try:
                            key, result = op.value
                            owed = key == result and pages[key >> page_bits][key & in_page] == OWED
                        except (KeyError, TypeError, ValueError):
                            owed = False
                        if owed and type(key) is int:
                            reads += 1
                        else:
                            self._read(op)
                elif op.f == "read-all":
                    self._read_all(op)
                else:
                    return op
            return None
        finally:
            self.tried += tried
            self.reads += reads
            self.acknowledged += acknowledged
            if op is not None:
                self.at = op.index

    def _owe(self, value: int) -> None:
        """A value that was not owed before is from now on."""
        self.values.page(value)[value & _IN_PAGE] = OWED
        for _, since in self.open_reads.values():
            since.append(value)

    def _read(self, op: Op) -> None:
        """What an `ok` of a read says."""
        value = op.value
        if value.__class__ is not list or len(value) != 2 or value[0].__class__ is not int or value[0] < 0:
            raise ValueProblem(f"the value of 'read' has to be [key, result], not {value!r}")
        key, result = value
        self.reads += 1
        if result is None:
            return
        page = self.values.pages.get(key >> _PAGE_BITS)
        known = page[key & _IN_PAGE] if page is not None else UNTRIED
        if known == OWED and result == key:
            return
        if result != key and result.__class__ is int:
            message = f"a read of {key} returned {result} (op {op.index})"
            self.violations.add(message, [op.index], [op.server] if op.server else [], [], op.time)
        elif known == UNTRIED:
            self._phantom(op, 1, [key])
        elif known != OWED:
            self._owe(key)

    def _read_all(self, op: Op) -> None:
        if op.type == "invoke":
            self.open_reads[op.process] = (self.phase, [])
            return
        asked, since = self.open_reads.pop(op.process, (self.phase, []))
        if op.type != "ok":
            return
        ranges = ranges_of(op.value)
        if op.server not in self.world.run.ensemble:
            raise ValueProblem(f"'read-all' needs \"server\", a host of the run's ensemble, not {op.server!r}")
        self.reads += 1
        count, named = self.values.untried_inside(ranges)
        if count:
            self._phantom(op, count, named)
        if asked in ("everyone", "end"):
            concurrent = set(since)
            missing = 0
            listed: list[int] = []
            for value in self.values.owed_outside(ranges):
                if value not in concurrent:
                    missing += 1
                    if len(listed) < LISTED_MAX:
                        listed.append(value)
            self.final_reads[str(op.server)] = FinalRead(op, missing, listed)
        newly = self.values.owe(ranges)
        for _, others in self.open_reads.values():
            others.extend(newly)

    def _phantom(self, op: Op, count: int, named: list[int]) -> None:
        if len(self.phantoms) < LISTED_MAX:
            self.phantoms.append((op, count, named))

    def lost(self) -> set[int]:
        """The values that violations will prove to be lost."""
        return {value for read in self.final_reads.values() for value in read.named[:PROVEN_MAX]}

    def explain(self, ops: Iterable[Op]) -> None:
        """Finds, in the history read again, the ops that say of each lost value that it is owed."""
        lost = self.lost()
        for op in ops:
            if op.type == "ok" and op.process.__class__ is int:
                if op.f == "create" and op.value in lost:
                    self.created_at.setdefault(op.value, []).append(op.index)
                elif op.f == "read" and op.value[0] in lost and op.value[1] is not None:
                    self.created_at.setdefault(op.value[0], []).append(op.index)
                elif op.f == "read-all":
                    for value in lost:
                        if value not in self.created_at and any(a <= value <= b for a, b in op.value):
                            self.created_at[value] = [op.index]

    # ---- by what leaders show ----

    def feed(self, op: Op) -> None:
        state = op.value
        if not isinstance(state, State) or state.role != "LEADING":
            return
        evidence = state.evidence or {}
        self.leaders += state.established and "epoch_acks" in evidence
        own, acks = _summary(evidence.get("own")), evidence.get("epoch_acks")
        if own is None or not isinstance(acks, dict):
            return
        host = str(op.process)
        self.leaders_judged.add((host, state.epoch))
        summaries = {sid: _summary(acks.get(str(sid))) for sid in sids_of(acks)}
        not_better = {sid for sid, summary in summaries.items() if summary is None or summary <= own}
        if not self.world.quorums.of(summaries):
            return  # `evidence` says so
        if not self.world.quorums.of(not_better | {self.world.run.sid(host)}):
            better = {self.world.run.host(sid): s for sid, s in summaries.items() if s is not None and s > own}
            told = ", ".join(f"{name} ({epoch}, 0x{zxid:x})" for name, (epoch, zxid) in better.items())
            message = (
                f"{host} leads epoch {state.epoch} from (current epoch {own[0]}, zxid 0x{own[1]:x}), which is not at "
                f"least as good as a quorum's: better are {told} (op {op.index})"
            )
            self.violations.add(message, [op.index], [host, *better], self.world.faults_now(), op.time)

    def finish(self, whole: bool = True) -> Result:
        """`whole`: no line of the history is missing, so a value that nobody tried in it was tried by nobody."""
        reasons = []
        if not self.acknowledged:
            reasons.append("no create was acknowledged")
        if not self.final_reads:
            reasons.append("there is no final read (a read-all in phase all or end)")
        else:
            unread = [host for host in self.world.voters if host not in self.final_reads]
            if unread:
                reasons.append(f"no final read of {', '.join(unread)}")
        for host, read in self.final_reads.items():
            if read.missing:
                ops = [read.op.index, *(index for value in read.named for index in self.created_at.get(value, []))]
                message = (
                    f"{read.missing} committed value{'s are' if read.missing > 1 else ' is'} lost on {host}: "
                    f"{spell(read.named)}{', ...' if read.missing > len(read.named) else ''} "
                    f"(acknowledged or read before, not in the final read, op {read.op.index})"
                )
                self.violations.add(message, ops, [host], self.world.faults_now(), read.op.time)
        for op, count, named in self.phantoms:
            words = f"{spell(named)}{', ...' if count > len(named) else ''}"
            if whole:
                message = f"a read returned what nobody tried to create: {words} (op {op.index})"
                self.violations.add(message, [op.index], [op.server] if op.server else [], [], op.time)
            else:
                reasons.append(f"op {op.index} returned {words}, whose creates may be in the missing lines")
        if self.leaders and not self.leaders_judged:
            reasons.append("no leader showed its own (current epoch, last zxid)")
        stats: dict[str, Any] = {
            "creates": self.tried,
            "acknowledged": self.acknowledged,
            "reads": self.reads,
            "servers_read_at_the_end": sorted(self.final_reads),
            "leaders_judged": len(self.leaders_judged),
        }
        return self.violations.result(stats, reasons)


def ranges_of(value: Any) -> Ranges:
    """The value of a `read-all`: [[first, last], ...], rising, both ends included.  Raises ValueProblem."""
    try:
        ranges = msgspec.convert(value, Ranges)
    except msgspec.ValidationError as error:
        raise ValueProblem(f"the value of 'read-all' has to be [[first, last], ...]: {error}") from None
    before = -1
    for first, last in ranges:
        if first <= before or last < first:
            raise ValueProblem(f"the value of 'read-all': the range [{first}, {last}] does not rise")
        before = last
    return ranges


def spell(values: list[int]) -> str:
    """Sorted values in few words: 1-3, 7."""
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in runs)


def _summary(pair: Any) -> tuple[int, int] | None:
    if type(pair) is list and len(pair) == 2:
        epoch, zxid = pair
        if type(epoch) is int and type(zxid) is int:
            return epoch, zxid
    return None
