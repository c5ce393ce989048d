"""`onethrone run` at a terminal, as a person sits before it: the view, and Ctrl-C."""

from __future__ import annotations

import sys
import termios
from pathlib import Path

from checker.history import read
from tests.terminal import Terminal

RUN = [sys.executable, "-c", "from harness.cli import main; main()", "run", "--hosts", "lab:3", "--seed", "7"]


def test_a_run_is_seen_and_ctrl_c_leaves_the_terminal_as_it_was(tmp_path: Path) -> None:
    with Terminal([*RUN, "--time-limit", "60", "--results", str(tmp_path)], columns=100, rows=40) as terminal:
        terminal.until(
            lambda: terminal.shows("LEADING") and terminal.shows("s left"), "servers, a leader, the time left"
        )
        assert any(line.startswith("n1 ") for line in terminal.screen)
        terminal.until(
            lambda: any("create" in line and line.startswith("clients") for line in terminal.screen), "what clients do"
        )
        terminal.type("\x03")
        assert terminal.ended(120) == 255
        terminal.until(lambda: terminal.shows("Unknown: "), "the verdict on what there is")
        assert not any(line.startswith(("n1 ", "faults ", "so far ")) for line in terminal.screen)  # the view is gone
        assert any("servers are started" in line for line in terminal.screen)  # what was said stays
        assert termios.tcgetattr(terminal.slave) == terminal.modes
        assert "\x1b[?25l" not in terminal.sent  # the cursor was never hidden
    assert [op.f for op in read(tmp_path / "latest")][-1] == "end"
