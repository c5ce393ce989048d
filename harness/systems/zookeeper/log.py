"""The log of Apache ZooKeeper 3.8, read as statements.

The model.  ZooKeeper does not report its transitions, but it logs them, and with four of its loggers turned up the log
says all that a `state` op holds (protocol section 8):

========================================  =============================================================================
line                                      what it says
========================================  =============================================================================
`Peer state changed: leading - discovery` role and phase; the bare `leading` and `following`: that it was elected
`Starting quorum peer, myid=1`            a new process: the op `started`, without its process id
`Notification: my state:...; n.sid:S, ..` S's vote; our own loops back too, and gives our round, our vote and, while the
                                          vote is for ourselves, our current epoch and last zxid
`i UNKNOWN17 300000000 null`              Learner: LEADERINFO came, hence the accepted epoch (ZooKeeper's trace has no
                                          name for 17)
`i NEWLEADER 300000000 null`              Learner: what is the current epoch at the next `following - synchronization`
`o NEWLEADER 300000000 null`              LearnerHandler: the epoch that we lead, once our phase is synchronization
`Synchronizing with Learner sid: N ...`   N's epoch ack was in the quorum, with its last zxid (not its epoch)
`Received NEWLEADER-ACK message from N`   N's ack
`Have quorum of supporters, sids: [[1]]`  broadcast begins, with the acks that made the quorum
`Shutdown called. For the reason R`       why a leader ended; a follower's reason is its exception's first line
========================================  =============================================================================

What is not known is null: after a start, the accepted epoch until the first LEADERINFO.  The epochs in the acks of
others are not known either: their zxids are in the evidence as `acked_zxids`, and only our own pair is in `epoch_acks`.
`established` is true from the line on that completes three things: the phase is synchronization (ZooKeeper enters it
when a quorum has acknowledged the epoch), the epoch is known, and the acks of a majority (or `Have quorum`) were
logged.  Threads log in any order, so this is up to some milliseconds after the fact.

Time.  A line carries the wall clock that the JVM sees, cut to a millisecond: what happened lies within the millisecond
after it.  The statement's `wall_ns` is the middle of that, its `error_ns` half a millisecond; whoever maps the host's
wall clock to the run's adds the error of that mapping.  While a clock fault is in force on the server, `wall_ns` is the
false clock's, and only the time at which the line was read bounds it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from harness.systems.base import Ensemble, HostTime, ProcessStarted, Role, Said, Statement
from harness.systems.zookeeper.settings import ZooKeeperSettings

LOG = "server.log"

_ENVELOPE = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) \[myid:\d*\] - (?P<level>[A-Z]+) +"
    r"\[(?P<thread>.*):(?:[\w.]*\.)?(?P<source>[\w$]+)(?:@\d+)?\] - (?P<message>.*)"
)
_NOTIFICATION = re.compile(
    r"Notification: my state:(?P<mine>[A-Z]+); n\.sid:(?P<sid>-?\d+), n\.state:(?P<state>[A-Z]+), "
    r"n\.leader:(?P<leader>-?\d+), n\.round:(?P<round>0x[0-9a-f]+), n\.peerEpoch:(?P<epoch>0x[0-9a-f]+), "
    r"n\.zxid:(?P<zxid>0x[0-9a-f]+)"
)
_PEER_STATE = re.compile(r"Peer state changed: (?P<role>\w+)(?: - (?P<phase>\w+))?(?: - (?P<sync>\w+))?$")
_PACKET = re.compile(r"(?P<way>[io]) (?P<type>\w+) (?P<zxid>[0-9a-f]+) ")
_SYNCHRONIZING = re.compile(
    r"Synchronizing with (?:Learner|Follower) sid: (?P<sid>\d+) .*peerLastZxid=(?P<zxid>0x[0-9a-f]+)"
)
_QUORUM = re.compile(r"Have quorum of supporters, sids: \[(?P<sids>[\[\], \d]*)\]; .*zxid: (?P<zxid>0x[0-9a-f]+)")
_CONNECTED = re.compile(r"Successfully connected to leader, using address: [^/]*/(?P<address>.+)")
_LOADED = re.compile(r"Snapshot loaded in \d+ ms, highest zxid is (?P<zxid>0x[0-9a-f]+)")
_ROLES: dict[str, Role] = {
    "looking": "LOOKING",
    "following": "FOLLOWING",
    "leading": "LEADING",
    "observing": "OBSERVING",
}
_ENDED = ("Exception when following the leader", "Exception when observing the leader", "Unexpected exception")


class ZooKeeperLog:
    """Reads one server's log, line by line, through its restarts (protocol section 8)."""

    path = LOG

    def __init__(self, settings: ZooKeeperSettings, ensemble: Ensemble, host: str) -> None:
        places = ensemble.places
        self._sid = places[host].sid
        self._sid_by_address = {f"{p.address}:{settings.quorum_port}": p.sid for p in places.values()}
        self._voters = sum(p.host not in ensemble.observers for p in places.values())
        self._said: dict[str, Any] = {}
        self._start()

    def _start(self) -> None:
        self._role: Role = "LOOKING"
        self._phase = "election"
        self._round = 0
        self._vote: dict[str, int] | None = None
        self._votes: dict[int, dict[str, Any]] = {}
        self._leader: int | None = None
        self._accepted: int | None = None
        self._current: int | None = None
        self._last_zxid: int | None = None
        self._epoch: int | None = None
        self._coming_epoch: int | None = None
        self._evidence: dict[str, Any] = {}
        self._acks: dict[str, int] = {}
        self._newleader_acks: set[int] = set()
        self._quorum_logged = False
        self._established = False
        self._own: list[int | None] = [None, None]
        self._reason = "the server started"
        self._exception_follows = False

    def read(self, line: str) -> Iterator[Statement]:
        """See `harness.systems.base.Follow`."""
        envelope = _ENVELOPE.match(line)
        if envelope is None:
            if self._exception_follows and line.strip():
                self._reason += f": {line.strip()}"
                self._exception_follows = False
            return
        self._exception_follows = False
        try:
            at = HostTime(wall_ns=_wall_ns(envelope["time"]) + 500_000, error_ns=500_000)
        except ValueError:
            return  # looks like a time, and is none: part of some longer text
        source, message = envelope["source"], envelope["message"]
        if source == "QuorumPeerMain" and message.startswith("Starting quorum peer"):
            self._said = {}
            self._start()
            yield ProcessStarted(at, {"sid": self._sid})
            return
        rule = getattr(self, f"_read_{source.lower()}", None)
        if rule is not None:
            rule(message)
        value = self._value()
        if value is not None:
            leader = None if self._leader is None else str(self._leader)
            serving = self._phase == "broadcast"
            yield Said(at, self._role, leader, self._epoch, self._established, serving, value)

    # ---- one rule per class that logs ----------------------------------------------------------------------------

    def _read_zkdatabase(self, message: str) -> None:
        if loaded := _LOADED.match(message):
            self._last_zxid = _signed(loaded["zxid"])

    def _read_quorumpeer(self, message: str) -> None:
        if message in _ENDED:
            self._ended(message)
        elif message == "LOOKING":
            self._looking()
        elif state := _PEER_STATE.match(message):
            self._peer_state(_ROLES[state["role"]], state["phase"])

    def _read_fastleaderelection(self, message: str) -> None:
        note = _NOTIFICATION.match(message)
        if note is None or note["mine"] != "LOOKING" or self._role != "LOOKING":
            return
        vote = {"leader": int(note["leader"]), "zxid": _signed(note["zxid"]), "round": _signed(note["round"])}
        vote["epoch"] = _signed(note["epoch"])
        sid = int(note["sid"])
        self._votes[sid] = {**vote, "state": note["state"]}
        if sid == self._sid:
            self._round, self._vote = vote["round"], vote
            if vote["leader"] == sid:
                self._current, self._last_zxid = vote["epoch"], vote["zxid"]

    def _read_learner(self, message: str) -> None:
        if message in _ENDED:
            self._ended(message)
        elif connected := _CONNECTED.match(message):
            self._leader = self._sid_by_address.get(connected["address"], self._leader)
        elif packet := _PACKET.match(message):
            zxid = _signed(packet["zxid"])
            if packet["type"] == "UNKNOWN17":
                self._epoch = zxid >> 32
                self._accepted = max(self._epoch, self._accepted or 0)
            elif packet["type"] == "NEWLEADER":
                self._coming_epoch = zxid >> 32
            elif packet["type"] in ("PROPOSAL", "SNAP") and packet["way"] == "i":
                self._last_zxid = zxid

    def _read_learnerhandler(self, message: str) -> None:
        if synchronizing := _SYNCHRONIZING.match(message):
            self._acks[synchronizing["sid"]] = _signed(synchronizing["zxid"])
            if self._epoch is not None:
                self._leads(self._epoch)
        elif message.startswith("Received NEWLEADER-ACK message from "):
            self._newleader_acks.add(int(message.rsplit(" ", 1)[1]))
        elif (packet := _PACKET.match(message)) and packet["way"] == "o" and self._role == "LEADING":
            if packet["type"] == "NEWLEADER":
                self._leads(_signed(packet["zxid"]) >> 32)
            elif packet["type"] == "PROPOSAL":
                self._last_zxid = _signed(packet["zxid"])

    def _read_leader(self, message: str) -> None:
        if message.startswith("Shutdown called. For the reason "):
            reason = message.removeprefix("Shutdown called. For the reason ")
            if reason != "Forcing shutdown" or not self._reason:  # it follows an exception, which says more
                self._reason = reason
        elif quorum := _QUORUM.match(message):
            sids = {int(sid) for sid in re.findall(r"\d+", quorum["sids"])}
            self._newleader_acks |= sids
            self._phase = "synchronization"
            self._quorum_logged = True
            self._leads(_signed(quorum["zxid"]) >> 32)
            self._last_zxid = _signed(quorum["zxid"])

    # ---- transitions ---------------------------------------------------------------------------------------------

    def _ended(self, message: str) -> None:
        self._reason = message
        self._exception_follows = True

    def _looking(self) -> None:
        if self._role != "LOOKING":
            self._role, self._votes = "LOOKING", {}
        self._phase, self._leader, self._epoch, self._coming_epoch = "election", None, None, None
        self._acks, self._newleader_acks = {}, set()
        self._quorum_logged = self._established = False

    def _peer_state(self, role: Role, phase: str | None) -> None:
        if role == "LOOKING":
            self._looking()
            return
        if self._role == "LOOKING":
            self._elected(role)
        self._role = role
        self._phase = phase or "discovery"
        if phase is None:
            return
        if role == "LEADING" and phase == "synchronization" and self._epoch is not None:
            self._leads(self._epoch)
        elif role != "LEADING" and phase == "synchronization" and self._coming_epoch is not None:
            self._current = self._coming_epoch
            self._reason = "NEWLEADER was acknowledged"
        elif role == "LEADING" and phase == "broadcast":
            self._evidence = {"newleader_acks": sorted(self._newleader_acks)}
            self._reason = "a quorum acknowledged NEWLEADER"
        elif phase == "broadcast":
            self._reason = "UPTODATE came"

    def _elected(self, role: str) -> None:
        counts = [v["leader"] for v in self._votes.values()]
        leading = [v["leader"] for sid, v in self._votes.items() if v["state"] == "LEADING" and v["leader"] == sid]
        if role == "LEADING":
            self._leader = self._sid
        elif self._vote and 2 * counts.count(self._vote["leader"]) > self._voters:
            self._leader = self._vote["leader"]
        elif leading:
            self._leader = leading[-1]
        votes = {str(sid): v for sid, v in self._votes.items() if v["leader"] == self._leader}
        self._evidence = {
            "votes": {sid: {k: v[k] for k in ("round", "epoch", "zxid", "state")} for sid, v in votes.items()}
        }
        self._own = [self._current, self._last_zxid]
        self._reason = "a quorum voted so"

    def _leads(self, epoch: int) -> None:
        self._epoch = epoch
        self._accepted = max(epoch, self._accepted or 0)
        if self._phase not in ("synchronization", "broadcast"):
            return
        self._current = epoch
        if not self._established and (self._quorum_logged or 2 * (len(self._acks) + 1) > self._voters):
            self._established = True
            self._evidence = {
                "votes": sorted(self._votes_for_us()),
                "epoch_acks": {str(self._sid): self._own},
                "acked_zxids": self._acks,
                "own": self._own,
                "electors": sorted(self._votes_for_us()),
            }
            self._reason = "a quorum acknowledged the epoch"

    def _votes_for_us(self) -> list[int]:
        return [sid for sid, vote in self._votes.items() if vote["leader"] == self._sid]

    def _value(self) -> dict[str, Any] | None:
        """The value of a `state` op if anything but the last zxid changed since the last one."""
        value = {
            "sid": self._sid,
            "role": self._role,
            "phase": self._phase,
            "round": self._round,
            "vote": self._vote,
            "leader": self._leader,
            "accepted_epoch": self._accepted,
            "current_epoch": self._current,
            "epoch": self._epoch,
            "established": self._established,
        }
        if value == self._said or self._vote is None:
            return None
        self._said = dict(value)
        evidence, self._evidence = self._evidence, {}
        reason, self._reason = self._reason, ""
        return {**value, "last_zxid": self._last_zxid, "evidence": evidence, "reason": reason}


def _signed(text: str) -> int:
    """A hexadecimal number of 64 bits, two's complement, as ZooKeeper prints its longs."""
    number = int(text, 16)
    return number - (1 << 64) if number >= 1 << 63 else number


def _wall_ns(text: str) -> int:
    """Nanoseconds since the epoch of a log line's time; the JVM runs in UTC."""
    moment = datetime.strptime(text, "%Y-%m-%d %H:%M:%S,%f").replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1000
