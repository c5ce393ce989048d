"""`onethrone check`: what it prints and how it exits."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli.check import command
from tests.checker.story import good

HISTORIES = Path(__file__).parent.parent / "histories"


@pytest.mark.parametrize(
    ("name", "code"),
    [("good-run", 0), ("bad-two-leaders-in-one-epoch", 1), ("unknown-cut-off", 2), ("malformed-role", 254)],
)
def test_the_exit_code_is_the_verdict(name: str, code: int) -> None:
    result = CliRunner().invoke(command, [str(HISTORIES / f"{name}.jsonl")])
    assert result.exit_code == code, result.output


def test_a_violation_is_told_with_its_ops_servers_and_faults() -> None:
    result = CliRunner().invoke(command, [str(HISTORIES / "bad-leader-without-quorum-stays.jsonl")])
    lines = result.stdout.splitlines()
    assert lines[0].startswith("Invalid: stepping-down broken; first at 3.72 s: n3 leads epoch 1 without a quorum")
    assert any(line.split()[:2] == ["stepping-down", "INVALID"] for line in lines)
    assert any(line.split()[:2] == ["epochs", "valid"] for line in lines)
    assert "faults in force: f1 partition on n3" in result.stdout
    assert "ops 10, 21, 32; servers n3" in result.stdout


def test_json_is_one_object_on_standard_output() -> None:
    result = CliRunner().invoke(command, ["--json", str(HISTORIES / "bad-two-leaders-in-one-epoch.jsonl")])
    value = json.loads(result.stdout)
    assert value["valid"] is False
    (violation,) = value["results"]["unique-leader"]["violations"]
    assert violation["servers"] == ["n1", "n2"]


def test_garbage_is_an_error_with_file_and_line_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_bytes(b"\x00\xff garbage\n" * 3)
    result = CliRunner().invoke(command, [str(tmp_path)])
    assert result.exit_code == 254
    assert result.stdout == ""
    assert result.stderr.startswith(f"onethrone check: {tmp_path}/history.jsonl:1: not an op: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("what", ["nothing", "empty-folder", "unreadable"])
def test_a_path_without_a_history_is_an_error_that_says_what_to_give(tmp_path: Path, what: str) -> None:
    (tmp_path / "empty-folder").mkdir()
    (tmp_path / "unreadable").symlink_to("unreadable")  # a loop
    result = CliRunner().invoke(command, [str(tmp_path / what)])
    assert result.exit_code == 254
    assert "Traceback" not in result.output
    assert "give a run's folder or a history file" in result.stderr


def test_a_run_folder_is_checked_by_its_history(tmp_path: Path) -> None:
    good().write(tmp_path / "history.jsonl")
    assert CliRunner().invoke(command, [str(tmp_path)]).exit_code == 0


@pytest.mark.parametrize("path", ["/proc/self/mem", "pipe"])
def test_what_opens_and_then_cannot_be_read_is_no_failure_of_the_harness(path: str) -> None:
    end, other = os.pipe()
    try:
        result = CliRunner().invoke(command, [f"/dev/fd/{end}" if path == "pipe" else path])
    finally:
        os.close(end)
        os.close(other)
    assert result.exit_code == 254
    assert "cannot be read: " in result.stderr


def test_bytes_of_no_text_at_the_end_are_an_error_with_the_line(tmp_path: Path) -> None:
    good().write(tmp_path / "history.jsonl")
    with (tmp_path / "history.jsonl").open("ab") as file:
        file.write(b'{"index": 99, "time": 0, "process": "\xff\xfe"}\n')
    result = CliRunner().invoke(command, [str(tmp_path)])
    assert result.exit_code == 254
    assert "not an op: " in result.stderr


@pytest.mark.parametrize("name", ["good-run", "bad-two-leaders-in-one-epoch", "unknown-cut-off"])
def test_a_packed_history_has_the_same_verdict(name: str, tmp_path: Path) -> None:
    text = (HISTORIES / f"{name}.jsonl").read_bytes()
    (tmp_path / "history.jsonl.gz").write_bytes(gzip.compress(text))
    packed = CliRunner().invoke(command, ["--json", str(tmp_path)])
    plain = CliRunner().invoke(command, ["--json", str(HISTORIES / f"{name}.jsonl")])
    assert packed.exit_code == plain.exit_code
    assert json.loads(packed.stdout)["results"] == json.loads(plain.stdout)["results"]


@pytest.mark.parametrize(
    "spoil", [lambda packed: packed[:-30], lambda packed: b"no" + packed, lambda packed: packed[:9]]
)
def test_a_packed_history_that_is_spoilt_is_an_error(spoil: Callable[[bytes], bytes], tmp_path: Path) -> None:
    (tmp_path / "history.jsonl.gz").write_bytes(spoil(gzip.compress((HISTORIES / "good-run.jsonl").read_bytes())))
    result = CliRunner().invoke(command, [str(tmp_path)])
    assert result.exit_code == 254, result.output
    assert f"{tmp_path}/history.jsonl.gz: cannot be unpacked: " in result.stderr


def test_the_folder_of_a_campaign_is_an_error_that_says_where_its_runs_are(tmp_path: Path) -> None:
    (tmp_path / "campaign.jsonl").touch()
    result = CliRunner().invoke(command, [str(tmp_path)])
    assert result.exit_code == 254
    assert "give one of its runs, below `runs`" in result.stderr


def test_brackets_nested_thousands_deep_are_an_error_with_its_line(tmp_path: Path) -> None:
    deep = '{"index":1,"value":' + "[" * 50_000 + "]" * 50_000 + "}\n"
    (tmp_path / "history.jsonl").write_text((HISTORIES / "good-run.jsonl").read_text().splitlines()[0] + "\n" + deep)
    result = CliRunner().invoke(command, [str(tmp_path)])
    assert result.exit_code == 254, result.output
    assert f"{tmp_path}/history.jsonl:2: not an op: " in result.stderr
