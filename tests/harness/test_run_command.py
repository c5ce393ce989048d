"""`onethrone run`, where it refuses before anything is made: no host, no folder, and nothing said of one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import pytest

from harness import UsageError
from harness.cli import run
from harness.cli.onethrone import main
from harness.plan.schema import HostsPlan, Plan, TimePlan
from harness.runs import run as runs


@pytest.fixture(autouse=True)
def no_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(*_: Any) -> None:
        pytest.fail("hosts were made")

    monkeypatch.setattr(runs, "cluster", made)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--name", ""), "--name: it is empty"),
        (("--time-limit", "20"), "20 s is too short for a storm and two acts of 12 s; take"),
        (("--schedule", "{tmp}/broken.json"), "broken.json: this is not JSON"),
        (("--plan", "{tmp}/plan.toml"), "nowhere.json: No such file"),
    ],
)
def test_what_is_known_to_be_wrong_is_refused_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], says: str
) -> None:
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "plan.toml").write_text("[nemesis]\nschedule = 'nowhere.json'\n")
    words = tuple(word.format(tmp=tmp_path) for word in words)
    with pytest.raises(SystemExit) as ended:
        main(["run", "--hosts", "lab:3", "--results", str(tmp_path / "results"), *words])
    said = capsys.readouterr().err
    assert ended.value.code == 254
    assert says in said
    assert "is kept in" not in said
    assert not (tmp_path / "results").exists()


def test_the_shortest_time_that_the_help_names_is_enough_and_a_second_less_is_not() -> None:
    option = next(param for param in run.run.params if param.name == "time_limit")
    assert isinstance(option, click.Option)
    least_s = float(re.findall(r"(\S+) s with the default", option.help or "")[0])
    plan = Plan(hosts=HostsPlan(lab=5), time=TimePlan(limit_s=least_s))
    assert runs.draw(plan, runs.run_value(plan, {}), {"nft"}).duration_s == least_s
    short = plan.replace(time=TimePlan(limit_s=least_s - 1))
    with pytest.raises(UsageError, match="too short"):
        runs.draw(short, runs.run_value(short, {}), {"nft"})
