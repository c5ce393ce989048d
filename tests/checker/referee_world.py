"""What the referee knows: the order of a history's ops, and the world after each, as docs/history.md tells them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

Value = dict[str, Any]
Effects = frozenset[tuple[str, ...]]
"""Each is ("drops", hearer, speaker), ("degraded", hearer, speaker), ("down", host), ..., or ("anything",)."""

NOTHING: Effects = frozenset()
ANYTHING: Effects = frozenset({("anything",)})
LINKS = ("drops", "degraded")
SERVERS = ("down", "paused", "clock", "disk")
REPORTS = ("state", "started", "stopped")

WINDOW_NS = 120 * 10**9
WINDOW_OPS = 100_000


def read(path: Path) -> list[Value]:
    """The ops in the order of the file; a last line that was cut is left out."""
    lines = path.read_bytes().split(b"\n")
    whole = [json.loads(line) for line in lines[:-1]]
    if lines[-1]:
        with suppress(ValueError):
            whole.append(json.loads(lines[-1]))
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


def in_order(ops: list[Value]) -> tuple[list[Value], set[str]]:
    """The sorted ops in the order in which they count, and the processes of those that were late."""
    mine = [op for op in ops if is_sorted(op)]
    key = keys(mine)
    waiting: list[int] = []
    passed: list[int] = []
    late = set()
    for n in range(len(mine)):
        if passed and key[n] < max(key[p] for p in passed):
            late.add(mine[n]["process"])
        waiting = sorted([*waiting, n], key=lambda m: (key[m], m))
        greatest = max(key[: n + 1])
        while waiting and (key[waiting[0]] < greatest - WINDOW_NS or len(waiting) > WINDOW_OPS):
            passed.append(waiting.pop(0))
    ordered = [mine[n] for n in (*passed, *waiting)]
    for n, op in enumerate(ordered):
        mark = op.get("host_time")
        before = [o.get("host_time") for o in ordered[:n] if o["process"] == op["process"]]
        if mark is not None and any(other is not None and other > mark for other in before):
            late.add(op["process"])
    return ordered, late


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
        """The page names only what is sure; but a `fail` or an `info` must not bring back what the host undid."""

        def left(sure: Effects) -> Effects:
            return frozenset(effect for effect in sure if len(effect) < 2 or effect[1] != host)

        p, s = self.before
        return Fault(self.possible, left(self.sure), self.under_way, (p, left(s)), self.invoked)


@dataclass(frozen=True)
class World:
    """What is known after an op."""

    op: Value
    ensemble: Ensemble
    phase: str | None
    faults: dict[str, Fault]
    runs: dict[str, bool | None]
    states: dict[str, Value | None]

    @cached_property
    def possible(self) -> Effects:
        return NOTHING.union(*(fault.possible for fault in self.faults.values()))

    @cached_property
    def sure(self) -> Effects:
        return NOTHING.union(*(fault.sure for fault in self.faults.values()))

    def is_fit(self, host: str) -> bool:
        return (
            self.runs[host] is True
            and self.states[host] is not None
            and not any((kind, host) in self.possible for kind in SERVERS)
            and not any(effect[0] == "anything" for effect in self.possible)
        )

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
            self.is_gone(other) or all(self.does_not_hear(other, m) and self.does_not_hear(m, other) for m in members)
            for other in others
        )

    def is_established(self, host: str) -> bool:
        state = self.states[host]
        return self.runs[host] is True and state is not None and is_established(state)

    def has_converged(self, majority: frozenset[str]) -> bool:
        return any(
            self.is_established(leader)
            and leads(self.states[leader])
            and all(
                follows(self.states[host], self.states[leader], self.ensemble.sids[leader])
                for host in majority - {leader}
            )
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


def leads(state: Value | None) -> bool:
    """Whether this is a state of a leader who may be in phase `broadcast`."""
    return state is not None and is_established(state) and state.get("phase") in (None, "broadcast")


def follows(state: Value | None, leading: Value | None, sid: int) -> bool:
    """Whether a server in this state follows that leader; what is unknown differs from nothing."""
    return (
        state is not None
        and leading is not None
        and state["role"] == "FOLLOWING"
        and state.get("phase") in (None, "broadcast")
        and state.get("leader") in (None, sid)
        and state.get("epoch") in (None, leading["epoch"])
    )


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


def after(op: Value, fault: Fault) -> Fault:
    """A fault after an op of the nemesis."""
    if op["type"] == "invoke":
        listed = effects_of(op["value"])
        e = ANYTHING if listed is None else listed
        now = (fault.possible, fault.sure)
        return Fault(fault.possible | e, fault.sure & e, True, now, e)
    listed = effects_of(op["value"])
    e = (fault.invoked if fault.under_way else ANYTHING) if listed is None else listed
    p, s = fault.before if fault.under_way else (fault.possible, fault.sure)
    possible, sure = {"info": (p | e, s & e), "ok": (e, e), "fail": (p, s)}[op["type"]]
    return Fault(possible, sure)


def is_stopped(op: Value) -> bool:
    return bool(op["process"] == "nemesis" and op["type"] == "ok" and op["value"]["step"] == "stop")


def next_world(last: World, op: Value) -> World:
    faults, runs, states = dict(last.faults), dict(last.runs), dict(last.states)
    host, f, value, phase = op["process"], op["f"], said(op), last.phase
    if host == "nemesis":
        name = value["fault"]
        faults[name] = after(op, faults.get(name, Fault()))
    elif f == "phase":
        phase = {"core": "majority", "all": "everyone"}.get(value["phase"], value["phase"])
    elif f == "healed":
        named = value.get("faults")
        faults = {n: x.healed(host) if named is None or n in named else x for n, x in faults.items()}
    elif f == "started":
        runs[host], states[host] = True, None
        faults = {n: x.without_down(host) if ("down", host) in x.sure else x for n, x in faults.items()}
    elif f == "state":
        runs[host] = True if runs[host] is None else runs[host]
        states[host] = value if runs[host] else None
    elif f == "stopped":
        runs[host], states[host] = False, None
    world = World(op, last.ensemble, phase, faults, runs, states)
    for server, running in list(runs.items()):
        down = ("down", server)
        if down in world.sure:
            runs[server], states[server] = False, None
        elif is_stopped(op) and down in last.possible and down not in world.possible:
            states[server] = states[server] if running else None
            runs[server] = True
    return world


def worlds(sorted_ops: list[Value], ensemble: Ensemble) -> list[World]:
    hosts = ensemble.sids
    world = World({}, ensemble, None, {}, dict.fromkeys(hosts), dict.fromkeys(hosts))
    found = []
    for op in sorted_ops:
        world = next_world(world, op)
        found.append(world)
    return found
