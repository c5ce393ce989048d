"""What a fault does, as sets of effects, and what each effect means to a promise.

The checkers know no kind of fault by its name.  They learn from the history which effects a fault has:

==============================  ======================================  ================================================
effect                          while it may be in force                while it is surely in force
==============================  ======================================  ================================================
`{"down": ["n1"]}`              n1 is not fit                           n1 does not run
`{"paused": ["n1"]}`            n1 is not fit                           n1 is silent, and keeps its state
`{"clock": ["n1"]}`             n1 is not fit
`{"disk": ["n1"]}`              n1 is not fit
`{"drops": {"n1": ["n2"]}}`     n1 may not hear n2                      n1 does not hear n2
`{"degraded": {"n1": ["n2"]}}`  n1 may not hear n2 well
any other                       no majority has to have a leader
==============================  ======================================  ================================================

Each step of each fault makes new sets of old ones, so here an effect is a bit, and a set of effects an `int`: `a | b`
and `a & b` are union and intersection, `a & ~b` is what only the first has, and a set that is not 0 is not empty.

For n hosts, the bits from the lowest up: n for each kind of effect on a server; n * n for each kind on a link, those of
the first host (from the first host, from the second, ...), those of the second, and so on; and one for each effect that
is not listed above, as it turns up.

    >>> effects = Effects(["n1", "n2"])
    >>> for atom in sorted(effects.atoms(effects.of([{"down": ["n1"]}, {"drops": {"n2": ["n1"]}}]))):
    ...     print(atom)
    ('down', 'n1')
    ('drops', 'n2', 'n1')
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

ON_HOSTS = ("down", "paused", "clock", "disk")
ON_LINKS = ("drops", "degraded")

APART_MAX = 1000
"""Maximum number of entries in the memo table of `apart`."""

Atom = tuple[str, ...]
"""One effect in words: ("down", host), ("paused", host), ("clock", host), ("disk", host), ("drops", host, from_host),
("degraded", host, from_host), or ("unknown", what) for an effect that is not listed above."""


class EffectProblem(Exception):
    """Effects that make no sense; the message says which part."""


class Effects:
    """All effects that faults can have on these hosts and their links."""

    def __init__(self, hosts: Iterable[str]) -> None:
        self.hosts = list(hosts)
        n = len(self.hosts)
        self.place = {host: number for number, host in enumerate(self.hosts)}
        self.first = {kind: number * n for number, kind in enumerate(ON_HOSTS)}
        """The lowest bit of each kind."""
        self.first |= {kind: len(ON_HOSTS) * n + number * n * n for number, kind in enumerate(ON_LINKS)}
        self.down = {host: self.on_host("down", host) for host in self.hosts}
        self.downs = sum(self.down.values())
        self.links = ((1 << len(ON_LINKS) * n * n) - 1) << self.first[ON_LINKS[0]]
        """All effects on links."""
        self.unknown_from = len(ON_HOSTS) * n + len(ON_LINKS) * n * n
        self._unknown: list[str] = []
        """Names of the effects that are not listed above, in the order of their bits."""
        self._apart: dict[int, tuple[list[int], list[int]]] = {}
        """The memo table of `apart`."""

    def on_host(self, kind: str, host: str) -> int:
        return 1 << self.first[kind] + self.place[host]

    def unknown(self, what: str) -> int:
        if what not in self._unknown:
            self._unknown.append(what)
        return 1 << self.unknown_from + self._unknown.index(what)

    def of(self, listed: Iterable[dict[str, Any]]) -> int:
        """The set of the effects that a nemesis op lists.  Ignores a link from a host to itself.

        Raises EffectProblem.
        """
        found = 0
        for effect in listed:
            for kind, what in effect.items():
                if kind in ON_HOSTS:
                    if not isinstance(what, list):
                        raise EffectProblem(f"{kind!r} takes a list of hosts")
                    found |= self._bits(what) << self.first[kind]
                elif kind in ON_LINKS:
                    if not isinstance(what, dict) or not all(isinstance(f, list | dict) for f in what.values()):
                        raise EffectProblem(f"{kind!r} takes an object of host -> list of hosts")
                    for host, others in what.items():
                        row = self._bits(others)
                        if host not in self.place:
                            raise EffectProblem(f"{host!r} is not a host of the run's ensemble")
                        place = self.place[host]
                        found |= (row & ~(1 << place)) << self.first[kind] + place * len(self.hosts)
                else:
                    found |= self.unknown(kind)
        return found

    def _bits(self, hosts: Iterable[Any]) -> int:
        """A bit for each of these hosts: that of its `down`."""
        found, host = 0, None
        try:
            for host in hosts:
                found |= self.down[host]
        except (KeyError, TypeError):
            raise EffectProblem(f"{host!r} is not a host of the run's ensemble") from None
        return found

    def about(self, host: str) -> int:
        """All effects on a host: on its server, and on what comes to it."""
        n = len(self.hosts)
        row = (1 << n) - 1 << self.place[host] * n
        return sum(self.on_host(kind, host) for kind in ON_HOSTS) | sum(row << self.first[kind] for kind in ON_LINKS)

    def paused(self, effects: int) -> int:
        """The hosts that these effects pause, each by the bit of its `down`."""
        return effects >> self.first["paused"] & self.downs

    def unfit(self, effects: int) -> int:
        """The hosts with any of these effects on their servers, each by the bit of its `down`."""
        hit = effects
        for _ in ON_HOSTS[1:]:
            effects >>= len(self.hosts)
            hit |= effects
        return hit & self.downs

    def hosts_down(self, effects: int) -> list[str]:
        """The hosts that these effects take down."""
        if not effects & self.downs:
            return []
        return [host for host, down in self.down.items() if effects & down]

    def apart(self, effects: int, degraded: bool = False) -> tuple[list[int], list[int]]:
        """For each host by its place: the hosts that it is cut from in at least one direction; in both directions.

        Hosts are given by the bits of their `down`.  `degraded`: a degraded link counts as cut.
        """
        links = effects >> self.first["drops"]
        if degraded:
            links |= effects >> self.first["degraded"]
        links &= (1 << len(self.hosts) ** 2) - 1
        if links not in self._apart:
            if len(self._apart) > APART_MAX:
                self._apart.clear()
            self._apart[links] = self._find_apart(links)
        return self._apart[links]

    def _find_apart(self, links: int) -> tuple[list[int], list[int]]:
        n = len(self.hosts)
        rows = [links >> place * n & self.downs for place in range(n)]
        columns = [sum((row >> place & 1) << host for host, row in enumerate(rows)) for place in range(n)]
        both = list(zip(rows, columns, strict=True))
        return [row | column for row, column in both], [row & column for row, column in both]

    def atoms(self, effects: int) -> frozenset[Atom]:
        """The same set in words."""
        n = len(self.hosts)
        found: set[Atom] = set()
        while effects:
            bit = effects.bit_length() - 1
            effects ^= 1 << bit
            if bit >= self.unknown_from:
                found.add(("unknown", self._unknown[bit - self.unknown_from]))
            elif bit < self.first[ON_LINKS[0]]:
                found.add((ON_HOSTS[bit // n], self.hosts[bit % n]))
            else:
                link = bit - self.first[ON_LINKS[0]]
                host, other = divmod(link % (n * n), n)
                found.add((ON_LINKS[link // (n * n)], self.hosts[host], self.hosts[other]))
        return frozenset(found)
