"""The referee: a second judge of every promise, slow and plain, written from docs/history.md alone.

The checkers of the product are fast: they read once, remember little and bend where speed asks for it.  The referee has
none of that.  It lists every world that a history describes, one after each sorted op, and then asks of the whole list
what the page asks.  It shares no code with the checkers, so a fault of theirs that is also a fault here is a
misreading of the page that two readers made.

    judge(Path("history.jsonl"))    # {"unique-leader": "valid", ..., "convergence": "unknown", "verdict": "unknown"}

It expects a history: what is malformed is not its business.  `partial-connectivity` is never broken, and the page does
not say how it is measured, so the referee leaves it out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

VALID, INVALID, UNKNOWN = "valid", "invalid", "unknown"

PROMISES = (
    "unique-leader",
    "epochs",
    "leader-history",
    "durability",
    "evidence",
    "convergence",
    "stepping-down",
)
JUDGED = (*PROMISES, "verdict")

Value = dict[str, Any]
Effects = frozenset[tuple[str, ...]]
"""Each is ("drops", hearer, speaker), ("degraded", hearer, speaker), ("down", host), ..., or ("anything",)."""

NOTHING: Effects = frozenset()
ANYTHING: Effects = frozenset({("anything",)})
LINKS = ("drops", "degraded")
SERVERS = ("down", "paused", "clock", "disk")
REPORTS = ("state", "started", "stopped")
CLIENTS = ("create", "read", "read-all")

WINDOW_NS = 120 * 10**9
WINDOW_OPS = 100_000
TAIL_NS = 30 * 10**9


def judge(path: Path) -> dict[str, str]:
    """The verdict on each judged promise, and on the run as a whole ("verdict")."""
    return Trial(read(path)).verdicts()


def read(path: Path) -> list[Value]:
    """The ops in the order of the file; a last line that was cut is left out."""
    lines = path.read_bytes().split(b"\n")
    whole = [json.loads(line) for line in lines[:-1]]
    if lines[-1]:
        try:
            whole.append(json.loads(lines[-1]))
        except ValueError:
            pass
    return whole


def said(op: Value) -> Value:
    """The value of an op, as an object."""
    value = op.get("value")
    return value if isinstance(value, dict) else {}


def earliest(op: Value) -> int:
    return int(op["time"] - op.get("time_error", 0))


def latest(op: Value) -> int:
    return int(op["time"] + op.get("time_error", 0))


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# Order


def is_client(op: Value) -> bool:
    return isinstance(op["process"], int)


def is_sorted(op: Value) -> bool:
    """Whether an op is one of those that are not clients' and whose `f` is listed; any `f` of the nemesis is."""
    if is_client(op):
        return False
    if op["process"] == "nemesis":
        return True
    if op["process"] == "controller":
        return op["f"] in ("run", "phase", "end")
    return op["f"] in (*REPORTS, "healed", "toggle")


def keys(ops: list[Value]) -> list[int]:
    """The key of each op, in the order of the file."""
    found: list[int] = []
    for n, op in enumerate(ops):
        key = op["time"]
        if op.get("host_time") is not None:
            before = [
                (other["host_time"], found[m])
                for m, other in enumerate(ops[:n])
                if other["process"] == op["process"] and other.get("host_time") is not None
            ]
            if before:
                # Of equal greatest host times the last one has the greatest key, since it has at least the others'.
                greatest, its_key = max(before)
                if op["host_time"] >= greatest:
                    key = max(key, its_key)
        found.append(key)
    return found


def in_order(ops: list[Value]) -> tuple[list[Value], bool]:
    """The sorted ops in the order in which they count, and whether any was late."""
    mine = [op for op in ops if is_sorted(op)]
    key = keys(mine)
    waiting: list[int] = []
    passed: list[int] = []
    late = False
    for n in range(len(mine)):
        if passed and key[n] < max(key[p] for p in passed):
            late = True
        waiting = sorted([*waiting, n], key=lambda m: (key[m], m))
        greatest = max(key[: n + 1])
        while waiting and (key[waiting[0]] < greatest - WINDOW_NS or len(waiting) > WINDOW_OPS):
            passed.append(waiting.pop(0))
    return [mine[n] for n in (*passed, *waiting)], late


# The world


@dataclass(frozen=True)
class Ensemble:
    sids: dict[str, int]
    voters: tuple[str, ...]
    groups: tuple[frozenset[int], ...]
    weights: dict[int, int]

    @classmethod
    def of(cls, run: Value) -> Ensemble:
        sids = {host: server["sid"] for host, server in run["ensemble"].items()}
        voters = [host for host, s in run["ensemble"].items() if s.get("role", "participant") == "participant"]
        quorum = run.get("quorum") or {"kind": "majority"}
        # A majority is a hierarchy of one group in which everybody weighs 1.
        groups: Iterable[list[int]] = [[sids[voter] for voter in voters]]
        weights: dict[int, int] = {}
        if quorum["kind"] == "hierarchical":
            groups = quorum["groups"].values()
            weights = {int(sid): weight for sid, weight in (quorum.get("weights") or {}).items()}
        voting = {sids[voter] for voter in voters}
        return cls(
            sids,
            tuple(voters),
            tuple(frozenset(group) & voting for group in groups),
            {sid: weights.get(sid, 1) for sid in voting},
        )

    def is_quorum(self, sids: Iterable[int]) -> bool:
        members = set(sids)
        heavy = [group for group in self.groups if sum(self.weights[sid] for sid in group) > 0]
        won = [
            group
            for group in heavy
            if 2 * sum(self.weights[sid] for sid in group & members) > sum(self.weights[sid] for sid in group)
        ]
        return 2 * len(won) > len(heavy)

    def are_quorum(self, hosts: Iterable[str]) -> bool:
        return self.is_quorum(self.sids[host] for host in hosts)


@dataclass(frozen=True)
class Fault:
    possible: Effects = NOTHING
    sure: Effects = NOTHING
    under_way: bool = False
    before: tuple[Effects, Effects] = (NOTHING, NOTHING)  # P and S of the invoke that is under way
    invoked: Effects = ANYTHING  # E of that invoke

    def without_down(self, host: str) -> Fault:
        down = {("down", host)}
        p, s = self.before
        return Fault(self.possible - down, self.sure - down, self.under_way, (p - down, s - down), self.invoked)

    def healed(self, host: str) -> Fault:
        still = frozenset(e for e in self.sure if len(e) < 2 or e[1] != host)
        return Fault(self.possible, still, self.under_way, self.before, self.invoked)


@dataclass(frozen=True)
class World:
    """What is known after an op."""

    op: Value
    ensemble: Ensemble
    phase: str | None
    faults: dict[str, Fault]
    runs: dict[str, bool | None]
    states: dict[str, Value | None]
    started_since: dict[str, bool]  # whether a server reported `started` since E of an op last held a `down` of it

    @property
    def possible(self) -> Effects:
        return NOTHING.union(*(fault.possible for fault in self.faults.values()))

    @property
    def sure(self) -> Effects:
        return NOTHING.union(*(fault.sure for fault in self.faults.values()))

    def is_fit(self, host: str) -> bool:
        return self.runs[host] is True and not any((kind, host) in self.possible for kind in SERVERS)

    def is_gone(self, host: str) -> bool:
        if ("paused", host) in self.sure:
            return True
        down = ("down", host)
        return self.runs[host] is False and (down in self.sure or down not in self.possible)

    def hears_well(self, a: str, b: str) -> bool:
        return not any((kind, a, b) in self.possible for kind in LINKS)

    def does_not_hear(self, a: str, b: str) -> bool:
        return ("drops", a, b) in self.sure

    def majority(self) -> frozenset[str] | None:
        """The majority that must have a leader."""
        if any(effect[0] == "anything" for effect in self.possible):
            return None
        fit = [voter for voter in self.ensemble.voters if self.is_fit(voter)]
        if not self.ensemble.are_quorum(fit):
            return None
        for size in range(len(fit), 0, -1):
            for members in combinations(fit, size):
                if self.ensemble.are_quorum(members) and self.is_apart(members):
                    return frozenset(members)
        return None

    def is_apart(self, members: tuple[str, ...]) -> bool:
        """Whether all members hear each other well, and no other voter can join in."""
        others = [voter for voter in self.ensemble.voters if voter not in members]
        return all(self.hears_well(a, b) for a in members for b in members if a != b) and all(
            self.is_gone(other)
            or all(self.does_not_hear(other, m) and self.does_not_hear(m, other) for m in members)
            for other in others
        )

    def is_established(self, host: str) -> bool:
        state = self.states[host]
        return self.runs[host] is True and state is not None and is_established(state)

    def follows(self, host: str, leader: str) -> bool:
        state, leads = self.states[host], self.states[leader]
        if state is None or leads is None or state["role"] != "FOLLOWING" or state.get("phase") != "broadcast":
            return False
        # What is unknown differs from nothing.
        return state.get("leader") in (None, self.ensemble.sids[leader]) and state.get("epoch") in (
            None,
            leads["epoch"],
        )

    def has_converged(self, majority: frozenset[str]) -> bool:
        return any(
            self.is_established(leader)
            and (self.states[leader] or {}).get("phase") == "broadcast"
            and all(self.follows(host, leader) for host in majority - {leader})
            for leader in majority
        )

    def lead_without_quorum(self) -> set[str]:
        found = set()
        for leader in self.ensemble.sids:
            if self.is_established(leader) and self.is_fit(leader):
                company = {leader} | {
                    voter
                    for voter in self.ensemble.voters
                    if not self.is_gone(voter)
                    and not self.does_not_hear(voter, leader)
                    and not self.does_not_hear(leader, voter)
                }
                if not self.ensemble.are_quorum(company):
                    found.add(leader)
        return found


def is_established(state: Value) -> bool:
    return state["role"] == "LEADING" and state.get("established") is True


def effects_of(value: Value) -> Effects | None:
    """The effects that an op lists; None if it lists none."""
    if value["step"] == "stop":
        return NOTHING
    if value.get("effects") is None:
        return None
    found: set[tuple[str, ...]] = set()
    for effect in value["effects"]:
        for kind, what in effect.items():
            if kind in LINKS:
                found |= {(kind, a, b) for a, speakers in what.items() for b in speakers if a != b}
            elif kind == "clock" and value.get("runs_ordinarily"):
                continue
            elif kind in SERVERS:
                found |= {(kind, host) for host in what}
            else:
                found |= ANYTHING
    return frozenset(found)


def effects_after(op: Value, fault: Fault) -> tuple[Effects, Fault]:
    """E of an op of the nemesis, and its fault after it."""
    if op["type"] == "invoke":
        listed = effects_of(op["value"])
        e = ANYTHING if listed is None else listed
        now = (fault.possible, fault.sure)
        return e, Fault(fault.possible | e, fault.sure & e, True, now, e)
    listed = effects_of(op["value"])
    e = (fault.invoked if fault.under_way else ANYTHING) if listed is None else listed
    p, s = fault.before if fault.under_way else (fault.possible, fault.sure)
    possible, sure = {"info": (p | e, s & e), "ok": (e, e), "fail": (p, s)}[op["type"]]
    return e, Fault(possible, sure)


def next_world(last: World, op: Value) -> World:
    faults, runs, states = dict(last.faults), dict(last.runs), dict(last.states)
    since, phase = dict(last.started_since), last.phase
    host, f, value = op["process"], op["f"], said(op)
    if host == "nemesis":
        name = value["fault"]
        e, faults[name] = effects_after(op, faults.get(name, Fault()))
        since |= {kind_and_host[1]: False for kind_and_host in e if kind_and_host[0] == "down"}
    elif f == "phase":
        phase = {"core": "majority", "all": "everyone"}.get(value["phase"], value["phase"])
    elif f == "healed":
        named = value.get("faults")
        faults = {n: x.healed(host) if named is None or n in named else x for n, x in faults.items()}
    elif f == "started":
        runs[host], states[host], since[host] = True, None, True
        faults = {n: x.without_down(host) if ("down", host) in x.sure else x for n, x in faults.items()}
    elif f == "state":
        runs[host] = True if runs[host] is None else runs[host]
        states[host] = value if runs[host] else None
    elif f == "stopped":
        runs[host], states[host] = False, None
    world = World(op, last.ensemble, phase, faults, runs, states, since)
    for server in runs:
        down = ("down", server)
        if down in world.sure:
            runs[server], states[server] = False, None
        elif host == "nemesis" and op["type"] == "ok" and value["step"] == "stop":
            over = down in last.possible and down not in world.possible
            if over and not (since[server] and runs[server] is True):
                runs[server], states[server] = True, None
    return world


def worlds(sorted_ops: list[Value], ensemble: Ensemble) -> list[World]:
    hosts = ensemble.sids
    world = World({}, ensemble, None, {}, dict.fromkeys(hosts), dict.fromkeys(hosts), dict.fromkeys(hosts, False))
    found = []
    for op in sorted_ops:
        world = next_world(world, op)
        found.append(world)
    return found


# The promises


@dataclass(frozen=True)
class Silence:
    """A violation that rests on what nobody reported, and the hosts that it names."""

    hosts: frozenset[str]


class Trial:
    def __init__(self, ops: list[Value]) -> None:
        self.ops = ops
        self.run: Value = ops[0]["value"]
        self.ensemble = Ensemble.of(self.run)
        self.sorted, self.late = in_order(ops)
        self.worlds = worlds(self.sorted, self.ensemble)
        ends = [said(op) for op in ops if op["process"] == "controller" and op["f"] == "end"]
        self.end = ends[-1] if ends else None
        self.lines_missing = [op["index"] for op in ops] != list(range(len(ops)))

    # Facts about the whole history

    def events_missing(self) -> set[str]:
        """The hosts of which events are missing."""
        if self.end is None or self.end.get("complete", True) is False:
            return set()
        streams = self.end.get("streams") or {}
        return {
            host
            for host in self.ensemble.sids
            if not streams.get(host) or streams[host].get("sent") != streams[host].get("received")
        }

    def bound(self, name: str, ticks: int, more_ms: int) -> float:
        """A bound in nanoseconds."""
        stated = (self.run.get("bounds") or {}).get(name)
        if stated is not None:
            return round(stated * 10**9)
        return (ticks * self.run["settings"]["tick_ms"] + more_ms) * 10**6

    def known_until(self) -> float:
        """The time up to which silence means something."""
        return float("inf") if self.end is not None else self.ops[-1]["time"] - TAIL_NS

    def reports(self, host: str) -> list[Value]:
        return [op for op in self.sorted if op["process"] == host and op["f"] in REPORTS]

    def established_reports(self) -> list[Value]:
        return [op for op in self.sorted if op["f"] == "state" and is_established(op["value"])]

    # The verdict

    def verdicts(self) -> dict[str, str]:
        found = {name: getattr(self, name.replace("-", "_"))() for name in PROMISES}
        unjudged = set(self.run.get("unjudged") or ())
        if "best-history" in unjudged:
            unjudged |= {"leader-history", "durability"}
        judged = {name: verdict for name, verdict in found.items() if name not in unjudged}
        verified = any(
            op["type"] == "ok" and op["value"]["step"] == "start" and op["value"].get("evidence")
            for op in self.ops
            if op["process"] == "nemesis"
        )
        doubtful = (
            not judged
            or not self.established_reports()
            or not verified
            or self.end is None
            or self.end.get("complete", True) is False
            or bool(self.events_missing())
            or self.lines_missing
            or self.late
        )
        if INVALID in judged.values():
            judged["verdict"] = INVALID
        else:
            judged["verdict"] = UNKNOWN if doubtful or UNKNOWN in judged.values() else VALID
        return judged

    def silent(self, violations: list[Silence], unknown: bool) -> str:
        missing = self.events_missing()
        if self.lines_missing or self.late:
            missing = set(self.ensemble.sids)
        kept = [v for v in violations if not v.hosts & missing]
        if kept:
            return INVALID
        return UNKNOWN if unknown or violations else VALID

    # Safety

    def unique_leader(self) -> str:
        taken = []
        for host in self.ensemble.sids:
            before = None  # the epoch in which the previous report was an established leader
            for op in self.reports(host):
                leads = op["f"] == "state" and is_established(op["value"])
                epoch = op["value"]["epoch"] if leads else None
                if epoch is not None and epoch != before:
                    taken.append(epoch)
                before = epoch
        if len(set(taken)) < len(taken):
            return INVALID
        return VALID if taken else UNKNOWN

    def epochs(self) -> str:
        reported = False
        broken = False
        for host in self.ensemble.sids:
            accepted_so_far: list[int] = []  # an accepted epoch is at least every accepted and current epoch before
            current_so_far: list[int] = []
            for op in self.reports(host):
                accepted, current = said(op).get("accepted_epoch"), said(op).get("current_epoch")
                if accepted is not None:
                    broken |= any(accepted < epoch for epoch in accepted_so_far + current_so_far)
                    accepted_so_far.append(accepted)
                if current is not None:
                    broken |= any(current < epoch for epoch in current_so_far)
                    current_so_far.append(current)
                if accepted is not None and current is not None:
                    broken |= current > accepted
            reported |= bool(accepted_so_far or current_so_far)
        if broken:
            return INVALID
        return VALID if reported else UNKNOWN

    def leader_history(self) -> str:
        judged = 0
        for op in self.sorted:
            if op["f"] != "state" or op["value"]["role"] != "LEADING":
                continue
            evidence = op["value"].get("evidence") or {}
            own, acks = evidence.get("own"), evidence.get("epoch_acks")
            if own is None or not isinstance(acks, dict):
                continue
            judged += 1
            not_greater = {
                int(sid)
                for sid, (epoch, zxid) in acks.items()
                if not (is_number(epoch) and is_number(zxid) and (epoch, zxid) > tuple(own))
            }
            itself = self.ensemble.sids[op["process"]]
            if self.ensemble.is_quorum(int(sid) for sid in acks) and not self.ensemble.is_quorum(
                not_greater | {itself}
            ):
                return INVALID
        return VALID if judged else UNKNOWN

    def durability(self) -> str:
        tried: set[int] = set()
        failed: set[int] = set()
        committed: set[int] = set()
        acknowledged = broken = untried = False
        invoked: dict[int, tuple[str, bool, set[int]]] = {}  # by client: f, whether final, what was committed then
        read_at_the_end: set[str] = set()
        phase = ""
        for op in self.ops:
            if op["process"] == "controller" and op["f"] == "phase":
                phase = said(op)["phase"]
            if not is_client(op) or op["f"] not in CLIENTS:
                continue
            client, f, value = op["process"], op["f"], op.get("value")
            if f == "create":
                tried.add(value)
            if op["type"] == "invoke":
                invoked[client] = (f, phase in ("everyone", "all", "end"), set(committed))
                continue
            its_f, final, then = invoked.pop(client, ("", False, set()))
            if op["type"] == "fail" and f == "create":
                failed.add(value)
            if op["type"] != "ok":
                continue
            if f == "create":
                acknowledged = True
                committed.add(value)
                continue
            if f == "read":
                key, result = value
                broken |= result is not None and result != key
                returned = set() if result is None else {result}
            else:
                returned = {n for first, last in value for n in range(first, last + 1)}
            untried |= bool(returned - tried)
            broken |= bool(returned & failed)
            committed |= returned & tried
            if f == "read-all" and its_f == f and final:
                read_at_the_end.add(op["server"])
                broken |= bool(then - returned)
        if broken or (untried and not self.lines_missing):
            return INVALID
        everybody = set(self.ensemble.voters) <= read_at_the_end
        return VALID if acknowledged and everybody and not untried else UNKNOWN

    def evidence(self) -> str:
        violations = []
        established = False
        doubtful = False
        for host in self.ensemble.sids:
            leaderships = self.leaderships(host)
            for n, reports in enumerate(leaderships):
                established |= any(is_established(report) for report in reports)
                if self.lacks_evidence(host, reports):
                    goes_on = n == len(leaderships) - 1 and self.reports(host)[-1].get("value") is reports[-1]
                    if goes_on and self.end is None:
                        doubtful = True
                    else:
                        violations.append(Silence(frozenset({host})))
        return self.silent(violations, unknown=doubtful or not established)

    def leaderships(self, host: str) -> list[list[Value]]:
        """The reports of each leadership: of one host, in one epoch, without a break."""
        found: list[list[Value]] = []
        unbroken = False
        for op in self.reports(host):
            if op["f"] != "state" or op["value"]["role"] != "LEADING":
                unbroken = False
                continue
            epochs = {report["epoch"] for report in found[-1] if report.get("epoch") is not None} if found else set()
            epoch = op["value"].get("epoch")
            if unbroken and (epoch is None or epochs <= {epoch}):
                found[-1].append(op["value"])
            else:
                found.append([op["value"]])
            unbroken = True
        return found

    def lacks_evidence(self, host: str, reports: list[Value]) -> bool:
        shown: dict[str, set[int]] = {}
        for report in reports:
            evidence = report.get("evidence") or {}
            for kind in ("votes", "epoch_acks", "newleader_acks"):
                if evidence.get(kind) is not None:
                    sids = self.votes_for(host, report) if kind == "votes" else {int(sid) for sid in evidence[kind]}
                    shown.setdefault(kind, set()).update(sids)
        must = set(shown)
        if any(is_established(report) for report in reports):
            must |= {"votes", "epoch_acks"}
        if any(is_established(report) and report.get("phase") == "broadcast" for report in reports):
            must |= {"newleader_acks"}
        return any(not self.ensemble.is_quorum(shown.get(kind, ())) for kind in must)

    def votes_for(self, host: str, report: Value) -> set[int]:
        """The sids of votes that name this leader, in its round or a later one; what a vote does not say counts."""
        votes, its_round = report["evidence"]["votes"], report.get("round")
        if not isinstance(votes, dict):
            return {int(sid) for sid in votes}
        found = set()
        for sid, vote in votes.items():
            content = vote if isinstance(vote, dict) else {}
            leader, in_round = content.get("leader"), content.get("round")
            if leader in (None, self.ensemble.sids[host]) and (
                None in (in_round, its_round) or in_round >= its_round  # type: ignore[operator]
            ):
                found.add(int(sid))
        return found

    # Liveness

    def too_long(self, begun: int, since: int, until: int, bound: float, ends_with_history: bool) -> bool:
        """Whether what began after op `begun`, at time `since`, and lasted to op `until` took longer than the bound."""
        times = [earliest(op) for op in self.sorted[begun + 1 : until + 1]]
        if ends_with_history:
            times.append(max(op["time"] for op in self.sorted))
        return any(min(time, self.known_until()) - since > bound for time in times)

    def greatest_latest(self, n: int) -> int:
        return max(latest(op) for op in self.sorted[: n + 1])

    def convergence(self) -> str:
        settings = self.run["settings"]
        bound = self.bound(
            "convergence_s",
            3 * settings["init_limit"] + settings["sync_limit"],
            settings.get("max_notification_interval_ms", 60000) + 1000,
        )
        owed = [world.majority() for world in self.worlds]
        converged = [m is not None and world.has_converged(m) for world, m in zip(self.worlds, owed, strict=True)]
        lacking = [m is not None and not c for m, c in zip(owed, converged, strict=True)]
        violations = []
        for n, majority in enumerate(owed):
            opens = n == 0 or owed[n - 1] != majority
            if majority is None or not lacking[n] or not (opens or converged[n - 1]):
                continue
            since = self.greatest_latest(n) if opens else latest(self.sorted[n])
            over = [m for m in range(n + 1, len(owed)) if owed[m] != majority or converged[m]]
            until = over[0] if over else len(owed) - 1
            if self.too_long(n, since, until, bound, ends_with_history=not over):
                violations.append(Silence(majority))
        seen = set()
        for world, majority, has in zip(self.worlds, owed, converged, strict=True):
            if majority is None or not has or any(fault.under_way for fault in world.faults.values()):
                continue
            if world.phase == "majority":
                seen.add("majority")
            if world.phase == "everyone" and majority == set(self.ensemble.voters) and not world.possible:
                seen.add("everyone")
        return self.silent(violations, unknown=seen != {"majority", "everyone"})

    def stepping_down(self) -> str:
        settings = self.run["settings"]
        bound = self.bound("stepping_down_s", max(settings["init_limit"], settings["sync_limit"]) + 2, 1000)
        alone = [world.lead_without_quorum() for world in self.worlds]
        violations = []
        for n, leaders in enumerate(alone):
            for leader in leaders - (alone[n - 1] if n else set()):
                over = [m for m in range(n + 1, len(alone)) if leader not in alone[m]]
                until = over[0] if over else len(alone) - 1
                if self.too_long(n, self.greatest_latest(n), until, bound, ends_with_history=not over):
                    violations.append(Silence(frozenset({leader})))
        return self.silent(violations, unknown=not self.established_reports())
