"""A server's configuration: ZooKeeper's own `zoo.cfg` and `myid`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, FrozenSet, Optional, Tuple

from node.events import Address

PARTICIPANT = "participant"
OBSERVER = "observer"


@dataclass(frozen=True)
class Member:
    """One `server.<sid>=host:quorumPort:electionPort[:role]` line."""

    sid: int
    host: str
    quorum_port: int
    election_port: int
    role: str = PARTICIPANT
    client: Optional[Address] = None

    @property
    def quorum_address(self) -> Address:
        return (self.host, self.quorum_port)

    @property
    def election_address(self) -> Address:
        return (self.host, self.election_port)


@dataclass(frozen=True)
class Config:
    """What a server knows of itself and of its ensemble.  Times are in milliseconds, limits in ticks."""

    sid: int
    members: Tuple[Member, ...]
    tick_ms: int = 3000
    init_limit: int = 10
    sync_limit: int = 5
    groups: Tuple[Tuple[int, FrozenSet[int]], ...] = ()
    weights: Tuple[Tuple[int, int], ...] = ()
    min_notification_interval_ms: int = 200
    max_notification_interval_ms: int = 60000
    connect_timeout_ms: int = 5000
    data_dir: str = ""
    client_address: Optional[Address] = None
    other: Dict[str, str] = field(default_factory=dict, compare=False)
    """Keys of zoo.cfg that this server does not know (ZooKeeper makes them system properties): kept, and logged."""

    @property
    def voters(self) -> FrozenSet[int]:
        return frozenset(m.sid for m in self.members if m.role == PARTICIPANT)

    def member(self, sid: int) -> Optional[Member]:
        return next((m for m in self.members if m.sid == sid), None)

    @property
    def is_observer(self) -> bool:
        me = self.member(self.sid)
        return me is not None and me.role == OBSERVER
