"""What the servers last reported: who leads, and who follows whom.

A state says whom a server *serves*: an established leader itself, a follower its leader, both in broadcast.  What it
does not say differs from nothing (`agree`).  Because the time of a report has an error, a state is a `Spell`: it may
have been current from the earliest time of its report to the latest time of what ended it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from checker.vocabulary import RunOp, State

FOR_EVER = 1 << 62

SPELLS_MAX = 20
"""Maximum number of spells that are kept of a server: those before are over by then, whatever the clocks' errors."""

Serves = tuple[int | None, int | None]
"""The leader's sid and epoch."""


class Spell(NamedTuple):
    """A state that a server served in, and the run times, in ns, within which it may have been current."""

    serves: Serves
    leads: bool
    since: int
    until: int


class Servers:
    """What the servers last reported."""

    def __init__(
        self,
        run: RunOp,
        running: dict[str, bool | None],
        states: dict[str, State | None],
        serves: dict[str, Serves | None],
        state_ops: dict[str, int],
    ) -> None:
        self.run = run
        self.running = running
        """None: no report of the server has come yet."""
        self.states = states
        """The last state of each running server; None where it does not run, or its state is not known."""
        self.serves = serves
        """Whom each server follows, or itself if it leads, where it may be in broadcast; None: neither.  What a
        follower does not say is None in it."""
        self.state_ops = state_ops
        """The index of the op that reported the state."""
        self.leaders_revision = 0
        """Rises when `serves` or `leading` changes."""
        self._leading: list[str] | None = None
        """The result of `leading`; None when it has to be found again."""

    def leading(self) -> list[str]:
        """The hosts that last reported to be an established leader."""
        if self._leading is None:
            self._leading = [h for h, state in self.states.items() if state is not None and state.is_established]
        return self._leading

    def leader_of(self, group: Iterable[str]) -> str | None:
        """The established leader in the group that all others of the group follow; or None."""
        for host in self.leading():
            if host in group and all(self.follows(member, host) for member in group):
                return host
        return None

    def follows(self, host: str, leader: str) -> bool:
        """Whether `host` is the established `leader`, or follows it in its epoch, in broadcast, as far as is known."""
        lead, serves = self.serves[leader], self.serves[host]
        return lead is not None and serves is not None and agree(serves, lead)

    def picture(self) -> Servers:
        """A copy, for a message that may have to be written later."""
        return Servers(self.run, self.running.copy(), self.states.copy(), self.serves.copy(), self.state_ops.copy())

    def describe(self, host: str) -> str:
        """A server in a few words, for messages."""
        state = self.states[host]
        if self.running[host] is False:
            return f"{host} is down"
        if state is None:
            return f"{host} has not told its state"
        words = f"{host} is {state.role}"
        if state.role in ("FOLLOWING", "OBSERVING") and state.leader is not None:
            words += f" {self.run.host(state.leader)}"
        if state.epoch is not None:
            words += f" in epoch {state.epoch}"
        return words + (f" ({state.phase})" if state.phase and state.phase not in ("broadcast", "election") else "")


def agree(serves: Serves, lead: Serves) -> bool:
    """Whether a server that serves so may follow this leader: what is unknown differs from nothing."""
    return serves == lead or (serves[0] in (None, lead[0]) and serves[1] in (None, lead[1]))
