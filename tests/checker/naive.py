"""The promises once more, as slowly and as plainly as they can be said, to hold the fast checkers against.

Each function takes a whole list of ops, in order, with raw values.  `moments` tells how the world stands after each op,
until the next; the rest tries all subsets, all pairs and all stretches of moments.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, product
from typing import Any, NamedTuple

from checker.history import Op
from checker.servers import FOR_EVER

Atom = tuple[str, ...]
Effects = tuple[frozenset[Atom], frozenset[Atom]]  # possible, sure

NAMES = {"core": "majority", "all": "everyone"}
"""What release 0.1 called the phases of the end."""


class Moment(NamedTuple):
    """From `op` to the next one."""

    op: Op
    sids: dict[str, int]
    possible: frozenset[Atom]
    sure: frozenset[Atom]
    up: dict[str, bool | None]
    states: dict[str, dict[str, Any] | None]
    phase: str | None
    under_way: bool
    heard: dict[str, int]
    """host -> the greatest latest time of its reports."""
    stopped: dict[str, int]
    """host -> the latest time of its last stop."""

    def settled(self, hosts: Any) -> int:
        alone = [
            host
            for host in self.sids
            if self.up[host] is False and not {("down", host), ("paused", host)} & self.sure and host in self.stopped
        ]
        return max(
            self.op.latest, *(self.heard[h] for h in hosts if h in self.heard), *(self.stopped[h] for h in alone), -1
        )

    def quorum(self, hosts: Any) -> bool:
        return len(set(hosts)) > len(self.sids) / 2

    def fit(self, host: str) -> bool:
        marred = {("down", host), ("paused", host), ("clock", host)} & self.possible
        return self.up[host] is True and self.states[host] is not None and not marred

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
        return any(
            leads(self.states[leader])
            and all(follows(self.states[host], self.sids[leader], self.states[leader]) for host in members - {leader})
            for leader in members
        )

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


def leads(state: dict[str, Any] | None) -> bool:
    return bool(state and state.get("established") and state.get("phase") in ("broadcast", None))


def follows(state: dict[str, Any] | None, sid: int, lead: dict[str, Any] | None) -> bool:
    """Whether it follows this leader, as far as it says."""
    return bool(
        state
        and lead
        and state["role"] == "FOLLOWING"
        and state.get("phase") in ("broadcast", None)
        and state.get("leader") in (sid, None)
        and state.get("epoch") in (lead["epoch"], None)
    )


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
    heard: dict[str, int] = {}
    stopped: dict[str, int] = {}
    phase = None
    for op in ops[1:]:
        host = str(op.process)
        if host in sids:
            heard[host] = max(heard.get(host, op.latest), op.latest)
            if op.f == "stopped":
                stopped[host] = op.latest
        if op.f == "phase":
            phase = NAMES.get(op.value["phase"], op.value["phase"])
        elif op.f in ("started", "stopped"):
            up[host], states[host] = op.f == "started", None
            down = frozenset([("down", host)])
            if op.f == "started":
                for name, (possible, sure) in faults.items():
                    if down <= sure:
                        faults[name] = (possible - down, sure - down)
                        if name in asked:
                            asked[name] = (asked[name][0] - down, asked[name][1] - down)
        elif op.f == "state":
            up[host] = True if up[host] is None else up[host]
            states[host] = op.value if up[host] else None
        elif op.process == "nemesis":
            name, new, now = op.value["fault"], atoms(op.value), faults.get(op.value["fault"], none)
            before = now if op.type == "invoke" else asked.pop(name, now)
            if op.type == "invoke":
                asked[name] = now
            was = frozenset[Atom]().union(*(p for p, _ in faults.values()))
            faults[name] = {"ok": (new, new), "fail": before}.get(op.type, (before[0] | new, before[1] & new))
            is_now = frozenset[Atom]().union(*(p for p, _ in faults.values()))
            for other in sids:
                is_over = op.type == "ok" and op.value["step"] == "stop" and ("down", other) in was - is_now
                if is_over and not up[other]:
                    up[other], states[other] = True, None
                if any(("down", other) in sure for _, sure in faults.values()):
                    up[other], states[other] = False, None
        possible = frozenset[Atom]().union(*(p for p, _ in faults.values()))
        sure = frozenset[Atom]().union(*(s for _, s in faults.values()))
        world = possible, sure, dict(up), dict(states), phase, bool(asked), dict(heard), dict(stopped)
        yield Moment(op, sids, *world)


def stretches(keyed: list[tuple[Moment, Any]], end: int) -> Iterator[tuple[Any, Moment, int]]:
    """(key, first moment, end) for each longest run of moments with the same key."""
    start = 0
    for i, (_, key) in enumerate(keyed):
        if i + 1 == len(keyed) or keyed[i + 1][1] != key:
            yield key, keyed[start][0], keyed[i + 1][0].op.earliest if i + 1 < len(keyed) else end
            start = i + 1


def said(state: dict[str, Any]) -> tuple[Any, ...]:
    leader = state.get("leader") if state["role"] == "FOLLOWING" else None
    return state["role"], state.get("established"), leader, state.get("epoch"), state.get("phase") or "broadcast"


def spells(world: list[Moment], host: str) -> list[tuple[dict[str, Any], int, int]]:
    """Each state of a server, and the times within which it may have been current."""
    found: list[tuple[dict[str, Any], int, int]] = []
    for before, moment in zip([None, *world], world, strict=False):
        was, state = before.states[host] if before else None, moment.states[host]
        if state is not None and was is not None and said(state) == said(was):
            continue
        if state is not was and was is not None:
            found[-1] = (*found[-1][:2], moment.op.latest)
        if state is not was and state is not None:
            found.append((state, moment.op.earliest, FOR_EVER))
    return found


def may_have_converged(world: list[Moment], members: frozenset[str]) -> list[tuple[int, int]]:
    sids, found = world[0].sids, []
    for leader in members:
        others = [spells(world, host) for host in members if host != leader]
        for lead, since, until in spells(world, leader):
            if not leads(lead):
                continue
            near = [[s for s in other if follows(s[0], sids[leader], lead)] for other in others]
            found += [
                (max(since, *(s[1] for s in chosen)), min(until, *(s[2] for s in chosen))) for chosen in product(*near)
            ]
    return sorted((a, b) for a, b in found if a <= b)


def convergence(ops: list[Op], bound: int) -> tuple[set[tuple[frozenset[str], int]], set[str]]:
    """Broken: (the majority, since when it was without a leader).  Shown: the acts with a converged majority."""
    world = list(moments(ops))
    end = max(op.time for op in ops)
    shown: set[str] = set()
    keyed = [(moment, moment.owed()) for moment in world]
    for moment, owed in keyed:
        op, phase = moment.op, str(moment.phase)
        if op.process == "nemesis" and op.type == "invoke" and op.value["step"] == "start":
            shown -= {phase}
        if owed and moment.converged(owed) and not moment.under_way:
            whole = len(owed) == len(moment.sids) and not moment.possible
            if phase == "majority" or (phase == "everyone" and whole):
                shown.add(phase)
    broken = set()
    for owed, moment, to in stretches(keyed, end):
        if not owed:
            continue
        since = moment.settled(owed)
        times = [(max(a, since), min(b, to)) for a, b in may_have_converged(world, owed)]
        for first, last in [*((a, b) for a, b in times if a <= b), (to, to)]:
            if first - since > bound:
                broken.add((owed, since))
            since = max(since, last)
    return broken, shown


def stepping_down(ops: list[Op], bound: int) -> set[tuple[str, int]]:
    """Broken: (the leader, since when it led without a quorum)."""
    world = list(moments(ops))
    end = max(op.time for op in ops)
    broken = set()
    for host in ops[0].value["ensemble"]:
        keyed = [(moment, host in moment.lost()) for moment in world]
        for lost, moment, to in stretches(keyed, end):
            since = moment.settled([host])
            if lost and to - since > bound:
                broken.add((host, since))
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
    told = [
        (op.process, op.value.get("accepted_epoch"), op.value.get("current_epoch")) for op in ops if op.f == "state"
    ]
    above = [current for _, accepted, current in told if None not in (accepted, current) and current > accepted]
    falls = [
        (a, b)
        for a, b in combinations(told, 2)
        if a[0] == b[0]
        and (
            (b[1] is not None and (a[1] if a[1] is not None else a[2] or 0) > b[1])
            or (None not in (a[2], b[2]) and a[2] > b[2])
        )
    ]
    return not above and not falls


def values(op: Op) -> set[int]:
    """What a read that ended returned."""
    if op.type != "ok" or op.f not in ("read", "read-all"):
        return set()
    if op.f == "read":
        return set() if op.value[1] is None else {op.value[0]}
    return {v for first, last in op.value for v in range(first, last + 1)}


def aborted(ops: list[Op]) -> set[int]:
    """The values that were read although their create failed."""
    return {op.value for op in ops if op.f == "create" and op.type == "fail"} & set().union(*map(values, ops))


def lost(ops: list[Op]) -> list[tuple[str, set[int]]]:
    """The final reads: the server, and the committed values that are not in it."""
    found = []
    for i, op in enumerate(ops):
        if op.f != "read-all" or op.type != "ok":
            continue
        asked = max(j for j in range(i) if ops[j].process == op.process and ops[j].type == "invoke")
        phase = [NAMES.get(o.value["phase"], o.value["phase"]) for o in ops[:asked] if o.f == "phase"][-1:]
        created = {o.value for o in ops[:asked] if o.f == "create" and o.type == "ok"}
        if phase in (["everyone"], ["end"]):
            found.append((str(op.server), created.union(*map(values, ops[:asked])) - values(op)))
    return found


def leaderships(ops: list[Op]) -> list[tuple[str, list[Op], bool]]:
    """(host, its reports as LEADING that name no two epochs, whether something ended them)."""
    found = []
    for host in ops[0].value["ensemble"]:
        stretch: list[Op] = []
        for op in [op for op in ops if op.process == host]:
            is_one = op.f == "state" and op.value["role"] == "LEADING"
            named = {o.value.get("epoch") for o in [*stretch, op] if o.f == "state"} - {None}
            if stretch and (not is_one or len(named) > 1):
                found.append((host, stretch, True))
                stretch = []
            stretch = [*stretch, op] if is_one else []
        if stretch:
            found.append((host, stretch, False))
    return found


def leader_history(ops: list[Op]) -> set[int]:
    """The reports of leaders whose own pair is worse than those of too many who acknowledged them."""
    sids = {host: server["sid"] for host, server in ops[0].value["ensemble"].items()}
    broken = set()
    for host, reports, _ in leaderships(ops):
        for op in reports if any(o.value.get("established") for o in reports) else []:
            evidence = op.value.get("evidence") or {}
            if "own" not in evidence or "epoch_acks" not in evidence:
                continue
            pairs = {int(sid): pair for sid, pair in evidence["epoch_acks"].items()}
            kept = {sid for sid, pair in pairs.items() if None in pair or pair <= evidence["own"]} | {sids[host]}
            quorums = [len(set(sids.values()) & some) > len(sids) / 2 for some in (set(pairs), kept)]
            if quorums == [True, False]:
                broken.add(op.index)
    return broken


def evidence(ops: list[Op]) -> tuple[set[tuple[str, int]], set[int]]:
    """(kind, first report that shows it) of what is too little; the reports from which on something was owed that was
    never shown."""
    sids = {host: server["sid"] for host, server in ops[0].value["ensemble"].items()}
    few: set[tuple[str, int]] = set()
    never: set[int] = set()
    for host, reports, ended in leaderships(ops):
        missing = set()
        established = [op for op in reports if op.value.get("established")]
        for kind in ("votes", "epoch_acks", "newleader_acks"):
            claims = [op for op in established if kind != "newleader_acks" or op.value["phase"] == "broadcast"]
            showing = [op for op in reports if kind in (op.value.get("evidence") or {})]
            shown: set[int] = set()
            early = [op for op in showing if not established or op.index < established[0].index]
            if kind == "votes" and early:
                showing = early
            for op in showing:
                for sid in op.value["evidence"][kind]:
                    given = op.value["evidence"][kind]
                    vote = given[sid] if kind == "votes" and isinstance(given, dict) else {}
                    if vote.get("leader", sids[host]) != sids[host]:
                        continue
                    old = vote.get("round", 9) < op.value.get("round", 0)
                    if old and vote.get("state", "LOOKING") == "LOOKING":
                        continue
                    shown.add(int(sid))
            owed = claims or (kind == "votes" and showing and ended and not established)
            if owed and len(set(sids.values()) & shown) <= len(sids) / 2:
                missing.add((kind, showing[0].index if showing else None, claims[0].index if claims else None))
        since = [claim for _, _, claim in missing if claim is not None]
        fresh = since and not ended and ops[min(since)].time > ops[-1].time - 1_000_000_000
        if not fresh:
            few |= {(kind, first) for kind, first, _ in missing if first is not None}
            unseen = [claim for _, first, claim in missing if first is None and claim is not None]
            never |= {min(unseen)} if unseen else set()
    return few, never
