"""The small histories of tests/histories, each with its verdict in NAME.verdict.json: read one to learn a rule."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from checker import names
from checker.history import History, HistoryError
from checker.vacuity import SILENCE
from checker.verdict import Verdict, check

FOLDER = Path(__file__).parent.parent / "histories"
HISTORIES = sorted(FOLDER.glob("*.jsonl"))


def wanted(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.with_suffix(".verdict.json").read_text())
    return value


def named(*prefixes: str) -> list[Any]:
    return [pytest.param(p, id=p.stem) for p in HISTORIES if p.stem.startswith(prefixes)]


def broken(verdict: Verdict) -> set[str]:
    return {result.name for result in verdict.results if result.valid is False}


@pytest.mark.parametrize("path", named("good", "bad", "unknown"))
def test_a_history_has_its_verdict(path: Path) -> None:
    want, verdict = wanted(path), check(path)
    assert verdict.valid == want["valid"], verdict.summary
    assert broken(verdict) == set(want["broken"])
    text = "\n".join([verdict.summary, *verdict.reasons, *(v.message for v in verdict.violations)])
    for words in want["says"]:
        assert words in text


@pytest.mark.parametrize("path", named("bad"))
def test_a_violation_names_ops_servers_and_time(path: Path) -> None:
    ops = {op.index: op for op in History(path)}
    verdict = check(path)
    assert verdict.violations
    for violation in verdict.violations:
        assert violation.ops
        assert violation.servers
        assert set(violation.ops) <= ops.keys()
        assert 0 < violation.time <= max(op.time for op in ops.values())


@pytest.mark.parametrize("path", named("bad"))
def test_a_bad_history_is_found_by_exactly_the_promise_that_it_breaks(path: Path) -> None:
    """So no other promise finds it by luck: the test of the test."""
    (promise,) = wanted(path)["broken"]
    assert broken(check(path)) == {promise}


def test_every_promise_has_a_bad_history() -> None:
    found = {promise for path in HISTORIES for promise in wanted(path).get("broken", [])}
    assert found == {*names.SAFETY, *names.LIVENESS}
    assert set(SILENCE) < found


def test_every_history_has_a_verdict_and_the_other_way_round() -> None:
    verdicts = {p.name.removesuffix(".verdict.json") for p in FOLDER.glob("*.verdict.json")}
    assert verdicts == {p.stem for p in HISTORIES}
    assert all(p.stem.startswith(("good-", "bad-", "unknown-", "malformed-")) for p in HISTORIES)


@pytest.mark.parametrize("path", named("malformed"))
def test_a_malformed_history_is_an_error_that_names_its_line(path: Path) -> None:
    with pytest.raises(HistoryError) as caught:
        check(path)
    assert str(caught.value) == f"{path}{wanted(path)['error']}"
