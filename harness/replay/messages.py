"""The messages between the servers of a run, found by repeating what each of them did.

    exchanged = exchange(Path("results/latest"))
    for message in exchanged.within(9_000_000_000, 9_500_000_000): ...
        ->  Message('n3', 'n1', 9012345678, 9014000120, 'LEADERINFO', 'LEADERINFO, epoch 4', ...)

The model.  A journal has what a server was told; repeated through the same core it gives what the server asked for, and
so each `Send`.  A connection is two numbers, one at either end, and no journal says which belong together.  The rules:

1.  An accepted connection is the youngest dial of its peer that succeeded, was aimed at this server and port, had said
    something by then, and whose messages begin with those that came in on it, in their order, and the other way round:
    TCP loses nothing in between.  Who the peer is, the first message says (an introduction, FOLLOWERINFO).
2.  So the k-th message received on a connection is the k-th that was sent on it, in each direction.  What was sent
    after the last that was received never arrived: lost with the connection, or the receiver stopped too early.
3.  Times are the run's: a server's own clock, mapped by the transitions that the history has (`server.Times`).  Where
    that puts an arrival before its sending, the arrival is moved to the sending.

What cannot be known:

*   whether a message that never arrived had left its host.  Its bytes may have waited in a buffer; and what a server
    asked for in its last input before a crash may not have been done at all;
*   which of two dials within a few milliseconds, with the same words, became which connection (about one message in a
    thousand under heavy chaos, most of them introductions);
*   when a message that arrived was on the wire: only when the core asked for it, and when the other core was told;
*   between transitions, how a clock ran that a fault bent: times there may be off by as much as it was bent.  The order
    in which one server sent and was told things is always right (`sent_line`, `received_line`);
*   what a server said of which there is no journal (ZooKeeper's, or one that was lost), and what it was told.  Messages
    from and to it are left out, never shown as lost.  `notes` tell of it.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from checker.counted import counted
from harness import UsageError
from harness.replay.run import journals, recorded
from harness.replay.server import JOURNAL, Moment, Records, Times, replay_host
from node.agent.journal import JournalStep, Start
from node.protocol import describe
from node.protocol.events import Accepted, Connected, Dial, Received, Send
from node.protocol.messages import FOLLOWERINFO, OBSERVERINFO, PACKET_NAMES, InitialMessage, Notification, QuorumPacket
from node.protocol.messages import Message as Said
from node.wire import packets
from node.wire.frames import WireError

VOTE, INTRODUCTION, SNAPSHOT = "vote", "introduction", "snapshot"
"""What a message is, where it is no packet: `Message.kind`.  A packet's kind is its name, such as "LEADERINFO"."""
JOURNALS_BYTES_MAX = 64_000_000
"""All journals of a run together.  It takes about 0.1 ms to repeat an input of 200 bytes."""
_MAPPING_NS = 2_000_000
"""By how much a dial may seem to come after its own acceptance, clocks being mapped with errors."""
_BENT_NS = 2_000_000_000
"""... and if nothing else explains the acceptance, a clock being bent."""
_DIALS_TRIED = 200
_FOR_EVER = 1 << 62


class Message(NamedTuple):
    """One message.  Times are nanoseconds since the run began."""

    sender: str
    receiver: str
    sent_ns: int
    received_ns: int | None
    """None: it never arrived."""
    kind: str
    text: str
    """What it says, as `node.protocol.describe.message` puts it."""
    label: str
    """The same in two or three words."""
    port: str
    """`node.protocol.events.ELECTION` or QUORUM: whose connection it travelled on."""
    sent_line: int
    """The line of the sender's journal that made it send this.  One line may send several, in the order given here."""
    received_line: int | None


@dataclass
class Exchange:
    """All messages of a run, by the time when they were sent; and what has to be said about them."""

    hosts: list[str]
    """Those whose journals were read."""
    notes: list[str] = field(default_factory=list)
    rows: list[tuple[int, int, int, int, int, str, int, int]] = field(default_factory=list)
    """sent, received or -1, sender, receiver, place in `said`, port, line of sending, line of receiving or 0."""
    said: list[tuple[str, str, str]] = field(default_factory=list)
    """Kind, text and label, each kept once."""

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Message]:
        return self.within(-_FOR_EVER, _FOR_EVER)

    def within(self, since_ns: int, until_ns: int) -> Iterator[Message]:
        """Those that were sent, received or on their way from `since_ns` to `until_ns`, both included."""
        for sent, received, source, target, said, port, sent_line, received_line in self.rows:
            if sent > until_ns:
                return
            if max(sent, received) >= since_ns:
                yield Message(
                    self.hosts[source],
                    self.hosts[target],
                    sent,
                    received if received >= 0 else None,
                    *self.said[said],
                    port,
                    sent_line,
                    received_line or None,
                )


def exchange(run: Path) -> Exchange:
    """The messages of the run's folder.

    A journal that does not repeat is used up to its first difference, and a note says so.  Raises UsageError: there are
    no journals (another system's run), they are too large to be repeated here, or there is no history to give times.
    """
    hosts = journals(run)
    size = sum((run / host / JOURNAL).stat().st_size for host in hosts)
    if size > JOURNALS_BYTES_MAX:
        raise UsageError(
            f"{run}: the journals have {size // 1_000_000} MB, too many to be repeated for their messages",
            remedy=f"At most {JOURNALS_BYTES_MAX // 1_000_000} MB are; onethrone replay RUN --server HOST reads any.",
        )
    history, sids, states, complete, _ = recorded(run)
    if history is None:
        raise UsageError(f"{run}: there is no history, so the messages have no times")
    found = Exchange(hosts)
    names = {sid: host for host, sid in sids.items()}
    said: dict[tuple[str, str, str], int] = {}
    ends: list[_ConnectionEnd] = []
    knows: dict[str, int] = {}
    for host in hosts:
        heard = _Heard(host, names, said)
        replayed = replay_host(
            run, host, [Records("history.jsonl", states.get(host, []), holes=not complete)], None, heard
        )
        heard.timed(replayed.times)
        ends += heard.ends
        knows[host] = _FOR_EVER
        if replayed.damage or replayed.difference is not None:
            knows[host] = replayed.times.at(heard.line, heard.now) or 0
            told = replayed.damage or f"line {heard.line + 1} of its journal does not repeat"
            heard.cut()
            found.notes.append(f"{host}'s messages are known up to {knows[host] / 1e9:.3f} s: {told}")
    silent = [host for host in sids if host not in hosts]
    if silent:
        found.notes.append(f"there is no journal of {', '.join(silent)}: messages from and to it are not known")
    found.said = list(said)
    _match(found, ends, knows)
    return found


# ---- one server's ends of its connections ----------------------------------------------------------------------------


class _Column:
    """What went one way over a connection, seen from one end: when, on which line of the journal, and what."""

    __slots__ = ("lines", "marks", "said", "times")

    def __init__(self) -> None:
        self.times, self.lines, self.said, self.marks = array("q"), array("L"), array("L"), array("q")

    def add(self, now: int, line: int, said: int, mark: int) -> None:
        self.times.append(now)
        self.lines.append(line)
        self.said.append(said)
        self.marks.append(mark)

    def begins_with(self, other: _Column, is_cut: bool) -> bool:
        """Whether `other` may be what arrived of this, or more than that if the journal of this end is cut."""
        both = min(len(self.marks), len(other.marks)) if is_cut else len(other.marks)
        return self.marks[:both] == other.marks[:both]


@dataclass(slots=True)
class _ConnectionEnd:
    """One end of a connection, in one life of a server."""

    host: str
    peer: str
    """Whom we dialled, or who introduced himself; "" if nobody has yet."""
    port: str
    since: int
    line: int
    dialled: bool
    up: bool
    known: bool = True
    """The run times of this life are known."""
    cut: bool = False
    """It went on after the last line that could be repeated."""
    sent: _Column = field(default_factory=_Column)
    received: _Column = field(default_factory=_Column)

    @property
    def first_said(self) -> int:
        return self.sent.times[0] if self.sent.times else self.since


class _Heard:
    """Looks at every moment of one server, and keeps what went over its connections."""

    def __init__(self, host: str, names: dict[int, str], said: dict[tuple[str, str, str], int]) -> None:
        self.host = host
        self.ends: list[_ConnectionEnd] = []
        self.line = self.now = 0
        self._names, self._said = names, said
        self._here: dict[int, _ConnectionEnd] = {}

    def __call__(self, seen: Moment) -> None:
        now = self.now = seen.entry.now
        line = self.line = seen.line
        if isinstance(seen.entry, Start):
            self._here = {}
        told = seen.entry.event if isinstance(seen.entry, JournalStep) else None
        if isinstance(told, Accepted):
            self._begin(told.conn, _ConnectionEnd(self.host, "", told.port, now, line, dialled=False, up=True))
        elif isinstance(told, Connected) and told.conn in self._here:
            self._here[told.conn].up = True
        elif isinstance(told, Received) and told.conn in self._here:
            end = self._here[told.conn]
            end.received.add(now, line, self._place(told.message), _mark(told.message))
            end.peer = end.peer or self._names.get(_introduced(told.message), "")
        for effect in seen.effects:
            if isinstance(effect, Dial):
                peer = self._names.get(effect.sid, "")
                self._begin(
                    effect.conn, _ConnectionEnd(self.host, peer, effect.port, now, line, dialled=True, up=False)
                )
            elif isinstance(effect, Send) and effect.conn in self._here:
                self._here[effect.conn].sent.add(now, line, self._place(effect.message), _mark(effect.message))

    def _begin(self, conn: int, end: _ConnectionEnd) -> None:
        self._here[conn] = end
        self.ends.append(end)

    def _place(self, message: Said) -> int:
        words_ = (_kind(message), describe.message(message), describe.label(message))
        return self._said.setdefault(words_, len(self._said))

    def cut(self) -> None:
        """What follows could not be repeated."""
        for end in self._here.values():
            end.cut = True

    def timed(self, times: Times) -> None:
        """Puts run times in the place of the server's own."""
        for end in self.ends:
            since = times.at(end.line, end.since)
            if since is None:
                end.known = False  # a life that the history never heard of
                continue
            end.since = since
            for column in (end.sent, end.received):
                for k, (line, now) in enumerate(zip(column.lines, column.times, strict=True)):
                    column.times[k] = times.at(line, now) or 0


def _kind(message: Said) -> str:
    if isinstance(message, QuorumPacket):
        return PACKET_NAMES.get(message.type, f"packet of type {message.type}")
    return (
        VOTE if isinstance(message, Notification) else INTRODUCTION if isinstance(message, InitialMessage) else SNAPSHOT
    )


def _mark(message: Said) -> int:
    """The same for what was sent and what was received; of whole numbers only, whose hashes do not vary."""
    if isinstance(message, Notification):
        return hash((0, message.state, message.leader, message.zxid, message.round, message.peer_epoch))
    if isinstance(message, QuorumPacket):
        return hash((1, message.type, message.zxid))
    return hash((2, message.sid)) if isinstance(message, InitialMessage) else hash((3, message.zxid))


def _introduced(message: Said) -> int:
    """The sid of whoever introduces himself with it; -1: nobody."""
    if isinstance(message, InitialMessage):
        return message.sid
    if isinstance(message, QuorumPacket) and message.type in (FOLLOWERINFO, OBSERVERINFO) and message.data:
        try:
            return packets.decode_learner_info(message.data).sid
        except WireError:
            return -1
    return -1


# ---- both ends of a connection ---------------------------------------------------------------------------------------


def _match(found: Exchange, ends: list[_ConnectionEnd], knows: dict[str, int]) -> None:
    place = {host: n for n, host in enumerate(found.hosts)}
    unknown = 0

    def pair(source: _ConnectionEnd, receiver: str, target: _ConnectionEnd | None) -> None:
        """What `source` sent, and its arrivals at the other end of the connection, if it has another end."""
        nonlocal unknown
        sent, received = source.sent, target.received if target is not None else _Column()
        arrived = len(received.times)
        if receiver not in place or not source.known or (target is not None and not target.known):
            unknown += len(sent.times)
            return
        for k, at in enumerate(sent.times):
            if k < arrived:
                when, line = max(at, received.times[k]), received.lines[k]
            elif (target is not None and target.cut) or at > knows[receiver] - _BENT_NS:
                unknown += 1
                continue
            else:
                when, line = -1, 0
            row = (at, when, place[source.host], place[receiver], sent.said[k], source.port, sent.lines[k], line)
            found.rows.append(row)

    dials: dict[tuple[str, str], list[_ConnectionEnd]] = {}
    for end in sorted((end for end in ends if end.dialled), key=lambda end: end.since):
        dials.setdefault((end.port, end.peer), []).append(end)
    for accepted in sorted((end for end in ends if not end.dialled), key=lambda end: end.since):
        candidates = dials.get((accepted.port, accepted.host), [])
        dial = _dial_of(accepted, candidates)
        if dial is not None:
            candidates.remove(dial)
            pair(dial, accepted.host, accepted)
            pair(accepted, dial.host, dial)
        else:
            pair(accepted, accepted.peer, None)
    for left in dials.values():
        for dial in left:
            pair(dial, dial.peer, None)
    found.rows.sort(key=lambda row: (row[0], row[2], row[6]))
    if unknown:
        left_out = counted(unknown, "message is", "messages are")
        found.notes.append(f"{left_out} left out: nobody knows whether they arrived")


def _dial_of(accepted: _ConnectionEnd, dials: list[_ConnectionEnd]) -> _ConnectionEnd | None:
    """Rule 1; `dials` are those that belong to no other, by time."""
    later: _ConnectionEnd | None = None
    tried = 0
    for dial in reversed(dials):
        if (
            not dial.up
            or dial.host == accepted.host
            or (accepted.peer and dial.host != accepted.peer)
            or dial.first_said > accepted.since + _BENT_NS
        ):
            continue
        tried += 1
        if dial.sent.begins_with(accepted.received, dial.cut) and accepted.sent.begins_with(
            dial.received, accepted.cut
        ):
            if dial.first_said <= accepted.since + _MAPPING_NS:
                return dial
            later = dial
        if tried == _DIALS_TRIED:
            break
    return later
