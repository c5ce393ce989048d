"""The names of promises: their order, and the names that earlier versions used."""

from __future__ import annotations

import ast
import doctest
from pathlib import Path

import pytest

from checker import names
from checker.effects import ON_HOSTS
from checker.summary import sentence
from checker.vacuity import Happened
from checker.verdict import check
from nemesis.faults import KINDS
from tests.checker.story import Story, good

ROOT = Path(__file__).parents[2]
HISTORIES = ROOT / "tests" / "histories"


def test_results_come_with_safety_first(tmp_path: Path) -> None:
    assert tuple(good().check(tmp_path).to_dict()["results"]) == names.ORDER
    assert names.ORDER.index("unique-leader") < names.ORDER.index("convergence")


def both_broken() -> Story:
    """Nobody leads for long enough to break `convergence`, and then two servers lead one epoch."""
    story = Story(3)
    story.elect("n3", epoch=1, at=0.5)
    story.create(1, at=1.0)
    story.stopped("n3", at=1.5)
    story.state("n1", at=1.6)
    story.state("n2", at=1.6)
    story.started("n3", at=1.7)
    story.state("n3", at=1.71)
    story.lead("n2", 1, at=8.0)
    story.end(at=9.0)
    return story


def test_the_summary_names_the_first_violation_of_safety_although_liveness_broke_before(tmp_path: Path) -> None:
    verdict = both_broken().check(tmp_path)
    assert {*verdict.broken} >= {"unique-leader", "convergence"}
    assert verdict.violations[0].promise == "convergence"
    first = next(v for v in verdict.violations if v.promise in names.SAFETY)
    assert verdict.summary.startswith("Invalid: unique-leader")
    assert f"; {first.promise} first at {first.time / 1e9:g} s: {first.message}." in verdict.summary


def test_without_a_violation_of_safety_the_summary_names_the_first_of_all() -> None:
    verdict = check(HISTORIES / "bad-majority-without-a-leader.jsonl")
    assert verdict.summary == sentence(False, {r.name: r for r in verdict.results}, [], Happened())
    assert verdict.violations[0].message in verdict.summary
    assert "convergence broken; first at" in verdict.summary


def test_a_system_that_0_1_could_not_judge_by_best_history_is_judged_by_neither_of_its_parts(tmp_path: Path) -> None:
    story = good()
    story.told[0][2].value["unjudged"] = ["best-history"]
    verdict = story.check(tmp_path)
    assert [r.name for r in verdict.results if not r.judged] == ["leader-history", "durability", "partial-connectivity"]


@pytest.mark.parametrize(
    ("history", "broken"),
    [("bad-leader-behind-its-quorum", "leader-history"), ("bad-acknowledged-value-lost", "durability")],
)
def test_what_leaders_show_and_what_clients_saw_are_judged_and_counted_by_themselves(history: str, broken: str) -> None:
    results = {result.name: result for result in check(HISTORIES / f"{history}.jsonl").results}
    parts = {name: results[name] for name in names.RENAMED["best-history"]}
    assert {name for name, result in parts.items() if result.valid is False} == {broken}
    assert {name: result.violation_count for name, result in parts.items() if result.violation_count} == {broken: 1}
    assert parts["leader-history"].stats.keys().isdisjoint(parts["durability"].stats)


def test_an_old_name_means_each_promise_that_it_became() -> None:
    assert names.current(["evidence", "best-history", "durability"]) == ("evidence", "leader-history", "durability")
    assert "best-history" in names.PromiseNames(["epochs", "durability"])
    assert "best-history" not in names.PromiseNames(["epochs"])
    assert "epochs" in names.PromiseNames(["epochs"])
    assert {names.family(name) for name in names.RENAMED["best-history"]} == {"best-history"}
    assert names.family("epochs") == "epochs"


def test_the_examples_of_the_names_are_true() -> None:
    assert doctest.testmod(names, raise_on_error=True).attempted == 2


def strings(file: Path) -> set[str]:
    """The strings that the code compares or looks up: all but docstrings."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs
    }


def test_no_kind_of_fault_is_known_by_name_to_the_checkers() -> None:
    """They learn from the history what a fault does."""
    kinds = KINDS.keys() - {*ON_HOSTS, "stop"}  # effects, and the step that ends a fault
    assert kinds
    found = {file.name: strings(file) & kinds for file in (ROOT / "checker").rglob("*.py")}
    assert {name: used for name, used in found.items() if used} == {}
