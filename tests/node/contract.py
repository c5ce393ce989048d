"""What holds after every step of a server, whatever the step was: `Probe` asserts it each time.

1.  Every effect can be performed: its fields have their types, a message can be encoded, a mark is a known one, a
    report is JSON, and nothing is said on a connection that was hung up (events.py).
2.  The state is plain data of its declared types (core.py).
3.  Role and state agree: who leads has a `Leading`, who follows a `Learning`, who elects neither.
4.  Nothing waits for ever: each thing that is waited for has its timer, and a role that was left has none.
5.  Both directions of each index agree: a connection is a peer's exactly if it is that peer's connection.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from itertools import islice
from operator import attrgetter
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from harness.simulator.marks import known
from node.protocol.connections import Peer, Pending
from node.protocol.core import BROADCAST, DISCOVERY, ELECTION_PHASE, SYNCHRONIZATION
from node.protocol.events import Dial, Effect, HangUp, Log, Reached, Reply, Report, Send, SetTimer
from node.protocol.following import Learning
from node.protocol.leadership import Leading
from node.protocol.messages import FOLLOWING, LEADING, LOOKING, OBSERVING, Txn, Value
from node.protocol.server import Server
from node.protocol.votes import Ballot, Vote
from node.wire import frames
from node.wire.packets import CREATE, CREATE2


class ServerFields:
    """The declared types of what `Server` holds."""

    now: int
    role: int
    phase: str
    round: int
    next_conn: int
    accepted_epoch: int
    current_epoch: int
    timers: dict[str, int]
    reported: dict[str, Any]
    peers: dict[int, Peer]
    sid_of: dict[int, int]
    dials: dict[int, int]
    pending: dict[int, Pending]
    generic_observers: int
    vote: Vote
    proposal: Vote
    recvset: dict[int, Ballot]
    outofelection: dict[int, Ballot]
    finalize_at: int | None
    interval: int
    learning: Learning | None
    leading: Leading | None
    highest_accepted: int


class DatabaseFields:
    """The same of its `Database`."""

    snapshot_zxid: int
    committed_zxid: int
    last_zxid: int
    applied: int
    zxids: list[int]
    log: list[Txn]
    base: dict[str, bytes]
    nodes: dict[str, bytes]


TIMERS = {
    LOOKING: {"pending", "election", "finalize", "connections"},
    LEADING: {"pending", "leader"},
}
LEARNERS_TIMERS = {"pending", "leader-silent", "leader-retry"}
EVIDENCE = {"votes", "electors", "epoch_acks", "own", "newleader_acks", "synced", "looking"}
SAMPLE = 20
"""So many elements of a container are looked at: one that grows to hundreds is filled by one line of code."""


@cache
def fits(kind: Any) -> Callable[[Any], bool]:
    """Is a value, with all that it holds, of this declared type?  As a function: it is asked of every step."""
    origin, args = get_origin(kind), get_args(kind)
    inner = [fits(arg) for arg in args if arg is not Ellipsis]
    held = [(attrgetter(name), fit) for name, fit in fields(kind)]

    def is_a(value: Any) -> bool:
        return type(value) is kind and all(fit(of(value)) for of, fit in held)

    def is_one_of(value: Any) -> bool:
        return any(fit(value) for fit in inner)

    def is_dict(value: Any) -> bool:
        return type(value) is dict and all(inner[0](k) and inner[1](v) for k, v in islice(value.items(), SAMPLE))

    def is_tuple(value: Any) -> bool:
        return type(value) is tuple and len(value) == len(inner) and all(map(lambda fit, v: fit(v), inner, value))

    def is_container(value: Any) -> bool:
        return type(value) is origin and all(map(inner[0], islice(value, SAMPLE)))

    if kind is Any:
        return lambda value: True
    if origin is tuple and args[-1] is not Ellipsis:
        return is_tuple
    return {None: is_a, dict: is_dict, Union: is_one_of, UnionType: is_one_of}.get(origin, is_container)


@cache
def fields(cls: Any) -> list[tuple[str, Callable[[Any], bool]]]:
    """The declared fields of a class of the core, and what fits each; none of any other type."""
    of_the_core = cls in (ServerFields, DatabaseFields) or cls.__module__.startswith("node.")
    if not of_the_core:
        return []
    hints = get_type_hints(cls.__init__ if issubclass(cls, Value) else cls)
    return [(name, fits(hint)) for name, hint in hints.items() if name != "return"]


class Ledger:
    """What a server has asked for so far: its timers, and the connections that it dialled and hung up."""

    def __init__(self) -> None:
        self.timers: dict[str, int] = {}
        self.dialled = 0
        self.hung_up: set[int] = set()

    def check(self, server: Server, effects: list[Effect]) -> None:
        """After a step: its effects, one by one, and what it left."""
        for effect in effects:
            assert isinstance(effect, get_args(Effect))
            kind: Any = type(effect)
            assert fits(kind)(effect), f"not of its types: {effect}"
            if isinstance(effect, SetTimer):
                self.set_timer(server, effect)
            else:
                self.check_effect(effect)
        assert self.timers == server.timers
        assert not server.pending.keys() & self.hung_up
        check_state(server)

    def set_timer(self, server: Server, effect: SetTimer) -> None:
        assert effect.due != self.timers.pop(effect.name, None), "a timer that was set to this already, or to nothing"
        if effect.due is not None:
            assert effect.due > server.now, "nothing is due in the past"
            self.timers[effect.name] = effect.due

    def check_effect(self, effect: Effect) -> None:
        if isinstance(effect, Send):
            assert effect.conn not in self.hung_up, f"said after hanging up: {effect}"
            frames.encode(effect.message)
        elif isinstance(effect, HangUp):
            assert effect.conn not in self.hung_up, f"hung up twice: {effect}"
            self.hung_up.add(effect.conn)
        elif isinstance(effect, Dial):
            assert effect.conn == 2 * self.dialled + 1, "we number the connections that we dial 1, 3, 5, ..."
            self.dialled += 1
        elif isinstance(effect, Reached):
            assert effect.mark in known()
        elif isinstance(effect, Log):
            assert effect.level in {"INFO", "WARN", "ERROR"}
        elif isinstance(effect, Report):
            assert json.loads(json.dumps(effect.value)) == effect.value
            assert effect.value["evidence"].keys() <= EVIDENCE
            assert effect.value["reason"]
        elif isinstance(effect, Reply) and (effect.error or effect.type not in (CREATE, CREATE2)):
            assert effect.payload == b"", "only a path that was created is told"


def stated(server: Server) -> dict[str, Any]:
    """What a `state` op says (docs of the history format)."""
    looking, leading, learning = server.role == LOOKING, server.leading, server.learning
    vote = server.proposal if looking else server.vote
    epoch = learning.epoch if learning is not None else None
    return {
        "sid": server.config.sid,
        "role": ["LOOKING", "FOLLOWING", "LEADING", "OBSERVING"][server.role],
        "phase": server.phase,
        "round": server.round,
        "vote": {"leader": vote.leader, "zxid": vote.zxid, "round": vote.round, "epoch": vote.epoch},
        "leader": None if looking else vote.leader,
        "accepted_epoch": server.accepted_epoch,
        "current_epoch": server.current_epoch,
        "last_zxid": server.database.last_zxid,
        "epoch": leading.epoch if leading is not None and leading.proposed else epoch,
        "established": leading is not None and server.phase in {SYNCHRONIZATION, BROADCAST},
    }


def check_state(server: Server) -> None:
    for name, fit in fields(ServerFields):
        assert fit(getattr(server, name)), f"{name} is {getattr(server, name)}"
    for name, fit in fields(DatabaseFields):
        assert fit(getattr(server.database, name)), f"{name} of the database"
    assert server.state() == stated(server)
    timers = server.timers
    assert timers.keys() <= TIMERS.get(server.role, LEARNERS_TIMERS)
    assert server.peers.keys() >= {m.sid for m in server.config.members if m.sid != server.sid}
    assert server.sid_of == {peer.conn: sid for sid, peer in server.peers.items() if peer.conn is not None}
    assert server.dials == {peer.dialing: sid for sid, peer in server.peers.items() if peer.dialing is not None}
    if server.pending:
        assert timers["pending"] <= min(pending.deadline for pending in server.pending.values())
    leading, learning = server.leading, server.learning
    assert (leading is not None) == (server.role == LEADING)
    assert (learning is not None) == (server.role in {FOLLOWING, OBSERVING})
    if leading is not None or learning is not None:
        assert server.phase in {DISCOVERY, SYNCHRONIZATION, BROADCAST}
        assert (server.recvset, server.outofelection, server.finalize_at) == ({}, {}, None)
    else:
        assert server.phase == ELECTION_PHASE
        assert timers.keys() >= {"election", "connections"}
        assert server.finalize_at is None or timers["finalize"] == server.finalize_at
    if leading is not None:
        assert "leader" in timers
        assert list(leading.outstanding) == sorted(leading.outstanding)
        assert list(leading.outstanding.values()) == [o for z, o in leading.outstanding.items() if o.txn.zxid == z]
    if learning is not None:
        assert ("leader-silent" in timers) == learning.connected
        assert ("leader-retry" in timers) == (learning.conn is None)
