"""What a server knows of itself and of its ensemble.  `node.zoo_cfg` reads it from a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, FrozenSet, Optional, Tuple

from node.protocol.messages import Address

PARTICIPANT = "participant"
OBSERVER = "observer"

SNAP_COUNT = 20_000
MAX_CLIENTS = 256
"""Maximum number of client connections in all."""


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
    snap_count: int = SNAP_COUNT
    """snapCount: so many committed transactions in the log, or up to a half more, become a snapshot."""
    data_dir: str = ""
    client_address: Optional[Address] = None
    listen_on_all_ips: bool = False
    """quorumListenOnAllIPs: bind the wildcard address instead of the own one on the quorum and the election port."""
    four_letter_words: Optional[FrozenSet[str]] = None
    """4lw.commands.whitelist; None when it is not set: all that this server has (ZooKeeper: `srvr` alone)."""
    min_session_timeout: Optional[int] = None
    """minSessionTimeout in ms; None when it is not set: 2 ticks."""
    max_session_timeout: Optional[int] = None
    """maxSessionTimeout in ms; None when it is not set: 20 ticks."""
    max_client_connections: int = 60
    """maxClientCnxns: maximum number of client connections from one address; 0 or less for no limit."""
    bind_attempts: int = 3
    """electionPortBindRetry: attempts to listen on the election port and the quorum port; 0 for no limit."""
    other: Dict[str, str] = field(default_factory=dict, compare=False)
    """Keys of zoo.cfg that this server ignores, each with a line for the log."""

    @property
    def voters(self) -> FrozenSet[int]:
        return frozenset(m.sid for m in self.members if m.role == PARTICIPANT)

    def member(self, sid: int) -> Optional[Member]:
        return next((m for m in self.members if m.sid == sid), None)

    @property
    def is_observer(self) -> bool:
        me = self.member(self.sid)
        return me is not None and me.role == OBSERVER

    @property
    def session_timeouts(self) -> Tuple[int, int]:
        """The shortest and the longest session timeout in ms.  The products overflow as Java's do."""
        shortest, longest = self.min_session_timeout, self.max_session_timeout
        return (
            _int32(2 * self.tick_ms) if shortest is None else shortest,
            _int32(20 * self.tick_ms) if longest is None else longest,
        )


def _int32(value: int) -> int:
    return (value + 2**31) % 2**32 - 2**31
