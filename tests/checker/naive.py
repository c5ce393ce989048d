"""The promises once more, as slowly and as plainly as they can be said, to hold the fast checkers against.

Each function takes a whole list of ops, in order, with raw values and no clock errors.  `moments` tells how the world
stands after each op, until the next; the rest tries all subsets, all pairs and all stretches of moments.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any, NamedTuple

from checker.history import Op

Atom = tuple[str, ...]
Effects = tuple[frozenset[Atom], frozenset[Atom]]  # possible, sure

NAMES = {"core": "majority", "all": "everyone"}
"""What release 0.1 called the phases of the end."""


class Moment(NamedTuple):
    """From `time` to the next op's."""

    time: int
    sids: dict[str, int]
    possible: frozenset[Atom]
    sure: frozenset[Atom]
    up: dict[str, bool | None]
    states: dict[str, dict[str, Any] | None]
    phase: str | None

    def quorum(self, hosts: Any) -> bool:
        return len(set(hosts)) > len(self.sids) / 2

    def fit(self, host: str) -> bool:
        return self.up[host] is True and not {("down", host), ("paused", host), ("clock", host)} & self.possible

    def away(self, host: str) -> bool:
        restarting = ("down", host) in self.possible - self.sure
        return ("paused", host) in self.sure or (self.up[host] is False and not restarting)

    def owed(self) -> frozenset[str] | None:
        """The design's words: M fit, every pair in M hears each other, each of the rest away or cut from all of M."""
        for size in range(len(self.sids), 0, -1):
            for members in combinations(self.sids, size):
                rest = [host for host in self.sids if host not in members]
                pairs = [(a, b) for a in members for b in members if a != b]
                apart = [(a, b) for a in members for b in rest if not self.away(b)]
                if (
                    self.quorum(members)
                    and all(self.fit(host) for host in members)
                    and all({("drops", a, b), ("degraded", a, b)}.isdisjoint(self.possible) for a, b in pairs)
                    and all({("drops", a, b), ("drops", b, a)} <= self.sure for a, b in apart)
                ):
                    return frozenset(members)
        return None

    def throned(self) -> list[str]:
        return [host for host, state in self.states.items() if state is not None and state.get("established")]

    def converged(self, members: frozenset[str]) -> bool:
        for leader in set(self.throned()) & members:
            throne = self.states[leader] or {}
            follower = {
                "role": "FOLLOWING",
                "phase": "broadcast",
                "leader": self.sids[leader],
                "epoch": throne["epoch"],
            }
            if throne["phase"] == "broadcast" and all(
                follower.items() <= (self.states[host] or {}).items() for host in members - {leader}
            ):
                return True
        return False

    def lost(self) -> set[str]:
        """Fit leaders without a quorum of voters that may still talk with them."""
        found = set()
        for leader in self.throned():
            others = [
                h
                for h in self.sids
                if h != leader and not self.away(h) and not {("drops", h, leader), ("drops", leader, h)} & self.sure
            ]
            if self.fit(leader) and not self.quorum([leader, *others]):
                found.add(leader)
        return found


def atoms(value: dict[str, Any]) -> frozenset[Atom]:
    found: set[Atom] = set()
    for effect in value["effects"] if value["step"] != "stop" else []:
        for kind, what in effect.items():
            if isinstance(what, list):
                found |= {(kind, host) for host in what}
            else:
                found |= {(kind, host, other) for host, others in what.items() for other in others}
    return frozenset(found)


def moments(ops: list[Op]) -> Iterator[Moment]:
    sids = {host: server["sid"] for host, server in ops[0].value["ensemble"].items()}
    none: Effects = (frozenset(), frozenset())
    faults: dict[str, Effects] = {}
    asked: dict[str, Effects] = {}
    up: dict[str, bool | None] = dict.fromkeys(sids)
    states: dict[str, dict[str, Any] | None] = dict.fromkeys(sids)
    restarted: set[str] = set()
    phase = None
    for op in ops[1:]:
        host = str(op.process)
        if op.f == "phase":
            phase = NAMES.get(op.value["phase"], op.value["phase"])
        elif op.f in ("started", "stopped"):
            up[host], states[host] = op.f == "started", None
            down = frozenset([("down", host)])
            if op.f == "started":
                restarted.add(host)
                for name, (possible, sure) in faults.items():
                    if down <= sure:
                        faults[name] = (possible - down, sure - down)
                        asked[name] = tuple(part - down for part in asked.get(name, none))  # type: ignore[assignment]
        elif op.f == "state":
            up[host] = True if up[host] is None else up[host]
            states[host] = op.value if up[host] else None
        elif op.process == "nemesis":
            name, new, now = op.value["fault"], atoms(op.value), faults.get(op.value["fault"], none)
            restarted -= {atom[1] for atom in new if atom[0] == "down"}
            before = now if op.type == "invoke" else asked.pop(name, now)
            if op.type == "invoke":
                asked[name] = now
            was = frozenset[Atom]().union(*(p for p, _ in faults.values()))
            faults[name] = {"ok": (new, new), "fail": before}.get(op.type, (before[0] | new, before[1] & new))
            is_now = frozenset[Atom]().union(*(p for p, _ in faults.values()))
            for other in sids:
                if op.type == "ok" and op.value["step"] == "stop" and ("down", other) in was - is_now:
                    if up[other] and other in restarted:
                        continue
                    up[other], states[other] = True, None
                if any(("down", other) in sure for _, sure in faults.values()):
                    up[other], states[other] = False, None
        possible = frozenset[Atom]().union(*(p for p, _ in faults.values()))
        sure = frozenset[Atom]().union(*(s for _, s in faults.values()))
        yield Moment(op.time, sids, possible, sure, dict(up), dict(states), phase)


def stretches(keyed: list[tuple[int, Any]], end: int) -> Iterator[tuple[Any, int, int]]:
    """(key, from, to) for each longest run of moments with the same key."""
    start = 0
    for i, (time, key) in enumerate(keyed):
        if i + 1 == len(keyed) or keyed[i + 1][1] != key:
            to = keyed[i + 1][0] if i + 1 < len(keyed) else end
            yield key, keyed[start][0], to
            start = i + 1
        assert time <= end


def convergence(ops: list[Op], bound: int) -> tuple[set[tuple[frozenset[str], int]], set[str]]:
    """Broken: (the majority, since when it was without a leader).  Shown: the acts with a converged majority."""
    world = list(moments(ops))
    end = ops[-1].time
    shown = set()
    keyed = []
    for moment in world:
        owed = moment.owed()
        converged = owed is not None and moment.converged(owed)
        keyed.append((moment.time, (owed, converged)))
        if (
            owed
            and converged
            and (moment.phase == "majority" or (moment.phase == "everyone" and len(owed) == len(moment.sids)))
        ):
            shown.add(str(moment.phase))
    broken = {
        (owed, since) for (owed, has), since, to in stretches(keyed, end) if owed and not has and to - since > bound
    }
    return broken, shown


def stepping_down(ops: list[Op], bound: int) -> set[tuple[str, int]]:
    """Broken: (the leader, since when it led without a quorum)."""
    world = list(moments(ops))
    broken = set()
    for host in ops[0].value["ensemble"]:
        keyed = [(moment.time, host in moment.lost()) for moment in world]
        broken |= {(host, since) for lost, since, to in stretches(keyed, ops[-1].time) if lost and to - since > bound}
    return broken


def unique_leader(ops: list[Op]) -> set[int]:
    """The epochs that were shared, or established anew by the same server."""
    reigns: set[tuple[int, str, int]] = set()  # epoch, host, the op that began the reign
    for host in ops[0].value["ensemble"]:
        own = [op for op in ops if op.process == host]
        for i, op in enumerate(own):
            if op.f == "state" and op.value.get("established"):
                before = own[i - 1].value if i and own[i - 1].f == "state" else {}
                if not (before.get("established") and before["epoch"] == op.value["epoch"]):
                    reigns.add((op.value["epoch"], host, op.index))
    return {a[0] for a in reigns for b in reigns if a != b and a[0] == b[0]}


def epochs(ops: list[Op]) -> bool:
    """Whether they never fell and current never exceeded accepted: every pair of reports of each server, one by one."""
    reports = [op for op in ops if op.f == "state"]
    return all(op.value["current_epoch"] <= op.value["accepted_epoch"] for op in reports) and not any(
        a.process == b.process
        and (
            a.value["accepted_epoch"] > b.value["accepted_epoch"] or a.value["current_epoch"] > b.value["current_epoch"]
        )
        for a, b in combinations(reports, 2)
    )


def lost(ops: list[Op]) -> dict[str, set[int]]:
    """Server -> the committed values that its last final read lacks."""
    found: dict[str, set[int]] = {}
    for i, op in enumerate(ops):
        if op.f != "read-all" or op.type != "ok":
            continue
        asked = max(j for j in range(i) if ops[j].process == op.process and ops[j].type == "invoke")
        phase = [NAMES.get(o.value["phase"], o.value["phase"]) for o in ops[:asked] if o.f == "phase"][-1:]
        owed: set[int] = set()
        for o in ops[:asked]:
            if o.type == "ok" and o.f == "create":
                owed.add(o.value)
            elif o.type == "ok" and o.f == "read" and o.value[1] is not None:
                owed.add(o.value[0])
            elif o.type == "ok" and o.f == "read-all":
                owed |= {v for first, last in o.value for v in range(first, last + 1)}
        if phase in (["everyone"], ["end"]):
            found[str(op.server)] = owed - {v for first, last in op.value for v in range(first, last + 1)}
    return found


def leader_history(ops: list[Op]) -> set[int]:
    """The reports of leaders whose own pair is worse than those of too many who acknowledged them."""
    sids = {host: server["sid"] for host, server in ops[0].value["ensemble"].items()}
    broken = set()
    for op in ops[1:]:
        evidence = (op.value.get("evidence") or {}) if op.f == "state" and op.value["role"] == "LEADING" else {}
        if "own" not in evidence or "epoch_acks" not in evidence:
            continue
        pairs = {int(sid): pair for sid, pair in evidence["epoch_acks"].items()}
        kept = {sid for sid, pair in pairs.items() if None in pair or pair <= evidence["own"]} | {sids[op.process]}
        quorums = [len(set(sids.values()) & some) > len(sids) / 2 for some in (set(pairs), kept)]
        if quorums == [True, False]:
            broken.add(op.index)
    return broken


def evidence(ops: list[Op]) -> set[int]:
    """The reports that show too little, and those from which on something had to be shown that never was."""
    sids = {host: server["sid"] for host, server in ops[0].value["ensemble"].items()}
    broken = set()
    for host in sids:
        own = [op for op in ops if op.process == host]
        leads = [(op, op.f == "state" and op.value["role"] == "LEADING") for op in own]
        at = 0
        while at < len(leads):
            stretch = []
            while at < len(leads) and leads[at][1]:
                stretch.append(leads[at][0])
                at += 1
            at += 1
            missing = set()
            for kind, phases in (("votes", None), ("epoch_acks", None), ("newleader_acks", ["broadcast"])):
                showing = [op for op in stretch if kind in (op.value.get("evidence") or {})]
                shown = {int(sid) for op in showing[:1] for sid in op.value["evidence"][kind]}
                if showing and len(set(sids.values()) & shown) <= len(sids) / 2:
                    broken.add(showing[0].index)
                claims = [
                    op.index
                    for op in stretch
                    if op.value.get("established") and (phases is None or op.value["phase"] in phases)
                ]
                if claims and not showing:
                    missing.add(claims[0])
            if missing:
                broken.add(min(missing))
    return broken
