"""Faults as data: what they take from whom, what is refused, and the requests that carry them out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nemesis.faults import KINDS, Fault, FaultError, Resolved, catalogue, check, resolve
from nemesis.targets import View

VIEW = View(servers=("n1", "n2", "n3"), leader="n2", previous_leaders=("n1",))
ADDRESSES = {"n1": ["10.0.0.1"], "n2": ["10.0.0.2", "fd00::2"], "n3": ["10.0.0.3"]}


def fault(kind: str, targets: str = "leader", shape: str = "", **params: Any) -> Resolved:
    made = Fault(id="f1", kind=kind, at_s=1.0, for_s=2.0, targets=targets, shape=shape, params=params)
    check(made)
    return resolve(made, VIEW, seed=7)


def test_a_partition_drops_exactly_its_grudge() -> None:
    resolved = fault("partition", shape="isolate")
    assert resolved.effects == [{"drops": {"n1": ["n2"], "n2": ["n1", "n3"], "n3": ["n2"]}}]
    assert resolved.hosts == ("n1", "n2", "n3")
    assert resolved.targets == ("n2",)


def test_a_one_way_partition_acts_only_where_packets_are_dropped() -> None:
    assert fault("partition", shape="deaf").hosts == ("n2",)
    assert fault("partition", shape="mute").hosts == ("n1", "n3")


@pytest.mark.parametrize("kind", ["kill", "stop", "host-kill"])
def test_a_server_that_does_not_run_is_down(kind: str) -> None:
    assert fault(kind).effects == [{"down": ["n2"]}]


def test_a_paused_server_is_paused() -> None:
    assert fault("pause", targets="followers").effects == [{"paused": ["n1", "n3"]}]


@pytest.mark.parametrize(
    ("params", "ordinarily"),
    [
        ({"change": "jump", "offset_ms": 500}, True),
        ({"change": "skew", "rate": 0.5}, False),
        ({"change": "strobe", "period_ms": 100}, False),
        ({"change": "freeze"}, False),
    ],
)
def test_only_a_clock_that_jumped_runs_ordinarily(params: dict[str, Any], ordinarily: bool) -> None:
    resolved = fault("clock", **params)
    assert resolved.effects == [{"clock": ["n2"]}]
    assert resolved.value("start")["runs_ordinarily"] is ordinarily


def test_what_is_over_takes_nothing() -> None:
    assert fault("kill").value("stop")["effects"] == []


def test_the_history_gets_hosts_grudge_and_parameters_before_anything_is_sent() -> None:
    value = fault("loss", shape="link", percent=20).value("start")
    assert value["percent"] == 20
    assert value["grudge"] == {"n2": [next(iter(value["grudge"]["n2"]))], value["grudge"]["n2"][0]: ["n2"]}
    assert value["effects"] == [{"degraded": value["grudge"]}]
    assert value["reason"] == "leader"


def test_a_host_is_asked_to_drop_every_address_of_whom_it_bears_a_grudge() -> None:
    assert fault("partition", shape="mute").orders(ADDRESSES) == {
        host: {"do": "net", "fault": "f1", "links": {"10.0.0.2": {"drop": True}, "fd00::2": {"drop": True}}}
        for host in ("n1", "n3")
    }


def test_what_a_kernel_does_to_packets_that_are_sent_is_asked_of_the_sender() -> None:
    link = {"delay": {"delay_ms": 50}}
    assert fault("delay", shape="deaf", delay_ms=50).orders(ADDRESSES) == {
        host: {"do": "net", "fault": "f1", "links": {"10.0.0.2": link, "fd00::2": link}} for host in ("n1", "n3")
    }


def test_the_host_that_dies_is_cut_off_before_its_server_is_killed() -> None:
    assert fault("host-kill").orders(ADDRESSES) == {"n2": {"do": "kill", "how": "kill", "isolate": True, "fault": "f1"}}


def test_undo_goes_to_the_hosts_that_acted() -> None:
    assert fault("delay", shape="deaf", delay_ms=50).undo(ADDRESSES) == {
        host: {"do": "undo", "fault": "f1"} for host in ("n1", "n3")
    }


@pytest.mark.parametrize(
    ("wrong", "field", "says"),
    [
        ({"kind": "meteor"}, "kind", "partition"),
        ({"kind": "kill"}, "targets", "previous-leader"),
        ({"kind": "kill", "targets": "boss"}, "targets", "previous-leader"),
        ({"kind": "partition"}, "shape", "majorities-ring"),
        ({"kind": "partition", "shape": "isolate"}, "targets", "needs targets"),
        ({"kind": "kill", "targets": "leader", "shape": "halves"}, "shape", "takes no shape"),
        ({"kind": "loss", "shape": "halves"}, "params", "needs percent"),
        ({"kind": "loss", "shape": "halves", "params": {"percent": 120}}, "params.percent", "from 0.01 to 100"),
        ({"kind": "loss", "shape": "halves", "params": {"percent": True}}, "params.percent", "not a number"),
        ({"kind": "loss", "shape": "halves", "params": {"percent": float("nan")}}, "params.percent", "not a number"),
        ({"kind": "loss", "shape": "halves", "params": {"percent": 1, "x": 2}}, "params", "no parameter 'x'"),
        ({"kind": "clock", "targets": "all", "params": {"change": "melt"}}, "params.change", "jump, skew"),
        ({"kind": "clock", "targets": "all", "params": {"change": "skew"}}, "params", "needs rate"),
        ({"kind": "clock", "targets": "all", "params": {"change": "freeze", "rate": 2}}, "params", "has no rate"),
        ({"kind": "kill", "targets": "all", "at_s": -1}, "at_s", "not a time"),
        ({"kind": "kill", "targets": "all", "at_s": float("nan")}, "at_s", "not a time"),
        ({"kind": "kill", "targets": "all", "for_s": 0}, "for_s", "not a length"),
        ({"kind": "kill", "targets": "all", "id": "f 1; reboot"}, "id", "letters, digits and _"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused_with_its_field(wrong: dict[str, Any], field: str, says: str) -> None:
    with pytest.raises(FaultError) as raised:
        check(Fault(**{"id": "f1", "at_s": 0.0, **wrong}))
    assert raised.value.field == field
    assert says in str(raised.value)


def test_every_kind_says_what_it_does_and_names_an_ability_that_hosts_are_asked_for() -> None:
    assert {kind.needs for kind in KINDS.values()} <= {"", "nft", "tbf", "netem", "faketime"}
    assert all(kind.doc.endswith(".") for kind in KINDS.values())


def test_the_page_on_faults_is_what_the_code_says() -> None:
    page = Path(__file__).parents[2] / "docs" / "faults.md"
    assert page.read_text(encoding="utf-8") == catalogue(), "run: python -m nemesis.faults > docs/faults.md"
