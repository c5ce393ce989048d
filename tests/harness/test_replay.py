"""Replay: journals of real servers that were killed and started again come out the same, or the difference is shown."""

from __future__ import annotations

import json
import random
import shutil
import signal
import zlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from checker.history import Writer
from harness import UsageError
from harness.cli.replay import replay
from harness.replay.messages import exchange
from harness.replay.run import replay_run
from harness.replay.server import Times
from harness.systems.zookeeper.settings import ZooKeeperSettings
from harness.workloads.base import ClientError
from tests.ensembles import Servers

SETTINGS = ZooKeeperSettings(
    tick_ms=500, init_limit=10, sync_limit=8, client_port=22181, quorum_port=22888, election_port=23888
)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder: three servers elect, the leader is killed and started again, another is stopped gracefully."""
    folder = tmp_path_factory.mktemp("recorded")
    with Servers(folder, dict.fromkeys(("n1", "n2", "n3"), "onethrone"), SETTINGS) as servers:
        servers.start()
        leader = servers.wait_until_all_serve()
        write(servers, leader, "/a")
        servers.kill(leader)
        rest = [host for host in servers.hosts if host != leader]
        write(servers, servers.wait_until_all_serve(*rest), "/b")
        servers.start(leader)
        servers.wait_until_all_serve()
        servers.kill(rest[0], signal.SIGTERM)
        servers.start(rest[0])
        servers.wait_until_all_serve()
        for host in servers.hosts:
            servers.kill(host, signal.SIGTERM)
    write_history(folder)
    return folder


def write(servers: Servers, host: str, path: str) -> None:
    def done() -> bool:
        try:
            client = servers.client(host)
        except (OSError, ClientError):
            return False
        try:
            client.create(path, b"data")
            return True
        except (OSError, ClientError):
            return False
        finally:
            client.close()

    servers.wait_for(f"a write through {host}", done)


def events(folder: Path) -> list[tuple[int, str, str, Any]]:
    found = []
    for path in folder.glob("*/events.jsonl"):
        for line in path.read_text().splitlines():
            told = json.loads(line)
            found.append((told["host_time"], path.parent.name, told["f"], told["value"]))
    return sorted(found, key=lambda event: event[0])


def write_history(folder: Path) -> None:
    found = events(folder)
    origin = found[0][0]
    with Writer(folder / "history.jsonl") as history:
        ensemble = {f"n{sid}": {"sid": sid, "role": "participant"} for sid in (1, 2, 3)}
        settings = {"tick_ms": 500, "init_limit": 10, "sync_limit": 8, "max_notification_interval_ms": 1000}
        run = {"schema": 1, "name": "recorded", "seed": 0, "system": "onethrone", "ensemble": ensemble}
        run |= {"quorum": {"kind": "majority"}, "settings": settings, "bounds": {}}
        history.append("controller", "info", "run", run, time=0)
        for host_time, host, f, value in found:
            history.append(host, "info", f, value, time=host_time - origin, host_time=host_time, time_error=0)
        counts = {host: sum(event[1] == host for event in found) for host in ensemble}
        streams = {host: {"sent": count, "received": count} for host, count in counts.items()}
        history.append("controller", "info", "end", {"complete": True, "streams": streams}, time=found[-1][0] - origin)


@pytest.fixture
def run(recorded: Path, tmp_path: Path) -> Path:
    """A copy, to be damaged."""
    return Path(shutil.copytree(recorded, tmp_path / "run"))


def command(*words: str | Path) -> Result:
    return CliRunner().invoke(replay, [str(word) for word in words], standalone_mode=False)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines(keepends=True)


def rewrite(path: Path, number: int, change: Any) -> None:
    """Change the body of a journal's line (1 is the first), with a chain of CRCs that is right again."""
    crc, out = "00000000", []
    for at, line in enumerate(lines(path), 1):
        body = line.rstrip("\n")[len('{"crc":"01234567",') :]
        if at == number:
            body = json.dumps(change(json.loads("{" + body)), separators=(",", ":"))[1:]
        crc = f"{zlib.crc32((crc + body).encode()):08x}"
        out.append(f'{{"crc":"{crc}",{body}\n')
    path.write_text("".join(out))


def timer_line(path: Path) -> int:
    """A line in which the core answers the end of an election."""
    return next(n for n, line in enumerate(lines(path), 1) if '"finalize"' in line)


# ---- the same ------------------------------------------------------------------------------------------------------


def test_servers_that_were_killed_and_started_again_repeat_every_effect_and_transition(recorded: Path) -> None:
    result = replay_run(recorded)
    assert result.same
    assert sorted(server.starts for server in result.servers) == [1, 2, 2]
    states = [event for event in events(recorded) if event[2] == "state"]
    assert sum(server.transitions - server.cut_short for server in result.servers) == len(states) > 10
    assert sum(len(server.repeated) for server in result.servers) == len(states)
    assert sum(server.inputs for server in result.servers) == sum(
        len(lines(recorded / host / "journal.jsonl")) for host in ("n1", "n2", "n3")
    )
    assert not result.notes
    assert result.verdict is not None
    assert result.verdict_same


def test_the_command_ends_with_0_and_says_what_came_out(recorded: Path) -> None:
    told = command(recorded)
    assert told.return_value == 0, told.output
    assert "The same: " in told.output
    assert "Judged again, from the repeated transitions" in told.output
    as_json = json.loads(command(recorded, "--json").output)
    assert as_json["same"] is True
    assert [server["host"] for server in as_json["servers"]] == ["n1", "n2", "n3"]


def test_a_run_without_a_history_is_repeated_and_not_judged(run: Path) -> None:
    (run / "history.jsonl").unlink()
    result = replay_run(run)
    assert result.same
    assert result.verdict is None
    assert "no history" in result.notes[0]


def test_transitions_that_a_crash_kept_from_the_records_are_counted_and_no_difference(run: Path) -> None:
    """Rule 2: the last input of a life may have let go of nothing."""
    path = run / "n1" / "journal.jsonl"
    kept = lines(path)
    last = max(n for n, line in enumerate(kept) if '"finalize"' in line)
    path.write_text("".join(kept[: last + 1]))
    seen = replay_run(run, "n1").servers[0].transitions
    states = [event for event in lines(run / "n1" / "events.jsonl") if '"f":"state"' in event]
    (run / "n1" / "events.jsonl").write_text("".join(states[: seen - 1]))
    (run / "history.jsonl").unlink()
    server = replay_run(run, "n1").servers[0]
    assert server.same
    assert server.cut_short == 1
    (run / "n1" / "events.jsonl").write_text("".join(states[: seen - 2]))
    assert replay_run(run, "n1").servers[0].difference is not None


def test_the_messages_of_real_servers_are_found_with_sender_receiver_and_times(recorded: Path) -> None:
    found = exchange(recorded)
    assert found.notes == []
    arrived = [message for message in found if message.received_ns is not None]
    received = sum(
        '"event":{"Received":' in line for host in found.hosts for line in lines(recorded / host / "journal.jsonl")
    )
    assert len(arrived) == received > 100
    took = sorted(message.received_ns - message.sent_ns for message in arrived if message.received_ns is not None)
    assert took[len(took) // 2] < 100_000_000  # loopback, on a machine that is busy
    offered = [message for message in arrived if message.kind == "LEADERINFO"]
    assert all(m.text.startswith("LEADERINFO, epoch ") for m in offered)
    assert len({m.text for m in offered}) >= 2
    assert {m.kind for m in arrived} >= {"vote", "introduction", "FOLLOWERINFO", "NEWLEADER", "UPTODATE", "PROPOSAL"}


# ---- damage --------------------------------------------------------------------------------------------------------


def test_any_changed_byte_of_a_journal_is_noticed_with_its_file_and_line(run: Path) -> None:
    path = run / "n2" / "journal.jsonl"
    whole = path.read_bytes()
    rng = random.Random(5)
    for _ in range(30):
        at = rng.randrange(len(whole) - 1)
        changed = bytes([(whole[at] + rng.randint(1, 255)) % 256])
        path.write_bytes(whole[:at] + changed + whole[at + 1 :])
        result = replay_run(run, "n2")
        assert not result.same
        # A newline that came or went moves the line's end by one.
        line = whole.count(b"\n", 0, at) + 1
        assert result.damaged[0].startswith((f"{path}:{line}: ", f"{path}:{line + 1}: "))


def test_a_damaged_journal_ends_the_command_with_254(run: Path) -> None:
    path = run / "n2" / "journal.jsonl"
    path.write_text("".join(lines(path)[:3] + lines(path)[4:]))
    told = command(run)
    assert told.return_value == 254
    assert f"{path}:4: changed, or a line before it is missing" in told.output
    assert "Damaged: 1 of 3" in told.output


def test_an_empty_journal_ends_the_command_with_254(run: Path) -> None:
    path = run / "n3" / "journal.jsonl"
    path.write_text("")
    told = command(run)
    assert told.return_value == 254, told.exception
    assert f"{path}: the journal is empty" in told.output
    walked = command(run, "--server", "n3", "--step")
    assert isinstance(walked.exception, UsageError), walked.output
    assert f"{path}: the journal is empty" in str(walked.exception)


def test_a_folder_in_the_place_of_a_journal_is_bad_input(run: Path) -> None:
    path = run / "n3" / "journal.jsonl"
    path.unlink()
    path.mkdir()
    told = command(run)
    assert isinstance(told.exception, UsageError), told.output
    assert str(told.exception).startswith(f"{path}: cannot be read: Is a directory")


def test_a_history_without_an_op_is_bad_input(run: Path) -> None:
    (run / "history.jsonl").write_text("")
    told = command(run)
    assert isinstance(told.exception, UsageError), told.output
    assert str(told.exception).startswith(f"{run / 'history.jsonl'}: there is no op in it")


def test_a_cut_last_line_is_noted_and_the_rest_is_repeated(run: Path) -> None:
    path = run / "n3" / "journal.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    result = replay_run(run)
    assert result.same
    assert "the last line is cut" in result.servers[2].notes[0]
    assert result.servers[2].inputs == whole.count(b"\n") - 1


def test_a_journal_that_lost_an_earlier_life_is_noticed(run: Path) -> None:
    """The chain of CRCs may be right: what the next start found on its disk does not follow."""
    path = next(path for path in run.glob("*/journal.jsonl") if sum('"start"' in line for line in lines(path)) == 2)
    number = next(n for n, line in enumerate(lines(path), 1) if '"start"' in line and n > 1)
    rewrite(path, number, lambda body: {**body, "start": {**body["start"], "disk": "0" * 16}})
    result = replay_run(run, path.parent.name)
    assert "does not follow from the journal" in result.damaged[0]
    assert result.damaged[0].startswith(f"{path}:{number}: ")


# ---- differences -----------------------------------------------------------------------------------------------------


def test_an_input_that_was_another_is_the_first_difference_shown(run: Path) -> None:
    path = run / "n3" / "journal.jsonl"
    number = timer_line(path)
    rewrite(path, number, lambda body: {**body, "event": {"TimerDue": ["connections"]}})
    told = command(run)
    assert told.return_value == 1
    assert f"n3: the effects differ, at n3/journal.jsonl:{number}" in told.output
    assert "input:    timer connections is due" in told.output
    assert "repeated: nothing" in told.output
    assert "Not the same: 1 of 3" in told.output


def test_another_core_answers_otherwise_and_both_answers_are_told_in_words(recorded: Path) -> None:
    told = command(recorded, "--bug", "half-quorum")
    assert told.return_value == 1
    assert "recorded: " in told.output
    assert "set timer finalize" in told.output
    difference = replay_run(recorded, bug="half-quorum").differences[0]
    assert set(difference.recorded) != set(difference.repeated)
    assert "with the digest" not in " ".join(difference.recorded)


@pytest.mark.parametrize("file", ["events.jsonl", "history.jsonl"])
def test_a_transition_that_was_another_is_shown_with_its_input(run: Path, file: str) -> None:
    path = run / "history.jsonl" if file == "history.jsonl" else run / "n1" / "events.jsonl"
    kept = lines(path)
    number = next(
        n
        for n, line in enumerate(kept)
        if '"phase":"discovery"' in line and (file == "events.jsonl" or '"process":"n1"' in line)
    )
    kept[number] = kept[number].replace('"phase":"discovery"', '"phase":"broadcast"')
    path.write_text("".join(kept))
    difference = replay_run(run).servers[0].difference
    assert difference is not None
    assert difference.what == "a transition differs"
    assert file in difference.recorded[0]
    assert "broadcast" in difference.recorded[0]
    assert "discovery" in difference.repeated[0]
    assert difference.input


def test_a_transition_too_many_and_one_too_few_in_the_records_are_differences(run: Path) -> None:
    path = run / "n1" / "events.jsonl"
    kept = lines(path)
    states = [n for n, line in enumerate(kept) if '"f":"state"' in line]
    path.write_text("".join([*kept, kept[states[0]]]))
    difference = replay_run(run).servers[0].difference
    assert difference is not None
    assert "never came out" in difference.what
    path.write_text("".join(kept[: states[1]] + kept[states[1] + 1 :]))
    difference = replay_run(run).servers[0].difference
    assert difference is not None
    assert difference.what == "a transition differs"


# ---- wrong input ---------------------------------------------------------------------------------------------------


def test_a_host_without_a_journal_makes_the_result_unknown(run: Path) -> None:
    (run / "n2" / "journal.jsonl").unlink()
    told = command(run)
    assert told.return_value == 2
    assert "n2" in told.output
    assert "there is no journal of it" in told.output


def test_what_cannot_be_replayed_is_said_plainly(run: Path, tmp_path: Path) -> None:
    for words, said in (
        ([tmp_path / "nowhere"], "there is no such folder"),
        ([tmp_path], "there is nothing to replay"),
        ([run, "--server", "n9"], "there are: n1, n2, n3"),
        ([run, "--step"], "name it: --server"),
        ([run, "--bug", "nonsense"], "there is no such bug"),
        ([run, "--server", "n1", "--until", "soon"], "give a run time such as 12.5s"),
        ([run, "--server", "n1", "--until", "-1s"], "--until '-1s': a run begins at 0 s"),
        ([run, "--server", "n1", "--from", "line:0"], "--from 'line:0': a journal's first line is line:1"),
    ):
        result = command(*words)
        assert isinstance(result.exception, UsageError), result.output
        assert said in str(result.exception)


# ---- the walk ------------------------------------------------------------------------------------------------------


def state_of(output: str) -> dict[str, str]:
    """The whole state that a walk ends with."""
    tail = output[output.index("its whole state:") :].splitlines()[1:]
    return dict(line.strip().split(": ", 1) for line in tail)


def test_a_walk_shows_each_input_its_effects_and_what_changed(recorded: Path) -> None:
    """The changes, added up, are the state that is printed at the end."""
    told = command(recorded, "--server", "n3", "--until", "line:40", "--step")
    assert told.return_value == 0, told.exception
    assert "line 1, " in told.output
    assert "the server starts" in told.output
    assert "=> REPORT LOOKING" in told.output
    state: dict[str, str] = {}
    for line in told.output[: told.output.index("its whole state:")].splitlines():
        if line.endswith("the server starts"):
            state = {}
        if not line.startswith("       "):
            continue
        name, _, value = line.strip().partition(": ")
        if value.endswith(" (gone)"):
            del state[name]
        else:
            state[name] = value.rpartition(" -> ")[2].removesuffix(" (new)")
    assert {n: v for n, v in state_of(told.output).items() if v != "{}"} == {
        n: v for n, v in state.items() if v != "{}"
    }


def test_a_walk_ends_at_the_run_time_that_it_was_given(recorded: Path) -> None:
    """The server is in the state of its last transition before that time."""
    states = [(e[0], e[3]) for e in events(recorded) if e[1] == "n3" and e[2] == "state"]
    origin = events(recorded)[0][0]
    times = replay_run(recorded, "n3").servers[0].times
    inputs = {time + origin: (line, now) for line, points in times._lives for now, time in points}
    for (time, value), (after, _) in pairwise(states):
        if after - time < 10_000 or inputs[time] == inputs[after]:
            continue  # there is no whole microsecond between them, or one input made both: nothing is between them
        middle = (time + after - 2 * origin) / 2e9
        told = command(recorded, "--server", "n3", "--until", f"{middle:.6f}s")
        state = state_of(told.output)
        assert state["role"] == value["role"]
        assert state["phase"] == repr(value["phase"])
        assert state["current_epoch"] == str(value["current_epoch"])


def test_a_walk_may_begin_later_and_shows_the_whole_state_then(recorded: Path) -> None:
    told = command(recorded, "--server", "n3", "--from", "line:5", "--until", "line:6", "--step")
    assert "line 4," not in told.output
    assert told.output.count("database.log: ") == 2  # at its first input, and at the end
    whole = command(recorded, "--server", "n3", "--from", "line:5", "--until", "line:6", "--step", "--whole")
    assert whole.output.count("database.log: ") == 3


def test_times_are_mapped_between_the_transitions_of_a_life() -> None:
    times = Times()
    times.begin(1)
    times.add(100, 1000)
    times.add(200, 3000)
    times.begin(10)
    assert times.at(1, 100) == 1000
    assert times.at(3, 150) == 2000
    assert times.at(9, 210) == 3010
    assert times.at(2, 90) == 990
    assert times.at(10, 5) is None
    times.add(5, 7000)
    assert times.at(12, 6) == 7001
