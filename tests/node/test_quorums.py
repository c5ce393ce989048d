"""Quorum verifiers (protocol.md section 6; QuorumMajorityTest, HierarchicalQuorumTest), and held against naive ones."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.config import OBSERVER, PARTICIPANT, Config, Member
from node.protocol.quorums import Hierarchical, Majority, verifier


@pytest.mark.parametrize(("sids", "expected"), [({1, 2}, False), ({1, 2, 6}, False), ({1, 2, 3}, True), (set(), False)])
def test_majority_of_five_counts_voters_only(sids: set[int], expected: bool) -> None:
    assert Majority(frozenset(range(1, 6))).is_quorum(sids) is expected


@pytest.mark.parametrize(
    ("sids", "expected"), [({1}, False), ({1, 4, 5}, False), ({1, 4, 5, 6}, False), ({1, 2}, True)]
)
def test_observers_and_strangers_do_not_help_a_majority(sids: set[int], expected: bool) -> None:
    assert Majority(frozenset({1, 2, 3})).is_quorum(sids) is expected


def test_two_servers_in_each_of_two_groups_are_a_quorum_of_nine() -> None:
    groups = {g: frozenset(range(3 * g, 3 * g + 3)) for g in range(3)}
    nine = Hierarchical(groups, {})
    assert nine.is_quorum({0, 1, 3, 4})
    assert not nine.is_quorum({0, 1, 2, 3})
    assert not nine.is_quorum({0, 1, 2, 3, 6})


def test_a_group_of_weight_zero_does_not_count() -> None:
    """ZOOKEEPER-479, 491; FLEZeroWeightTest."""
    groups = {0: frozenset({0, 1, 2}), 1: frozenset({3, 4, 5})}
    quorums = Hierarchical(groups, {3: 0, 4: 0, 5: 0})
    assert quorums.is_quorum({0, 1})
    assert not quorums.is_quorum({0, 3, 4, 5})
    assert quorums.weight(4) == 0
    assert quorums.weight(99) == 0
    light = Hierarchical(groups, {3: 1, 4: 0, 5: 0})
    assert not light.is_quorum({0, 1}), "one is a weight"
    assert light.is_quorum({0, 1, 3})


def test_a_server_without_a_weight_weighs_one() -> None:
    group = Hierarchical({1: frozenset({1, 2, 3})}, {1: 2})
    assert [group.weight(sid) for sid in (1, 2, 9)] == [2, 1, 0]
    assert not group.is_quorum({2, 3})
    assert [Majority(frozenset({1, 2})).weight(sid) for sid in (1, 9)] == [1, 0]


def test_verifiers_are_equal_when_they_count_alike() -> None:
    group = {1: frozenset({1, 2, 3})}
    voters = frozenset({1, 2, 3})
    different = [Majority(voters), Majority(frozenset({1, 2})), Hierarchical(group, {}), Hierarchical(group, {1: 2})]
    assert all((a == b) == (a is b) for a in different for b in different)
    assert [repr(v) for v in different[1:3]] == [
        "Majority([1, 2])",
        "Hierarchical([[1, 2, 3]], weights={1: 1, 2: 1, 3: 1})",
    ]


def test_groups_and_weights_select_the_hierarchical_verifier() -> None:
    members = tuple(Member(sid, "h", 1, 2, OBSERVER if sid == 4 else PARTICIPANT) for sid in (1, 2, 3, 4))
    assert verifier(Config(1, members)) == Majority(frozenset({1, 2, 3}))
    groups = ((1, frozenset({1, 2})), (2, frozenset({3})))
    assert verifier(Config(1, members, groups=groups)) == Hierarchical(dict(groups), {}), "weights may be left out"
    grouped = verifier(Config(1, members, groups=((1, frozenset({1, 2, 3, 4})),), weights=((1, 2),)))
    assert grouped == Hierarchical({1: frozenset({1, 2, 3})}, {1: 2})
    assert grouped.is_quorum({1, 2})
    assert not grouped.is_quorum({1, 4})


def naive_hierarchical(groups: dict[int, frozenset[int]], weights: dict[int, int], sids: set[int]) -> bool:
    """Section 6, word for word: integer divisions, and groups without weight left out."""
    counted = carried = 0
    for members in groups.values():
        group_weight = sum(weights.get(sid, 1) for sid in members)
        if group_weight == 0:
            continue
        counted += 1
        if sum(weights.get(sid, 1) for sid in members if sid in sids) > group_weight // 2:
            carried += 1
    return carried > counted // 2


ensembles = st.dictionaries(st.integers(1, 9), st.tuples(st.integers(1, 4), st.integers(0, 3)), min_size=1)


@given(ensembles, st.sets(st.integers(1, 12)))
def test_hierarchical_agrees_with_the_naive_count(ensemble: dict[int, tuple[int, int]], sids: set[int]) -> None:
    groups = {
        g: frozenset(s for s, (of, _) in ensemble.items() if of == g) for g in {of for of, _ in ensemble.values()}
    }
    weights = {sid: weight for sid, (_, weight) in ensemble.items()}
    assert Hierarchical(groups, weights).is_quorum(sids) == naive_hierarchical(groups, weights, sids)


@given(st.frozensets(st.integers(0, 12), min_size=1), st.sets(st.integers(0, 15)))
def test_majority_agrees_with_the_naive_count(voters: frozenset[int], sids: set[int]) -> None:
    assert Majority(voters).is_quorum(sids) == (len([s for s in sids if s in voters]) > len(voters) // 2)


@given(ensembles)
def test_any_two_quorums_share_a_voter(ensemble: dict[int, tuple[int, int]]) -> None:
    voters = sorted(ensemble)[:7]
    groups = {g: frozenset(s for s in voters if ensemble[s][0] == g) for g in {ensemble[s][0] for s in voters}}
    quorums = Hierarchical(groups, {s: ensemble[s][1] for s in voters})
    subsets = [set(c) for size in range(len(voters) + 1) for c in combinations(voters, size)]
    found = [subset for subset in subsets if quorums.is_quorum(subset)]
    assert all(a & b for a in found for b in found)
