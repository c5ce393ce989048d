"""The world at an instant, as the history knows it: who is fit, who hears whom, and which faults are in force.

The model.  A fault is a set of effects (`checker.effects`).  The history knows of each fault an interval with blurred
ends, and a promise is judged by the side that does not accuse:

    time ------- start.invoke ---- start.ok ------------------- stop.invoke ---- stop.ok ------->
    possibly           |<--------------------------------------------------------->|
    surely                            |<------------------------------>|

*   An `invoke` makes the new effects possible, and those that the fault is about to lose no longer sure.  `ok` makes
    the new ones sure and ends the old ones.  `fail` (it did not happen) restores what was before the `invoke`.  `info`
    (unknown) leaves old and new effects possible, and sure only those that are both.
*   "stop" is a change to no effects; a toggle of a flapping link is a change to other effects.  So one rule does for
    all steps.
*   A `healed` report of a host makes that host's share of its faults no longer sure, until the nemesis says that they
    are over.  A `started` report ends a `down` that was sure: the server is up again.
*   When the last `down` of a server is over by an `ok`, the server runs again: that is what the nemesis verified.  A
    fault of several servers is over when the last of them is up.  A server that did not run until then has no known
    state until its next report.  One that did (it has reported its start, or nobody knows that it was ever down) keeps
    its state: it may have nothing new to report.
*   An effect that is not listed in `checker.effects` may do anything: while it is possible, no server is fit.

A server *runs* from its `started` (or its first report) to its `stopped`, or to the moment when a `down` of it is sure
(a killed server cannot report that).  It is *fit* while it runs, its state is known, and no possible effect on it says
otherwise.  So a server that just started is not fit before its first report: a JVM boots for up to ten seconds.

What a report does not say equals nothing and differs from nothing: a follower whose leader or epoch is unknown follows
whoever leads, as far as anybody knows.

The time of a host's report has an error bound.  `settled` is the latest instant at which all that matters has surely
happened: a window that opens now opens then, and a window that an op closes was over at `op.earliest`.  A state is
*possibly current* from the earliest time of its report to the latest time of what ended it (`Spell`).

Example: a partition cuts n1 off; n2 and n3 have to have a leader from the moment when it is surely there:

    {"process":"nemesis","type":"invoke","f":"partition","value":{"fault":"f1","step":"start",
     "effects":[{"drops":{"n1":["n2","n3"],"n2":["n1"],"n3":["n1"]}}]}}      majority() is None: n1 may be cut, or not
    {"process":"nemesis","type":"ok", ...}                                   majority() is {n2, n3}
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from checker.effects import Atom
from checker.history import Op, Process
from checker.servers import FOR_EVER, SPELLS_MAX, Servers, Serves, Spell, agree
from checker.vocabulary import End, FaultOp, Healed, RunOp, Started, State, Stopped

REMEMBERED_MAX = 1000
"""Maximum number of entries in each memo table."""


class InForce:
    """A fault between its first invoke and its last ok."""

    def __init__(self, f: str, hosts: list[str]) -> None:
        self.f = f
        self.hosts = hosts
        self.possible = 0
        self.sure = 0
        self.surely = False
        """It is surely in force (with whatever effects)."""
        self.target = 0
        """Its effects if the last invoke succeeds."""
        self.saved: tuple[int, int, bool] | None = None
        """`possible`, `sure` and `surely` before the invoke that has no answer yet."""

    def lose(self, effects: int, possible: bool) -> None:
        """Makes these effects no longer sure, and with `possible` no longer possible."""
        self.sure &= ~effects
        if possible:
            self.possible &= ~effects
        if self.saved is not None:
            was_possible, was_sure, surely = self.saved
            self.saved = (was_possible & ~effects if possible else was_possible, was_sure & ~effects, surely)


class Availability(Servers):
    """Feed it every op of controller, nemesis and servers, in order and with typed values, before the checkers."""

    def __init__(self, run: RunOp, knowledge_ends: int = FOR_EVER) -> None:
        hosts = run.ensemble
        super().__init__(run, dict.fromkeys(hosts), dict.fromkeys(hosts), dict.fromkeys(hosts), {})
        self.knowledge_ends = knowledge_ends
        """Run time, in ns, after which silence proves nothing (the end of a history that was cut)."""
        self.lines_missing = 0
        """Lines that are missing from the history, once it was read to its end."""
        self.now = 0
        """The greatest `time`, in ns, of the ops so far."""
        self.quorums = run.quorums()
        self.voters = run.voters
        self.faults: dict[str, InForce] = {}
        self.effects = run.effects
        self._possible = 0
        self._sure = 0
        # Sets of hosts, a bit each: that of `effects.down`.
        self._voters = sum(self.effects.down[host] for host in self.voters)
        self._up = 0
        self._stopped = 0
        self._fit = 0
        self._gone = 0
        """Surely not running or paused, and not being started again."""
        self._quorums: dict[int, frozenset[str] | None] = {}
        """The memo table of `_quorum`."""
        self._op: Op
        """The op that is being fed."""
        self._known = 0
        """The servers with a known state."""
        self.under_way: set[str] = set()
        """Faults with an `invoke` that has no answer yet."""
        self.phase: str | None = None
        self.stopped_by_themselves: list[tuple[str, int]] = []
        """Host and op of the first 100 stops that no fault explains."""
        self._settled: dict[Process, int] = {}
        """The greatest latest time, in ns, of the reports of each host."""
        self._stopped_by: dict[Process, int] = {}
        """The latest time of each host's last `stopped`."""
        self.spells: dict[str, list[Spell]] = {host: [] for host in hosts}
        """What each server served in; the last one until `FOR_EVER`, if it still does.  See `forget`."""
        self.revision = 0
        """Rises when anything but a state changes: who runs, and what is in force."""
        self.picture_due = FOR_EVER
        """The first op after this time, in ns, leaves a copy of the world before it in `before`."""
        self.before: tuple[Servers, list[dict[str, Any]]] | None = None
        """The servers and the faults in force when the picture was due."""
        self._majority: tuple[int, frozenset[str] | None] = (-1, None)
        self._majorities: dict[tuple[int, int, int, int], frozenset[str] | None] = {}
        """The memo table of `_find_majority`."""
        self._faults_now: list[dict[str, Any]] | None = None
        self._in_words: tuple[int, frozenset[Atom]] = (0, frozenset())

    # ---- what happens ----

    def feed(self, op: Op) -> None:
        time, value = op.time, op.value
        if time >= self.picture_due:
            self.before = (self.picture(), self.faults_now())
            self.picture_due = FOR_EVER
        if time > self.now:  # noqa: PLR1730 - twice as fast as max
            self.now = time
        self._op = op
        if isinstance(value, FaultOp):
            (self.under_way.add if op.type == "invoke" else self.under_way.discard)(value.fault)
            self._fault(op, value)
        elif op.f == "phase":
            self.phase = value.phase
        elif not isinstance(value, End):
            self._hear(op, value)

    def _hear(self, op: Op, value: Any) -> None:
        """Takes what a server, or its host, reports."""
        host: Any = op.process
        latest = op.latest
        if latest > self._settled.get(host, -FOR_EVER):
            self._settled[host] = latest
        if isinstance(value, State):
            if self.running[host] is None:
                self._run(host, True)
            if self.running[host]:
                self._set(host, value)
                self.state_ops[host] = op.index
        elif isinstance(value, Started):
            self._run(host, True)
        elif isinstance(value, Stopped):
            self._stopped_by[host] = latest
            down = self._possible & self.effects.down[host]
            if not down and self.phase != "end" and len(self.stopped_by_themselves) < 100:
                self.stopped_by_themselves.append((host, op.index))
            self._run(host, False)
        elif isinstance(value, Healed):
            self._heal(host, value)

    def _set(self, host: str, state: State | None) -> None:
        known = self.states[host] is not None
        self.states[host] = state
        established = state is not None and state.is_established
        serves: Serves | None = None
        if state is not None and (state.phase is None or state.phase == "broadcast"):
            if established:
                serves = (self.run.sid(host), state.epoch)
            elif state.role == "FOLLOWING":
                serves = (state.leader, state.epoch)
        spells = self.spells[host]
        last = spells[-1] if spells and spells[-1].until == FOR_EVER else None
        if (serves, established) != ((last.serves, last.leads) if last is not None else (None, established)):
            if last is not None:
                spells[-1] = last._replace(until=max(self._op.latest, last.since))
            if serves is not None:
                spells.append(Spell(serves, established, self._op.earliest, FOR_EVER))
                del spells[:-SPELLS_MAX]
            self.serves[host] = serves
            self.leaders_revision += 1
        if known is not (state is not None):
            self._known ^= self.effects.down[host]
            self._look()
        if self._leading is not None and established is not (host in self._leading):
            self._leading = None
            self.leaders_revision += 1

    def _run(self, host: str, runs: bool) -> None:
        self.running[host] = runs
        self._set(host, None)
        down = self.effects.down[host]
        self._up = self._up | down if runs else self._up & ~down
        self._stopped = self._stopped & ~down if runs else self._stopped | down
        if runs and self._sure & down:
            for fault in self.faults.values():
                fault.lose(fault.sure & down, possible=True)
            self._add_up()
        self._look()

    def _fault(self, op: Op, value: FaultOp) -> None:
        self._faults_now = None
        fault = self.faults.get(value.fault)
        new = fault is None
        if fault is None:
            fault = self.faults[value.fault] = InForce(op.f, value.hosts)
        if op.type == "invoke" or fault.saved is None:
            fault.saved = (fault.possible, fault.sure, fault.surely)
            fault.target = value.after
        elif value.listed:
            fault.target = value.after  # what was verified counts, not what was requested
        possible, sure, surely = fault.saved
        if op.type == "ok":
            fault.possible = fault.sure = fault.target
            fault.surely = value.step != "stop"
        elif op.type == "fail":
            fault.possible, fault.sure, fault.surely = possible, sure, surely
        else:
            fault.possible, fault.sure, fault.surely = possible | fault.target, sure & fault.target, False
        if op.type != "invoke":
            fault.saved = None
            over = value.step == "stop" if op.type == "ok" else op.type == "fail" and value.step == "start"
            if over and (op.type == "ok" or new or not (possible or surely)):
                del self.faults[value.fault]
        before = self._possible
        self._add_up()
        if op.type == "ok" and value.step == "stop":
            for host in self.effects.hosts_down(before & ~self._possible):
                if not self.running[host]:
                    self._run(host, True)  # verified to be over: it runs again, whether or not it reports that

    def _heal(self, host: str, healed: Healed) -> None:
        for name, fault in self.faults.items():
            if healed.faults is None or name in healed.faults:
                fault.lose(self.effects.about(host), possible=False)
        self._add_up()

    def _add_up(self) -> None:
        possible = sure = 0
        for fault in self.faults.values():
            possible |= fault.possible
            sure |= fault.sure
        if possible == self._possible and sure == self._sure:
            return
        self._possible, self._sure = possible, sure
        for host in self.effects.hosts_down(sure & ~self._stopped):
            self.running[host] = False
            self._set(host, None)
        down = sure & self.effects.downs
        self._up &= ~down
        self._stopped |= down
        self._look()

    def _look(self) -> None:
        """Finds who is fit and who is gone, after a start, a stop, or a change of what is in force."""
        self.revision += 1
        effects, possible, sure = self.effects, self._possible, self._sure
        self._fit = 0 if self.any_unknown() else self._up & self._known & ~effects.unfit(possible)
        self._gone = effects.paused(sure) | self._stopped & (sure | ~possible)

    # ---- what is ----

    @property
    def possible(self) -> frozenset[Atom]:
        """The effects that may be in force."""
        if self._in_words[0] != self._possible:
            self._in_words = (self._possible, self.effects.atoms(self._possible))
        return self._in_words[1]

    @property
    def sure(self) -> frozenset[Atom]:
        """The effects that are surely in force."""
        return self.effects.atoms(self._sure)

    def in_doubt(self) -> bool:
        """Whether a fault is beginning or ending, or its outcome is unknown."""
        return self._possible != self._sure

    def any_unknown(self) -> bool:
        """Whether an effect that is not listed may be in force."""
        return self._possible >> self.effects.unknown_from != 0

    def fit(self, host: str) -> bool:
        """Whether it surely runs, has told its state, is not paused, and has its clock and its disk in order."""
        return self._fit & self.effects.down[host] != 0

    def settled(self, op: Op, hosts: Iterable[str]) -> int:
        """The run time, in ns, by which `op`, what these hosts reported, and the stop of each other voter that is down
        by its own word alone, have surely happened."""
        times = [op.latest, *(self._settled[host] for host in hosts if host in self._settled)]
        by_themselves = self._voters & self._stopped & ~(self._sure | self.effects.paused(self._sure))
        times += [self._stopped_by[host] for host in self.effects.hosts_down(by_themselves) if host in self._stopped_by]
        return max(times)

    def without_effects(self) -> bool:
        """Whether no effect of any fault may be in force."""
        return not self._possible

    def forget(self, before: int) -> None:
        """Drops the spells that were over by then, in ns."""
        for host, spells in self.spells.items():
            if spells and spells[0].until < before:
                self.spells[host] = [spell for spell in spells if spell.until >= before]

    def may_have_converged(self, members: Iterable[str], since: int) -> list[tuple[int, int]]:
        """The times, in ns, from `since` on in which the members may all have had one established leader of theirs.

        Each as its two ends; not sorted, and they may overlap.
        """
        members = list(members)
        found = []
        for leader in members:
            for lead in self.spells[leader]:
                if not lead.leads:
                    continue
                common = [(max(lead.since, since), lead.until)]
                for host in members:
                    if host != leader:
                        near = [s for s in self.spells[host] if not s.leads and agree(s.serves, lead.serves)]
                        common = [(max(a, s.since), min(b, s.until)) for a, b in common for s in near]
                        common = [(a, b) for a, b in common if a <= b]
                found += [(a, b) for a, b in common if a <= b]
        return found

    def may_have_quorum(self, host: str) -> bool:
        """Whether the voters that may still be talking with `host`, itself included, hold a quorum."""
        if host in (self.majority() or ()):
            return True
        apart, _ = self.effects.apart(self._sure)
        silent = (self._gone | apart[self.effects.place[host]]) & ~self.effects.down[host]
        return self._quorum(self._voters & ~silent) is not None

    def connected_quorum(self) -> bool:
        """Whether fit voters that surely hear each other, directly or through others of them, hold a quorum."""
        apart, _ = self.effects.apart(self._possible, degraded=True)
        return any(self._quorum(group) is not None for group in _groups(self._voters & self._fit, apart))

    def sids(self, hosts: Iterable[str]) -> list[int]:
        ensemble = self.run.ensemble
        return [ensemble[host].sid for host in hosts]

    def majority(self) -> frozenset[str] | None:
        """The majority that has to have a leader now, or None.

        They are a quorum of voters, all fit, every pair hears each other both ways, and every other voter is down,
        paused, or cut from all of them in both directions.  There is at most one such set, since two quorums meet.
        """
        if self._majority[0] != self.revision:
            self._majority = (self.revision, self._recall_majority())
        return self._majority[1]

    def _recall_majority(self) -> frozenset[str] | None:
        links = self.effects.links
        of = (self._fit, self._gone, self._possible & links, self._sure & links)
        if of not in self._majorities:
            if len(self._majorities) > REMEMBERED_MAX:
                self._majorities.clear()
            self._majorities[of] = self._find_majority()
        return self._majorities[of]

    def _find_majority(self) -> frozenset[str] | None:
        if self._quorum(self._voters & self._fit) is None:
            return None
        _, cut = self.effects.apart(self._sure)
        for group in _groups(self._voters & ~self._gone, cut):
            hosts = self._quorum(group & self._fit)
            if hosts is not None and not group & ~self._fit and self._all_hear(group):
                return hosts
        return None

    def _quorum(self, hosts: int) -> frozenset[str] | None:
        """These hosts by name, or None if they hold no quorum."""
        if hosts not in self._quorums:
            if len(self._quorums) > REMEMBERED_MAX:
                self._quorums.clear()
            names = frozenset(self.effects.hosts_down(hosts))
            self._quorums[hosts] = names if self.quorums.of(self.sids(names)) else None
        return self._quorums[hosts]

    def _all_hear(self, group: int) -> bool:
        """Whether every pair surely hears each other both ways, over links that are not degraded."""
        if not self._possible & self.effects.links:
            return True
        apart, _ = self.effects.apart(self._possible, degraded=True)
        return not any(apart[place] & group for place in _places(group))

    def faults_now(self) -> list[dict[str, Any]]:
        """The faults that may be in force, for a violation."""
        if self._faults_now is None:
            self._faults_now = [
                {"fault": name, "f": fault.f, "hosts": fault.hosts, "surely": fault.surely}
                for name, fault in self.faults.items()
            ]
        return self._faults_now


def _places(hosts: int) -> Iterator[int]:
    while hosts:
        yield (hosts & -hosts).bit_length() - 1
        hosts &= hosts - 1


def _groups(hosts: int, apart: list[int]) -> Iterator[int]:
    """Divides `hosts` into the groups whose members can talk, directly or through each other, and with nobody else.

    `apart`: for each host by its place, the hosts that it cannot talk with.
    """
    while hosts:
        group = new = hosts & -hosts
        while new:
            near = 0
            for place in _places(new):
                near |= hosts & ~apart[place]
            new = near & ~group
            group |= near
        hosts &= ~group
        yield group
