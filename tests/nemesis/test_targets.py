"""Whom a fault hits (the rules of nemesis/targets.py)."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemesis.targets import WORDS, Targets, View, pick, rng_of

FIVE = ("n1", "n2", "n3", "n4", "n5")
VIEW = View(servers=FIVE, leader="n3", elected="n4", previous_leaders=("n2", "n1"))


def chosen(word: str, view: View = VIEW, seed: int = 1) -> Targets:
    return pick(word, view, rng_of(seed, "f1"))


def test_the_leader_the_one_just_elected_and_the_previous_leader_are_whom_the_view_says() -> None:
    assert chosen("leader") == Targets(("n3",), "leader")
    assert chosen("elected") == Targets(("n4",), "elected")
    assert chosen("previous-leader") == Targets(("n2",), "previous-leader")


def test_a_leader_who_leads_again_is_not_his_own_predecessor() -> None:
    view = View(servers=FIVE, leader="n2", previous_leaders=("n2", "n5"))
    assert chosen("previous-leader", view).hosts == ("n5",)


def test_a_word_that_fits_nobody_falls_back_and_says_so() -> None:
    hosts, reason = chosen("leader", View(servers=FIVE))
    assert len(hosts) == 1
    assert reason == "leader (nobody leads: a random one)"
    assert chosen("leader", View(servers=FIVE, elected="n4")) == Targets(
        ("n4",), "leader (nobody is established: the one just elected)"
    )


def test_followers_are_all_but_the_leader() -> None:
    assert chosen("followers").hosts == ("n1", "n2", "n4", "n5")
    assert chosen("follower").hosts != ("n3",)


@pytest.mark.parametrize("seed", range(20))
def test_majorities_are_smallest_ones_with_or_without_the_leader_and_a_minority_leaves_one(seed: int) -> None:
    assert len(chosen("majority", seed=seed).hosts) == 3
    assert len(chosen("majority-with-leader", seed=seed).hosts) == 3
    assert "n3" in chosen("majority-with-leader", seed=seed).hosts
    assert len(chosen("majority-without-leader", seed=seed).hosts) == 3
    assert "n3" not in chosen("majority-without-leader", seed=seed).hosts
    assert len(chosen("minority", seed=seed).hosts) == 2


def test_an_observer_counts_for_no_majority() -> None:
    view = View(servers=FIVE, leader="n3", observers=frozenset({"n1", "n5"}))
    for seed in range(20):
        assert set(chosen("majority", view, seed).hosts) <= {"n2", "n3", "n4"}
        assert len(chosen("majority", view, seed).hosts) == 2


def test_one_that_runs_is_preferred_to_one_that_is_down() -> None:
    view = View(servers=FIVE, down=frozenset({"n1", "n2", "n3", "n4"}))
    assert chosen("random", view).hosts == ("n5",)


@given(
    st.sampled_from(sorted(WORDS)),
    st.integers(0, 1000),
    st.sets(st.sampled_from(FIVE)),
    st.sets(st.sampled_from(FIVE)),
    st.none() | st.sampled_from(FIVE),
)
def test_no_word_ever_chooses_a_server_that_is_broken_for_good(
    word: str, seed: int, broken: set[str], down: set[str], leader: str | None
) -> None:
    view = View(servers=FIVE, leader=leader, down=frozenset(down), broken=frozenset(broken))
    hosts, _ = pick(word, view, rng_of(seed, "f2"))
    assert not set(hosts) & broken
    assert list(hosts) == sorted(set(hosts), key=FIVE.index)
    if len(broken) < len(FIVE):
        assert hosts or word == "majority-without-leader" or not set(FIVE) - broken - {leader}


def test_an_unknown_word_names_those_that_there_are() -> None:
    with pytest.raises(ValueError, match="previous-leader"):
        chosen("boss")


def test_the_same_seed_and_fault_choose_the_same_in_another_process() -> None:
    script = "from nemesis.targets import *; print(rng_of(7, 'f4').random(), rng_of(7, 'f5').random())"
    runs = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(runs) == 1
    first, second = next(iter(runs)).split()
    assert first != second
