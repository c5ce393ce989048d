"""What a quorum is, written for the checkers alone: they must not share a mistake with the server that they check.

Majority: more than half of the voters.  Hierarchical (ZooKeeper's QuorumHierarchical): every voter is in one group and
has a weight; a group agrees when members with more than half of its weight do; a quorum is more than half of the groups
that have any weight.  Only voters count, and each once.

    >>> Quorum({1, 2, 3, 4, 5}).of([1, 2, 2, 9])
    False
    >>> Quorum({1, 2, 3, 4, 5, 6}, groups=[{1, 2, 3}, {4, 5, 6}]).of([1, 2, 4, 5])
    True
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping


class Quorum:
    """The quorums of an ensemble.  `voters`: sids of the participants; `weights`: by sid, 1 where it is silent."""

    def __init__(
        self,
        voters: Collection[int],
        groups: Iterable[Collection[int]] = (),
        weights: Mapping[int, int] | None = None,
    ) -> None:
        self.voters = frozenset(voters)
        self.groups = [frozenset(group) & self.voters for group in groups]
        self.weights = dict(weights or {})

    def of(self, sids: Iterable[int]) -> bool:
        """Whether `sids` (strangers, observers and repetitions among them count nothing) hold a quorum."""
        present = self.voters.intersection(sids)
        if not self.groups:
            return 2 * len(present) > len(self.voters)
        weighty = [group for group in self.groups if self._weight(group) > 0]
        agreed = [group for group in weighty if 2 * self._weight(group & present) > self._weight(group)]
        return 2 * len(agreed) > len(weighty)

    def spared(self) -> int:
        """How many voters, whichever they are, may be missing while the rest holds a quorum.

        Groups make it fewer than a minority: the cheapest way to the end of all quorums is half of the groups, in each
        the heaviest members, until those that are left are no more than half of its weight.
        """
        if not self.groups:
            return (len(self.voters) - 1) // 2
        costs = sorted(self._to_break(group) for group in self.groups if self._weight(group) > 0)
        return sum(costs[: (len(costs) + 1) // 2]) - 1

    def _to_break(self, group: Collection[int]) -> int:
        total = left = self._weight(group)
        lost = 0
        for weight in sorted((self.weights.get(sid, 1) for sid in group), reverse=True):
            if 2 * left <= total:
                break
            left -= weight
            lost += 1
        return lost

    def _weight(self, sids: Iterable[int]) -> int:
        return sum(self.weights.get(sid, 1) for sid in sids)
