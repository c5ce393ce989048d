"""Sets of effects, as whole numbers.

What a fault does to servers and links is a set of *effects*, and each step of each fault makes new sets of old ones.
So here an effect is a bit, and a set of effects an `int`: `a | b` and `a & b` are what two sets have together and in
common, `a & ~b` is what only the first has, and a set that is not 0 is not empty.

For n hosts, the bits from the lowest up: n for each kind of effect on a server; n * n for each kind on a link, those of
the first host (from the first host, from the second, ...), those of the second, and so on; and one for each effect that
is not known here, as it turns up.

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
"""So many ways in which links are cut are remembered, and who is apart then."""

Atom = tuple[str, ...]
"""One effect in words: ("down", host), ("paused", host), ("clock", host), ("disk", host), ("drops", host, from_host),
("degraded", host, from_host), or ("unknown", what) for an effect that is not known here."""


class EffectProblem(Exception):
    """Effects that cannot be meant; the message says what of them."""


class Effects:
    """The effects that there can be on these hosts and their links."""

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
        """The effects that are not known here, by their bits."""
        self._apart: dict[int, tuple[list[int], list[int]]] = {}
        """What `_find_apart` said."""

    def on_host(self, kind: str, host: str) -> int:
        return 1 << self.first[kind] + self.place[host]

    def unknown(self, what: str) -> int:
        if what not in self._unknown:
            self._unknown.append(what)
        return 1 << self.unknown_from + self._unknown.index(what)

    def of(self, told: Iterable[dict[str, Any]]) -> int:
        """The effects as a fault tells them; a link from a host to itself is passed over.  Raises EffectProblem."""
        found = 0
        for effect in told:
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
        """One for each of these hosts, the lowest for the first host of all."""
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

    def on(self, kind: str, effects: int) -> int:
        """Whom these effects hit in this way, as if they were down by it."""
        return effects >> self.first[kind] & self.downs

    def on_any(self, effects: int) -> int:
        """Whom these effects hit in any way that is not of a link, as if they were down by it."""
        hit = effects
        for _ in ON_HOSTS[1:]:
            effects >>= len(self.hosts)
            hit |= effects
        return hit & self.downs

    def hosts_down(self, effects: int) -> list[str]:
        """The hosts that are down by these effects."""
        if not effects & self.downs:
            return []
        return [host for host, down in self.down.items() if effects & down]

    def apart(self, effects: int, degraded: bool = False) -> tuple[list[int], list[int]]:
        """For each host by its place, as if they were down: from whom it is cut in one direction at least; in both.

        `degraded`: a link that is degraded counts as cut.
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
