"""The states of a server and the transitions between them, as data: for tests, and for the picture in the docs.

The model.  A state is a role, as notifications carry it, and a phase, as ZAB names them.  A transition is one rule of
the core: the method that makes it, and when it does.

1.  Each transition is reported in the step that makes it.  So two successive reports of one server are in the same
    state, or in two states that this table connects.
2.  A server that dies leaves any state.  It starts again in LOOKING; that is a new server, and no transition.

Nothing in the core reads this table.  Tests hold it against simulated runs: every transition that happens is in it,
and every transition in it happens.

Example: `python -m node.protocol.states > docs/states.md`
"""

from __future__ import annotations

import sys
from typing import Dict, List, NamedTuple, Optional

from node.protocol.core import BROADCAST, DISCOVERY, ELECTION_PHASE, SYNCHRONIZATION
from node.protocol.messages import FOLLOWING, LEADING, LOOKING, OBSERVING, STATE_NAMES


class ServerState(NamedTuple):
    """`role` is a number of `STATE_NAMES`, `phase` a name of ZAB."""

    role: int
    phase: str


class Transition(NamedTuple):
    """`rule` is the method of `Server` that makes it.  `before` is None when the server process starts."""

    before: Optional[ServerState]
    after: ServerState
    rule: str
    when: str


ELECTING = ServerState(LOOKING, ELECTION_PHASE)

STATES: Dict[ServerState, str] = {
    ELECTING: "Has no leader.  Sends its vote to every voter and counts theirs; repeats it, more and more slowly.",
    ServerState(LEADING, DISCOVERY): (
        "Won an election.  Collects accepted epochs from a quorum, proposes the next one, and waits until a quorum has "
        "promised it.  At most initLimit for each of the two."
    ),
    ServerState(LEADING, SYNCHRONIZATION): (
        "Established: a quorum has promised its epoch.  Makes the learners' histories its own.  At most initLimit."
    ),
    ServerState(LEADING, BROADCAST): (
        "Serves clients.  Counts once a tick whether it has heard from a quorum within syncLimit."
    ),
    ServerState(FOLLOWING, DISCOVERY): (
        "Connects to the elected leader (at most a second or a tick), sends its accepted epoch, and waits for the "
        "leader's.  At most initLimit of silence."
    ),
    ServerState(FOLLOWING, SYNCHRONIZATION): (
        "Has promised the epoch.  Receives what its history lacks.  At most initLimit of silence until NEWLEADER, "
        "then syncLimit."
    ),
    ServerState(
        FOLLOWING, BROADCAST
    ): "Serves clients.  Logs and acknowledges proposals.  At most syncLimit of silence.",
    ServerState(OBSERVING, DISCOVERY): "As a follower, but its accepted epoch counts for no quorum.",
    ServerState(OBSERVING, SYNCHRONIZATION): "As a follower, but its promise counts for no quorum.",
    ServerState(OBSERVING, BROADCAST): "Serves clients.  Hears of transactions when they are committed.",
}


def _transitions() -> List[Transition]:
    discovery, synchronization, broadcast = [
        {role: ServerState(role, phase) for role in (FOLLOWING, OBSERVING, LEADING)}
        for phase in (DISCOVERY, SYNCHRONIZATION, BROADCAST)
    ]
    elected = "a quorum stands for %s for 200 ms, or says that it follows %s"
    table = [
        Transition(None, ELECTING, "look_for_leader", "the server process starts"),
        Transition(ELECTING, discovery[LEADING], "decide", elected % ("it", "it")),
        Transition(discovery[LEADING], synchronization[LEADING], "establish", "a quorum, with itself, has promised"),
        Transition(
            synchronization[LEADING], broadcast[LEADING], "begin_service", "a quorum has acknowledged NEWLEADER"
        ),
        Transition(
            discovery[LEADING],
            ELECTING,
            "stop_leading",
            "no quorum within initLimit, or the epoch or its electors are lost",
        ),
        Transition(
            synchronization[LEADING], ELECTING, "stop_leading", "no quorum acknowledged NEWLEADER within initLimit"
        ),
        Transition(
            broadcast[LEADING],
            ELECTING,
            "stop_leading",
            "no quorum was heard from within syncLimit, or no zxid is left",
        ),
    ]
    for role in (FOLLOWING, OBSERVING):
        table += [
            Transition(ELECTING, discovery[role], "decide", elected % ("another server", "another")),
            Transition(
                discovery[role], synchronization[role], "on_leader_info", "LEADERINFO with an epoch not too low"
            ),
            Transition(synchronization[role], broadcast[role], "on_up_to_date", "UPTODATE"),
        ]
        for state, why in (
            (discovery[role], "the leader cannot be reached, is silent or lost, or its epoch is too low"),
            (synchronization[role], "the leader is silent or lost, or sends what it cannot send"),
            (broadcast[role], "the leader is silent or lost, or sends what it cannot send"),
        ):
            table.append(Transition(state, ELECTING, "stop_following", why))
    return table


TRANSITIONS = _transitions()


def name(state: ServerState) -> str:
    role = STATE_NAMES[state.role]
    return role if state == ELECTING else "%s, %s" % (role, state.phase)


# ---- the page of the docs --------------------------------------------------------------------------------------------


def _mermaid() -> List[str]:
    def key(state: Optional[ServerState]) -> str:
        return "[*]" if state is None else name(state).replace(", ", "_")

    lines = ["stateDiagram-v2"]
    lines += ['    state "%s" as %s' % (name(state), key(state)) for state in STATES if state != ELECTING]
    lines += ["    %s --> %s : %s" % (key(t.before), key(t.after), t.rule) for t in TRANSITIONS]
    return lines


def page() -> str:
    """`docs/states.md`, whole."""
    lines = [
        "# The states of a server",
        "",
        "Made from the table in `node/protocol/states.py` by `python -m node.protocol.states > docs/states.md`.",
        "",
        "```mermaid",
        *_mermaid(),
        "```",
        "",
        "An arrow names the method of `Server` that makes the transition.  A server that dies starts again in LOOKING.",
        "",
        "| State | What the server does there, and for how long |",
        "| --- | --- |",
        *("| %s | %s |" % (name(state), what.replace("  ", " ")) for state, what in STATES.items()),
        "",
        "| From | To | Rule | When |",
        "| --- | --- | --- | --- |",
    ]
    for t in TRANSITIONS:
        before = "" if t.before is None else name(t.before)
        lines.append("| %s | %s | `%s` | %s |" % (before, name(t.after), t.rule, t.when))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
