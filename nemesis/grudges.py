"""Partitions as directed graphs: who drops whose packets.

The model.  A *grudge* is a directed graph over the servers.  An edge a -> b says that a drops what comes from b: b's
packets leave b, and die at a.  Nothing is said of the other direction, so a one-way cut is one edge, a whole cut is
two, and a grudge with edges both ways between two halves is the partition everybody thinks of.

The rules:

1.  A grudge has every server as a node, also those that drop nothing.
2.  No server drops its own packets.
3.  A shape is a function `(servers, chosen, rng) -> grudge`.  `chosen` are the servers that the fault is aimed at
    (`nemesis.targets` picks them); a shape that needs no aim ignores them.  The same arguments give the same grudge.

Example: n1 is cut off from two others, in both directions:

    >>> to_dict(isolate(["n1", "n2", "n3"], ["n1"], random.Random(0)))
    {'n1': ['n2', 'n3'], 'n2': ['n1'], 'n3': ['n1']}

As plain data (`to_dict`) a grudge is what Jepsen calls one (jepsen.nemesis): a map from a server to those whose packets
it drops.  The algebra (bisect, complete, invert, bridge, majorities ring) follows jepsen.nemesis too; the one-way
shapes are ours.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:  # it takes longer to import than a shell may wait for a completion
    import networkx as nx

Grudge: TypeAlias = "nx.DiGraph[str]"
Shape = Callable[[Sequence[str], Sequence[str], random.Random], Grudge]


# ---- the algebra ---------------------------------------------------------------------------------------------------


def grudge(servers: Iterable[str], drops: Iterable[tuple[str, str]] = ()) -> Grudge:
    """The grudge in which `a` drops what comes from `b`, for each (a, b) of `drops`."""
    import networkx as nx

    graph: Grudge = nx.DiGraph()
    graph.add_nodes_from(servers)
    for a, b in drops:
        if a not in graph or b not in graph:
            raise ValueError(f"{a} -> {b}: not both are among {', '.join(graph)}")
        if a == b:
            raise ValueError(f"{a} cannot drop its own packets")
        graph.add_edge(a, b)
    return graph


def complete(parts: Iterable[Iterable[str]]) -> Grudge:
    """Servers hear those of their own part, and nobody else.  The parts are disjoint."""
    sides = [list(part) for part in parts]
    pairs = ((a, b) for one in sides for other in sides if one is not other for a in one for b in other)
    return grudge((server for side in sides for server in side), pairs)


def invert(graph: Grudge) -> Grudge:
    """Drops exactly what was let through."""
    return grudge(graph, ((a, b) for a in graph for b in graph if a != b and not graph.has_edge(a, b)))


def reverse(graph: Grudge) -> Grudge:
    """The same links in the other direction: b drops what comes from a where a dropped what came from b."""
    return grudge(graph, ((b, a) for a, b in graph.edges))


def to_dict(graph: Grudge) -> dict[str, list[str]]:
    """As plain data, without those who drop nothing, in the order of the servers."""
    order = {server: index for index, server in enumerate(graph)}
    return {a: sorted(graph[a], key=order.__getitem__) for a in graph if graph[a]}


def from_dict(servers: Iterable[str], drops: Mapping[str, Iterable[str]]) -> Grudge:
    """The inverse of `to_dict`."""
    return grudge(servers, ((a, b) for a, others in drops.items() for b in others))


def talk(graph: Grudge) -> nx.Graph[str]:
    """The undirected graph of the pairs that hear each other both ways: what TCP needs."""
    import networkx as nx

    pairs: nx.Graph[str] = nx.Graph()
    pairs.add_nodes_from(graph)
    nodes = list(graph)
    for index, a in enumerate(nodes):
        for b in nodes[index + 1 :]:
            if not graph.has_edge(a, b) and not graph.has_edge(b, a):
                pairs.add_edge(a, b)
    return pairs


# ---- the shapes ----------------------------------------------------------------------------------------------------


def halves(servers: Sequence[str], chosen: Sequence[str], rng: random.Random) -> Grudge:
    """Two halves, drawn at random; with an odd number of servers one half is the majority."""
    shuffled = list(servers)
    rng.shuffle(shuffled)
    half = len(shuffled) // 2
    return _ordered(servers, complete([shuffled[:half], shuffled[half:]]))


def isolate(servers: Sequence[str], chosen: Sequence[str], rng: random.Random) -> Grudge:
    """Each chosen server is cut off from every other, in both directions; the rest hear each other."""
    rest = [server for server in servers if server not in chosen]
    return _ordered(servers, complete([*([server] for server in chosen), rest]))


def split(servers: Sequence[str], chosen: Sequence[str], rng: random.Random) -> Grudge:
    """The chosen servers on one side, all others on the other side."""
    rest = [server for server in servers if server not in chosen]
    return _ordered(servers, complete([list(chosen), rest]))


def bridge(servers: Sequence[str], chosen: Sequence[str], rng: random.Random) -> Grudge:
    """Two halves that do not hear each other, and the first chosen server (or a random one), which hears all."""
    middle = chosen[0] if chosen else rng.choice(list(servers))
    others = [server for server in servers if server != middle]
    rng.shuffle(others)
    half = len(others) // 2
    cut = complete([others[:half], others[half:]])
    cut.add_node(middle)
    return _ordered(servers, cut)


def majorities_ring(servers: Sequence[str], chosen: Sequence[str], rng: random.Random) -> Grudge:
    """Every server hears a majority, and no two servers hear the same one.

    The servers stand on a ring, and each hears its nearest on either side.  Where a majority would need an odd number
    of others, one more is kept on the far side, so that links stay mutual; of three servers, where that would leave
    nothing cut, each hears its next one only.
    """
    ring = list(servers)
    rng.shuffle(ring)
    count = len(ring)
    others = count // 2  # beside itself, to make a majority
    near = others // 2
    heard: list[tuple[str, str]] = []
    for index, server in enumerate(ring):
        steps = [step for reach in range(1, near + 1) for step in (reach, -reach)]
        if others % 2:
            steps += [near + 1, -(near + 1)] if others + 1 < count - 1 else [near + 1]
        heard += [(server, ring[(index + step) % count]) for step in steps if ring[(index + step) % count] != server]
    return invert(grudge(servers, heard))


def deaf(servers: Sequence[str], chosen: Sequence[str], rng: random.Random) -> Grudge:
    """One-way: the chosen servers hear nobody else, but everybody hears them."""
    return grudge(servers, ((a, b) for a in chosen for b in servers if a != b))


def mute(servers: Sequence[str], chosen: Sequence[str], rng: random.Random) -> Grudge:
    """One-way: nobody hears the chosen servers, but they hear everybody."""
    return reverse(deaf(servers, chosen, rng))


def one_way(servers: Sequence[str], chosen: Sequence[str], rng: random.Random) -> Grudge:
    """One-way, on one link: a random other server does not hear the first chosen one; all else is heard."""
    server, other = _pair(servers, chosen, rng)
    return grudge(servers, [(other, server)])


def link(servers: Sequence[str], chosen: Sequence[str], rng: random.Random) -> Grudge:
    """One link, both ways, between the first chosen server and a random other one."""
    server, other = _pair(servers, chosen, rng)
    return grudge(servers, [(server, other), (other, server)])


def shatter(servers: Sequence[str], chosen: Sequence[str], rng: random.Random) -> Grudge:
    """Nobody hears anybody: every link, in both directions."""
    return complete([server] for server in servers)


SHAPES: dict[str, Shape] = {
    "halves": halves,
    "isolate": isolate,
    "split": split,
    "bridge": bridge,
    "majorities-ring": majorities_ring,
    "deaf": deaf,
    "mute": mute,
    "one-way": one_way,
    "link": link,
    "shatter": shatter,
}

AIMED = ("isolate", "split", "deaf", "mute")
"""Shapes that mean nothing without targets; the others draw what they need."""


def _pair(servers: Sequence[str], chosen: Sequence[str], rng: random.Random) -> tuple[str, str]:
    server = chosen[0] if chosen else rng.choice(list(servers))
    return server, rng.choice([other for other in servers if other != server])


def _ordered(servers: Sequence[str], graph: Grudge) -> Grudge:
    return grudge(servers, graph.edges)
