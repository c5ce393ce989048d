"""Partitions: who drops whose packets (the rules of nemesis/grudges.py)."""

from __future__ import annotations

import random

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemesis import grudges

SERVERS = st.integers(2, 9).map(lambda count: [f"n{index}" for index in range(1, count + 1)])
SEEDS = st.integers(0, 2**32)


def drops(graph: grudges.Grudge, a: str, b: str) -> bool:
    """Whether a drops what comes from b."""
    return graph.has_edge(a, b)


def test_an_isolated_server_and_the_rest_drop_each_other_and_the_rest_hear_each_other() -> None:
    graph = grudges.isolate(["n1", "n2", "n3", "n4"], ["n2"], random.Random(0))
    assert grudges.to_dict(graph) == {"n1": ["n2"], "n2": ["n1", "n3", "n4"], "n3": ["n2"], "n4": ["n2"]}


def test_two_isolated_servers_do_not_hear_each_other_either() -> None:
    graph = grudges.isolate(["n1", "n2", "n3", "n4"], ["n1", "n2"], random.Random(0))
    assert drops(graph, "n1", "n2")
    assert drops(graph, "n2", "n1")
    assert not drops(graph, "n3", "n4")


def test_a_split_keeps_the_chosen_together() -> None:
    graph = grudges.split(["n1", "n2", "n3", "n4", "n5"], ["n1", "n4"], random.Random(0))
    assert grudges.to_dict(graph)["n1"] == ["n2", "n3", "n5"]
    assert not drops(graph, "n1", "n4")


def test_deaf_and_mute_are_one_way_and_each_others_reverse() -> None:
    servers = ["n1", "n2", "n3"]
    deaf = grudges.deaf(servers, ["n1"], random.Random(0))
    assert grudges.to_dict(deaf) == {"n1": ["n2", "n3"]}
    mute = grudges.mute(servers, ["n1"], random.Random(0))
    assert grudges.to_dict(mute) == {"n2": ["n1"], "n3": ["n1"]}
    assert nx.utils.graphs_equal(grudges.reverse(deaf), mute)


def test_a_bridge_hears_both_halves_which_do_not_hear_each_other() -> None:
    graph = grudges.bridge(["n1", "n2", "n3", "n4", "n5"], ["n3"], random.Random(0))
    assert "n3" not in grudges.to_dict(graph)
    without = list(nx.connected_components(grudges.talk(graph).subgraph(["n1", "n2", "n4", "n5"])))
    assert sorted(len(part) for part in without) == [2, 2]
    assert nx.is_connected(grudges.talk(graph))


@pytest.mark.parametrize("count", range(3, 10))
def test_in_a_majorities_ring_everyone_hears_a_majority_and_no_two_the_same(count: int) -> None:
    servers = [f"n{index}" for index in range(count)]
    graph = grudges.majorities_ring(servers, [], random.Random(5))
    heard = {a: frozenset(b for b in servers if not drops(graph, a, b)) for a in servers}
    assert all(len(others) >= count // 2 + 1 for others in heard.values())
    assert len(set(heard.values())) == count


@given(SERVERS, SEEDS)
def test_halves_differ_by_at_most_one_and_are_cut_both_ways(servers: list[str], seed: int) -> None:
    graph = grudges.halves(servers, [], random.Random(seed))
    parts = list(nx.connected_components(grudges.talk(graph)))
    assert sorted(len(part) for part in parts) == sorted([len(servers) // 2, len(servers) - len(servers) // 2])
    side = {server: index for index, part in enumerate(parts) for server in part}
    assert all(drops(graph, a, b) == (side[a] != side[b]) for a in servers for b in servers)


@given(SERVERS, SEEDS, st.sampled_from(sorted(grudges.SHAPES)), st.data())
def test_every_shape_is_a_function_of_its_arguments_and_nobody_drops_itself(
    servers: list[str], seed: int, name: str, data: st.DataObject
) -> None:
    chosen = data.draw(st.lists(st.sampled_from(servers), min_size=1, max_size=len(servers), unique=True))
    first, second = (grudges.SHAPES[name](servers, chosen, random.Random(seed)) for _ in range(2))
    assert list(first) == servers
    assert grudges.to_dict(first) == grudges.to_dict(second)
    assert nx.number_of_selfloops(first) == 0


@given(SERVERS, st.data())
def test_to_dict_and_from_dict_are_inverse_and_invert_twice_is_nothing(servers: list[str], data: st.DataObject) -> None:
    pairs = [(a, b) for a in servers for b in servers if a != b]
    graph = grudges.grudge(servers, data.draw(st.lists(st.sampled_from(pairs))))
    assert nx.utils.graphs_equal(grudges.from_dict(servers, grudges.to_dict(graph)), graph)
    assert nx.utils.graphs_equal(grudges.invert(grudges.invert(graph)), graph)
    assert grudges.invert(graph).number_of_edges() + graph.number_of_edges() == len(pairs)


@given(SERVERS, st.data())
def test_talk_is_hearing_both_ways(servers: list[str], data: st.DataObject) -> None:
    pairs = [(a, b) for a in servers for b in servers if a != b]
    graph = grudges.grudge(servers, data.draw(st.lists(st.sampled_from(pairs))))
    talk = grudges.talk(graph)
    assert all(talk.has_edge(a, b) == (not drops(graph, a, b) and not drops(graph, b, a)) for a, b in pairs)


def test_a_server_that_drops_itself_or_a_stranger_is_refused() -> None:
    with pytest.raises(ValueError, match="its own packets"):
        grudges.grudge(["n1"], [("n1", "n1")])
    with pytest.raises(ValueError, match="not both"):
        grudges.grudge(["n1"], [("n1", "n9")])
