"""Paths that lead to no regular file, or to one that is too large: refused with one sentence, at once."""

from __future__ import annotations

import gzip
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from checker.history import History, Op, encode, read
from harness.results import files
from harness.simulator.run import simulate
from harness.simulator.simulated_run import SimulatorSettings
from tests.checker.story import good

ONETHRONE = [sys.executable, "-c", "from harness.cli import main; main()"]
MEMORY_BYTES = 4 << 30
"""Address space of a command; what reads /dev/zero takes more within seconds."""


def called(*words: object, deadline_s: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*ONETHRONE, *map(str, words)], capture_output=True, text=True, check=False, timeout=deadline_s,
        stdin=subprocess.DEVNULL,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES)),
    )  # fmt: skip


def hostile(kind: str, path: Path) -> Path:
    """A path that no command should read."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        with path.open("wb") as file:
            file.truncate(20 << 30)
    return path


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "large"])
@pytest.mark.parametrize(
    "words",
    [
        ("check", "{it}"),
        ("report", "{it}"),
        ("export", "--to", "edn", "{it}"),
        ("replay", "{it}"),
        ("run", "--hosts", "lab:3", "--plan", "{it}"),
        ("run", "--hosts", "lab:3", "--schedule", "{it}"),
        ("campaign", "{it}"),
        ("campaign", "--resume", "{it}"),
        ("simulate", "--schedule", "{it}"),
        ("shrink", "{it}"),
        ("hosts", "check", "-F", "{it}"),
    ],
)
def test_a_path_that_is_no_file_is_refused_with_one_sentence(tmp_path: Path, kind: str, words: tuple[str, ...]) -> None:
    it = hostile(kind, tmp_path / "it")
    done = called(*(word.format(it=it) for word in words))
    assert done.returncode == 254, done
    assert str(it) in done.stderr or "/dev/zero" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") <= 2


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    simulate(7, bug="half-quorum", settings=SimulatorSettings(duration_s=35), keep=folder)
    return folder


@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("history.jsonl", ("check", "{run}")),
        ("history.jsonl", ("replay", "{run}")),
        ("n1/journal.jsonl", ("replay", "{run}")),
        ("n1/events.jsonl", ("replay", "{run}")),
        ("schedule.json", ("shrink", "{run}")),
        ("simulated.json", ("shrink", "{run}")),
        ("simulated.json", ("simulate", "--schedule", "{run}")),
    ],
)
def test_a_file_of_a_runs_folder_that_is_none_is_refused(
    kept: Path, tmp_path: Path, kind: str, name: str, words: tuple[str, ...]
) -> None:
    run = tmp_path / "run"
    subprocess.run(["cp", "-r", kept, run], check=True)
    (run / name).unlink(missing_ok=True)
    hostile(kind, run / name)
    done = called(*(word.format(run=run) for word in words))
    assert done.returncode == 254, done
    assert str(run) in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("results.json", ("export", "--to", "perfetto", "{run}")),
        ("story.txt", ("report", "{run}")),
        ("n1/journal.jsonl", ("report", "{run}")),
    ],
)
def test_what_can_be_done_without_is_done_without(
    kept: Path, tmp_path: Path, kind: str, name: str, words: tuple[str, ...]
) -> None:
    run = tmp_path / "run"
    subprocess.run(["cp", "-r", kept, run], check=True)
    (run / name).unlink(missing_ok=True)
    hostile(kind, run / name)
    done = called(*(word.format(run=run) for word in words))
    assert done.returncode == 0, done


def test_a_file_is_read_up_to_its_bound_and_not_a_byte_further(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * (2 << 20))
    assert files.read(tmp_path / "file", 2 << 20) == b"x" * (2 << 20)
    with pytest.raises(OSError, match="larger than 1 MB"):
        files.read(tmp_path / "file", 1 << 20)


# ---- packed histories ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", [b"\0" * 1000, b"\n" * 1000, b'{"index":0}\n' * 100], ids=["nul", "empty", "same"])
def test_a_small_file_that_unpacks_to_gigabytes_is_refused(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "history.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=9) as file:
        for _ in range(2000):
            file.write(line * 1000)
    assert path.stat().st_size < 10 << 20
    done = called("check", path, deadline_s=60)
    assert done.returncode == 254
    assert "unpacks to more than 200 times its size" in done.stderr


def test_the_end_of_a_packed_history_is_found_in_one_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ops = [Op(n, n, "controller", "info", "note", os.urandom(40).hex()) for n in range(20_000)]
    text = b"".join(map(encode, ops)) + b'{"cut'
    (tmp_path / "history.jsonl").write_bytes(text)
    (tmp_path / "history.jsonl.gz").write_bytes(gzip.compress(text))
    unpacked = 0
    read_of_history = History._read

    def counted(history: History, file: IO[bytes], size: int) -> bytes:
        nonlocal unpacked
        data = read_of_history(history, file, size)
        unpacked += len(data)
        return data

    assert read(tmp_path / "history.jsonl").last() == ops[-1]
    monkeypatch.setattr(History, "_read", counted)
    assert read(tmp_path / "history.jsonl.gz").last() == ops[-1]
    assert unpacked == len(text)


# ---- nothing in it ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [b"", b"garbage", b"\xff\xfe\x00", b"garbage\n", b'{"index": 0'])
@pytest.mark.parametrize("words", [("export", "--to", "edn"), ("export", "--to", "perfetto"), ("check",)])
def test_what_holds_no_op_is_refused_and_gives_no_file(tmp_path: Path, text: bytes, words: tuple[str, ...]) -> None:
    (tmp_path / "history.jsonl").write_bytes(text)
    out = tmp_path / "out"
    done = called(*words, tmp_path / "history.jsonl", *(("--out", out) if words[0] != "check" else ()))
    assert done.returncode == 254
    assert f"{tmp_path}/history.jsonl" in done.stderr
    assert not out.exists()


def test_a_cut_line_after_a_whole_one_is_still_what_a_crash_leaves(tmp_path: Path) -> None:
    good().write(tmp_path / "history.jsonl")
    with (tmp_path / "history.jsonl").open("ab") as file:
        file.write(b'{"index":')
    history = read(tmp_path / "history.jsonl")
    assert len(list(history)) > 1
    assert history.cut
