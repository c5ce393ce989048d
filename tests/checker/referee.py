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

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.checker.referee_world import (
    REPORTS,
    Ensemble,
    Value,
    earliest,
    follows,
    in_order,
    is_client,
    is_established,
    is_number,
    latest,
    leads,
    read,
    said,
    worlds,
)

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

CLIENTS = ("create", "read", "read-all")
TAIL_NS = 30 * 10**9


def judge(path: Path) -> dict[str, str]:
    """The verdict on each judged promise, and on the run as a whole ("verdict")."""
    return Trial(read(path)).verdicts()


@dataclass(frozen=True)
class Silence:
    """A violation that rests on what nobody reported: it is withdrawn if events of these hosts are missing."""

    hosts: frozenset[str]


def what_it_says(state: Value | None) -> tuple[Any, ...] | None:
    """What two states must say alike to be one."""
    if state is None:
        return None
    phase = state.get("phase") or "broadcast"
    return (state["role"], phase, state.get("leader"), state.get("epoch"), is_established(state))


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
        if self.end is None:
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
            return float(stated * 10**9)
        return float((ticks * self.run["settings"]["tick_ms"] + more_ms) * 10**6)

    def known_until(self) -> float:
        """The time up to which silence means something."""
        return float("inf") if self.end is not None else float(self.ops[-1]["time"] - TAIL_NS)

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
            or bool(self.late)
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
        taken: dict[int, list[str]] = {}
        for host in self.ensemble.sids:
            before = None  # the epoch in which the previous report was an established leader
            for op in self.reports(host):
                leading = op["f"] == "state" and is_established(op["value"])
                epoch = op["value"]["epoch"] if leading else None
                if epoch is not None and epoch != before:
                    taken.setdefault(epoch, []).append(host)
                before = epoch
        again = {host for hosts in taken.values() for host in hosts if hosts.count(host) > 1}
        if any(len(set(hosts)) > 1 for hosts in taken.values()) or again - self.late:
            return INVALID
        return UNKNOWN if again else VALID

    def epochs(self) -> str:
        reported = broken = withdrawn = False
        for host in self.ensemble.sids:
            floor = last = -1
            for op in self.reports(host):
                accepted, current = said(op).get("accepted_epoch"), said(op).get("current_epoch")
                fell = (accepted is not None and accepted < floor) or (current is not None and current < last)
                withdrawn |= fell and host in self.late
                broken |= fell and host not in self.late
                broken |= accepted is not None and current is not None and current > accepted
                if accepted is not None:
                    floor = accepted
                elif current is not None:
                    floor = max(floor, current)
                last = last if current is None else current
                reported |= accepted is not None or current is not None
        if broken:
            return INVALID
        return VALID if reported and not withdrawn else UNKNOWN

    def leaderships(self, host: str) -> list[list[Value]]:
        """The reports of each leadership: unbroken, and of no two epochs."""
        found: list[list[Value]] = []
        unbroken = False
        for op in self.reports(host):
            if op["f"] != "state" or op["value"]["role"] != "LEADING":
                unbroken = False
                continue
            epochs = {report["value"].get("epoch") for report in found[-1]} - {None} if found else set()
            if unbroken and (op["value"].get("epoch") is None or epochs <= {op["value"]["epoch"]}):
                found[-1].append(op)
            else:
                found.append([op])
            unbroken = True
        return found

    def leader_history(self) -> str:
        judged = shown = False
        for host, sid in self.ensemble.sids.items():
            for reports in self.leaderships(host):
                if not any(is_established(op["value"]) for op in reports):
                    continue
                for op in reports:
                    evidence = op["value"].get("evidence") or {}
                    own, acks = evidence.get("own"), evidence.get("epoch_acks")
                    shown |= acks is not None
                    if own is None or not isinstance(acks, dict):
                        continue
                    judged = True
                    not_greater = {
                        int(other)
                        for other, (epoch, zxid) in acks.items()
                        if not (is_number(epoch) and is_number(zxid) and (epoch, zxid) > tuple(own))
                    }
                    if self.ensemble.is_quorum(int(other) for other in acks) and not self.ensemble.is_quorum(
                        not_greater | {sid}
                    ):
                        return INVALID
        return UNKNOWN if shown and not judged else VALID

    def durability(self) -> str:
        tried: set[int] = set()
        failed: set[int] = set()
        committed: set[int] = set()
        returned_ever: set[int] = set()
        acknowledged = broken = untried = False
        invoked: dict[Any, tuple[bool, set[int]]] = {}  # whether a final read, and what was committed at the invoke
        read_at_the_end: set[str] = set()
        phase = ""
        for op in self.ops:
            if op["process"] == "controller" and op["f"] == "phase":
                phase = said(op)["phase"]
            if not is_client(op) or op["f"] not in CLIENTS:
                continue
            f, value = op["f"], op.get("value")
            which = (op["process"], f, op.get("server"))
            if f == "create":
                tried.add(op["value"])
            if op["type"] == "invoke":
                invoked[which] = (phase in ("everyone", "all", "end"), set(committed))
                continue
            final, then = invoked.pop(which, (False, set()))
            if op["type"] == "fail" and f == "create":
                failed.add(op["value"])
            if op["type"] != "ok":
                continue
            if f == "create":
                acknowledged = True
                committed.add(op["value"])
                continue
            if f == "read":
                key, result = op["value"]
                broken |= result is not None and result != key
                returned = set() if result is None else {result}
            else:
                returned = {n for first, last in value or () for n in range(first, last + 1)}
            untried |= bool(returned - tried)
            returned_ever |= returned
            committed |= returned & tried
            if f == "read-all" and final:
                read_at_the_end.add(op["server"])
                broken |= bool(then - returned)
        if broken or returned_ever & failed or (untried and not self.lines_missing):
            return INVALID
        everybody = set(self.ensemble.voters) <= read_at_the_end
        return VALID if acknowledged and everybody and not untried else UNKNOWN

    def evidence(self) -> str:
        violations = []
        ever = doubtful = False
        for host in self.ensemble.sids:
            leaderships = self.leaderships(host)
            for reports in leaderships:
                established = [op for op in reports if is_established(op["value"])]
                ever |= bool(established)
                if self.lacks_evidence(host, reports):
                    ended = self.reports(host)[-1] is not reports[-1]
                    if ended or (established and established[0]["time"] <= self.shown_until()):
                        violations.append(Silence(frozenset({host})))
                    doubtful |= bool(established)
        return self.silent(violations, unknown=doubtful or not ever)

    def shown_until(self) -> float:
        """A leader that was established by this time had the time to show its evidence."""
        return self.known_until() if self.end is None else max(op["time"] for op in self.sorted) - 10**9

    def lacks_evidence(self, host: str, reports: list[Value]) -> bool:
        shown: dict[str, set[int]] = {}
        established = elected = False  # whether it was reported as such by then, and whether it showed votes before
        for op in reports:
            evidence = op["value"].get("evidence") or {}
            established |= is_established(op["value"])
            elected |= not established and evidence.get("votes") is not None
            if evidence.get("votes") is not None and not (established and elected):
                shown.setdefault("votes", set()).update(self.votes_for(host, op["value"]))
            for kind in ("epoch_acks", "newleader_acks"):
                if evidence.get(kind) is not None:
                    shown.setdefault(kind, set()).update(int(sid) for sid in evidence[kind])
        must = {"votes"} & set(shown)
        for op in reports:
            if is_established(op["value"]):
                must |= {"votes", "epoch_acks"}
                must |= {"newleader_acks"} if op["value"].get("phase") == "broadcast" else set()
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
            earlier = in_round is not None and its_round is not None and in_round < its_round
            if content.get("state") in ("FOLLOWING", "LEADING"):
                earlier = False  # it was cast in an earlier election
            if leader in (None, self.ensemble.sids[host]) and not earlier:
                found.add(int(sid))
        return found

    # Liveness

    def settled(self, n: int, hosts: Iterable[str]) -> int:
        """The time that is settled for the op at place n and these hosts."""
        so_far, world = self.sorted[: n + 1], self.worlds[n]
        times = [latest(self.sorted[n]), *(latest(op) for op in so_far if op["process"] in hosts)]
        for voter in set(self.ensemble.voters) - set(hosts):
            by_fault = ("down", voter) in world.sure or ("paused", voter) in world.sure
            stops = [op for op in so_far if op["process"] == voter and op["f"] == "stopped"]
            if world.runs[voter] is False and not by_fault and stops:
                times.append(latest(stops[-1]))
        return max(times)

    def closes(self, n: int | None) -> float:
        """When what the op at place n ends is over, or what nothing ends, as far as silence means something."""
        over = max(op["time"] for op in self.sorted) if n is None else earliest(self.sorted[n])
        return min(over, self.known_until())

    def spells(self, host: str) -> list[tuple[Value, float, float]]:
        """Each state of a host, and from when to when it is possibly current."""
        found = []
        says = [what_it_says(world.states[host]) for world in self.worlds]
        for n, world in enumerate(self.worlds):
            state = world.states[host]
            if state is None or (n and says[n - 1] == says[n]):
                continue
            over = [m for m in range(n + 1, len(self.worlds)) if says[m] != says[n]]
            until = latest(self.sorted[over[0]]) if over else float("inf")
            found.append((state, float(earliest(self.sorted[n])), until))
        return found

    def may_have_converged(self, majority: frozenset[str]) -> list[tuple[float, float]]:
        """The intervals, both ends included, in which a majority may have converged."""
        spells = {host: self.spells(host) for host in majority}
        found = []
        for leader in majority:
            for leading, begin, end in spells[leader]:
                together = [(begin, end)] if leads(leading) else []
                for host in majority - {leader}:
                    together = [
                        (max(a, begin), min(b, end))
                        for a, b in together
                        for state, begin, end in spells[host]
                        if follows(state, leading, self.ensemble.sids[leader])
                    ]
                found += [(a, b) for a, b in together if a <= b]
        return found

    def convergence(self) -> str:
        settings = self.run["settings"]
        bound = self.bound(
            "convergence_s",
            3 * settings["init_limit"] + settings["sync_limit"],
            settings.get("max_notification_interval_ms", 60000) + 1000,
        )
        owed = [world.majority() for world in self.worlds]
        violations = []
        for n, majority in enumerate(owed):
            if majority is None or (n and owed[n - 1] == majority):
                continue
            over = [m for m in range(n + 1, len(owed)) if owed[m] != majority]
            opens, closes = float(self.settled(n, majority)), self.closes(over[0] if over else None)
            last = opens  # up to when M was without a leader at most
            for begin, end in sorted([*self.may_have_converged(majority), (closes, closes)]):
                if min(begin, closes) - last > bound:
                    violations.append(Silence(frozenset(self.ensemble.voters)))
                last = max(last, end)
        shown = {act for act in ("majority", "everyone") if self.is_shown(act, owed)}
        return self.silent(violations, unknown=len(shown) < 2)

    def is_shown(self, act: str, owed: list[frozenset[str] | None]) -> bool:
        for n, (world, majority) in enumerate(zip(self.worlds, owed, strict=True)):
            if world.phase != act or majority is None or not world.has_converged(majority):
                continue
            if any(fault.under_way for fault in world.faults.values()):
                continue
            if act == "everyone" and (majority != set(self.ensemble.voters) or world.possible):
                continue
            later = [op for op, w in zip(self.sorted[n + 1 :], self.worlds[n + 1 :], strict=True) if w.phase == act]
            if not any(
                op["process"] == "nemesis" and op["type"] == "invoke" and op["value"]["step"] == "start" for op in later
            ):
                return True
        return False

    def stepping_down(self) -> str:
        settings = self.run["settings"]
        bound = self.bound("stepping_down_s", max(settings["init_limit"], settings["sync_limit"]) + 2, 1000)
        alone = [world.lead_without_quorum() for world in self.worlds]
        violations = []
        for n, leaders in enumerate(alone):
            for leader in leaders - (alone[n - 1] if n else set()):
                over = [m for m in range(n + 1, len(alone)) if leader not in alone[m]]
                if self.closes(over[0] if over else None) - self.settled(n, {leader}) > bound:
                    violations.append(Silence(frozenset(self.ensemble.voters)))
        return self.silent(violations, unknown=False)
