"""What each server was, from when to when: a lane of the timeline, and the reigns that can be read off it.

A lane is the list of a server's transitions in the order of time.  From one transition to the next the server *is* what
the first one says.  A server that a fault took down without a last word (its whole host was killed) is down from when
the fault was verified until it reports again.

A *reign* is the time in which one server was an established leader of one epoch.  The throne is *empty* while no
reign lasts.  Two reigns may overlap: a leader that was cut off has not noticed yet that there is a new epoch.  Two
reigns of different servers in the same epoch are what the first promise forbids.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from checker.history import Op
from harness.report.columns import Strings, column, compact, mapping, whole

DOWN, STARTING = 0, 1
_ROLES = {"LOOKING": 2, "FOLLOWING": 3, "LEADING": 4, "OBSERVING": 5}
_PHASES = {"election": 0, "discovery": 10, "synchronization": 20, "broadcast": 30}
_UNTOLD = 40
"""The phase of a system that does not report it."""
ESTABLISHED = 100
"""A state is a role + a phase + ESTABLISHED, as one number: 134 is an established leader in broadcast."""

US = 1_000
_HIGH, _LOW = 32, 0xFFFFFFFF


class ServerTransition(NamedTuple):
    time: int
    op: int
    state: int
    epoch: int
    round: int
    leader: int
    accepted: int
    current: int
    zxid: int
    vote: int
    reason: int
    evidence: int
    error: int


@dataclass
class Reign:
    """One server's time as the established leader of one epoch; times in nanoseconds of the run."""

    epoch: int
    host: str
    since: int
    index: int
    until: int | None = None
    elected: int | None = None
    votes: list[str] = field(default_factory=list)
    acks: list[str] = field(default_factory=list)
    newleader_acks: list[str] = field(default_factory=list)
    serving: int | None = None
    ended_by: str = ""
    empty_before: int = 0
    faults: list[str] = field(default_factory=list)


class Lane:
    """One server's transitions."""

    def __init__(self, host: str, strings: Strings, evidence: Strings) -> None:
        self.host = host
        self.transitions: list[ServerTransition] = []
        self._strings, self._evidence = strings, evidence
        self._shown: dict[int, dict[str, Any]] = {}
        self._last = (-(1 << 62), -(1 << 62))

    def feed(self, op: Op) -> None:
        """Takes a `state`, `started` or `stopped` op of this server."""
        value = mapping(op.value)
        time = op.time
        if op.host_time is not None:
            # A host's own clock orders its ops; the mapping to the controller's clock may jitter by its error.
            host_time, last_time = self._last
            if op.host_time >= host_time:
                time = max(time, last_time)
                self._last = (op.host_time, time)
        if op.f == "state":
            self.transitions.append(self._state(op, time, value))
            return
        how = " ".join(str(value[key]) for key in ("how", "code") if value.get(key) is not None)
        reason = f"{op.f} {how}".strip() if op.f == "stopped" else op.f
        self._plain(time, op.index, DOWN if op.f == "stopped" else STARTING, reason, op.time_error or 0)

    def taken_down(self, time: int, index: int, reason: str) -> None:
        """A fault is verified to have taken this server down at `time`, by op `index`."""
        self._plain(time, index, DOWN, reason, 0)

    def _plain(self, time: int, index: int, state: int, reason: str, error: int) -> None:
        place = self._strings.add(reason)
        self.transitions.append(ServerTransition(time, index, state, -1, -1, -1, -1, -1, -1, 0, place, 0, error))

    def _state(self, op: Op, time: int, value: dict[str, Any]) -> ServerTransition:
        role = _ROLES.get(str(value.get("role")), _ROLES["LOOKING"])
        untold = _PHASES["election"] if role == _ROLES["LOOKING"] else _UNTOLD
        state = role + _PHASES.get(str(value.get("phase")), untold)
        if role == _ROLES["LEADING"] and value.get("established"):
            state += ESTABLISHED
        evidence = mapping(value.get("evidence"))
        if evidence and role == _ROLES["LEADING"]:
            self._shown[op.index] = {k: evidence.get(k) for k in ("votes", "epoch_acks", "newleader_acks")}

        def number(name: str) -> int:
            found = whole(value.get(name))
            return -1 if found is None else found

        return ServerTransition(
            time,
            op.index,
            state,
            number("epoch"),
            number("round"),
            number("leader"),
            number("accepted_epoch"),
            number("current_epoch"),
            number("last_zxid"),
            self._strings.add(_vote(value["vote"])) if value.get("vote") else 0,
            self._strings.add(str(value.get("reason") or "")),
            self._evidence.add(compact(evidence)) if evidence else 0,
            op.time_error or 0,
        )

    def finish(self) -> None:
        """Sorts the lane, and drops what adds nothing: being taken down while down."""
        self.transitions.sort(key=lambda t: t.time)
        kept: list[ServerTransition] = []
        for t in self.transitions:
            if not (t.state == DOWN and (not kept or kept[-1].state == DOWN)):
                kept.append(t)
        self.transitions = kept

    def reigns(self) -> list[Reign]:
        """Of the finished lane, in order; `until` is None for one that lasts."""
        reigns: list[Reign] = []
        reign: Reign | None = None
        elected: int | None = None
        votes: list[str] = []
        for t in self.transitions:
            shown = self._shown.get(t.op, {})
            leading = t.state % 10 == _ROLES["LEADING"]
            if leading and elected is None:
                elected, votes = t.time, _names(shown.get("votes"))
            if reign is not None and not (t.state >= ESTABLISHED and t.epoch == reign.epoch):
                reign.until = t.time
                reign.ended_by = self._strings.texts[t.reason] if t.reason > 0 else ""
                reign = None
            if t.state >= ESTABLISHED:
                if reign is None:
                    reign = Reign(t.epoch, self.host, t.time, t.op, elected=elected)
                    reigns.append(reign)
                    reign.votes = votes or _names(shown.get("votes"))
                reign.acks = reign.acks or _names(shown.get("epoch_acks"))
                reign.newleader_acks = reign.newleader_acks or _names(shown.get("newleader_acks"))
                if reign.serving is None and t.state == ESTABLISHED + _PHASES["broadcast"] + _ROLES["LEADING"]:
                    reign.serving = t.time
            if not leading:
                elected, votes = None, []
        return reigns

    def columns(self) -> dict[str, Any]:
        """The lane as the page gets it: differences; times and errors in microseconds, zxids in two halves."""
        ts = self.transitions
        return {
            "t": column(t.time // US for t in ts),
            "i": column(t.op for t in ts),
            "s": column(t.state for t in ts),
            "e": column(t.epoch for t in ts),
            "r": column(t.round for t in ts),
            "l": column(t.leader for t in ts),
            "a": column(t.accepted for t in ts),
            "c": column(t.current for t in ts),
            "zh": column(t.zxid >> _HIGH for t in ts),
            "zl": column(t.zxid & _LOW for t in ts),
            "v": column(t.vote for t in ts),
            "w": column(t.reason for t in ts),
            "x": column(t.evidence for t in ts),
            "d": column(t.error // US for t in ts),
        }


def empty_throne(reigns: Iterable[Reign], end: int) -> list[tuple[int, int]]:
    """The times, from 0 to `end`, in which nobody reigned; and writes into each reign how long it was empty before."""
    gaps = []
    covered = 0
    for reign in sorted(reigns, key=lambda r: r.since):
        if reign.since > covered:
            gaps.append((covered, reign.since))
            reign.empty_before = reign.since - covered
        covered = max(covered, end if reign.until is None else reign.until)
    if covered < end:
        gaps.append((covered, end))
    return gaps


def _vote(vote: Any) -> str:
    """A vote in words: `server 5, zxid 0x200000000, round 3, epoch 2`."""
    if not isinstance(vote, dict):
        return compact(vote)
    words = []
    for name, number in vote.items():
        zxid = name == "zxid" and whole(number) is not None and number >= 0
        words.append(f"{'server' if name == 'leader' else name} {f'0x{number:x}' if zxid else number}")
    return ", ".join(words)


def _names(sids: Any) -> list[str]:
    """The sids of a list, or of an object's keys, in order."""
    if not isinstance(sids, list | dict):
        return []
    return sorted((str(sid) for sid in sids), key=lambda s: (len(s), s))
