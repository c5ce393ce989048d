"""The journal: what was told to a core comes back and repeats; whatever was changed is noticed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.agent.journal import Entry, Journal, JournalError, JournalStep, Start, digest, read, repeat
from node.agent.storage import STORAGE_EFFECTS, Disk
from node.config import OBSERVER, Config, Member
from node.protocol import events
from node.protocol.events import (
    Accepted,
    ClientRequest,
    Connected,
    Durable,
    Effect,
    Event,
    Lost,
    Received,
    SetTimer,
    TimerDue,
)
from node.protocol.messages import ELECTION, InitialMessage, Notification, QuorumPacket, SnapshotStream, Txn
from node.protocol.server import Server
from node.wire.packets import CreateRequest, encode_create_request

EMPTY = Durable(0, 0, 0, b"", ())
ALONE = Config(sid=1, members=(Member(1, "n1", 2888, 3888),), tick_ms=500)
FULL = Config(
    sid=2,
    members=(Member(1, "n1", 1, 2), Member(2, "::1", 1, 2, client=("::", 5)), Member(3, "n3", 1, 2, OBSERVER)),
    groups=((1, frozenset({1, 2})), (2, frozenset({3}))),
    weights=((1, 2), (3, 0)),
    client_address=("0.0.0.0", 2181),
    four_letter_words=frozenset({"srvr", "mntr"}),
    other={"a": "b"},
)


class Life:
    """A server that is alone in its ensemble, its disk and its journal; `crash` after a number of disk effects."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = 1000
        self.disk = Disk(EMPTY)
        self.start()

    def start(self) -> None:
        self.journal = Journal(str(self.path))
        self.timers: dict[str, int] = {}
        durable = self.disk.load()
        self.server = Server(ALONE, durable)
        effects = self.server.start(self.now)
        self.journal.start(self.now, effects, config=ALONE, durable=durable, bug="", code="c")
        self.perform(effects)

    def tell(self, event: Event, performed: int | None = None, behind: bool = False) -> None:
        self.now += 7
        effects = self.server.step(self.now, event)
        self.journal.step(self.now, event, effects, behind)
        self.perform(effects, performed)

    def perform(self, effects: list[Effect], performed: int | None = None) -> None:
        stored = [effect for effect in effects if isinstance(effect, STORAGE_EFFECTS)]
        for effect in stored[:performed]:
            self.disk.perform(effect)
        for timer in effects:
            if isinstance(timer, SetTimer):
                self.timers.pop(timer.name, None)
                if timer.due is not None:
                    self.timers[timer.name] = timer.due

    def next_timer(self) -> TimerDue:
        name = min(self.timers, key=lambda name: self.timers[name])
        self.now = max(self.now, self.timers.pop(name))
        return TimerDue(name)

    def serve(self) -> None:
        while not self.server.serving:
            self.tell(self.next_timer())

    def create(self, number: int, performed: int | None = None, behind: bool = False) -> None:
        request = encode_create_request(CreateRequest(f"/{number}", b"data"))
        self.tell(ClientRequest(5, number, 1, request, 99), performed, behind)


def same(path: Path) -> tuple[int, int]:
    """Repeats the journal; the numbers of its starts and of its steps."""
    starts = steps = 0
    for entry, effects in repeat(read(str(path))):
        assert digest(effects) == entry.effects
        starts += isinstance(entry, Start)
        steps += isinstance(entry, JournalStep)
    return starts, steps


def test_a_life_with_crashes_after_any_of_an_inputs_disk_writes_repeats(tmp_path: Path) -> None:
    life = Life(tmp_path / "journal")
    for performed in (0, 1, 0, 1):
        life.serve()
        life.create(1000 + life.now)
        life.create(life.now, performed)  # and here the process is killed
        life.start()
    found = life.disk.load()
    assert len(found.log) == 6
    assert found.current_epoch == 4
    starts, steps = same(tmp_path / "journal")
    assert starts == 5
    assert steps > 12


def test_a_disk_that_another_hand_changed_between_two_starts_is_noticed(tmp_path: Path) -> None:
    life = Life(tmp_path / "journal")
    life.serve()
    life.create(1)
    life.create(2)
    life.disk.log.clear()  # the last input may have left its transaction unwritten, but not the one before
    life.start()
    with pytest.raises(JournalError, match="does not follow from the journal"):
        same(tmp_path / "journal")


@pytest.mark.parametrize("synced", range(4))
def test_a_crash_before_or_after_the_sync_that_appends_share_repeats(tmp_path: Path, synced: int) -> None:
    """Group commit: of three creates, the last two `behind`, any first ones may be on the disk."""
    life = Life(tmp_path / "journal")
    life.serve()
    life.create(1)
    before = len(life.disk.log)
    for number in range(3):
        life.create(10 + number, performed=int(number < synced), behind=number > 0)
    assert len(life.disk.log) == before + synced
    life.start()
    life.serve()
    life.create(2)
    assert same(tmp_path / "journal")[0] == 2


def test_another_core_gives_another_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    life = Life(tmp_path / "journal")
    life.serve()
    monkeypatch.setattr("node.protocol.election.FINALIZE_WAIT_MS", 201)
    with pytest.raises(AssertionError):
        same(tmp_path / "journal")


def entries(path: Path, notes: list[str] | None = None) -> list[Entry]:
    return list(read(str(path), (notes if notes is not None else []).append))


def test_every_changed_byte_is_noticed_with_its_line_or_cuts_the_end(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    life = Life(path)
    life.serve()
    life.create(1)
    data = path.read_bytes()
    whole = entries(path)
    rng = random.Random(1)
    for at in range(0, len(data) - 1, 3):
        changed = bytearray(data)
        changed[at] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        line = data.count(b"\n", 0, at) + 1
        with pytest.raises(JournalError, match=f"journal:({line}|{line + 1}): "):
            entries(path)
    lines = data.splitlines(keepends=True)
    for broken in (
        lines[:1] + lines[2:],
        [lines[0], lines[2], lines[1], *lines[3:]],
        [*lines[:2], lines[1], *lines[2:]],
    ):
        path.write_bytes(b"".join(broken))
        with pytest.raises(JournalError):
            entries(path)
    path.write_bytes(data)
    assert entries(path) == whole


def test_a_cut_last_line_is_passed_over_with_a_note_and_removed_by_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    life = Life(path)
    life.serve()
    data = path.read_bytes()
    last = data[:-1].rfind(b"\n") + 1
    for size in range(last + 1, len(data)):
        path.write_bytes(data[:size])
        notes: list[str] = []
        assert len(entries(path, notes)) == data.count(b"\n") - 1
        assert len(notes) == 1
    life.start()  # without its last input, whose effects were never let go
    assert path.read_bytes().startswith(data[:last] + b'{"crc":')
    assert len(entries(path)) == data.count(b"\n")


@pytest.mark.parametrize("config", [ALONE, FULL])
def test_a_start_comes_back(tmp_path: Path, config: Config) -> None:
    durable = Durable(5, 4, 9, b"\0\xff", (Txn(1, 2, 3, 4, 5, b"6"),))
    journal = Journal(str(tmp_path / "journal"))
    journal.start(17, [], config=config, durable=durable, bug="half-quorum", code="abc")
    journal.start(18, [], config=config, durable=durable, bug="half-quorum", code="abc")
    journal.close()
    first, second = entries(tmp_path / "journal")
    assert first == Start(17, config, durable, digest(durable), "half-quorum", "abc", digest([]))
    assert second == first._replace(now=18, durable=None)
    assert isinstance(first, Start)
    assert first.config.other == config.other


INT = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(max_size=9)
ADDRESSES = st.lists(st.tuples(TEXT, st.integers(1, 65535)), max_size=2).map(tuple)
MESSAGES = st.one_of(
    st.builds(InitialMessage, INT, INT, ADDRESSES),
    st.builds(Notification, INT, INT, INT, INT, INT, INT, st.none() | TEXT),
    st.builds(QuorumPacket, INT, INT, st.none() | st.binary(max_size=9)),
    st.builds(SnapshotStream, INT, st.binary(max_size=9)),
)
EVENTS = st.one_of(
    st.builds(Accepted, INT, st.just(ELECTION)),
    st.builds(Connected, INT),
    st.builds(Received, INT, MESSAGES),
    st.builds(Lost, INT, TEXT),
    st.builds(TimerDue, TEXT),
    st.builds(ClientRequest, INT, INT, INT, st.binary(max_size=9), INT),
)


def test_every_kind_of_event_is_tried_below() -> None:
    assert set(events.Event.__args__) == {Accepted, Connected, Received, Lost, TimerDue, ClientRequest}  # type: ignore[attr-defined]


@given(told=st.lists(EVENTS, max_size=5))
def test_every_event_comes_back(tmp_path_factory: pytest.TempPathFactory, told: list[Event]) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal"
    journal = Journal(str(path))
    for now, event in enumerate(told):
        journal.step(now, event, [])
    journal.close()
    found = entries(path)
    assert found == [JournalStep(now, event, digest([])) for now, event in enumerate(told)]
    assert all(
        isinstance(step, JournalStep) and type(step.event) is type(event)
        for step, event in zip(found, told, strict=True)
    )
