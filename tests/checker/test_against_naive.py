"""The fast checkers and the naive ones say the same of small random histories."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from checker.history import History, Op
from checker.promises.base import Result
from checker.promises.convergence import bound_ns as convergence_bound_ns
from checker.promises.durability import Durability
from checker.promises.evidence import NEEDED
from checker.promises.stepping_down import bound_ns as stepping_down_bound_ns
from checker.routing import Routing
from checker.verdict import conclude
from checker.vocabulary import RunOp
from tests.checker import naive
from tests.checker.story import SETTINGS

HOSTS = ["n1", "n2", "n3"]
ENSEMBLE = {host: {"sid": int(host[1]), "role": "participant"} for host in HOSTS}
SECOND = 1_000_000_000
BOUNDS = {"convergence_s": 2.0, "stepping_down_s": 2.0}

BOOTED: tuple[tuple[str, dict[str, Any]], ...] = (("started", {}), ("state", {"role": "LOOKING"}))

host = st.sampled_from(HOSTS)
step_ns = st.sampled_from([0, SECOND // 2, SECOND, 3 * SECOND])


@st.composite
def states(draw: Any) -> tuple[Any, ...]:
    name = draw(host)
    epoch = draw(st.integers(1, 3))
    value: dict[str, Any] = {
        "sid": int(name[1]),
        "accepted_epoch": draw(st.integers(0, 3)),
        "current_epoch": draw(st.integers(0, 3)),
    }
    kind = draw(st.sampled_from(["LOOKING", "FOLLOWING", "LEADING", "elected"]))
    if kind == "LOOKING":
        value |= {"role": "LOOKING", "phase": "election"}
    elif kind == "FOLLOWING":
        value |= {"role": "FOLLOWING", "phase": draw(st.sampled_from(["broadcast", "broadcast", "synchronization"]))}
        value |= {"leader": draw(st.integers(1, 3)), "epoch": epoch}
        for unknown in draw(st.sets(st.sampled_from(["leader", "epoch", "phase"]), max_size=1)):
            del value[unknown]
    elif kind == "LEADING":
        value |= {"role": "LEADING", "phase": draw(st.sampled_from(["broadcast", "broadcast", "synchronization"]))}
        value |= {"leader": int(name[1]), "epoch": epoch, "established": True}
    else:
        value |= {"role": "LEADING", "phase": "discovery", "leader": int(name[1])}
    for unknown in draw(st.sets(st.sampled_from(["accepted_epoch", "current_epoch"]), max_size=1)):
        del value[unknown]
    return (name, "info", "state", value)


@st.composite
def elections(draw: Any) -> list[tuple[Any, ...]]:
    """Somebody leads and the others, or all but one, follow: what random states alone would rarely give."""
    leader, epoch = draw(host), draw(st.integers(1, 3))
    common = {
        "phase": "broadcast",
        "epoch": epoch,
        "leader": int(leader[1]),
        "accepted_epoch": epoch,
        "current_epoch": epoch,
    }
    told: list[tuple[Any, ...]] = [
        (leader, "info", "state", common | {"sid": int(leader[1]), "role": "LEADING", "established": True})
    ]
    others = [other for other in HOSTS if other != leader and draw(st.integers(0, 3))]
    return told + [(h, "info", "state", common | {"sid": int(h[1]), "role": "FOLLOWING"}) for h in others]


cuts = st.sampled_from(HOSTS).map(
    lambda alone: {"drops": {alone: [h for h in HOSTS if h != alone]} | {h: [alone] for h in HOSTS if h != alone}}
)
effects = st.one_of(
    cuts,
    st.sampled_from([{"down": ["n1"]}, {"down": ["n2", "n3"]}, {"paused": ["n3"]}, {"paused": ["n1", "n2"]}]),
    st.sampled_from([{"drops": {"n1": ["n2", "n3"]}}, {"drops": {"n2": ["n1"], "n3": ["n1"]}}]),
    st.sampled_from([{"drops": {"n1": ["n2"]}}, {"degraded": {"n2": ["n3"]}}, {"clock": ["n2"]}]),
)


@st.composite
def faults(draw: Any) -> list[tuple[Any, ...]]:
    step = draw(st.sampled_from(["start", "start", "start", "change", "stop", "stop"]))
    value = {"fault": draw(st.sampled_from(["f1", "f2"])), "step": step, "effects": draw(st.lists(effects, max_size=2))}
    answer = draw(st.sampled_from(["ok", "ok", "ok", "fail", "info", None]))
    told: list[tuple[Any, ...]] = [("nemesis", "invoke", "fault", value)]
    return told + ([("nemesis", answer, "fault", value)] if answer else [])


@st.composite
def processes(draw: Any) -> tuple[Any, ...]:
    name = draw(host)
    if draw(st.booleans()):
        return (name, "info", "started", {"sid": int(name[1])})
    return (name, "info", "stopped", {"how": "exit", "code": 1})


@st.composite
def restarts(draw: Any) -> list[tuple[Any, ...]]:
    """A kill of some servers, which come back one by one before it is over: some say so, and some elect meanwhile."""
    value = {"fault": "f1", "step": "start", "effects": [{"down": draw(st.sampled_from([["n1", "n2"], ["n3"]]))}]}
    told: list[tuple[Any, ...]] = [("nemesis", draw(st.sampled_from(["ok", "info"])), "fault", value)]
    told.append(("nemesis", "invoke", "fault", value | {"step": "stop"}))
    for back in value["effects"][0]["down"]:  # type: ignore[index]
        told += [(back, "info", "started", {"sid": int(back[1])})] * draw(st.integers(0, 1))
        told += draw(st.one_of(elections(), st.just([])))
    return [*told, ("nemesis", "ok", "fault", value | {"step": "stop"})]


phases = st.sampled_from(["storm", "majority", "everyone", "core", "all"]).map(
    lambda p: ("controller", "info", "phase", {"phase": p})
)


@st.composite
def histories(draw: Any) -> list[Op]:
    run = {
        "ensemble": ENSEMBLE,
        "settings": SETTINGS,
        "bounds": BOUNDS,
    }
    ops = [Op(0, 0, "controller", "info", "run", run)]
    groups = draw(
        st.lists(
            st.one_of(
                states().map(lambda told: [told]), elections(), elections(), faults(), restarts(),
                processes().map(lambda told: [told]),
                phases.map(lambda told: [told]),
            ),
            max_size=14,
        )
    )  # fmt: skip
    time = 0
    errors = draw(st.booleans())
    starts = [(h, "info", *told) for h in HOSTS if draw(st.integers(0, 5)) for told in BOOTED]
    for told in [*starts, *(told for group in groups for told in group)]:
        time += draw(step_ns)
        error = draw(st.sampled_from([None, None, SECOND // 2, 3 * SECOND])) if errors and told[0] in HOSTS else None
        ops.append(Op(len(ops), time, *told))
        ops[-1].time_error = error
    ops.append(Op(len(ops), time + draw(step_ns), "controller", "info", "phase", {"phase": "end"}))
    return ops


def fast(ops: list[Op]) -> tuple[RunOp, dict[str, Result]]:
    routing = Routing()
    routing.feed(copy.deepcopy(ops))
    assert routing.run is not None
    return routing.run, {result.name: result for result in conclude(routing, History("none"), ops).results}


@settings(max_examples=500)
@given(histories())
def test_fast_and_naive_checkers_agree(ops: list[Op]) -> None:
    run, results = fast(ops)
    bound = convergence_bound_ns(run)
    broken, shown = naive.convergence(ops, bound)
    convergence = results["convergence"]
    found = {(frozenset(v.servers), v.time - bound) for v in convergence.violations}
    if any(op.time_error for op in ops):  # the fast one decides as it goes, and so in favour of the ensemble
        assert {majority for majority, _ in found} <= {majority for majority, _ in broken}
    else:
        assert found == broken
    assert len(convergence.reasons) == 2 - len(shown)
    bound = stepping_down_bound_ns(run)
    stepping_down = results["stepping-down"]
    assert {(v.servers[0], v.time - bound) for v in stepping_down.violations} == naive.stepping_down(ops, bound)
    shared = {int(v.message.split("epoch ")[1].split()[0]) for v in results["unique-leader"].violations}
    assert shared == naive.unique_leader(ops)
    assert (results["epochs"].valid is not False) == naive.epochs(ops)


@st.composite
def leaderships(draw: Any) -> list[Op]:
    """Leaders that show evidence of all kinds, or some, or too little of it, at once or in pieces."""
    ops = [Op(0, 0, "controller", "info", "run", {"ensemble": ENSEMBLE, "settings": SETTINGS})]
    pair = st.tuples(st.sampled_from([1, 1, 2, None]), st.integers(1, 2)).map(list)
    sids = st.one_of(st.sampled_from([[1, 2], [1, 2, 3]]), st.lists(st.integers(1, 4), max_size=3))
    votes = st.sampled_from(
        [{}, {}, {"leader": 1}, {"round": 1}, {"round": 2}] + [{"round": 1, "state": s} for s in ("LOOKING", "LEADING")]
    )
    kinds: dict[str, Any] = {
        "votes": st.one_of(sids, sids.flatmap(lambda sids: st.fixed_dictionaries({str(sid): votes for sid in sids}))),
        "epoch_acks": st.one_of(st.just(["1", "2", "3"]), st.lists(st.sampled_from("1234"))).flatmap(
            lambda sids: st.fixed_dictionaries(dict.fromkeys(sids, pair))
        ),
        "own": st.tuples(st.integers(1, 2), st.integers(1, 2)).map(list),
        "newleader_acks": sids,
    }
    for _ in range(draw(st.integers(0, 8))):
        name, role = draw(host), draw(st.sampled_from([*["LEADING"] * 3, "LOOKING", "started", "stopped"]))
        value: dict[str, Any] = {"role": role, "phase": draw(st.sampled_from(["discovery", "broadcast"]))}
        if role == "LEADING":
            left_out = draw(st.sets(st.sampled_from(sorted(kinds)), max_size=2))
            value["evidence"] = {kind: draw(kinds[kind]) for kind in sorted(kinds.keys() - left_out)}
            value |= {"established": True, "epoch": draw(st.sampled_from([1, 1, 1, 2]))} if draw(st.booleans()) else {}
            value |= {"round": 2} if draw(st.booleans()) else {}
        f, value = ("state", value) if role.isupper() else (role, {})
        ops.append(Op(len(ops), len(ops) * SECOND // 2, name, "info", f, value))
    return ops


@settings(max_examples=500)
@given(leaderships())
def test_fast_and_naive_checkers_agree_on_what_leaders_show(ops: list[Op]) -> None:
    _, results = fast(ops)
    assert {op for v in results["leader-history"].violations for op in v.ops} == naive.leader_history(ops)
    words = {words: kind for kind, words in NEEDED.items()}
    few, never = set(), set()
    for v in results["evidence"].violations:
        if "never showed" in v.message:
            never.add(v.ops[0])
        else:
            few.add((words[v.message.split(" with ")[1].split(" of ")[0]], v.ops[0]))
    assert (few, never) == naive.evidence(ops)


@st.composite
def workloads(draw: Any) -> list[Op]:
    run = {"ensemble": ENSEMBLE, "settings": SETTINGS}
    ops = [Op(0, 0, "controller", "info", "run", run)]

    def tell(*told: Any, **fields: Any) -> None:
        ops.append(Op(len(ops), len(ops), *told, **fields))

    tell("controller", "info", "phase", {"phase": draw(st.sampled_from(["storm", "everyone"]))})
    waiting: dict[int, tuple[str, Any, str]] = {}
    base = draw(st.sampled_from([0, 65_530]))  # across the edge of a page
    values = st.integers(base, base + 12)
    for value in range(base, base + 13):
        if draw(st.integers(0, 4)):
            tell(9, "invoke", "create", value)
            answer = draw(st.sampled_from(["ok", "ok", "info", "fail"]))
            tell(9, answer, "create", value)
    tried = {op.value for op in ops if op.f == "create"}
    for _ in range(draw(st.integers(0, 12))):
        client = draw(st.integers(1, 3))
        if client not in waiting:
            f = draw(st.sampled_from(["read", "read-all"]))
            waiting[client] = (f, draw(values), draw(host))
            tell(client, "invoke", f, server=waiting[client][2])
            continue
        f, key, server = waiting.pop(client)
        if f == "read":
            there = key in tried and draw(st.booleans())
            tell(client, "ok", f, [key, key if there else None], server=server)
        else:
            seen = sorted(v for v in tried if draw(st.integers(0, 9)))
            tell(client, "ok", f, [[v, v] for v in seen], server=server)
    return ops


@settings(max_examples=400)
@given(workloads())
def test_fast_and_naive_find_the_same_values_lost(ops: list[Op]) -> None:
    routing = Routing()
    routing.feed(copy.deepcopy(ops))
    (durability,) = [promise for promise in routing.promises if isinstance(promise, Durability)]
    result = durability.finish()
    lost = naive.lost(ops)
    assert [(read.op.server, set(read.named)) for read in durability.lacking] == [read for read in lost if read[1]]
    assert durability.final_reads == {server for server, _ in lost}
    assert (result.valid is False) == any([naive.aborted(ops), *(missing for _, missing in lost)])
