"""What the protocol core is told, and what it asks for in return.

The model.  A server of the ensemble is a state machine: `Server.step(now, event)` returns a list of effects.  The core
has no sockets, files, threads, clock reads or randomness; a *world* has them, and there are three: the TCP agent, the
simulator and the replayer.

The rules of every world:

1.  `now` is an integer number of nanoseconds on the server's own monotonic clock.  It never decreases.
2.  Effects are performed one at a time, in their order, and a storage effect is durable (fsynced) before the next
    effect is begun.  So `[StoreEpoch(...), Send(...)]` is the protocol's "on disk before it is said", and a crash may
    fall between any two effects.
3.  A storage effect that fails ends the server (fail-stop): the rest of the effects are not performed.
4.  Connections have ids.  The core numbers the connections that it dials 1, 3, 5, ...; the world numbers those that
    it accepts 2, 4, 6, ...  An id is never used twice in the life of a server process.
5.  A `Dial` is answered exactly once, by `Connected` or `Lost`.  A connection that was up ends with exactly one `Lost`,
    whoever ended it, except that `HangUp` is final: nothing more is told about that connection.
6.  A timer that was set is told once, by `TimerDue`, not before its time, unless it was set again or cancelled.

Example: server 1 hears that its dial to server 3 succeeded.  Its sid is the smaller one, so it introduces itself and
hangs up, and waits to be dialled back:

    step(now, Connected(conn=1))  ->  [Send(1, InitialMessage(V1, 1, (("10.0.0.1", 3888),))), HangUp(1)]
"""

from __future__ import annotations

from typing import Any, Dict, NamedTuple, Optional, Tuple, Union

from node.protocol.messages import Address, Message, Txn, Value

# ---- events ------------------------------------------------------------------------------------------------------


class Accepted(Value):
    """Somebody dialled our `port`.  The agent tells it with the first whole message: not of silent strangers."""

    _fields = ("conn", "port")
    __slots__ = _fields

    def __init__(self, conn: int, port: str) -> None:
        self.conn = conn
        self.port = port


class Connected(Value):
    """Our dial succeeded."""

    _fields = ("conn",)
    __slots__ = _fields

    def __init__(self, conn: int) -> None:
        self.conn = conn


class Received(Value):
    """A whole, well-formed message arrived.  Bad bytes never get here: the world closes that connection (`Lost`)."""

    _fields = ("conn", "message")
    __slots__ = _fields

    def __init__(self, conn: int, message: Message) -> None:
        self.conn = conn
        self.message = message


class Lost(Value):
    """A dial failed, or a connection ended: closed or reset by the peer, or bad bytes on it (`reason` says)."""

    _fields = ("conn", "reason")
    __slots__ = _fields

    def __init__(self, conn: int, reason: str) -> None:
        self.conn = conn
        self.reason = reason


class TimerDue(Value):
    """The timer's time has come."""

    _fields = ("name",)
    __slots__ = _fields

    def __init__(self, name: str) -> None:
        self.name = name


class ClientRequest(Value):
    """A client of this server asks for a write (`type` is a ZooKeeper opcode: 1 create, 9 sync, ...)."""

    _fields = ("session", "cxid", "type", "payload", "wall_time_ms")
    __slots__ = _fields

    def __init__(self, session: int, cxid: int, type: int, payload: bytes, wall_time_ms: int) -> None:
        self.session = session
        self.cxid = cxid
        self.type = type
        self.payload = payload
        self.wall_time_ms = wall_time_ms


Event = Union[Accepted, Connected, Received, Lost, TimerDue, ClientRequest]


# ---- effects -----------------------------------------------------------------------------------------------------


class Dial(Value):
    """Open a TCP connection to `sid`'s `port`, at `address`, within `timeout_ms`."""

    _fields = ("conn", "port", "sid", "address", "timeout_ms")
    __slots__ = _fields

    def __init__(self, conn: int, port: str, sid: int, address: Address, timeout_ms: int) -> None:
        self.conn = conn
        self.port = port
        self.sid = sid
        self.address = address
        self.timeout_ms = timeout_ms


class Send(Value):
    _fields = ("conn", "message")
    __slots__ = _fields

    def __init__(self, conn: int, message: Message) -> None:
        self.conn = conn
        self.message = message


class HangUp(Value):
    """Close, after what was sent before has been handed to the network."""

    _fields = ("conn",)
    __slots__ = _fields

    def __init__(self, conn: int) -> None:
        self.conn = conn


class SetTimer(Value):
    """Tell `TimerDue(name)` at `due` (ns); replaces an earlier setting; `due` None cancels."""

    _fields = ("name", "due")
    __slots__ = _fields

    def __init__(self, name: str, due: Optional[int]) -> None:
        self.name = name
        self.due = due


class StoreEpoch(Value):
    """Replace the epoch file `name` ("acceptedEpoch" or "currentEpoch") atomically, durably."""

    _fields = ("name", "epoch")
    __slots__ = _fields

    def __init__(self, name: str, epoch: int) -> None:
        self.name = name
        self.epoch = epoch


class AppendTxns(Value):
    """Append to the transaction log, durably, all of them before anything that follows."""

    _fields = ("txns",)
    __slots__ = _fields

    def __init__(self, txns: Tuple[Txn, ...]) -> None:
        self.txns = txns


class TruncateLog(Value):
    """Drop every logged transaction with a zxid above `zxid`, durably."""

    _fields = ("zxid",)
    __slots__ = _fields

    def __init__(self, zxid: int) -> None:
        self.zxid = zxid


class StoreSnapshot(Value):
    """Replace snapshot and log by this state and the transactions that follow it, durably, and all of it at once."""

    _fields = ("zxid", "stream", "txns")
    __slots__ = _fields

    def __init__(self, zxid: int, stream: bytes, txns: Tuple[Txn, ...] = ()) -> None:
        self.zxid = zxid
        self.stream = stream
        self.txns = txns


class Reply(Value):
    """Answer a `ClientRequest`: `error` 0 or a ZooKeeper error code; `zxid` of the transaction."""

    _fields = ("session", "cxid", "type", "error", "zxid", "payload")
    __slots__ = _fields

    def __init__(self, session: int, cxid: int, type: int, error: int, zxid: int, payload: bytes) -> None:
        self.session = session
        self.cxid = cxid
        self.type = type
        self.error = error
        self.zxid = zxid
        self.payload = payload


class Report(Value):
    """A state transition, with its evidence: the value of a history op whose `f` is "state"."""

    _fields = ("value",)
    __slots__ = _fields

    def __init__(self, value: Dict[str, Any]) -> None:
        self.value = value


class Log(Value):
    """One line for the server's log."""

    _fields = ("level", "text")
    __slots__ = _fields

    def __init__(self, level: str, text: str) -> None:
        self.level = level
        self.text = text


class Reached(Value):
    """A rare branch of the protocol was taken (a coverage mark); only simulations and tests look at it."""

    _fields = ("mark",)
    __slots__ = _fields

    def __init__(self, mark: str) -> None:
        self.mark = mark


Effect = Union[
    Dial, Send, HangUp, SetTimer, StoreEpoch, AppendTxns, TruncateLog, StoreSnapshot, Reply, Report, Log, Reached
]


class Durable(NamedTuple):
    """What a server finds on its disk when it starts.

    `accepted_epoch` and `current_epoch` are already repaired as QuorumPeer.loadDataBase does (protocol section 4.4);
    the log holds what follows the snapshot; without a snapshot `snapshot_zxid` is 0 and `snapshot` is b"".
    """

    accepted_epoch: int
    current_epoch: int
    snapshot_zxid: int
    snapshot: bytes
    log: Tuple[Txn, ...]
