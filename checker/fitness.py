"""The world as the history knows it at an instant: who is fit, who hears whom, which faults are in force.

The model.  A fault is a set of effects (`checker.values.Atom`): a server is down or paused, its clock or disk is out of
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

from typing import Any

from checker.history import Op
from checker.values import ON_HOSTS, ON_LINKS, Atom, Fault, Healed, Run, Started, State, Stopped

NOTHING: frozenset[Atom] = frozenset()
FOR_EVER = 1 << 62


class InForce:
    """A fault between its first invoke and its last ok."""

    def __init__(self, f: str, hosts: list[str]) -> None:
        self.f = f
        self.hosts = hosts
        self.possible: frozenset[Atom] = NOTHING
        self.sure: frozenset[Atom] = NOTHING
        self.surely = False
        """It is surely in force (with whatever effects)."""
        self.target: frozenset[Atom] = NOTHING
        """The effects that it has when what was invoked succeeds."""
        self.saved: tuple[frozenset[Atom], frozenset[Atom], bool] | None = None
        """What was possible, sure and surely in force before the invoke that has no answer yet."""

    def lose(self, atoms: frozenset[Atom], possible: bool) -> None:
        """These effects are no longer sure (nor possible, if so)."""
        self.sure -= atoms
        if possible:
            self.possible -= atoms
        if self.saved is not None:
            self.saved = (self.saved[0] - (atoms if possible else NOTHING), self.saved[1] - atoms, self.saved[2])


class World:
    """Feed it every op of controller, nemesis and servers, in order and with typed values, before the checkers."""

    def __init__(self, run: Run, knowledge_ends: int = FOR_EVER) -> None:
        self.run = run
        self.knowledge_ends = knowledge_ends
        """Run time, in ns, after which silence proves nothing (the end of a history that was cut)."""
        self.now = 0
        """The time, in ns, of the last thing that was told."""
        self.quorums = run.quorums()
        self.voters = run.voters
        self.faults: dict[str, InForce] = {}
        self.possible: frozenset[Atom] = NOTHING
        self.sure: frozenset[Atom] = NOTHING
        self.unfit: set[str] = set()
        """Hosts that a possible effect keeps from being fit."""
        self.deaf: set[tuple[str, ...]] = set()
        """(host, other): `host` surely does not hear `other`."""
        self.running: dict[str, bool | None] = dict.fromkeys(run.ensemble)
        """None: it has said nothing yet."""
        self.states: dict[str, State | None] = dict.fromkeys(run.ensemble)
        """The last state of each running server; None when it runs not, or has not said."""
        self.state_ops: dict[str, int] = {}
        """The index of the op that told the state."""
        self.restarted: set[str] = set()
        """Servers that have told that they started since a `down` was last said of them."""
        self.phase: str | None = None
        self.stopped_by_themselves: list[tuple[str, int]] = []
        """Host and op of the first servers that stopped while no fault had them down."""
        self.settled_at = 0
        self.revision = 0
        """Goes up when anything but a state changes: who runs, and what is in force."""
        self._leading: list[str] | None = None
        """What `leading` says; None when a server told something since it was asked."""
        self._majority: tuple[int, frozenset[str] | None] = (-1, None)

    # ---- what happens ----

    def feed(self, op: Op) -> None:
        self.now = max(self.now, op.time)
        self.settled_at = max(self.settled_at, op.latest)
        value = op.value
        if isinstance(value, State):
            self._tell(str(op.process), value, op)
        elif isinstance(value, Fault):
            self._fault(op, value)
        elif isinstance(value, Started):
            self._run(str(op.process), True)
            self.restarted.add(str(op.process))
        elif isinstance(value, Stopped):
            down = ("down", op.process) in self.possible
            if not down and self.phase != "end" and len(self.stopped_by_themselves) < 100:
                self.stopped_by_themselves.append((str(op.process), op.index))
            self._run(str(op.process), False)
        elif isinstance(value, Healed):
            self._heal(str(op.process), value)
        elif op.f == "phase":
            self.phase = value.phase

    def _tell(self, host: str, state: State, op: Op) -> None:
        if self.running[host] is None:
            self._run(host, True)
        if self.running[host]:
            self.states[host] = state
            self._leading = None
            self.state_ops[host] = op.index

    def _run(self, host: str, runs: bool) -> None:
        self.running[host] = runs
        self.states[host] = None
        self._leading = None
        self.revision += 1
        if runs and ("down", host) in self.sure:
            for fault in self.faults.values():
                fault.lose(fault.sure & {("down", host)}, possible=True)
            self._add_up()

    def _fault(self, op: Op, value: Fault) -> None:
        new = value.fault not in self.faults
        fault = self.faults.setdefault(value.fault, InForce(op.f, value.hosts))
        self.restarted.difference_update(atom[1] for atom in value.atoms if atom[0] == "down")
        if op.type == "invoke" or fault.saved is None:
            fault.saved = (fault.possible, fault.sure, fault.surely)
            fault.target = value.atoms
        elif value.effects is not None:
            fault.target = value.atoms  # what was verified is what counts, not what was asked for
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
        before = self.possible
        self._add_up()
        if op.type == "ok" and value.step == "stop":
            for atom in before - self.possible:
                if atom[0] == "down" and not (self.running[atom[1]] and atom[1] in self.restarted):
                    self._run(atom[1], True)  # verified to be over: it was started again, whether or not it says so

    def _heal(self, host: str, healed: Healed) -> None:
        for name, fault in self.faults.items():
            if healed.faults is None or name in healed.faults:
                fault.lose(frozenset(atom for atom in fault.sure if atom[1] == host), possible=False)
        self._add_up()

    def _add_up(self) -> None:
        self.possible = NOTHING.union(*(fault.possible for fault in self.faults.values()))
        self.sure = NOTHING.union(*(fault.sure for fault in self.faults.values()))
        self.unfit = {atom[1] for atom in self.possible if atom[0] in ON_HOSTS}
        self.deaf = {atom[1:] for atom in self.sure if atom[0] == "drops"}
        for atom in self.sure:
            if atom[0] == "down" and self.running[atom[1]] is not False:
                self.running[atom[1]] = False
                self.states[atom[1]] = None
        self._leading = None
        self.revision += 1

    # ---- what is ----

    def fit(self, host: str) -> bool:
        """Surely running, not paused, its clock and its disk in order."""
        return self.running[host] is True and host not in self.unfit

    def gone(self, host: str) -> bool:
        """Surely down or paused (and not just being started again)."""
        if ("paused", host) in self.sure:
            return True
        return self.running[host] is False and (("down", host) in self.sure or ("down", host) not in self.possible)

    def hears(self, host: str, other: str) -> bool:
        """Surely, and over a link that is not degraded."""
        return ("drops", host, other) not in self.possible and ("degraded", host, other) not in self.possible

    def deaf_to(self, host: str, other: str) -> bool:
        """Surely."""
        return (host, other) in self.deaf

    def cut(self, host: str, other: str) -> bool:
        """Surely, in both directions."""
        return (host, other) in self.deaf and (other, host) in self.deaf

    def any_unknown(self) -> bool:
        """An effect that is not known here may be in force."""
        return any(atom[0] == "unknown" for atom in self.possible)

    def sids(self, hosts: frozenset[str] | list[str]) -> list[int]:
        return [self.run.ensemble[host].sid for host in hosts]

    def majority(self) -> frozenset[str] | None:
        """The hosts that are owed a leader now, if any.

        They are a quorum of voters, all fit, every pair hears each other both ways, and every other voter is down,
        paused, or cut from all of them in both directions.  There is at most one such set, since two quorums meet.
        """
        if self._majority[0] != self.revision:
            self._majority = (self.revision, self._find_majority())
        return self._majority[1]

    def _find_majority(self) -> frozenset[str] | None:
        if self.any_unknown():
            return None
        left = {host for host in self.voters if not self.gone(host)}
        while left:
            group = self._reach(left)
            left -= group
            if (
                self.quorums.of(self.sids(frozenset(group)))
                and all(self.fit(host) for host in group)
                and self._all_hear(group)
            ):
                return frozenset(group)
        return None

    def _all_hear(self, group: set[str]) -> bool:
        """Every pair hears each other both ways, surely, and over links that are not degraded."""
        return not any(
            atom[0] in ON_LINKS and atom[1] != atom[2] and group.issuperset(atom[1:]) for atom in self.possible
        )

    def _reach(self, hosts: set[str]) -> set[str]:
        """Those of `hosts` that one of them may exchange a packet with, directly or through others."""
        todo = [min(hosts)]
        group = set(todo)
        while todo:
            host = todo.pop()
            near = {other for other in hosts - group if not self.cut(host, other)}
            group |= near
            todo.extend(near)
        return group

    def leading(self) -> list[str]:
        """Hosts of established leaders, as they last said."""
        if self._leading is None:
            self._leading = [h for h, state in self.states.items() if state is not None and state.throned]
        return self._leading

    def follows(self, host: str, leader: str) -> bool:
        """`host` is the leader, or follows it in its epoch; both in broadcast."""
        state, lead = self.states[host], self.states[leader]
        if state is None or lead is None or state.phase != "broadcast" or state.epoch != lead.epoch:
            return False
        if host == leader:
            return state.throned
        return state.role == "FOLLOWING" and state.leader == self.run.sid(leader)

    def picture(self) -> World:
        """The servers as they are now, for a message that may have to be written later."""
        picture = World.__new__(World)  # what copy.copy does, in a third of the time
        picture.__dict__.update(self.__dict__)
        picture.running, picture.states = self.running.copy(), self.states.copy()
        picture.state_ops = self.state_ops.copy()
        return picture

    def faults_now(self) -> list[dict[str, Any]]:
        """The faults that may be in force, for a violation."""
        return [
            {"fault": name, "f": fault.f, "hosts": fault.hosts, "surely": fault.surely}
            for name, fault in self.faults.items()
        ]

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
