"""Warnings have a budget (node/agent/complaints.py)."""

from __future__ import annotations

from node.agent.complaints import BURST, WINDOW_S, Complaints


def test_warnings_over_the_budget_are_counted_and_the_count_is_said_when_the_window_ends() -> None:
    lines: list[str] = []
    now = [1000.0]
    complaints = Complaints(lambda level, text: lines.append(f"{level} {text}"), lambda: now[0])
    for number in range(BURST + 7):
        complaints.log("WARN", str(number))
    complaints.log("INFO", "said always")
    assert lines == [*(f"WARN {number}" for number in range(BURST)), "INFO said always"]
    now[0] += WINDOW_S
    complaints.tell_left_out()
    assert lines[BURST + 1 :] == ["WARN 7 more warnings were left out, to keep this log short"]
    complaints.log("WARN", "again")
    assert lines[-1] == "WARN again"
