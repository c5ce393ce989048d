"""What every layer of a server stands on: time, effects, timers, what is durable, and the reports of its transitions.

A server is one object, and its layers are classes, each standing on the one before:

    Core  <-  Connections  <-  Election  <-  Transactions  <-  Learner                                    <-  Server
                                                           <-  ProspectiveLeader  <-  Broadcast  <-  Leader

Learner and leader are siblings, and know nothing of each other: `Server` stands on both.  Each layer's file holds its
state and its rules, and nothing of a higher layer but the few methods named at its top.  A rule is a method.  A bug of
the catalogue is a subclass of `Server` that overrides one.

The state of a server is what `vars(server)` holds: plain data, to be copied, compared and printed.
"""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, Optional, Tuple

from node.config import Config
from node.protocol.database import Database
from node.protocol.events import Durable, Effect, Log, Reached, Report, SetTimer, StoreEpoch
from node.protocol.messages import LOOKING, STATE_NAMES
from node.protocol.quorums import Verifier, verifier
from node.protocol.votes import Vote

MS = 1_000_000
"""Nanoseconds in a millisecond."""

INT64_MIN = -(1 << 63)

MAX_EPOCH = (1 << 31) - 2
"""The last epoch: ACKEPOCH carries epochs in 32 bits with a sign, and a zxid's upper half is no more."""

DISCOVERY, SYNCHRONIZATION, BROADCAST = "discovery", "synchronization", "broadcast"
ELECTION_PHASE = "election"


def epoch_of(zxid: int) -> int:
    return zxid >> 32


def zxid_of(epoch: int, counter: int) -> int:
    return (epoch << 32) | counter


def is_epoch_start(zxid: int) -> bool:
    """Is `zxid` the point at which an epoch begins?  No transaction has it: their counters begin at 1."""
    return zxid == zxid_of(epoch_of(zxid), 0)


class Core:
    """State shared by all layers.  `role` is a server state as notifications carry it, `phase` a ZAB state."""

    def __init__(self, config: Config, durable: Durable) -> None:
        self.config = config
        self.sid = config.sid
        self.verifier: Verifier = verifier(config)
        self.voters = config.voters
        self.is_voter = self.sid in self.voters
        self.tick = config.tick_ms * MS
        self.init_limit = config.init_limit * self.tick
        self.sync_limit = config.sync_limit * self.tick
        self.now = 0
        self.out: List[Effect] = []
        self.timers: Dict[str, int] = {}
        self.next_conn = 1
        self.database = Database(durable)
        self.accepted_epoch, self.current_epoch = self.recovered_epochs(durable)
        self.role = LOOKING
        self.phase = ELECTION_PHASE
        self.round = 0
        self.reported: Dict[str, Any] = {}

    def recovered_epochs(self, durable: Durable) -> Tuple[int, int]:
        """Accepted and current epoch of a server that starts, from its disk."""
        return durable.accepted_epoch, durable.current_epoch

    # ---- quorums ---------------------------------------------------------------------------------------------------

    def is_quorum(self, sids: Iterable[int]) -> bool:
        """Whether `sids` holds a quorum of voters; others in it do not count."""
        return self.verifier.is_quorum(sids)

    # ---- effects ---------------------------------------------------------------------------------------------------

    def new_conn(self) -> int:
        conn = self.next_conn
        self.next_conn += 2
        return conn

    def set_timer(self, name: str, due: Optional[int]) -> None:
        if due is None:
            if self.timers.pop(name, None) is None:
                return
        elif self.timers.get(name) == due:
            return
        else:
            self.timers[name] = due
        self.out.append(SetTimer(name, due))

    def reached(self, mark: str) -> None:
        self.out.append(Reached(mark))

    def log(self, level: str, text: str) -> None:
        self.out.append(Log(level, text))

    # ---- epochs: on disk first, then in memory (protocol section 4.2) ----------------------------------------------

    def store_accepted_epoch(self, epoch: int) -> None:
        self.out.append(StoreEpoch("acceptedEpoch", epoch))
        self.accepted_epoch = epoch

    def store_current_epoch(self, epoch: int) -> None:
        self.out.append(StoreEpoch("currentEpoch", epoch))
        self.current_epoch = epoch

    # ---- reports ---------------------------------------------------------------------------------------------------

    def state(self) -> Dict[str, Any]:
        """What a history's `state` op says of this server, without evidence and reason."""
        vote = self.stated_vote()
        epoch, established = self.stated_epoch()
        return {
            "sid": self.sid,
            "role": STATE_NAMES[self.role],
            "phase": self.phase,
            "round": self.round,
            "vote": {"leader": vote.leader, "zxid": vote.zxid, "round": vote.round, "epoch": vote.epoch},
            "leader": None if self.role == LOOKING else vote.leader,
            "accepted_epoch": self.accepted_epoch,
            "current_epoch": self.current_epoch,
            "last_zxid": self.database.last_zxid,
            "epoch": epoch,
            "established": established,
        }

    def report(self, reason: str, evidence: Optional[Dict[str, Any]] = None) -> None:
        """Report a transition, if anything changed since the last report."""
        state = self.state()
        if state == self.reported:
            return
        self.reported = state
        self.out.append(Report({**state, "evidence": evidence or {}, "reason": reason}))

    # ---- what higher layers know -----------------------------------------------------------------------------------

    def stated_vote(self) -> Vote:
        raise NotImplementedError

    def stated_epoch(self) -> Tuple[Optional[int], bool]:
        """The epoch that this server leads or follows, once known; and whether it is its established leader."""
        raise NotImplementedError
