"""`onethrone run`, where it refuses before anything is made: no host, no folder, and nothing said of one."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from harness import UsageError
from harness.cli import run
from harness.cli.onethrone import main, onethrone
from harness.hosts.cluster import Cluster
from harness.plan.schema import EnsemblePlan, HostsPlan, NemesisPlan, Plan, TimePlan, system_of
from harness.results.folder import RunFolder
from harness.runs import run as runs
from harness.watch.progress import Progress
from nemesis.faults import Fault
from nemesis.schedule import Schedule


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
    assert runs.draw(plan, system_of(plan), {"nft"}).duration_s == least_s
    short = plan.replace(time=TimePlan(limit_s=least_s - 1))
    with pytest.raises(UsageError, match="too short"):
        runs.draw(short, system_of(short), {"nft"})


# ---- the plan of a schedule ------------------------------------------------------------------------------------------


class PlanSeen(Exception):
    """Instead of carrying a plan out."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Plan]:
    """The plan that a command line would carry out."""

    def carry_out(plan: Plan, *_: Any) -> None:
        raise PlanSeen(plan)

    def planned(*words: str) -> Plan:
        with pytest.raises(PlanSeen) as seen:
            onethrone.main(["run", *words], standalone_mode=False)
        return seen.value.plan

    monkeypatch.setattr(runs, "carry_out", carry_out)
    return planned


def folder_of(path: Path, servers: int = 5, bug: str = "half-quorum") -> Path:
    """The folder of a run with a plan of its own."""
    path.mkdir()
    (path / "plan.toml").write_text(
        f"""seed = 9
        [system.onethrone]
        tick_ms = 321
        [hosts]
        make = "lab:{servers}"
        [ensemble]
        observers = ["n{servers}"]
        bug = "{bug}"
        [time]
        limit_s = 44
        [nemesis]
        lease_s = 11
        """
    )
    faults = (Fault("f1", "kill", 3.0, 1.0, "leader"), Fault("f2", "pause", 3.0, 1.0, "leader"))
    Schedule(9, servers, 44.0, 2.0, 14.0, 22.0, faults).save(path / "schedule.json")
    return path


def test_a_schedule_on_other_hosts_keeps_the_plan_of_its_run_and_says_so(
    planned: Callable[..., Plan], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = folder_of(tmp_path / "run")
    plan = planned("--schedule", str(run), "--hosts", "a,b,c,d,e")
    assert plan.hosts.names == ("a", "b", "c", "d", "e")
    assert plan.ensemble == EnsemblePlan(observers=("e",), bug="half-quorum")
    assert (plan.seed, plan.time.limit_s, plan.nemesis.lease_s) == (9, 44, 11)
    assert plan.system_settings is not None
    assert plan.system_settings.tick_ms == 321  # type: ignore[attr-defined]
    assert Path(plan.nemesis.schedule) == run / "schedule.json"
    said = capsys.readouterr().err
    assert f"the plan is {run}/plan.toml, with the hosts a,b,c,d,e" in said
    assert "the bug half-quorum is planted in every server" in said


def test_a_host_without_a_place_in_the_new_ensemble_is_left_out_and_that_is_said(
    planned: Callable[..., Plan], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = planned("--schedule", str(folder_of(tmp_path / "run")), "--hosts", "lab:3")
    assert plan.ensemble.observers == ()
    assert "the plan's n5 is left out: there are only 3 hosts" in capsys.readouterr().err


def test_the_bug_of_a_plan_can_be_left_out(
    planned: Callable[..., Plan], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = planned("--schedule", str(folder_of(tmp_path / "run")), "--hosts", "lab:5", "--bug", "none")
    assert plan.ensemble.bug == ""
    assert "planted" not in capsys.readouterr().err


def test_kinds_limit_a_given_schedule_too(tmp_path: Path) -> None:
    run = folder_of(tmp_path / "run")
    plan = Plan(nemesis=NemesisPlan(schedule=str(run / "schedule.json"), kinds=("kill", "loss")))
    schedule, left_out = runs.given_schedule(plan)
    assert schedule is not None
    assert [fault.id for fault in schedule.faults] == ["f1"]
    assert left_out == "f2 pause"
    with pytest.raises(UsageError, match="none of its faults is of the kind loss") as refused:
        runs.given_schedule(plan.replace(nemesis=NemesisPlan(schedule=plan.nemesis.schedule, kinds=("loss",))))
    assert "It has: kill, pause." in str(refused.value)


# ---- numbers of hosts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("--hosts", "lab:99999999999"),
        ("--plan", "[hosts]\nmake = 'lab:99999999999'"),
        ("--plan", "[hosts]\nlab = 99999999999"),
    ],
)
def test_more_hosts_than_there_can_be_are_refused_without_taking_memory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, str]
) -> None:
    option, value = words
    if option == "--plan":
        (tmp_path / "plan.toml").write_text(value)
        value = str(tmp_path / "plan.toml")
    tracemalloc.start()
    with pytest.raises(SystemExit) as ended:
        main(["run", option, value, "--results", str(tmp_path / "results")])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert ended.value.code == 254
    assert "1 to 50" in capsys.readouterr().err
    assert peak < 64 << 20


def test_a_schedule_that_hosts_cannot_do_is_refused_a_line_a_kind_with_the_kinds_that_they_can(tmp_path: Path) -> None:
    names = ("n1", "n2", "n3")
    plan = Plan(hosts=HostsPlan(names=names))
    faults = (
        Fault("f1", "kill", 3.0, 1.0, "leader"),
        Fault("f2", "delay", 3.0, 1.0, "leader", params={"delay_ms": 50}),
        Fault("f3", "corrupt", 3.0, 1.0, "leader", params={"percent": 5}),
    )
    abilities = {name: {"netem": "no netem here"} for name in names}
    hosts = Cluster({}, {}, abilities, {})
    run_of = runs._HostsRun(plan, RunFolder(tmp_path, tmp_path), Progress(quiet=True))
    with pytest.raises(UsageError) as refused:
        run_of.schedule(Schedule(9, 3, 44.0, 2.0, 14.0, 22.0, faults), hosts, system_of(plan))
    assert str(refused.value).splitlines() == [
        "schedule: n1, n2, n3 cannot do delay (f2): no netem here",
        "schedule: n1, n2, n3 cannot do corrupt (f3): no netem here",
        "  Leave these kinds out: --kinds kill",
    ]
