"""The live view in a terminal, on a real pty: what is seen, and that nothing of it reaches the run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness.watch.follow import Follower
from harness.watch.screen import frame
from tests.terminal import Terminal

RUN = {
    "name": "demo",
    "system": "onethrone",
    "seed": 7,
    "ensemble": {f"n{n}": {"sid": n} for n in range(1, 6)},
    "settings": {"tick_ms": 100, "init_limit": 5, "sync_limit": 2, "max_notification_interval_ms": 500},
}

# A run, as the view sees one: a history that grows, and lines that are said.  It obeys what it reads from a FIFO.
RUNNER = """
import sys
from pathlib import Path
from harness.watch.progress import LogFile, Progress
from harness.watch import screen
folder, orders = Path(sys.argv[1]), open(sys.argv[2])
progress = Progress(quiet="quiet" in sys.argv)
with LogFile(folder / "controller.log"), screen.view(folder / "history.jsonl", folder / "schedule.json", progress):
    for order in orders:
        what, _, rest = order.rstrip("\\n").partition(" ")
        if what == "say":
            progress.say(rest)
        elif what == "break":
            screen.frame = lambda *_: 1 / 0
        elif what == "end":
            break
progress.say("the run has ended")
"""


class Staged:
    """A terminal in which a run is watched that the test plays."""

    def __init__(self, folder: Path, columns: int, rows: int, env: dict[str, str], *words: str) -> None:
        self.history = folder / "history.jsonl"
        self._time = 0
        self._index = 0
        os.mkfifo(folder / "orders")
        runner = [sys.executable, "-c", RUNNER, str(folder), str(folder / "orders"), *words]
        self.folder = folder
        self.terminal = Terminal(runner, columns=columns, rows=rows, env=env)
        self._orders = (folder / "orders").open("w", buffering=1)

    def order(self, text: str) -> None:
        self._orders.write(text + "\n")

    def tell(self, process: str | int, kind: str, f: str, value: Any, after_s: float = 0.01) -> None:
        self._time += int(after_s * 1e9)
        op = {"index": self._index, "time": self._time, "process": process, "type": kind, "f": f, "value": value}
        self._index += 1
        with self.history.open("a") as file:
            file.write(json.dumps(op) + "\n")

    def begin(self) -> None:
        """Five servers follow n5 in epoch 1."""
        self.tell("controller", "info", "run", RUN)
        for n in range(1, 6):
            self.tell(f"n{n}", "info", "started", {"sid": n})
        self.lead(5, 1)
        for n in range(1, 5):
            self.follow(n, 5, 1)

    def lead(self, n: int, epoch: int) -> None:
        about = {"accepted_epoch": epoch, "current_epoch": epoch, "epoch": epoch, "leader": n, "established": True}
        self.tell(f"n{n}", "info", "state", {"sid": n, "role": "LEADING", "phase": "broadcast"} | about)

    def follow(self, n: int, leader: int, epoch: int) -> None:
        about = {"accepted_epoch": epoch, "current_epoch": epoch, "epoch": epoch, "leader": leader}
        self.tell(f"n{n}", "info", "state", {"sid": n, "role": "FOLLOWING", "phase": "broadcast"} | about)

    def close(self) -> None:
        self._orders.close()
        self.terminal.__exit__(None, None, None)


Stage = Callable[..., Staged]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    staged: list[Staged] = []

    def make(columns: int = 100, rows: int = 30, *words: str, **env: str) -> Staged:
        staged.append(Staged(tmp_path, columns, rows, env, *words))
        return staged[-1]

    yield make
    for one in staged:
        one.close()


def test_servers_leader_epoch_faults_and_clients_are_seen_and_lines_stay_above(stage: Stage) -> None:
    staged = stage()
    terminal = staged.terminal
    staged.order("say hosts are being made")
    terminal.until(lambda: terminal.shows("hosts are being made"), "a line is said before the history begins")
    staged.begin()
    staged.tell("controller", "info", "phase", {"phase": "storm"})
    cut = {"fault": "f1", "step": "start", "hosts": ["n1", "n2"], "targets": ["n1"], "effects": []}
    staged.tell("nemesis", "invoke", "partition", cut)
    staged.tell("nemesis", "ok", "partition", cut | {"evidence": {"n1": 1}})
    staged.tell("n2", "info", "stopped", {"how": "SIGKILL"})
    staged.tell(0, "invoke", "create", 1)
    staged.tell(0, "ok", "create", 1)
    terminal.until(lambda: terminal.shows("create 1, 1 ok"), "what clients did")
    seen = terminal.screen
    assert any(line.startswith("n1  FOLLOWING") and "epoch 1" in line and "f1 partition" in line for line in seen)
    assert any(line.startswith("n2  down") for line in seen)
    assert any(line.startswith("n5  LEADING") for line in seen)
    assert any(line.startswith("faults   f1 partition n1") for line in seen)
    assert any("storm: faults overlap" in line and "seed 7" in line for line in seen)
    assert any(line.startswith("so far   no violation found · 1 epoch · 1 fault verified") for line in seen)
    for n in range(5):
        staged.order(f"say line {n}")
    terminal.until(lambda: terminal.shows("line 4"), "said lines")
    said = [n for n, line in enumerate(terminal.screen) if "s  line " in line or "hosts are being made" in line]
    assert said == list(range(6))  # above, in their order, and none is lost
    assert sum(line.startswith("n5 ") for line in terminal.screen) == 1  # the view is there once


def test_at_the_end_the_view_is_gone_and_the_lines_are_there(stage: Stage) -> None:
    staged = stage()
    staged.begin()
    terminal = staged.terminal
    terminal.until(lambda: terminal.shows("LEADING"), "the view")
    staged.order("say a last line")
    staged.order("end")
    assert terminal.ended() == 0
    assert [line.split("s  ")[1] for line in terminal.screen] == ["a last line", "the run has ended"]
    assert termios.tcgetattr(terminal.slave) == terminal.modes


def test_a_violation_is_seen_while_the_run_goes_on(stage: Stage) -> None:
    staged = stage()
    staged.begin()
    staged.lead(4, 1)
    staged.tell("controller", "info", "phase", {"phase": "storm"}, after_s=5)
    terminal = staged.terminal
    terminal.until(lambda: terminal.shows("1 violation found"), "the second leader of epoch 1")
    assert terminal.shows("epoch 1 has two established leaders: n5")


def test_a_narrower_terminal_gets_narrower_lines_and_no_remains(stage: Stage) -> None:
    staged = stage(120, 30)
    terminal = staged.terminal
    staged.order("say first")
    staged.begin()
    terminal.until(lambda: terminal.shows("seed 7"), "the view")
    for columns in (90, 41, 24):
        terminal.resize(columns, 30)
        staged.follow(1, 5, 1)
        staged.order(f"say at {columns}")
        terminal.until(partial(terminal.shows, f"at {columns}"), "it is drawn anew")
        assert all(len(line) < columns for line in terminal.screen)
        assert sum(line.startswith("n5 ") for line in terminal.screen) == 1
        assert sum("─" in line for line in terminal.screen) == 1
    terminal.resize(100, 6)
    terminal.until(lambda: terminal.shows("no violation found") and len(terminal.screen) <= 6, "a low terminal")
    assert terminal.shows("more servers")


def test_text_of_hosts_moves_no_cursor(stage: Stage) -> None:
    staged = stage()
    staged.begin()
    evil = "\x1b[2J\x1b]0;owned\x07\r\n\tf9"
    staged.tell("nemesis", "invoke", evil, {"fault": evil, "step": "start", "hosts": [evil], "effects": []})
    staged.order("say \x1b[31mred\x1b[2J")
    terminal = staged.terminal
    terminal.until(lambda: terminal.shows("red") and terminal.shows("f9"), "the texts, as texts")
    assert "\x1b[2J" not in terminal.sent
    assert "\x1b]0" not in terminal.sent
    assert "\x1b[31mred" not in terminal.sent


def test_an_error_in_drawing_ends_the_view_and_not_the_run(stage: Stage) -> None:
    staged = stage()
    staged.begin()
    terminal = staged.terminal
    terminal.until(lambda: terminal.shows("LEADING"), "the view")
    staged.order("break")
    staged.order("say after that")
    staged.follow(1, 5, 1)
    terminal.until(lambda: terminal.shows("after that"), "lines are printed as they come")
    staged.order("say and then")
    terminal.until(lambda: terminal.shows("and then"), "lines are printed as they come")
    staged.order("end")
    assert terminal.ended() == 0
    assert not any("Traceback" in line for line in terminal.lines)
    assert "ZeroDivisionError" in (staged.folder / "controller.log").read_text()


@pytest.mark.parametrize("env", [{"TERM": "dumb"}, {"TERM": ""}])
def test_a_terminal_that_cannot_move_its_cursor_gets_plain_lines(stage: Stage, env: dict[str, str]) -> None:
    staged = stage(**env)
    staged.begin()
    staged.order("say plain")
    staged.terminal.until(lambda: staged.terminal.shows("plain"), "the line")
    staged.order("end")
    assert staged.terminal.ended() == 0
    assert "\x1b" not in staged.terminal.sent
    assert "LEADING" not in staged.terminal.sent


def test_quiet_draws_nothing_and_says_nothing(stage: Stage) -> None:
    staged = stage(100, 30, "quiet")
    staged.begin()
    staged.order("say something")
    staged.order("end")
    assert staged.terminal.ended() == 0
    assert staged.terminal.sent == ""
    assert "something" in (staged.folder / "controller.log").read_text()


def test_without_a_terminal_there_are_plain_lines(tmp_path: Path) -> None:
    (tmp_path / "orders").write_text("say one\nsay two\nend\n")
    (tmp_path / "history.jsonl").write_text(
        json.dumps({"index": 0, "time": 0, "process": "controller", "type": "info", "f": "run", "value": RUN}) + "\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", RUNNER, str(tmp_path), str(tmp_path / "orders")],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert [line.split("s  ")[1] for line in ended.stderr.splitlines()] == ["one", "two", "the run has ended"]


@pytest.mark.parametrize(("columns", "rows"), [(1, 1), (2, 3), (20, 5), (40, 10), (80, 24), (300, 100)])
def test_a_frame_fits_any_terminal(tmp_path: Path, columns: int, rows: int) -> None:
    run = RUN | {"ensemble": {f"server-with-a-long-name-{n}": {"sid": n} for n in range(1, 40)}}
    history = tmp_path / "history.jsonl"
    history.write_text(
        json.dumps({"index": 0, "time": 0, "process": "controller", "type": "info", "f": "run", "value": run}) + "\n"
    )
    follower = Follower(history)
    follower.read()
    assert len(frame(follower, columns, rows)) <= max(1, rows - 1)
