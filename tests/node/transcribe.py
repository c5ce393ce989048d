"""Transcripts: what one real server is told and what it asks for, in words, as a file that a reviewer can read.

The model.  A transcript is a text.  A line that begins with `#` tells the story.  A line that begins with `>` is a
directive: it says what happens to the server.  What the server does comes below it, written by `transcribe`:

    > 200 ms                                                    the directive
        timer finalize is due                                   an event of the core (`node.protocol.describe`)
            REPORT FOLLOWING in discovery, leader 3, ...        its effects, in their order
            dial server 3's quorum port: connection 5

Directives, in which a zxid is written as 0x and hexadecimal digits, and `_` is allowed between them:

    > server 1 of 3 [observer] [NAME=VALUE ...]     the server starts; NAME is accepted, current, a setting of its
      [log ZXID ...]                                configuration, or snap_at (a snapshot with one node, /old)
    > connect 2                                     the election connection with server 2 comes up
    > 2 votes LOOKING for 2 NAME=VALUE ...          a notification; NAME is zxid, round or epoch
    > dialled 2 | dial of 2 fails                   the last dial of server 2 ends
    > lose 2                                        the last connection with server 2 is lost
    > N ms                                          time passes, timers fall due
    > 1 comes accepted=4 [observer]                 a learner dials the quorum port and introduces itself
    > 1 sends NAME [ZXID] [NAME=VALUE ...]          a packet; NAME is a type; epoch=N stands for its zxid or its data
    > 3 sends snapshot                              the snapshot that was announced: the nodes / and /old
    > client creates /a | client syncs              a request of a client of this server
"""

from __future__ import annotations

import re
from typing import Any

from node.protocol import describe
from node.protocol.events import ClientRequest, Connected, Dial, Effect, Event, Lost, Received
from node.protocol.messages import ACKEPOCH, LEADERINFO, NEWLEADER, PACKET_NAMES, PROPOSAL, STATE_NAMES, SnapshotStream
from node.wire import packets
from tests.node.probe import Probe, durable, txn, z

TYPES = {name: number for number, name in PACKET_NAMES.items()}
OBSERVER_COMES, FOLLOWER_COMES = TYPES["OBSERVERINFO"], TYPES["FOLLOWERINFO"]
OLD_TREE = packets.encode_snapshot({"/": b"", "/old": b""})


class WrittenProbe(Probe):
    """A probe that writes down each of its steps."""

    lines: list[str]
    names: describe.Names
    last = 0
    times = 1
    """Where the last step is written, and how often it was made."""

    def begin(self, effects: list[Effect], lines: list[str]) -> None:
        """The start has been made already; the steps after it are written to `lines`."""
        self.lines, self.names = lines, describe.Names(self.server)
        self.write("the server starts", effects)

    def step(self, event: Event) -> list[Effect]:
        self.names.learn()
        told = describe.event(event, self.names)
        effects = super().step(event)
        self.names.learn()
        self.write(told, effects)
        return effects

    def write(self, told: str, effects: list[Effect]) -> None:
        """A step that is the same as the one before it, such as a timer that fell due again, is only counted."""
        done = [f"        {describe.effect(effect, self.names, self.now)}" for effect in effects]
        last = self.lines[self.last :]
        if last[1:] == done and re.fullmatch(rf"    {re.escape(told)}( \(\d+ times\))?", last[0]):
            self.times += 1
            self.lines[self.last] = f"    {told} ({self.times} times)"
        else:
            self.last, self.times = len(self.lines), 1
            self.lines += [f"    {told}", *done]


class Transcript:
    """A server and its peers, moved on by directives."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.cxid = 0
        self.learners: dict[int, int] = {}

    def follow(self, directive: str) -> None:
        """Carry one out.  ValueError for one that is not understood."""
        for pattern, action in ACTIONS.items():
            match = re.fullmatch(pattern, directive)
            if match is not None:
                getattr(self, action)(*match.groups())
                return
        raise ValueError(f"not a directive: > {directive}")

    def server(self, sid: str, servers: str, observer: str | None, rest: str) -> None:
        given, _, logged = rest.partition("log")
        values = numbers(given)
        epochs = values.pop("accepted", 0), values.pop("current", 0)
        disk = durable(*epochs, *(int(zxid, 16) for zxid in logged.split()))
        if "snap_at" in values:
            disk = disk._replace(snapshot_zxid=values.pop("snap_at"), snapshot=OLD_TREE)
        if observer:
            values |= {"observers": int(servers) - int(sid) + 1}
        voters = int(servers) - values.get("observers", 0)
        self.probe = WrittenProbe.__new__(WrittenProbe)
        self.probe.lines = []
        Probe.__init__(self.probe, int(sid), voters, disk, **values)
        self.probe.begin(list(self.probe.effects), self.lines)

    def connect(self, sid: str) -> None:
        self.probe.connect(int(sid))

    def votes(self, sid: str, state: str, leader: str, rest: str) -> None:
        values = {"round": 1, "zxid": 0, "epoch": 0, **numbers(rest)}
        self.probe.vote(int(sid), STATE_NAMES.index(state), int(leader), **values)

    def dialled(self, sid: str) -> None:
        self.probe.step(Connected(self.last_dial(sid)))

    def dial_fails(self, sid: str) -> None:
        self.probe.step(Lost(self.last_dial(sid), "refused"))

    def last_dial(self, sid: str) -> int:
        return next(e.conn for e in reversed(self.probe.effects) if isinstance(e, Dial) and e.sid == int(sid))

    def lose(self, sid: str) -> None:
        self.probe.lose(self.connection(sid))

    def connection(self, sid: str) -> int:
        """The quorum connection with a server, or else the election connection."""
        learning = self.probe.server.learning
        if learning is not None and learning.leader == int(sid) and learning.conn is not None:
            return learning.conn
        return self.learners.get(int(sid)) or self.probe.conns[int(sid)]

    def pass_time(self, ms: str) -> None:
        self.probe.advance(int(ms))

    def comes(self, sid: str, accepted: str, observer: str | None) -> None:
        kind = OBSERVER_COMES if observer else FOLLOWER_COMES
        self.learners[int(sid)] = self.probe.learner(int(sid), int(accepted), kind)

    def sends(self, sid: str, name: str, zxid: str | None, rest: str) -> None:
        kind, values = TYPES[name], numbers(rest)
        at, data = int(zxid or "0", 16), None
        if kind in (LEADERINFO, NEWLEADER):
            at = z(values["epoch"], 0)
        if kind == LEADERINFO:
            data = packets.encode_int32(packets.PROTOCOL_VERSION)
        elif kind == ACKEPOCH:
            data = packets.encode_int32(values["epoch"])
        elif kind in (PROPOSAL, TYPES["INFORM"]):
            data = packets.encode_txn(txn(at))
        self.probe.packet(self.connection(sid), kind, at, data)

    def snapshot(self, sid: str) -> None:
        learning = self.probe.server.learning
        assert learning is not None
        self.probe.step(Received(self.connection(sid), SnapshotStream(learning.sync_zxid, OLD_TREE)))

    def creates(self, path: str) -> None:
        payload = packets.encode_create_request(packets.CreateRequest(path, b""))
        self.request(packets.CREATE, payload)

    def syncs(self) -> None:
        self.request(packets.SYNC_OP, packets.encode_path("/"))

    def request(self, kind: int, payload: bytes) -> None:
        self.cxid += 1
        self.probe.step(ClientRequest(7, self.cxid, kind, payload, 0))


ACTIONS = {
    r"server (\d+) of (\d+)( observer)?((?: \w+=\w+)*(?: log(?: \w+)+)?)": "server",
    r"connect (\d+)": "connect",
    r"(\d+) votes (\w+) for (-?\d+)((?: \w+=\w+)*)": "votes",
    r"dialled (\d+)": "dialled",
    r"dial of (\d+) fails": "dial_fails",
    r"lose (\d+)": "lose",
    r"(\d+) ms": "pass_time",
    r"(\d+) comes accepted=(-?\d+)( observer)?": "comes",
    r"(\d+) sends snapshot": "snapshot",
    r"(\d+) sends ([A-Z]+)(?: (0x\w+))?((?: \w+=-?\w+)*)": "sends",
    r"client creates (\S+)": "creates",
    r"client syncs": "syncs",
}
"""Directives, and the methods that carry them out."""


def numbers(text: str) -> dict[str, Any]:
    return {name: int(value, 0) for name, _, value in (part.partition("=") for part in text.split())}


def transcribe(text: str) -> str:
    """The transcript with its story and its directives, and what the server does now below each of them."""
    transcript = Transcript()
    for line in text.splitlines():
        if line.startswith(">"):
            transcript.lines.append(line)
            transcript.follow(line[1:].strip())
        elif not line.startswith(" "):
            transcript.lines.append(line)
        elif not line.strip():
            raise ValueError("a line of blanks")
    return "\n".join(transcript.lines) + "\n"
