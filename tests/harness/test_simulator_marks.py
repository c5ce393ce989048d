"""The marks that a campaign can miss are those of the source, without those that are beyond our ensembles."""

from __future__ import annotations

from harness.simulator import marks


def test_the_branches_that_a_simulation_should_reach_are_marked_in_the_core_and_in_the_world() -> None:
    core = {
        "round-jump",
        "joined-out-of-election",
        "epoch-answered-minus-one",
        "truncation",
        "better-vote-in-finalize-wait",
        "quorum-lost-while-leading",
        "no-quorum-in-time",
        "leader-silent",
        "snapshot-sync",
        "log-compacted",
    }
    world = {"half-open", "write-lost-in-a-crash", "write-kept-in-a-crash", "cut-in-the-middle"}
    assert core | world <= marks.known()


def test_what_was_not_reached_is_told_but_not_what_nobody_here_could_reach() -> None:
    assert marks.BEYOND.keys() <= marks.known()
    assert set(marks.never([])) == marks.known() - marks.BEYOND.keys()
    assert "round-jump" not in marks.never(["round-jump"])
    assert marks.never(marks.known()) == []
