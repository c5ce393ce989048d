"""Messages out of journals: held against what a simulated network truly carried, line by line."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from harness import UsageError
from harness.replay import messages
from harness.replay.messages import Exchange, Message, exchange
from harness.simulator.ground import Pipe
from harness.simulator.network import Network
from harness.simulator.run import simulate
from harness.simulator.simulated_run import SimulatorSettings
from harness.simulator.world import World
from node.agent.journal import Journal
from node.protocol import describe
from node.protocol.events import Received, Send

Truth = Counter[tuple[str, int, str, int, str]]
"""Sender, line of its journal, receiver, line of its journal, and what was said."""


class Carried:
    """What a world's network truly carried, seen as it happens."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.arrived: Truth = Counter()
        self.lines: Counter[int] = Counter()
        self.sent: dict[Pipe, list[int]] = {}
        write, send, step = Journal._write, Network.send, World.step

        def counting_write(journal: Journal, body: Any) -> None:
            self.lines[id(journal)] += 1
            write(journal, body)

        def noting_send(network: Network, pipe: Pipe, message: Any) -> None:
            sender = pipe.link.procs[pipe.end]
            assert sender is not None
            self.sent.setdefault(pipe, []).append(self.lines[id(sender.host.journal)])
            send(network, pipe, message)

        def noting_step(world: World, process: Any, event: Any) -> None:
            pipe = process.conns.get(event.conn) if isinstance(event, Received) else None
            if pipe is not None and isinstance(event, Received):
                came = pipe.link.pipes[1 - pipe.end]
                sender = pipe.link.procs[1 - pipe.end]
                line = self.lines[id(process.host.journal)] + 1
                said = describe.message(event.message)
                self.arrived[sender.host.name, self.sent[came].pop(0), process.host.name, line, said] += 1
            step(world, process, event)

        monkeypatch.setattr(Journal, "_write", counting_write)
        monkeypatch.setattr(Network, "send", noting_send)
        monkeypatch.setattr(World, "step", noting_step)


@pytest.mark.parametrize(("seed", "bug"), [(3, ""), (7, "half-quorum"), (12, ""), (21, "")])
def test_every_message_that_a_simulated_network_carried_is_found_with_both_its_ends_and_no_other_arrived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, bug: str
) -> None:
    carried = Carried(monkeypatch)
    simulate(seed, bug=bug, settings=SimulatorSettings(duration_s=35), keep=tmp_path)
    found = exchange(tmp_path)
    arrived = Counter(
        (m.sender, m.sent_line, m.receiver, m.received_line, m.text) for m in found if m.received_line is not None
    )
    assert arrived.total() > 500
    assert arrived == carried.arrived
    assert found.notes == []


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    simulate(7, bug="half-quorum", settings=SimulatorSettings(duration_s=35), keep=folder)
    return folder


@pytest.fixture(scope="module")
def found(run: Path) -> Exchange:
    return exchange(run)


def test_what_was_sent_and_never_arrived_is_told_too(run: Path, found: Exchange) -> None:
    lost = [m for m in found if m.received_ns is None]
    assert lost
    assert all(m.received_line is None for m in lost)
    sends = sum(
        isinstance(effect, Send) for host in found.hosts for seen in moments_of(run, host) for effect in seen.effects
    )
    assert len(found) == sends


def moments_of(run: Path, host: str) -> Any:
    from harness.replay.server import JOURNAL, moments

    return moments(run / host / JOURNAL)


def test_no_message_arrives_before_it_was_sent_and_each_connection_keeps_its_order(found: Exchange) -> None:
    assert all(m.received_ns >= m.sent_ns for m in found if m.received_ns is not None)
    assert [m.sent_ns for m in found] == sorted(m.sent_ns for m in found)


def test_a_window_has_what_was_sent_received_or_under_way_in_it(found: Exchange) -> None:
    whole = list(found)
    since, until = whole[len(whole) // 3].sent_ns, whole[len(whole) // 2].sent_ns
    inside = list(found.within(since, until))

    def belongs(m: Message) -> bool:
        return m.sent_ns <= until and max(m.sent_ns, m.received_ns or 0) >= since

    assert inside == [m for m in whole if belongs(m)]
    assert 0 < len(inside) < len(whole)
    assert any(m.sent_ns < since for m in inside)


def test_messages_are_said_in_the_fields_words(found: Exchange) -> None:
    kinds = Counter(m.kind for m in found)
    for kind in ("vote", "introduction", "FOLLOWERINFO", "LEADERINFO", "ACKEPOCH", "NEWLEADER", "UPTODATE", "PING"):
        assert kinds[kind], kind
    vote = next(m for m in found if m.kind == "vote")
    assert vote.text.startswith("vote for server ")
    assert vote.label.startswith("vote ")
    assert vote.port == "election"


# ---- what is missing or damaged --------------------------------------------------------------------------------------


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "copy"))


def test_messages_from_and_to_a_server_without_a_journal_are_left_out_and_not_told_as_lost(
    copy: Path, found: Exchange
) -> None:
    (copy / "n2" / "journal.jsonl").unlink()
    rest = exchange(copy)
    assert list(rest) == [m for m in found if "n2" not in (m.sender, m.receiver)]
    assert "no journal of n2" in rest.notes[0]
    assert "messages are left out" in rest.notes[1]


def test_a_damaged_journal_is_used_up_to_the_damage_and_nothing_after_it_counts_as_lost(
    copy: Path, found: Exchange
) -> None:
    path = copy / "n2" / "journal.jsonl"
    kept = path.read_text().splitlines(keepends=True)
    half = len(kept) // 2
    path.write_text("".join([*kept[:half], kept[half].replace("now", "mow"), *kept[half + 1 :]]))
    rest = exchange(copy)
    assert f"n2/journal.jsonl:{half + 1}: changed" in rest.notes[0]
    whole = {(m.sender, m.sent_line, m.receiver, m.received_line, m.text) for m in found}
    assert {(m.sender, m.sent_line, m.receiver, m.received_line, m.text) for m in rest} < whole
    assert all(m.sent_line <= half for m in rest if m.sender == "n2")
    assert max(m.received_line or 0 for m in rest if m.receiver == "n2") == half


def test_another_core_than_the_one_that_ran_is_noticed_at_its_first_difference(copy: Path, found: Exchange) -> None:
    history = copy / "history.jsonl"
    kept = history.read_text().splitlines(keepends=True)
    number = next(n for n, line in enumerate(kept) if '"process":"n3"' in line and '"f":"state"' in line)
    kept[number] = kept[number].replace('"reason":"', '"reason":"not ')
    history.write_text("".join(kept))
    rest = exchange(copy)
    assert "of its journal does not repeat" in rest.notes[0]
    assert len(rest) < len(found)


def test_what_cannot_be_told_is_refused_with_the_reason(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "JOURNALS_BYTES_MAX", 1000)
    with pytest.raises(UsageError, match="too many to be repeated"):
        exchange(copy)
    (copy / "history.jsonl").unlink()
    monkeypatch.undo()
    with pytest.raises(UsageError, match="no times"):
        exchange(copy)
    bare = tmp_path / "bare"
    bare.mkdir()
    with pytest.raises(UsageError, match="keep no journal"):
        exchange(bare)
