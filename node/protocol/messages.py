"""What servers say to each other: votes on the election port, packets on the quorum port, and the numbers they carry.

The model.  Two servers talk on two ports.  On the election port a connection begins with an `InitialMessage`, then
carries `Notification`s, each a whole vote.  On the quorum port it carries `QuorumPacket`s, and after a SNAP packet one
`SnapshotStream`.  `node/wire/frames.py` turns messages into bytes and back; here they are values.

1.  The numbers are ZooKeeper's, as they travel.  A number that we do not know is kept, so that it can be logged.
2.  A message is never changed once it exists.

Example, the leader of epoch 6 asks for a promise:  `QuorumPacket(LEADERINFO, 6 << 32, encode_int32(0x10000))`
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple, Optional, Tuple, Union

Address = Tuple[str, int]
"""Host (name or literal, exactly as configured) and port."""

ELECTION = "election"
QUORUM = "quorum"

# Server states as they travel in notifications (FastLeaderElection.buildMsg).
LOOKING, FOLLOWING, LEADING, OBSERVING = 0, 1, 2, 3
STATE_NAMES = ("LOOKING", "FOLLOWING", "LEADING", "OBSERVING")

# Types of QuorumPacket (org.apache.zookeeper.server.quorum.Leader).
REQUEST, PROPOSAL, ACK, COMMIT, PING, REVALIDATE, SYNC, INFORM = 1, 2, 3, 4, 5, 6, 7, 8
NEWLEADER, FOLLOWERINFO, UPTODATE, DIFF, TRUNC, SNAP = 10, 11, 12, 13, 14, 15
OBSERVERINFO, LEADERINFO, ACKEPOCH = 16, 17, 18

PACKET_NAMES = {
    REQUEST: "REQUEST", PROPOSAL: "PROPOSAL", ACK: "ACK", COMMIT: "COMMIT", PING: "PING", REVALIDATE: "REVALIDATE",
    SYNC: "SYNC", INFORM: "INFORM", 9: "COMMITANDACTIVATE", NEWLEADER: "NEWLEADER", FOLLOWERINFO: "FOLLOWERINFO",
    UPTODATE: "UPTODATE", DIFF: "DIFF", TRUNC: "TRUNC", SNAP: "SNAP", OBSERVERINFO: "OBSERVERINFO",
    LEADERINFO: "LEADERINFO", ACKEPOCH: "ACKEPOCH", 19: "INFORMANDACTIVATE",
}  # fmt: skip


class Value:
    """An event, an effect, or a frequent message: equal if the class and all fields are.  Nobody changes one.

    Named tuples would say the same in fewer lines, but take twice as long to make (0.6 and 1.0 us; compiled, 0.1 and
    1.0), and a simulated minute makes 15,000 of them.
    """

    __slots__ = ()
    _fields: ClassVar[Tuple[str, ...]] = ()

    def __eq__(self, other: object) -> bool:
        return other.__class__ is self.__class__ and all(getattr(self, f) == getattr(other, f) for f in self._fields)

    def __hash__(self) -> int:
        return hash(tuple([getattr(self, name) for name in self._fields]))

    def __repr__(self) -> str:
        fields = ", ".join(["%s=%r" % (name, getattr(self, name)) for name in self._fields])
        return "%s(%s)" % (self.__class__.__name__, fields)


class InitialMessage(NamedTuple):
    """First message on an election connection, dialer to acceptor (QuorumCnxManager.InitialMessage).

    `version` is -65536 (V1) or -65535 (V2).  A 3.4 dialer sends only its sid: version 0 here, without addresses.
    """

    version: int
    sid: int
    addresses: Tuple[Address, ...]


class Notification(Value):
    """A vote with its sender's state (FastLeaderElection.buildMsg).  The sender is the sid of the connection."""

    _fields = ("state", "leader", "zxid", "round", "peer_epoch", "version", "config")
    __slots__ = _fields

    def __init__(
        self, state: int, leader: int, zxid: int, round: int, peer_epoch: int, version: int, config: Optional[str]
    ) -> None:
        self.state = state
        self.leader = leader
        self.zxid = zxid
        self.round = round
        self.peer_epoch = peer_epoch
        self.version = version
        self.config = config


class QuorumPacket(Value):
    """One packet of the quorum port (Leader, Learner, LearnerHandler); `data` is its undecoded payload."""

    _fields = ("type", "zxid", "data")
    __slots__ = _fields

    def __init__(self, type: int, zxid: int, data: Optional[bytes]) -> None:
        self.type = type
        self.zxid = zxid
        self.data = data


class SnapshotStream(NamedTuple):
    """What follows a SNAP packet on the wire: a whole database, from its session count to its signature."""

    zxid: int
    stream: bytes


Message = Union[InitialMessage, Notification, QuorumPacket, SnapshotStream]


class Txn(NamedTuple):
    """One transaction of the log: TxnHeader's fields, and the record (with any digest) as it travels."""

    zxid: int
    session: int
    cxid: int
    time_ms: int
    type: int
    record: bytes
