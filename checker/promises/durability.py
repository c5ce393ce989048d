"""Promise `durability`: a value that was acknowledged or read is in every final read.

Clients create values; each is a number that one create of the run uses.

*   A value is *committed* once its create was acknowledged (`ok`), or once any read returned it: even if nobody
    acknowledged it, it was committed by then.  It stays committed, whatever comes later.
*   A *final read* is a `read-all` of one server, after a sync, that a client invoked in phase `everyone` or `end`.  It
    has to return every value that was committed when it was invoked.  Every one counts.
*   No read, final or not, returns a value that no client tried to create before, nor one whose create ended as `fail`:
    that promises that it did not happen (Jepsen calls such a read aborted).
*   A read of one key returns that key, or null.  Null is never held against a server: ZooKeeper's reads may be stale.

        create 7  invoke   ok                                        7 is committed from here on
        create 8  invoke         info                                8 may or may not be there ...
        read 8                         ok [8,8]                      ... and is committed from here on
        read-all on n2                          ok [[1,6],[8,8]]     7 is lost on n2

The controller runs all clients, so their ops have one clock, and the order of the file is their order.

It is unknown when no create was acknowledged, or when a voter has no final read.  Where lines are missing from the
history, a value that nobody tried to create is no violation but a reason for `unknown`: its create may be in them.

Memory: one byte for each value that was tried, in pages (10 million values: 10 MB).  No op is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from checker.availability import Availability
from checker.history import Op, Process
from checker.promises.base import Result, Violations
from checker.vocabulary import ValueProblem

UNTRIED, TRIED, FAILED, COMMITTED = range(4)
_PAGE_BITS = 16
_PAGE = 1 << _PAGE_BITS
_IN_PAGE = _PAGE - 1
_NO_VALUE = "the value of 'create' has to be a number from 0 on, not {!r}"

LISTED_MAX = 100
"""Maximum number of values that a violation names; the others are counted."""

PROVEN_MAX = 10
"""Maximum number of lost values for which a violation also names the ops that show them to be committed."""

Ranges = list[tuple[int, int]]


class Values:
    """What is known of each value: untried, tried, failed or committed; one byte each, in pages."""

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

    def committed_outside(self, ranges: Ranges) -> Iterator[int]:
        """The committed values that `ranges` do not cover, in order."""
        for number, begin, end in self.outside(ranges):
            page = self.pages[number]
            at = page.find(COMMITTED, begin, end)
            while at >= 0:
                yield (number << _PAGE_BITS) + at
                at = page.find(COMMITTED, at + 1, end)

    def untried_inside(self, ranges: Ranges) -> tuple[int, list[int]]:
        """The number of values of `ranges` that nobody tried, and the first of them."""
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

    def commit(self, ranges: Ranges) -> tuple[list[int], list[int]]:
        """Commits every value of `ranges` that somebody tried; returns those that were not committed before, and those
        of them whose create failed."""
        newly: list[int] = []
        failed: list[int] = []
        for number, begin, end in self.inside(ranges):
            page = self.pages[number]
            for what in (TRIED, FAILED):
                at = page.find(what, begin, end)
                while at >= 0:
                    page[at] = COMMITTED
                    newly.append((number << _PAGE_BITS) + at)
                    if what == FAILED:
                        failed.append(newly[-1])
                    at = page.find(what, at + 1, end)
        return newly, sorted(failed)


class FinalRead:
    """A final read, and the values that it lacks."""

    def __init__(self, op: Op, missing: int, named: list[int]) -> None:
        self.op = op
        self.missing = missing
        self.named = named


class Durability:
    name = "durability"

    def __init__(self, world: Availability) -> None:
        self.world = world
        self.violations = Violations(self.name)
        self.servers: frozenset[str | None] = frozenset({*world.run.ensemble, None})
        """What the `server` of an op may be."""
        self.values = Values()
        self.acknowledged = 0
        self.tried = 0
        self.reads = 0
        self.open_reads: dict[Process, tuple[str | None, list[int]]] = {}
        """client -> the phase in which it invoked its read-all, and the values that were committed since."""
        self.final_reads: set[str] = set()
        """The servers that were read at the end."""
        self.lacking: list[FinalRead] = []
        """Final reads that lack values, the first hundred."""
        self.phantoms: list[tuple[Op, int, list[int]]] = []
        """Reads of values that nobody tried: the op, how many values, and the first of them."""
        self.committed_at: dict[int, list[int]] = {}
        """Lost value -> the ops that show it to be committed."""

    def feed_clients(self, ops: Sequence[Op], phase: str | None) -> list[Op]:  # noqa: PLR0912, PLR0915 - one loop
        """Takes what clients did in `phase`, in the order of the file; returns the ops with an `f` that is not ours.

        Raises ValueProblem with the index of the op.  Creates, and reads of committed values, are the bulk of a
        history: the loop deals with them itself, since a call for each would cost a third more.
        """
        tried = acknowledged = reads = 0
        pages, page_bits, in_page, committed = self.values.pages, _PAGE_BITS, _IN_PAGE, COMMITTED  # locals are faster
        open_reads, servers = self.open_reads, self.servers
        others = []
        op = None
        try:
            for op in ops:
                if op.server not in servers:
                    raise ValueProblem(f'"server" has to be a host of the run\'s ensemble, not {op.server!r}')
                f = op.f
                if f == "create":
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
                        if page[at]:
                            raise ValueProblem(f"'create' of {value} was invoked before; each value is created once")
                        page[at] = TRIED
                    elif kind == "ok":
                        acknowledged += 1
                        if open_reads and page[at] != committed:
                            for _, since in open_reads.values():
                                since.append(value)
                        page[at] = committed
                    elif kind == "fail":
                        if page[at] == committed:
                            self._aborted(op, [value])
                        else:
                            page[at] = FAILED
                elif f == "read":
                    if op.type == "ok":
                        try:
                            key, result = op.value
                            known = pages[key >> page_bits][key & in_page] == committed and type(key) is int
                            if known and key == result:
                                reads += 1
                                continue
                        except (KeyError, TypeError, ValueError):
                            pass  # no value that was committed, or no value at all
                        self._read(op)
                elif f == "read-all":
                    self._read_all(op, phase)
                else:
                    others.append(op)
        except ValueProblem as problem:
            assert op is not None
            problem.index = op.index
            raise
        finally:
            self.tried += tried
            self.reads += reads
            self.acknowledged += acknowledged
        return others

    def _commit(self, value: int) -> None:
        self.values.page(value)[value & _IN_PAGE] = COMMITTED
        for _, since in self.open_reads.values():
            since.append(value)

    def _read(self, op: Op) -> None:
        """The answer to a read of one key."""
        value = op.value
        if value.__class__ is not list or len(value) != 2 or value[0].__class__ is not int or value[0] < 0:
            raise ValueProblem(f"the value of 'read' has to be [key, result], not {value!r}")
        key, result = value
        self.reads += 1
        if result is None:
            return
        page = self.values.pages.get(key >> _PAGE_BITS)
        known = page[key & _IN_PAGE] if page is not None else UNTRIED
        if known == COMMITTED and result == key:
            return
        if result != key and result.__class__ is int:
            message = f"a read of {key} returned {result} (op {op.index})"
            self.violations.add(message, [op.index], [op.server] if op.server else [], [], op.time)
        elif known == UNTRIED:
            self._phantom(op, 1, [key])
        elif known != COMMITTED:
            if known == FAILED:
                self._aborted(op, [key])
            self._commit(key)

    def _read_all(self, op: Op, phase: str | None) -> None:
        if op.type == "invoke":
            self.open_reads[op.process] = (phase, [])
            return
        asked, since = self.open_reads.pop(op.process, (phase, []))
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
            for value in self.values.committed_outside(ranges):
                if value not in concurrent:
                    missing += 1
                    if len(listed) < LISTED_MAX:
                        listed.append(value)
            self.final_reads.add(str(op.server))
            if missing and len(self.lacking) < LISTED_MAX:
                self.lacking.append(FinalRead(op, missing, listed))
        newly, failed = self.values.commit(ranges)
        if failed:
            self._aborted(op, failed)
        for _, others in self.open_reads.values():
            others.extend(newly)

    def _aborted(self, op: Op, values: list[int]) -> None:
        """A read returned values whose create failed; `op` is that read, or the answer to the create after it."""
        verb = "was" if len(values) == 1 else "were"
        named = f"{spell(values[:LISTED_MAX])}{', ...' if len(values) > LISTED_MAX else ''}"
        message = f"{named} {verb} read although the create failed, which says that it did not happen (op {op.index})"
        self.violations.add(message, [op.index], [op.server] if op.server else [], [], op.time)

    def _phantom(self, op: Op, count: int, named: list[int]) -> None:
        if len(self.phantoms) < LISTED_MAX:
            self.phantoms.append((op, count, named))

    def lost(self) -> set[int]:
        """The lost values for which `find_proofs` looks: nothing else needs a second reading of the history."""
        return {value for read in self.lacking for value in read.named[:PROVEN_MAX]}

    def find_proofs(self, ops: Iterable[Op]) -> None:
        """Finds, in the whole history read again, the ops that show the lost values to be committed."""
        lost = self.lost()
        for op in ops:
            if op.type == "ok" and op.process.__class__ is int:
                if op.f == "create" and op.value in lost:
                    self.committed_at.setdefault(op.value, []).append(op.index)
                elif op.f == "read" and op.value[0] in lost and op.value[1] is not None:
                    self.committed_at.setdefault(op.value[0], []).append(op.index)
                elif op.f == "read-all":
                    for value in lost:
                        if value not in self.committed_at and any(a <= value <= b for a, b in op.value):
                            self.committed_at[value] = [op.index]

    def finish(self) -> Result:
        reasons = []
        if not self.acknowledged:
            reasons.append("no create was acknowledged")
        if not self.final_reads:
            reasons.append("there is no final read (a read-all in phase all or end)")
        else:
            unread = [host for host in self.world.voters if host not in self.final_reads]
            if unread:
                reasons.append(f"no final read of {', '.join(unread)}")
        for read in self.lacking:
            ops = [read.op.index, *(index for value in read.named for index in self.committed_at.get(value, []))]
            message = (
                f"{read.missing} committed value{'s are' if read.missing > 1 else ' is'} lost on {read.op.server}: "
                f"{spell(read.named)}{', ...' if read.missing > len(read.named) else ''} "
                f"(acknowledged or read before, not in the final read, op {read.op.index})"
            )
            self.violations.add(message, ops, [str(read.op.server)], self.world.faults_now(), read.op.time)
        for op, count, named in self.phantoms:
            words = f"{spell(named)}{', ...' if count > len(named) else ''}"
            if self.world.lines_missing:
                reasons.append(f"op {op.index} returned {words}, whose creates may be in the missing lines")
            else:
                message = f"a read returned what nobody tried to create: {words} (op {op.index})"
                self.violations.add(message, [op.index], [op.server] if op.server else [], [], op.time)
        stats: dict[str, Any] = {
            "creates": self.tried,
            "acknowledged": self.acknowledged,
            "reads": self.reads,
            "servers_read_at_the_end": sorted(self.final_reads),
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
