"""A kind of fault that is written as `docs/writing-a-fault.md` says, with nothing but the code on that page."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from checker.history import Op
from checker.verdict import Verdict
from harness import UsageError
from harness.report.faults import Faults
from harness.shrink.narrative import story
from harness.shrink.search import Case, Search
from harness.simulator.carriers import CARRIERS
from harness.simulator.knobs import Knobs
from harness.simulator.run import simulate
from nemesis.faults import KINDS, Fault, catalogue, check, register, resolve
from nemesis.injector import net
from nemesis.schedule import Schedule, parse
from nemesis.storm import draw
from nemesis.targets import View
from tests.harness.simulated import Ensemble
from tests.writing import followed

PARAMS = {"percent": 20, "bytes_per_s": 4000}


@pytest.fixture(autouse=True)
def kind() -> Iterator[str]:
    with followed() as name:
        yield name


def made(kind: str) -> Fault:
    return Fault("f1", kind, 1.0, 4.0, "leader", "isolate", PARAMS)


def test_a_storm_draws_it_and_its_schedule_is_read_again(kind: str) -> None:
    drawn = draw(7, 5, kinds=(kind, "kill"))
    assert {fault.kind for fault in drawn.faults} == {kind, "kill"}
    for fault in drawn.faults:
        check(fault)
    assert parse(drawn.to_json()) == drawn


def test_a_host_is_asked_for_what_its_injector_understands(kind: str) -> None:
    resolved = resolve(made(kind), View(servers=("n1", "n2"), leader="n2"), seed=1)
    assert resolved.effects == [{"degraded": {"n1": ["n2"], "n2": ["n1"]}}]
    orders = resolved.orders({"n1": ["10.0.0.1"], "n2": ["10.0.0.2"]})
    assert orders["n1"]["do"] == "net"
    assert net.check_links(orders["n1"]["links"]) == {"10.0.0.2": {"loss_percent": 20, "bytes_per_s": 4000}}


def test_the_simulator_carries_it_out_and_takes_it_back(kind: str) -> None:
    ensemble = Ensemble(servers=3)
    leader = ensemble.settle()
    ensemble.carry_out(made(kind))
    ensemble.until(lambda: ensemble.is_in_force("f1"))
    paths = {ends: path for ends, path in ensemble.world.network.paths.items() if leader in ends and ends[0] != ends[1]}
    assert {(round(path.lost, 6), path.rate) for path in paths.values()} == {(0.2, 4000)}
    ensemble.until(lambda: ensemble.is_over("f1"))
    assert not any(path.disturbed for path in paths.values())


def test_a_whole_run_with_it_keeps_its_promises_and_its_report_names_it(kind: str) -> None:
    schedule = Schedule(7, 3, 30.0, 1.0, 20.0, 25.0, (made(kind),))
    run = simulate(7, servers=3, schedule=schedule)
    assert not run.broken
    faults = Faults()
    for op in run.history.ops:
        if op.process == "nemesis":
            faults.feed(op)
    [row] = faults.faults.values()
    assert (row.kind, row.group, row.outcome) == (kind, "poor", "verified")


def search(case: Case, fails: Callable[[Case], bool]) -> Case:
    made = Search(case, lambda case: case.seeds if fails(case) else ())
    made.run()
    return made.best


def test_the_shrinker_makes_it_simpler_and_keeps_it_where_it_has_to(kind: str) -> None:
    case = Case(Schedule(7, 5, 60.0, 3.0, 36.0, 48.0, (made(kind),)), (7,), Knobs())
    assert search(case, lambda case: bool(case.faults)).faults[0].kind == "kill"
    kept = search(case, lambda case: [fault.kind for fault in case.faults] == [kind]).faults[0]
    assert kept.params.keys() == PARAMS.keys(), "it needs both"
    assert (kept.for_s or 0) < 4.0


def test_a_narrative_and_the_page_on_faults_name_it(kind: str) -> None:
    value = resolve(made(kind), View(servers=("n1", "n2"), leader="n2"), seed=1).value("start")
    assert KINDS[kind].tell(True, ["n1", "n2"], value) == f"the links between n1 and n2 are disturbed ({kind})"
    assert f"| `{kind}` |" in catalogue()


def test_a_kind_without_a_carrier_is_refused_by_the_simulator(kind: str) -> None:
    del CARRIERS[kind]
    with pytest.raises(UsageError, match=f"f1: {kind} cannot be simulated"):
        simulate(7, servers=3, schedule=Schedule(7, 3, 30.0, 1.0, 20.0, 25.0, (made(kind),)))


def test_a_name_is_registered_once(kind: str) -> None:
    with pytest.raises(ValueError, match=kind):
        register(KINDS[kind])


def test_a_narrative_of_a_kind_that_this_program_does_not_know_says_what_it_can() -> None:
    value = {"fault": "f1", "step": "start", "hosts": ["n1"], "effects": []}
    op = Op(0, 1, "nemesis", "ok", "meteor", value)
    assert "meteor of n1 begins" in story([op], Verdict("unknown", "", [], [], [], {}, {}), "unique-leader")
