"""The history's writer and reader: the crash rules and the ordering of checker/history."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checker.history import History, HistoryError, Op, Ordered, Writer, decode, encode, ordered, read


def host_op(index: int, time: int, host_time: int | None = None, error: int | None = None, process: str = "n1") -> Op:
    return Op(index, time, process, "info", "state", None, host_time=host_time, time_error=error)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    with Writer(tmp_path / "history.jsonl") as writer:
        written = [
            writer.append("controller", "info", "run", {"name": "a"}, time=0),
            writer.append("n1", "info", "state", {"role": "LOOKING"}, time=5, host_time=99, time_error=3),
            writer.append(7, "fail", "create", 3, time=6, server="n1", error="refused"),
        ]
    assert [op.index for op in written] == [0, 1, 2]
    assert list(read(tmp_path)) == written
    assert list(read(tmp_path / "history.jsonl")) == written


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
new_names = st.text(min_size=1, max_size=4).filter(lambda name: name not in Op.__struct_fields__ and name != "*")


@given(json_values, st.dictionaries(new_names, json_values, min_size=0, max_size=3), st.text(max_size=5))
def test_encoding_keeps_every_field_known_or_not(value: object, more: dict[str, object], f: str) -> None:
    op = Op(1, 2, "n1", "info", f, value, host_time=4, more=more or None)
    assert decode(encode(op)) == op


def test_an_unknown_field_is_kept(tmp_path: Path) -> None:
    line = b'{"index":0,"time":1,"process":"n1","type":"info","f":"state","colour":"red"}\n'
    (tmp_path / "history.jsonl").write_bytes(line)
    (op,) = read(tmp_path)
    assert op.more == {"colour": "red"}
    assert encode(op) == line


@pytest.mark.parametrize("cut", range(1, 60))
def test_a_last_line_cut_anywhere_is_left_out_with_a_note(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "history.jsonl"
    lines = [encode(Op(i, i, "n1", "info", "state", {"a": i})) for i in range(3)]
    path.write_bytes(b"".join(lines)[: -len(lines[-1]) + min(cut, len(lines[-1]) - 2)])
    history = read(path)
    assert [op.index for op in history] == [0, 1]
    assert history.cut
    assert len(history.notes) == 1
    assert "line 3 is cut" in history.notes[0]


def test_a_last_line_that_lacks_only_its_newline_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_bytes(encode(Op(0, 0, "n1", "info", "state"))[:-1])
    history = read(path)
    assert len(list(history)) == 1
    assert not history.cut


def test_every_line_that_append_returned_survives_kill_9(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from checker.history import Writer\n"
        "writer = Writer(sys.argv[1])\n"
        "for i in range(1000):\n"
        "    print(writer.append('n1', 'info', 'state', {'i': i}, time=i).index, flush=True)\n"
        "    if i == 700: os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "history.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, timeout=60, check=False, cwd=Path.cwd()
    )
    assert done.returncode == -9, done.stderr
    assert [op.index for op in read(path)] == [int(line) for line in done.stdout.split()] == list(range(701))


def test_threads_write_whole_lines_with_indexes_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    with Writer(path) as writer:
        threads = [
            threading.Thread(target=lambda n=n: [writer.append(n, "ok", "create", i, time=i) for i in range(300)])
            for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    ops = list(read(path))
    assert [op.index for op in ops] == list(range(1200))
    for n in range(4):
        assert [op.value for op in ops if op.process == n] == list(range(300))


def test_a_write_that_fails_half_way_is_taken_back(tmp_path: Path) -> None:
    """The limit on the file's size stands for a full disk: the write stops in the middle of a line."""
    path = tmp_path / "history.jsonl"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Writer(path) as writer:
        writer.append("n1", "info", "state", time=0)
        before = path.read_bytes()
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, hard))
        try:
            with pytest.raises(OSError, match="File too large"):
                writer.append("n1", "info", "state", {"long": "x" * 100}, time=1)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert path.read_bytes() == before
        assert writer.append("n1", "info", "state", time=2).index == 1
    assert [op.time for op in read(path)] == [0, 2]


def test_a_history_is_written_once(tmp_path: Path) -> None:
    Writer(tmp_path / "history.jsonl").close()
    with pytest.raises(FileExistsError):
        Writer(tmp_path / "history.jsonl")


def test_missing_indexes_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_bytes(b"".join(encode(Op(i, i, "n1", "info", "state")) for i in (0, 1, 4, 5, 7)))
    history = read(path)
    assert len(list(history)) == 5
    assert history.missing == 3
    assert history.notes == [
        "indexes 2 to 3 are missing before line 3",
        "indexes 6 to 6 are missing before line 5",
    ]


def test_a_huge_file_without_newlines_is_refused_without_reading_it_all(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    with path.open("wb") as file:
        file.truncate(1 << 30)  # sparse: a gigabyte of NULs
    with pytest.raises(HistoryError, match=r":1: the line is longer than 16777216 bytes: not a history"):
        list(read(path))


def test_lines_are_counted_right_across_chunks(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    lines = [encode(Op(i, i, "n1", "info", "state", "x" * 100)) for i in range(5000)]
    lines[4321] = b"{}\n"
    path.write_bytes(b"".join(lines))
    with pytest.raises(HistoryError, match=r":4322: not an op"):
        list(read(path))


def test_a_folder_without_a_history_is_an_error_that_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="there is no history in this folder; give a run's folder or a history file"):
        read(tmp_path)
    with pytest.raises(HistoryError, match="no such file"):
        read(tmp_path / "nothing")


def test_ops_are_sorted_by_time_and_ties_by_index() -> None:
    ops = [host_op(0, 5), host_op(1, 3), host_op(2, 5), host_op(3, 4)]
    assert [op.index for op in ordered(ops)] == [1, 3, 0, 2]


def test_the_jitter_of_a_mapping_does_not_reorder_one_host() -> None:
    ops = [host_op(0, 100, host_time=1), host_op(1, 90, host_time=2), host_op(2, 95, process="n2"), host_op(3, 110, 3)]
    assert [op.index for op in ordered(ops)] == [2, 0, 1, 3]


def test_a_report_learned_late_from_another_stream_of_a_host_is_put_in_its_place() -> None:
    ops = [host_op(0, 100, host_time=10), host_op(1, 120, host_time=12), host_op(2, 110, host_time=11)]
    assert [op.index for op in ordered(ops)] == [0, 2, 1]


def test_an_op_that_comes_after_the_window_is_told_late() -> None:
    order = Ordered(window_ns=10)
    out = []
    for op in (host_op(0, 0), host_op(1, 20), host_op(2, 40), host_op(3, 5)):
        order.push(op)
        out += [ready.index for ready in order.pop_ready()]
    out += [op.index for op in order.pop_all()]
    assert out == [0, 1, 3, 2]
    assert list(order.late) == [3]


def test_the_window_holds_a_bounded_number_of_ops() -> None:
    order = Ordered(ops_max=10)
    held = []
    for i in range(1000):
        order.push(host_op(i, i))
        order.pop_ready()
        held.append(len(order._held))
    assert max(held) == 10


@given(st.lists(st.tuples(st.integers(0, 50), st.sampled_from(["n1", "n2", "nemesis"])), max_size=20))
def test_within_the_window_sorting_equals_sorting_everything(told: list[tuple[int, str]]) -> None:
    ops = [host_op(i, time, process=process) for i, (time, process) in enumerate(told)]
    assert list(ordered(ops)) == sorted(ops, key=lambda op: (op.time, op.index))


def test_reading_needs_no_more_memory_for_a_longer_history(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    with path.open("wb") as file:
        for start in range(0, 200_000, 1000):
            file.write(b"".join(encode(Op(i, i, 1, "ok", "create", i)) for i in range(start, start + 1000)))
    program = (
        "import resource, sys; from checker.history import read\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "assert sum(1 for _ in read(sys.argv[1])) == 200_000\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    grown = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, check=True, timeout=120)
    assert int(grown.stdout) < 16_000  # KB; the ops themselves would take 40,000
    assert os.path.getsize(path) > 10_000_000


def test_iterating_twice_reads_twice(tmp_path: Path) -> None:
    with Writer(tmp_path / "history.jsonl") as writer:
        writer.append("n1", "info", "state", time=0)
    history = History(tmp_path / "history.jsonl")
    assert list(history) == list(history)
