"""Events, effects and states of a server, in words: for replays, stories and diagrams.

    Received(7, Notification(...))   ->  "vote for server 5 (epoch 2, zxid 0x200000011, round 3) from server 4, LOOKING"
    Send(7, QuorumPacket(17, ...))   ->  "send LEADERINFO, epoch 6, to server 4"

A connection is a number; `Names` says whose it is, as far as the server itself knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Optional

from node.protocol.core import INT64_MIN, epoch_of
from node.protocol.events import (
    Accepted,
    AppendTxns,
    ClientRequest,
    Connected,
    Dial,
    Effect,
    Event,
    HangUp,
    Log,
    Lost,
    Reached,
    Received,
    Reply,
    Report,
    Send,
    SetTimer,
    StoreEpoch,
    StoreSnapshot,
    TimerDue,
    TruncateLog,
)
from node.protocol.messages import (
    ACKEPOCH,
    FOLLOWERINFO,
    LEADERINFO,
    NEWLEADER,
    OBSERVERINFO,
    PACKET_NAMES,
    PING,
    REQUEST,
    STATE_NAMES,
    UPTODATE,
    InitialMessage,
    Message,
    Notification,
    QuorumPacket,
    SnapshotStream,
)
from node.protocol.server import Server
from node.protocol.votes import Ballot, Vote
from node.wire import packets
from node.wire.jute import WireError

Who = Callable[[int], str]
"""The name of the server at the other end of a connection, or the connection itself."""

_OPCODES = {1: "create", 2: "delete", 3: "exists", 4: "getData", 5: "setData", 9: "sync", 15: "create2"}
_OPCODES |= {-10: "createSession", -11: "closeSession"}


class Names:
    """Whose each connection of a server process is, as the server itself learned it; also of those that are gone."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._sids: dict[int, int] = {}

    def learn(self) -> None:
        """Look again: the server has made a step."""
        server = self._server
        self._sids.update(server.dials)
        self._sids.update(server.sid_of)
        if server.leading is not None:
            self._sids.update((conn, handler.sid) for conn, handler in server.leading.handlers.items())
        if server.learning is not None and server.learning.conn is not None:
            self._sids[server.learning.conn] = server.learning.leader

    def __call__(self, conn: int) -> str:
        sid = self._sids.get(conn)
        return f"connection {conn}" if sid is None else f"server {sid}"


def zxid(number: int) -> str:
    """As ZooKeeper's logs write it: 32 bits of epoch, 32 of counter, in hexadecimal."""
    return f"0x{number & (1 << 64) - 1:x}"


def message(said: Message) -> str:
    """What travels between two servers."""
    if isinstance(said, Notification):
        epoch = "none" if said.peer_epoch == INT64_MIN else said.peer_epoch
        what = f"epoch {epoch}, zxid {zxid(said.zxid)}, round {said.round}"
        state = STATE_NAMES[said.state] if 0 <= said.state < len(STATE_NAMES) else str(said.state)
        return f"vote for {_candidate(said.leader)} ({what}), {state}"
    if isinstance(said, QuorumPacket):
        name = PACKET_NAMES.get(said.type, f"packet of type {said.type}")
        if said.type in (LEADERINFO, NEWLEADER, FOLLOWERINFO, OBSERVERINFO):
            return f"{name}, epoch {epoch_of(said.zxid)}"
        if said.type == ACKEPOCH:
            return f"{name}, epoch {_epoch_promised(said.data)}, last zxid {zxid(said.zxid)}"
        return name if said.type in (PING, REQUEST, UPTODATE) else f"{name} {zxid(said.zxid)}"
    if isinstance(said, InitialMessage):
        return f"introduction of server {said.sid}"
    return f"snapshot at {zxid(said.zxid)}, {len(said.stream)} bytes"


def _candidate(sid: int) -> str:
    """A server that may not vote for itself, such as an observer, votes for none."""
    return "nobody" if sid == INT64_MIN else f"server {sid}"


def _epoch_promised(data: Optional[bytes]) -> str:
    try:
        return str(packets.decode_int32(data))
    except WireError:
        return "unreadable"


def label(said: Message) -> str:
    """A message in two or three words, for a diagram."""
    if isinstance(said, Notification):
        return f"vote {said.leader}, round {said.round}"
    if isinstance(said, QuorumPacket):
        if said.type in (LEADERINFO, NEWLEADER, FOLLOWERINFO, OBSERVERINFO):
            return f"{PACKET_NAMES[said.type]} {epoch_of(said.zxid)}"
        name = PACKET_NAMES.get(said.type, f"type {said.type}")
        return name if said.type in (PING, REQUEST, ACKEPOCH, UPTODATE) else f"{name} {zxid(said.zxid)}"
    return "introduction" if isinstance(said, InitialMessage) else "snapshot"


def _connection(conn: int, who: Who) -> str:
    name = who(conn)
    return f"connection {conn}" + ("" if name == f"connection {conn}" else f" to {name}")


def event(told: Event, who: Who) -> str:
    """What the core was told."""
    if isinstance(told, Received):
        return f"{message(told.message)}, from {who(told.conn)}"
    if isinstance(told, TimerDue):
        return f"timer {told.name} is due"
    if isinstance(told, Accepted):
        return f"somebody dialled our {told.port} port: connection {told.conn}"
    if isinstance(told, Connected):
        return f"dial succeeded: {who(told.conn)} on connection {told.conn}"
    if isinstance(told, Lost):
        return f"{_connection(told.conn, who)} is lost: {told.reason}"
    request: ClientRequest = told
    return f"a client asks: {_OPCODES.get(request.type, f'type {request.type}')} (session {request.session:#x})"


def effect(asked: Effect, who: Who, now: int) -> str:  # noqa: PLR0911 - a sentence for each kind
    """What the core asks for at `now` (ns of its own clock)."""
    if isinstance(asked, Send):
        return f"send {message(asked.message)}, to {who(asked.conn)}"
    if isinstance(asked, SetTimer):
        due = None if asked.due is None else (asked.due - now) / 1e6
        return f"cancel timer {asked.name}" if due is None else f"set timer {asked.name}, due in {due:.3f} ms"
    if isinstance(asked, Dial):
        return f"dial server {asked.sid}'s {asked.port} port: connection {asked.conn}"
    if isinstance(asked, HangUp):
        return f"hang up: {_connection(asked.conn, who)}"
    if isinstance(asked, StoreEpoch):
        return f"store {asked.name} {asked.epoch}"
    if isinstance(asked, AppendTxns):
        return "log " + (", ".join(zxid(txn.zxid) for txn in asked.txns) or "nothing")
    if isinstance(asked, TruncateLog):
        return f"drop what is logged above {zxid(asked.zxid)}"
    if isinstance(asked, StoreSnapshot):
        return f"store a snapshot at {zxid(asked.zxid)}"
    if isinstance(asked, Reply):
        what = _OPCODES.get(asked.type, f"type {asked.type}")
        return f"answer the client's {what}: " + (
            f"error {asked.error}" if asked.error else f"done, {zxid(asked.zxid)}"
        )
    if isinstance(asked, Report):
        return f"REPORT {transition(asked.value)}"
    if isinstance(asked, Log):
        return f"log {asked.level}: {asked.text}"
    mark: Reached = asked
    return f"mark {mark.mark}"


def transition(value: Mapping[str, Any]) -> str:
    """The value of a `state` op."""
    role, phase = value.get("role"), value.get("phase")
    text = f"{role}" if phase == "election" else f"{role} in {phase}"
    if value.get("leader") is not None:
        text += f", leader {value['leader']}"
    if value.get("epoch") is not None:
        text += f", epoch {value['epoch']}"
    vote = value.get("vote") or {}
    leader = "nobody" if vote.get("leader") == INT64_MIN else vote.get("leader")
    text += f", round {value.get('round')}, votes for {leader}"
    text += f", accepted {value.get('accepted_epoch')}, current {value.get('current_epoch')}"
    return f"{text}, last zxid {zxid(value.get('last_zxid') or 0)}: {value.get('reason')}"


# ---- a server's whole state ------------------------------------------------------------------------------------------

_UNCHANGING = ("config", "config_text", "verifier", "voters", "introduction", "addresses", "out", "now", "reported")
_TIMES = ("deadline", "started_at", "heard_at", "give_up_at", "not_before", "unanswered_since", "finalize_at")
_SHOWN_ITEMS = 12


def state(server: Server, origin_ns: int) -> dict[str, str]:
    """All of the server that can change: a name for each part, such as `leading.handlers[4].waits_for`, and its value.

    Times are written in seconds of the server's own clock since `origin_ns`.
    """
    shown: dict[str, str] = {}
    for name, value in vars(server).items():
        if name not in _UNCHANGING:
            _show(shown, name, name, value, origin_ns)
    return shown


def _show(  # noqa: PLR0912 - a shape for each kind of value
    shown: dict[str, str], path: str, leaf: str, value: Any, origin_ns: int
) -> None:
    if isinstance(value, (Notification, QuorumPacket, SnapshotStream, InitialMessage)):
        shown[path] = message(value)
    elif isinstance(value, dict):
        _show_dict(shown, path, leaf, value, origin_ns)
    elif isinstance(value, (Vote, Ballot)):
        state = f", {STATE_NAMES[value.state]}" if isinstance(value, Ballot) else ""
        shown[path] = (
            f"server {value.leader} (epoch {value.epoch}, zxid {zxid(value.zxid)}, round {value.round}){state}"
        )
    elif hasattr(value, "_fields"):
        for name in value._fields:
            _show(shown, f"{path}.{name}", name, getattr(value, name), origin_ns)
    elif hasattr(value, "__dict__"):
        for name, part in vars(value).items():
            _show(shown, f"{path}.{name}", name, part, origin_ns)
    elif isinstance(value, list):
        shown[path] = _listed(leaf, value)
    elif isinstance(value, (set, frozenset)):
        shown[path] = "{" + ", ".join(map(str, sorted(value))) + "}"
    elif isinstance(value, bool) or value is None:
        shown[path] = str(value)
    elif leaf == "role":
        shown[path] = STATE_NAMES[value]
    elif isinstance(value, int) and value and (leaf in _TIMES or path.startswith("timers")):
        shown[path] = f"{(value - origin_ns) / 1e9:.3f} s"
    elif isinstance(value, int) and ("zxid" in leaf or leaf in ("committed", "last_proposed")):
        shown[path] = zxid(value)
    else:
        shown[path] = repr(value)


def _show_dict(shown: dict[str, str], path: str, leaf: str, value: Mapping[Any, Any], origin_ns: int) -> None:
    if leaf in ("nodes", "base"):
        shown[path] = f"{len(value)} nodes"
        return
    for key, part in value.items():
        _show(shown, f"{path}[{zxid(key) if leaf in ('outstanding', 'unacked') else key}]", leaf, part, origin_ns)
    if not value:
        shown[path] = "{}"


def _listed(leaf: str, items: list[Any]) -> str:
    if leaf == "log":
        return f"{len(items)} transactions" + (f", the last {zxid(items[-1].zxid)}" if items else "")
    if leaf == "zxids":
        return f"{len(items)} zxids" + (f", the last {zxid(items[-1])}" if items else "")
    some = [message(i) if isinstance(i, QuorumPacket) else repr(i) for i in items[-_SHOWN_ITEMS:]]
    return ("... " if len(items) > _SHOWN_ITEMS else "") + "[" + ", ".join(some) + "]"


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """What differs between two states, a line each."""
    lines = [
        f"{name}: {before[name]} -> {value}" if name in before else f"{name}: {value} (new)"
        for name, value in after.items()
        if before.get(name) != value and (name in before or value != "{}")
    ]
    return lines + [f"{name}: {value} (gone)" for name, value in before.items() if name not in after and value != "{}"]
