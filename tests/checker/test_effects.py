"""Effects as bits: they come back in words as they were told, and no two of them share a bit."""

from __future__ import annotations

import doctest
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import checker.effects
from checker.availability import Availability
from checker.effects import ON_HOSTS, ON_LINKS, Atom, EffectProblem, Effects
from checker.vocabulary import EnsembleSettings, RunOp, ServerEntry

HOSTS = ["n1", "n2", "n3"]

host = st.sampled_from(HOSTS)
atoms = st.one_of(
    st.tuples(st.sampled_from(ON_HOSTS), host),
    st.tuples(st.sampled_from(ON_LINKS), host, host).filter(lambda atom: atom[1] != atom[2]),
    st.tuples(st.just("unknown"), st.sampled_from(["gremlins", "heat"])),
)


def told(atom: Atom) -> dict[str, Any]:
    kind, *where = atom
    if kind == "unknown":
        return {where[0]: True}
    return {kind: where} if len(where) == 1 else {kind: {where[0]: [where[1]]}}


@given(st.frozensets(atoms), st.frozensets(atoms))
def test_sets_of_effects_are_what_sets_of_words_are(a: frozenset[Atom], b: frozenset[Atom]) -> None:
    effects = Effects(HOSTS)
    x, y = effects.of(map(told, sorted(a))), effects.of(map(told, sorted(b)))
    assert effects.atoms(x) == a
    assert effects.atoms(x | y) == a | b
    assert effects.atoms(x & y) == a & b
    assert effects.atoms(x & ~y) == a - b
    assert set(effects.hosts_down(x)) == {atom[1] for atom in a if atom[0] == "down"}
    assert set(effects.hosts_down(effects.paused(x))) == {atom[1] for atom in a if atom[0] == "paused"}
    assert set(effects.hosts_down(effects.unfit(x))) == {atom[1] for atom in a if atom[0] in ON_HOSTS}
    for name in HOSTS:
        about = {atom for atom in a if atom[0] != "unknown" and atom[1] == name}
        assert effects.atoms(x & effects.about(name)) == about


@given(st.frozensets(atoms), st.booleans())
def test_hosts_are_apart_by_what_is_said_of_their_links(a: frozenset[Atom], degraded: bool) -> None:
    effects = Effects(HOSTS)
    cut = {atom[1:] for atom in a if atom[0] == "drops" or (degraded and atom[0] == "degraded")}
    one_way, both_ways = effects.apart(effects.of(map(told, sorted(a))), degraded)
    for name, from_one, from_both in zip(HOSTS, one_way, both_ways, strict=True):
        ways = {other: {(name, other), (other, name)} & cut for other in HOSTS}
        assert set(effects.hosts_down(from_one)) == {other for other in HOSTS if ways[other]}
        assert set(effects.hosts_down(from_both)) == {other for other in HOSTS if len(ways[other]) == 2}


def test_the_world_tells_its_effects_in_words() -> None:
    world = Availability(
        RunOp({name: ServerEntry(sid) for sid, name in enumerate(HOSTS, 1)}, EnsembleSettings(100, 5, 2))
    )
    for effect, words in (({"paused": ["n2"]}, {("paused", "n2")}), ({}, set())):
        world._possible = world._sure = world.effects.of([effect])
        assert world.possible == world.sure == words


def test_a_host_always_hears_itself() -> None:
    effects = Effects(HOSTS)
    assert effects.atoms(effects.of([{"drops": {"n1": ["n1", "n2"]}}])) == {("drops", "n1", "n2")}


@pytest.mark.parametrize(
    ("effect", "words"),
    [
        ({"down": {"n1": []}}, "'down' takes a list of hosts"),
        ({"drops": ["n1"]}, "'drops' takes an object of host -> list of hosts"),
        ({"drops": {"n1": "n2"}}, "'drops' takes an object of host -> list of hosts"),
        ({"down": ["n7"]}, "'n7' is not a host"),
        ({"down": [["n1"]]}, r"\['n1'\] is not a host"),
        ({"degraded": {"n7": ["n1"]}}, "'n7' is not a host"),
    ],
)
def test_effects_that_cannot_be_meant_are_refused(effect: dict[str, Any], words: str) -> None:
    with pytest.raises(EffectProblem, match=words):
        Effects(HOSTS).of([effect])


def test_the_example_of_the_module_is_true() -> None:
    assert doctest.testmod(checker.effects).failed == 0
