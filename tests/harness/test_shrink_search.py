"""Making a failing case smaller (`harness.shrink.search`), on predicates that need no simulator."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.shrink.search import BudgetSpent, Case, Search, Seeds, size
from harness.simulator import knobs
from nemesis import storm
from nemesis.faults import Fault
from nemesis.schedule import Schedule, parse

HARSH = knobs.draw(7)


def case_of(faults: int) -> Case:
    """So many kills, a second apart."""
    made = tuple(Fault(f"f{n}", "kill", 3.0 + n, 0.9, "leader") for n in range(1, faults + 1))
    return Case(Schedule(7, 5, 60.0, 3.0, 36.0, 48.0, made), (7,), HARSH)


def stormy(seed: int = 7) -> Case:
    return Case(storm.draw(seed, 5, abilities=("nft", "tbf", "faketime", "netem")), (seed,), HARSH)


def search(case: Case, fails: Callable[[Case], bool], *, acts: bool = False) -> Search:
    """Ended, by itself."""
    made = Search(case, lambda case: case.seeds if fails(case) else (), acts=acts)
    made.run()
    assert made.whole
    return made


def ids(case: Case) -> list[str]:
    return [fault.id for fault in case.faults]


@settings(max_examples=25)
@given(st.integers(1, 12).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(1, n)))))
def test_exactly_the_faults_that_are_needed_are_left(drawn: tuple[int, set[int]]) -> None:
    faults, needed = drawn
    wanted = {f"f{n}" for n in needed}
    found = search(case_of(faults), lambda case: wanted <= set(ids(case)))
    assert set(ids(found.best)) == wanted


@settings(max_examples=25)
@given(st.integers(1, 6), st.integers(0, 10**6))
def test_no_single_fault_can_be_left_out_whatever_fails(faults: int, salt: int) -> None:
    """Against brute force: any predicate on the sets of faults, also one that is not monotone."""
    everything = frozenset(f"f{n}" for n in range(1, faults + 1))
    subsets = [frozenset(s) for size in range(faults + 1) for s in itertools.combinations(sorted(everything), size)]
    failing = {s for s in subsets if s == everything or _coin(f"{salt} {sorted(s)}")}
    left = frozenset(ids(search(case_of(faults), lambda case: frozenset(ids(case)) in failing).best))
    assert left in failing
    assert not [one for one in left if left - {one} in failing]


def _coin(text: str) -> bool:
    return hashlib.sha256(text.encode()).digest()[0] < 100


@settings(max_examples=15)
@given(st.floats(0.05, 0.9), st.floats(3.0, 4.0))
def test_a_fault_is_as_short_as_it_may_be_and_as_early(for_s: float, at_s: float) -> None:
    found = search(case_of(1), lambda case: bool(case.faults) and case.faults[0].for_s >= for_s).best  # type: ignore[operator]
    assert for_s <= (found.faults[0].for_s or 0) <= max(for_s * 1.3, for_s + 0.1)
    found = search(case_of(1), lambda case: bool(case.faults) and case.faults[0].at_s >= at_s).best
    assert at_s <= found.faults[0].at_s <= at_s * 1.3


def test_what_fails_always_ends_with_nothing_at_all() -> None:
    found = search(stormy(), lambda case: True, acts=True).best
    assert not found.faults
    assert found.knobs == knobs.Knobs()
    assert (found.schedule.servers, found.schedule.majority_at_s, found.schedule.duration_s) == (3, 1.0, 1.0)


def test_kinds_shapes_targets_and_params_become_simple() -> None:
    """A fault that may be anything ends as the simplest; one that has to disturb links keeps its kind alone."""
    anything = search(stormy(), lambda case: bool(case.faults)).best.faults[0]
    assert (anything.kind, anything.targets, anything.shape, anything.params) == ("kill", "leader", "", {})
    late = Fault("f1", "delay", 4.25, 2.375, "follower", "bridge", {"delay_ms": 437, "jitter_ms": 12})
    case = Case(Schedule(7, 5, 60.0, 3.0, 36.0, 48.0, (late,)), (7,), HARSH)
    kept = search(case, lambda case: [fault.kind for fault in case.faults] == ["delay"]).best.faults[0]
    assert (kept.targets, kept.shape, kept.params) == ("leader", "isolate", {"delay_ms": 400})


def test_what_is_for_good_gets_an_end_if_that_fails_too() -> None:
    for_good = Fault("f1", "kill", 35.5, None, "leader")
    case = Case(Schedule(7, 5, 60.0, 3.0, 36.0, 48.0, (for_good,)), (7,), HARSH)
    assert search(case, lambda case: len(case.faults) == 1).best.faults[0].for_s is not None
    kept = search(case, lambda case: [fault.for_s for fault in case.faults] == [None])
    assert kept.best.faults[0].for_s is None


def test_the_acts_keep_their_length_unless_they_may_not() -> None:
    acts = search(case_of(3), lambda case: True).best.schedule
    assert (acts.everyone_at_s - acts.majority_at_s, acts.duration_s - acts.everyone_at_s) == (12.0, 12.0)
    nine = search(case_of(3), lambda case: case.schedule.duration_s - case.schedule.majority_at_s >= 9, acts=True)
    assert 9 <= nine.best.schedule.duration_s - nine.best.schedule.majority_at_s < 11


@settings(max_examples=8)
@given(st.integers(0, 10**6))
def test_it_ends_whatever_the_predicate_says_and_asks_once_for_each_valid_case(salt: int) -> None:
    asked: list[bytes] = []
    sizes = [size(stormy())]

    def fails(case: Case) -> bool:
        assert parse(case.schedule.to_json()) == case.schedule
        asked.append(case.key())
        return _coin(f"{salt} {case.key()!r}")

    made = Search(
        stormy(),
        lambda case: case.seeds if fails(case) else (),
        improved=lambda best, how: sizes.append(size(best)),
        acts=True,
    )
    made.run()
    assert made.whole
    assert len(set(asked)) == len(asked) == made.asked
    assert sizes == sorted(set(sizes), reverse=True)


@pytest.mark.parametrize("budget", [0, 1, 8, 20])
def test_a_spent_budget_leaves_the_best_so_far(budget: int) -> None:
    runs = 0
    wanted = {"f4", "f11"}

    def fails(case: Case) -> Seeds:
        nonlocal runs
        if runs == budget:
            raise BudgetSpent
        runs += 1
        return case.seeds if wanted <= set(ids(case)) else ()

    made = Search(case_of(18), fails)
    best = made.run()
    assert best is made.best
    assert runs == budget
    assert not made.whole
    assert wanted <= set(ids(best))
    assert len(best.faults) <= (18 if budget < 2 else 17)


def test_two_related_faults_of_eighteen_are_found_in_a_few_dozen_runs() -> None:
    found = search(case_of(18), lambda case: {"f4", "f11"} <= set(ids(case)))
    assert ids(found.best) == ["f4", "f11"]
    assert found.asked < 100


def test_what_may_be_asked_next_is_foreseen_in_its_order() -> None:
    foreseen: list[bytes] = []
    asked: list[bytes] = []

    def fails(case: Case) -> Seeds:
        asked.append(case.key())
        assert case.key() == foreseen.pop(0)
        return case.seeds if {"f4", "f11"} <= set(ids(case)) else ()

    def foresee(cases: Sequence[Case]) -> None:
        foreseen[:] = [case.key() for case in cases]

    Search(case_of(18), fails, foresee=foresee).run()
    assert asked


def test_the_seeds_that_fail_are_kept_with_the_case() -> None:
    made = Search(case_of(4), lambda case: (3, 7) if case.faults else ())
    assert made.run().seeds == (3, 7)
    assert msgspec.structs.replace(made.best, seeds=(1,)).key() == made.best.key()
