"""Which sets of servers are a quorum (QuorumMaj and QuorumHierarchical; protocol section 6).

A verifier knows the voters and their weights, and two things follow from it: whether a set of sids is a quorum, and who
may be voted for (a server of weight 0 never wins).  Any two quorums of one verifier share a voter; every safety
argument of the protocol stands on that.  Sids that are not voters are skipped: no caller can count an observer.

- Majority: more than half of the voters.
- Hierarchical: the voters are in groups, a server has a weight.  A group is carried by more than half of its weight,
  and a quorum carries more than half of the groups.  A group of weight 0 does not exist for the count.

Example, three groups of three servers of weight 1: two servers in each of two groups are a quorum, four of nine.
"""

from __future__ import annotations

from typing import Dict, FrozenSet, Iterable, Union

from node.config import Config


class Majority:
    def __init__(self, voters: FrozenSet[int]) -> None:
        self.voters = voters
        self._needed = len(voters) // 2 + 1

    def weight(self, sid: int) -> int:
        return 1 if sid in self.voters else 0

    def is_quorum(self, sids: Iterable[int]) -> bool:
        return len(self.voters.intersection(sids)) >= self._needed

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Majority) and self.voters == other.voters

    def __hash__(self) -> int:
        return hash(self.voters)

    def __repr__(self) -> str:
        return "Majority(%s)" % sorted(self.voters)


class Hierarchical:
    def __init__(self, groups: Dict[int, FrozenSet[int]], weights: Dict[int, int]) -> None:
        """`groups` maps a group's number to its members; a member without a weight weighs 1."""
        self.voters: FrozenSet[int] = frozenset().union(*groups.values())
        self.weights = {sid: weights.get(sid, 1) for sid in sorted(self.voters)}
        totals = {group: sum(self.weights[sid] for sid in members) for group, members in groups.items()}
        self.groups = tuple((groups[group], total) for group, total in sorted(totals.items()) if total > 0)

    def weight(self, sid: int) -> int:
        return self.weights.get(sid, 0)

    def is_quorum(self, sids: Iterable[int]) -> bool:
        present = self.voters.intersection(sids)
        carried = 0
        for members, total in self.groups:
            if 2 * sum(self.weights[sid] for sid in members & present) > total:
                carried += 1
        return 2 * carried > len(self.groups)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hierarchical) and (self.groups, self.weights) == (other.groups, other.weights)

    def __hash__(self) -> int:
        return hash(self.groups)

    def __repr__(self) -> str:
        return "Hierarchical(%s, weights=%s)" % ([sorted(members) for members, _ in self.groups], self.weights)


Verifier = Union[Majority, Hierarchical]


def verifier(config: Config) -> Verifier:
    """The verifier that a configuration asks for: hierarchical if it names any group or weight."""
    if not config.groups and not config.weights:
        return Majority(config.voters)
    voters = config.voters
    return Hierarchical({group: members & voters for group, members in config.groups}, dict(config.weights))
