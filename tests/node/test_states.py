"""The table of states and transitions says what servers do, all of it and nothing else, and the docs show the table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, ClassVar

from harness.simulator.run import simulate
from harness.simulator.simulated_run import SimulatorSettings
from node.config import Config
from node.protocol import states
from node.protocol.events import Durable, Report
from node.protocol.messages import LOOKING
from node.protocol.server import Server
from node.protocol.states import STATES, TRANSITIONS, ServerState

SEEDS_MAX = 60
KNOWN = {(t.before, t.after): t.rule for t in TRANSITIONS}
PAGE = Path(__file__).parents[2] / "docs" / "states.md"


class Watched(Server):
    """Notes each transition that it reports, and which methods were running."""

    happened: ClassVar[set[tuple[ServerState | None, ServerState]]] = set()
    wrong: ClassVar[list[str]] = []

    def __init__(self, config: Config, durable: Durable) -> None:
        super().__init__(config, durable)
        self.was: ServerState | None = None

    def report(self, reason: str, evidence: dict[str, Any] | None = None) -> None:
        before, after = self.was, ServerState(self.role, self.phase)
        self.was = after
        if before != after:
            self.happened.add((before, after))
            frame, running = sys._getframe(1), set()
            while frame is not None and frame.f_code.co_name not in ("step", "start"):
                running.add(frame.f_code.co_name)
                frame = frame.f_back  # type: ignore[assignment]
            if KNOWN.get((before, after)) not in running:
                self.wrong.append(f"{before} -> {after} by {sorted(running)}: {reason}")
        super().report(reason, evidence)
        assert isinstance(self.out[-1], Report) or before == after, "a transition is reported"


def test_what_happens_in_simulated_runs_is_in_the_table_and_all_of_the_table_happens() -> None:
    Watched.happened.clear()
    Watched.wrong.clear()
    for seed in range(SEEDS_MAX):
        simulate(seed, server_class=Watched, settings=SimulatorSettings(duration_s=120.0, observers=seed % 2))
        assert Watched.wrong == []
        if KNOWN.keys() == Watched.happened:
            return
    assert KNOWN.keys() == Watched.happened


def test_the_table_is_whole() -> None:
    """Each state is entered and left, each rule is a method, and only a server that looks for a leader has no phase."""
    assert len(KNOWN) == len(TRANSITIONS), "one row for each pair of states"
    assert {t.after for t in TRANSITIONS} == STATES.keys() == {t.before for t in TRANSITIONS if t.before is not None}
    assert all(hasattr(Server, t.rule) for t in TRANSITIONS)
    assert [state for state in STATES if state.role == LOOKING] == [states.ELECTING]


def test_the_page_of_the_docs_is_made_of_the_table() -> None:
    assert PAGE.read_text() == states.page(), "python -m node.protocol.states > docs/states.md"
