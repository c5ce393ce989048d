"""Whom a fault hits: words such as "leader", made into servers when the fault starts.

The model.  A schedule is drawn before anybody knows who will lead, so a fault names its targets by a word.  When the
fault is due, the controller says what it knows of the ensemble (a `View`), and the word becomes host names.  They go
into the history before anything is sent to a host.

The rules:

1.  Choice is a function of the view and of a `random.Random` made from (seed, fault id): `rng_of`.  No wall clock, so
    that the same schedule with the same views hits the same servers.
2.  A word that fits nobody (nobody leads just now) falls back, and says so in the reason: a fault is never silently
    aimed at somebody else.
3.  Servers that are to stay broken until the end's second act (`View.broken`) are never chosen again.

Example: n3 leads, and led before is n1:

    >>> view = View(servers=("n1", "n2", "n3"), leader="n3", previous_leaders=("n1",))
    >>> pick("previous-leader", view, rng_of(7, "f4"))
    Targets(hosts=('n1',), reason='previous-leader')
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec


class View(msgspec.Struct, frozen=True):
    """What the controller knows of the ensemble when a fault starts.

    `servers` are all host names in the order of their sids.  `leader` is the established leader (the latest epoch's,
    if two say so), `elected` the server that most lately won a vote, established or not, `previous_leaders` those who
    were established before, the latest first.  `observers` never count for a majority.  `broken` are held by faults
    that last until the end's second act, `down` do not run.
    """

    servers: tuple[str, ...]
    leader: str | None = None
    elected: str | None = None
    previous_leaders: tuple[str, ...] = ()
    observers: frozenset[str] = frozenset()
    down: frozenset[str] = frozenset()
    broken: frozenset[str] = frozenset()

    @property
    def voters(self) -> tuple[str, ...]:
        return tuple(server for server in self.servers if server not in self.observers)

    @property
    def majority(self) -> int:
        """The smallest number of voters that is a majority of them."""
        return len(self.voters) // 2 + 1


class Targets(NamedTuple):
    hosts: tuple[str, ...]
    reason: str


def rng_of(seed: int, fault_id: str) -> random.Random:
    """The source of every choice that the fault makes.  A string seeds alike in every process and Python version."""
    return random.Random(f"{seed}/{fault_id}")


def pick(word: str, view: View, rng: random.Random) -> Targets:
    """The servers that `word` means now; none for "" and when nobody is left.  ValueError: no such word."""
    if not word:
        return Targets((), "")
    if word not in WORDS:
        raise ValueError(f"there is no target {word!r}; there are: {', '.join(WORDS)}")
    left = [server for server in view.servers if server not in view.broken]
    if not left:
        return Targets((), f"{word} (every server is broken for good)")
    hosts, why_not = WORDS[word](view, left, rng)
    order = {server: index for index, server in enumerate(view.servers)}
    return Targets(tuple(sorted(hosts, key=order.__getitem__)), f"{word} ({why_not})" if why_not else word)


# ---- the words: (view, servers left, rng) -> (hosts, why the word itself could not be had) ----

Choice = tuple[Sequence[str], str]


def leader(view: View, left: Sequence[str], rng: random.Random) -> Choice:
    """The established leader; if there is none, the one just elected, then any server that runs."""
    if view.leader in left:
        return [str(view.leader)], ""
    if view.elected in left:
        return [str(view.elected)], "nobody is established: the one just elected"
    return _any(view, left, rng), "nobody leads: a random one"


def elected(view: View, left: Sequence[str], rng: random.Random) -> Choice:
    """The server that most lately won a vote, whether established or not."""
    if view.elected in left:
        return [str(view.elected)], ""
    return leader(view, left, rng)[0], "nobody was just elected"


def previous_leader(view: View, left: Sequence[str], rng: random.Random) -> Choice:
    """The latest of those that were established before the leader of now."""
    for server in view.previous_leaders:
        if server in left and server != view.leader:
            return [server], ""
    return _any(view, left, rng), "nobody led before: a random one"


def follower(view: View, left: Sequence[str], rng: random.Random) -> Choice:
    """One server that does not lead."""
    others = [server for server in left if server != view.leader]
    if not others:
        return _any(view, left, rng), "only the leader is left"
    return _any(view, others, rng), ""


def followers(view: View, left: Sequence[str], rng: random.Random) -> Choice:
    """Every server that does not lead."""
    others = [server for server in left if server != view.leader]
    return (others, "") if others else (list(left), "only the leader is left")


def majority(view: View, left: Sequence[str], rng: random.Random) -> Choice:
    """A random smallest majority of the voters."""
    return _some(view, left, rng, view.majority, ())


def majority_with_leader(view: View, left: Sequence[str], rng: random.Random) -> Choice:
    """A smallest majority of the voters, the leader among them."""
    first = leader(view, left, rng)
    return _some(view, left, rng, view.majority, first[0])[0], first[1]


def majority_without_leader(view: View, left: Sequence[str], rng: random.Random) -> Choice:
    """A smallest majority of the voters, without the leader."""
    first = leader(view, left, rng)
    others = [server for server in left if server not in first[0]]
    return _some(view, others, rng, view.majority, ())[0], first[1]


def minority(view: View, left: Sequence[str], rng: random.Random) -> Choice:
    """As many voters, at random, as may be missing while a majority is left."""
    return _some(view, left, rng, len(view.voters) - view.majority, ())


def random_one(view: View, left: Sequence[str], rng: random.Random) -> Choice:
    """One server, any."""
    return _any(view, left, rng), ""


def all_servers(view: View, left: Sequence[str], rng: random.Random) -> Choice:
    """Every server."""
    return list(left), ""


WORDS: dict[str, Callable[[View, Sequence[str], random.Random], Choice]] = {
    "leader": leader,
    "elected": elected,
    "previous-leader": previous_leader,
    "follower": follower,
    "followers": followers,
    "majority": majority,
    "majority-with-leader": majority_with_leader,
    "majority-without-leader": majority_without_leader,
    "minority": minority,
    "random": random_one,
    "all": all_servers,
}


def _any(view: View, left: Sequence[str], rng: random.Random) -> list[str]:
    """One of them, a voter that runs if there is one: a fault on a server that is down already changes nothing."""
    for fit in (
        [server for server in left if server not in view.down and server not in view.observers],
        [server for server in left if server not in view.down],
    ):
        if fit:
            return [rng.choice(fit)]
    return [rng.choice(list(left))]


def _some(view: View, left: Sequence[str], rng: random.Random, count: int, first: Sequence[str]) -> Choice:
    voters = [server for server in left if server not in view.observers and server not in first]
    rng.shuffle(voters)
    hosts = [*first, *voters][:count]
    return hosts, "" if len(hosts) == count else f"only {len(hosts)} of {count} are left"
