"""Standard output and standard error: what a terminal would obey is escaped everywhere, and a full disk is named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.watch.terminal import printable
from tests.checker.story import good
from tests.terminal import Terminal

ONETHRONE = [sys.executable, "-c", "from harness.cli import main; main()"]
HOSTILE = "\x1b[31m\x1b]0;owned\x07\x9b2J\u202etxt"
ESCAPED = "\\u001b[31m\\u001b]0;owned\\u0007\\u009b2J\\u202etxt"


@pytest.mark.parametrize(
    "words",
    [
        ("check", "{history}"),
        ("check", "{missing}"),
        ("run", "--hosts", "lab:3", "--schedule", "{missing}"),
        ("run", "--plan", "{missing}"),
        ("run", "--hosts", "lab:3", "--schedule", "{schedule}"),
        ("run", "--hosts", f"{HOSTILE}:3"),
        ("run", HOSTILE),
        ("simulate", "--schedule", "{missing}"),
        ("simulate", "--bug", HOSTILE),
        ("campaign", "{missing}"),
        ("campaign", "--resume", "{missing}"),
        ("shrink", "{missing}"),
        ("replay", "{missing}"),
        ("report", "{missing}"),
        ("hosts", "check", "--hosts", "n1", "-F", "{missing}"),
        ("export", "{history}", "--to", "edn"),
    ],
)
def test_no_command_sends_a_terminal_what_it_would_obey(tmp_path: Path, words: tuple[str, ...]) -> None:
    story = good()
    story.ops[3].error = HOSTILE
    story.write(tmp_path / f"{HOSTILE}.jsonl")
    (tmp_path / "schedule.json").write_text(json.dumps({"faults": [{"id": HOSTILE, "kind": "kill"}]}))
    places = {
        "history": tmp_path / f"{HOSTILE}.jsonl",
        "missing": tmp_path / f"{HOSTILE}.none",
        "schedule": tmp_path / "schedule.json",
    }
    with Terminal([*ONETHRONE, *(word.format(**places) for word in words)], columns=2000) as terminal:
        terminal.ended()
        assert not set(terminal.sent) & set("\x1b\x07\x9b\u202e"), terminal.sent
        assert "owned" in terminal.sent


def test_what_json_prints_says_the_same_escaped_or_not(tmp_path: Path) -> None:
    story = good()
    story.write(tmp_path / f"{HOSTILE}.jsonl")
    done = subprocess.run(
        [*ONETHRONE, "check", "--json", str(tmp_path / f"{HOSTILE}.jsonl")], capture_output=True, text=True, check=False
    )
    assert "\u202e" not in done.stdout
    assert json.loads(done.stdout)["run"]["history"] == str(tmp_path / f"{HOSTILE}.jsonl")


def test_an_escape_is_how_json_has_the_character() -> None:
    text = HOSTILE + "\U000e0001\udc9b"
    assert printable(HOSTILE) == ESCAPED
    assert json.loads(f'"{printable(text)}"') == text
    assert printable("plain, \u00e4, \u4e2d\n\tnext") == "plain, \u00e4, \u4e2d\n\tnext"


def test_text_that_the_streams_encoding_lacks_is_escaped_too(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [*ONETHRONE, "check", str(tmp_path / "\u00e4\u202e")], capture_output=True, text=True, env=env, check=False
    )
    assert done.returncode == 254
    assert f"{tmp_path}/\\xe4\\u202e" in done.stderr


@pytest.mark.parametrize("words", [("--help",), ("check", "{history}"), ("export", "{history}", "--to", "edn")])
def test_standard_output_that_is_full_is_said_by_its_name(tmp_path: Path, words: tuple[str, ...]) -> None:
    good().write(tmp_path / "history.jsonl")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*ONETHRONE, *(word.format(history=tmp_path) for word in words)],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 255
    assert done.stderr == "onethrone: standard output: no space left on device\n"


def test_a_reader_that_went_away_is_not_complained_of(tmp_path: Path) -> None:
    good().write(tmp_path / "history.jsonl")
    for words in (["check", str(tmp_path)], ["export", str(tmp_path), "--to", "edn"], ["--help"]):
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run([*ONETHRONE, *words], stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
        os.close(writing)
        assert (done.returncode, done.stderr) == (255, "")


def test_a_pipe_that_breaks_inside_the_program_is_no_reader_that_went_away(tmp_path: Path) -> None:
    begin = """if True:
        import multiprocessing.resource_tracker as tracker
        def cannot_start(): raise BrokenPipeError(32, "Broken pipe")
        tracker.getfd = cannot_start
        from harness.cli import main
        main()
    """
    done = subprocess.run(
        [sys.executable, "-c", begin, "simulate", "--seeds", "0:8", "--results", str(tmp_path)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 255
    assert done.stderr.startswith("onethrone: a pipe to a process of ours broke")
