"""The world as the history knows it at an instant: who is fit, who hears whom, which faults are in force.

The model.  A fault is a set of effects (`checker.effects`): a server is down or paused, its clock or disk is out of
order, a host drops what comes from another, a link is degraded.  What the history can know of a fault is an interval
with blurred ends, and a promise must be judged by the side that does not accuse:

    time ------- start.invoke ---- start.ok ------------------- stop.invoke ---- stop.ok ------->
    possibly           |<--------------------------------------------------------->|
    surely                            |<------------------------------>|

*   An `invoke` makes the new effects possible, and those that the fault is about to lose no longer sure.  `ok` makes
    the new ones sure and ends the old ones.  `fail` (it did not happen) puts back what was.  `info` (unknown) leaves
    all of it possible and none of it sure.
*   "Stop" is a change to no effects; a flap's toggle is a change to other effects.  So there is one rule for all.
*   A `healed` report of a host makes that host's share of its faults no longer sure, until the nemesis says that they
    are over.  A `started` report ends a `down` that was sure: the server is up again.
*   When the last `down` of a server is over, it runs again: that is what was verified.  A fault of several servers is
    over when the last of them is up; what the others have told since their own `started` stays true.
*   An effect that is not known here may do anything: while it is possible, nobody is owed a leader.

A server is *running* from its `started` (or its first report) to its `stopped`, or to the moment that a `down` effect
is sure (a killed server cannot say that it is).  It is *fit* when it is running and nothing possible says otherwise.

A host report has an error bound on its time.  `settled_at` is the latest instant at which all that was told so far has
surely happened: a window that opens now opens then, and a window that an op closes was over at `op.earliest`.

Example: the partition that cuts n1 off is begun, and n2 and n3 are owed a leader once it is surely there:

    {"process":"nemesis","type":"invoke","f":"partition","value":{"fault":"f1","step":"start",
     "effects":[{"drops":{"n1":["n2","n3"],"n2":["n1"],"n3":["n1"]}}]}}      majority() is None: it may be cut, or not
    {"process":"nemesis","type":"ok", ...}                                   majority() is {n2, n3}
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from checker.effects import Atom
from checker.history import Op
from checker.vocabulary import FaultOp, Healed, RunOp, Started, State, Stopped

FOR_EVER = 1 << 62

REMEMBERED_MAX = 1000
"""So many sets of hosts are remembered, and whether they are quorums; and so many situations, and the majority then."""


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
        """The effects that it has when what was invoked succeeds."""
        self.saved: tuple[int, int, bool] | None = None
        """What was possible, sure and surely in force before the invoke that has no answer yet."""

    def lose(self, effects: int, possible: bool) -> None:
        """These effects are no longer sure (nor possible, if so)."""
        self.sure &= ~effects
        if possible:
            self.possible &= ~effects
        if self.saved is not None:
            was_possible, was_sure, surely = self.saved
            self.saved = (was_possible & ~effects if possible else was_possible, was_sure & ~effects, surely)


class Servers:
    """What the servers have told of themselves."""

    def __init__(
        self,
        run: RunOp,
        running: dict[str, bool | None],
        states: dict[str, State | None],
        serves: dict[str, tuple[int | None, int | None] | None],
        state_ops: dict[str, int],
    ) -> None:
        self.run = run
        self.running = running
        """None: it has said nothing yet."""
        self.states = states
        """The last state of each running server; None when it runs not, or has not said."""
        self.serves = serves
        """The leader's sid and epoch that each server follows in broadcast, or leads as; None: it does neither."""
        self.state_ops = state_ops
        """The index of the op that told the state."""
        self.thrones = 0
        """Goes up when `serves` or `leading` changes."""
        self._leading: list[str] | None = None
        """What `leading` says; None when it has changed since it was asked."""

    def leading(self) -> list[str]:
        """Hosts of established leaders, as they last said."""
        if self._leading is None:
            self._leading = [h for h, state in self.states.items() if state is not None and state.throned]
        return self._leading

    def leader_of(self, group: Iterable[str]) -> str | None:
        """The leader that every one of the group has, who is one of them; or None."""
        for host in self.leading():
            if host in group and all(self.follows(member, host) for member in group):
                return host
        return None

    def follows(self, host: str, leader: str) -> bool:
        """`host` is the leader, or follows it in its epoch; both in broadcast."""
        lead = self.states[leader]
        return lead is not None and self.serves[host] == (self.run.sid(leader), lead.epoch)

    def picture(self) -> Servers:
        """As they are now, for a message that may have to be written later."""
        return Servers(self.run, self.running.copy(), self.states.copy(), self.serves.copy(), self.state_ops.copy())

    def describe(self, host: str) -> str:
        """A server in a few words, for messages."""
        state = self.states[host]
        if self.running[host] is False:
            return f"{host} is down"
        if state is None:
            return f"{host} has not told its state"
        words = f"{host} is {state.role}"
        if state.role in ("FOLLOWING", "OBSERVING") and state.leader is not None:
            words += f" {self.run.host(state.leader)}"
        if state.epoch is not None:
            words += f" in epoch {state.epoch}"
        return words + (f" ({state.phase})" if state.phase and state.phase not in ("broadcast", "election") else "")


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
        """The time, in ns, of the last thing that was told."""
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
        """Surely down or paused, and not just being started again."""
        self._quorums: dict[int, frozenset[str] | None] = {}
        """What `_quorum` said."""
        self.restarted: set[str] = set()
        """Servers that have told that they started since a `down` was last said of them."""
        self.phase: str | None = None
        self.stopped_by_themselves: list[tuple[str, int]] = []
        """Host and op of the first servers that stopped while no fault had them down."""
        self.settled_at = 0
        self.revision = 0
        """Goes up when anything but a state changes: who runs, and what is in force."""
        self.picture_due = FOR_EVER
        """From this time on, in ns, it is kept in `before` how things were when the next thing was told."""
        self.before: tuple[Servers, list[dict[str, Any]]] | None = None
        """The servers and the faults in force, as they were before the last thing that was told."""
        self._majority: tuple[int, frozenset[str] | None] = (-1, None)
        self._majorities: dict[tuple[int, int, int, int], frozenset[str] | None] = {}
        """What `_find_majority` said."""
        self._faults_now: list[dict[str, Any]] | None = None
        self._in_words: tuple[int, frozenset[Atom]] = (0, frozenset())

    # ---- what happens ----

    def feed(self, op: Op) -> None:
        time, value = op.time, op.value
        if time >= self.picture_due:
            self.before = (self.picture(), self.faults_now())
        latest = time + (op.time_error or 0)
        if time > self.now:  # noqa: PLR1730 - twice as fast as max
            self.now = time
        if latest > self.settled_at:  # noqa: PLR1730
            self.settled_at = latest
        if isinstance(value, State):
            host: Any = op.process
            if self.running[host] is None:
                self._run(host, True)
            if self.running[host]:
                self._set(host, value)
                self.state_ops[host] = op.index
        elif isinstance(value, FaultOp):
            self._fault(op, value)
        elif isinstance(value, Started):
            self._run(str(op.process), True)
            self.restarted.add(str(op.process))
        elif isinstance(value, Stopped):
            host = op.process
            down = self._possible & self.effects.down[host]
            if not down and self.phase != "end" and len(self.stopped_by_themselves) < 100:
                self.stopped_by_themselves.append((host, op.index))
            self._run(host, False)
        elif isinstance(value, Healed):
            self._heal(str(op.process), value)
        elif op.f == "phase":
            self.phase = value.phase

    def _set(self, host: str, state: State | None) -> None:
        self.states[host] = state
        throned = state is not None and state.throned
        serves: tuple[int | None, int | None] | None = None
        if state is not None and state.phase == "broadcast":
            if throned:
                serves = (self.run.sid(host), state.epoch)
            elif state.role == "FOLLOWING":
                serves = (state.leader, state.epoch)
        if serves != self.serves[host]:
            self.serves[host] = serves
            self.thrones += 1
        if self._leading is not None and throned is not (host in self._leading):
            self._leading = None
            self.thrones += 1

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
        if value.after & self.effects.downs:
            self.restarted.difference_update(self.effects.hosts_down(value.after))
        if op.type == "invoke" or fault.saved is None:
            fault.saved = (fault.possible, fault.sure, fault.surely)
            fault.target = value.after
        elif value.told:
            fault.target = value.after  # what was verified is what counts, not what was asked for
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
                if not (self.running[host] and host in self.restarted):
                    self._run(host, True)  # verified to be over: it was started again, whether or not it says so

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
        """Who is fit and who is gone, now that somebody started or stopped, or other effects are in force."""
        self.revision += 1
        effects, possible, sure = self.effects, self._possible, self._sure
        self._fit = self._up & ~effects.on_any(possible)
        self._gone = effects.on("paused", sure) | self._stopped & (sure | ~possible)

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
        """A fault is just beginning or ending, or its fate is unknown."""
        return self._possible != self._sure

    def any_unknown(self) -> bool:
        """An effect that is not known here may be in force."""
        return self._possible >> self.effects.unknown_from != 0

    def fit(self, host: str) -> bool:
        """Surely running, not paused, its clock and its disk in order."""
        return self._fit & self.effects.down[host] != 0

    def may_have_quorum(self, host: str) -> bool:
        """The voters that may still be talking with `host`, itself included if it is one, are a quorum."""
        if host in (self.majority() or ()):
            return True
        apart, _ = self.effects.apart(self._sure)
        silent = (self._gone | apart[self.effects.place[host]]) & ~self.effects.down[host]
        return self._quorum(self._voters & ~silent) is not None

    def connected_quorum(self) -> bool:
        """Fit voters that surely hear each other, directly or through others of them, hold a quorum."""
        apart, _ = self.effects.apart(self._possible, degraded=True)
        return any(self._quorum(group) is not None for group in _groups(self._voters & self._fit, apart))

    def sids(self, hosts: Iterable[str]) -> list[int]:
        ensemble = self.run.ensemble
        return [ensemble[host].sid for host in hosts]

    def majority(self) -> frozenset[str] | None:
        """The hosts that are owed a leader now, if any.

        They are a quorum of voters, all fit, every pair hears each other both ways, and every other voter is down,
        paused, or cut from all of them in both directions.  There is at most one such set, since two quorums meet.
        """
        if self._majority[0] != self.revision:
            self._majority = (self.revision, self._recall_majority())
        return self._majority[1]

    def _recall_majority(self) -> frozenset[str] | None:
        if self.any_unknown():
            return None
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
        """These hosts by name, if they hold a quorum."""
        if hosts not in self._quorums:
            if len(self._quorums) > REMEMBERED_MAX:
                self._quorums.clear()
            names = frozenset(self.effects.hosts_down(hosts))
            self._quorums[hosts] = names if self.quorums.of(self.sids(names)) else None
        return self._quorums[hosts]

    def _all_hear(self, group: int) -> bool:
        """Every pair hears each other both ways, surely, and over links that are not degraded."""
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
    """`hosts` in groups, each of which may talk among themselves, directly or through others of them, and to no other.

    `apart`: to whom a host, by its place, may not talk (and they not to it).
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
