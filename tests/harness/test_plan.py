"""A plan is complete, reruns its run, and a wrong one is refused with every reason named."""

from pathlib import Path

import pytest

from harness import UsageError
from harness.plan import schema as plans


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "plan.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_plan_written_out_and_read_again_is_the_same_plan(tmp_path: Path) -> None:
    plan = plans.Plan(
        name="nightly",
        seed=41,
        hosts=plans.HostsPlan(lab=5),
        ensemble=plans.EnsemblePlan(
            tick_ms=300, observers=("n5",), weights={"n1": 2}, groups=(("n1", "n2"), ("n3", "n4"))
        ),
    )
    assert plans.load(write(tmp_path, plan.to_toml())) == plan


def test_every_wrong_key_of_a_plan_is_named_with_the_nearest_right_one(tmp_path: Path) -> None:
    text = "sed = 1\n[hosts]\nlab = 5\n[ensemble]\ntick_mss = 5\n[time]\nlimit_s = 'long'\n"
    with pytest.raises(UsageError) as caught:
        plans.load(write(tmp_path, text))
    message = str(caught.value)
    assert "plan.toml" in message
    assert "sed: there is no such key (did you mean seed?)" in message
    assert "[ensemble] tick_mss: there is no such key (did you mean tick_ms?)" in message
    assert "limit_s" in message
    assert "Expected `float`, got `str`" in message


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no hosts are given"),
        ("[hosts]\nlab = 5\nnames = ['a', 'b', 'c']", "in two ways"),
        ("[hosts]\nlab = 2", "at least 3 participants"),
        ("[hosts]\nlab = 1000", "from 1 to"),
        ("[hosts]\nlab = 99999999999999999", "from 1 to"),
        ("[hosts]\nmake = 'lab:0'", "from 1 to"),
        ("[hosts]\nmake = 'lba:5'", "did you mean lab?"),
        ("[hosts]\nnames = ['a', 'a', 'b', 'c']", "named twice"),
        ("[hosts]\nlab = 3\n[ensemble]\nobservers = ['n9']", "n9 is not one of the hosts"),
        ("[hosts]\nlab = 3\n[ensemble]\ngroups = [['n1'], ['n2']]", "exactly one group"),
        ("[hosts]\nlab = 3\nssh_config = 'x'", "of their own"),
        ("[hosts]\nlab = 3\ndirectory = 'relative'", "an absolute path"),
        ("[hosts]\nlab = 3\ndirectory = '/tmp/../etc'", "an absolute path"),
        ("[hosts]\nlab = 3\ndirectory = '/tmp/%s'" % ("x" * 60), "take a shorter name"),
        ("[hosts]\nlab = 3\n[time]\nlimit_s = 0", "limit_s: above 0, at most 604800, not 0"),
        ("[hosts]\nlab = 3\n[time]\nlimit_s = inf", "not inf"),
        ("[hosts]\nlab = 3\n[time]\nstart_s = nan", "not nan"),
        ("[hosts]\nlab = 3\n[nemesis]\nlease_s = 1e12", "lease_s: above 0"),
        ("[hosts]\nlab = 3\n[nemesis]\nkinds = ['kil']", "there is no 'kil' (did you mean kill?)"),
        ("system = 'zookeeper'\n[hosts]\nlab = 3\n[nemesis]\nkinds = ['clock']", "no other clock"),
        ("[hosts]\nlab = 3\n[workload]\nrate_per_s = 1e9", "rate_per_s"),
        ("[hosts]\nlab = 3\n[ensemble]\nclient_port = 2888", "three different ports"),
        ("[hosts]\nlab = 3\n[ensemble]\nclient_port = 70000", "client_port: above 0, at most 65535"),
        ("[hosts]\nlab = 3\n[bounds]\nconvergence_s = -1", "convergence_s: from 0"),
        ("seed = -1\n[hosts]\nlab = 3", "seed: from 0"),
        ("system = 'etcd'\n[hosts]\nlab = 3", "there is no 'etcd'"),
        (
            "[hosts]\nlab = 3\n[ensemble]\nbug = 'half-quorums'",
            "there is no 'half-quorums' (did you mean half-quorum?)",
        ),
        ("system = 'zookeeper'\n[hosts]\nlab = 3\n[ensemble]\nbug = 'half-quorum'", "onethrone's own server only"),
        ("[hosts]\nlab = 3\n[ensemble.weights]\nn1 = 2", "give groups"),
        (
            "[hosts]\nlab = 3\n[ensemble]\ngroups = [['n1', 'n2', 'n3']]\nweights = {n1 = 0, n2 = 0, n3 = 0}",
            "nobody weighs",
        ),
        ("this is not toml", "cannot be read as a plan"),
    ],
)
def test_a_plan_that_cannot_be_run_is_refused_with_the_reason(tmp_path: Path, text: str, reason: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(UsageError, match=r"plan\.toml") as caught:
        plans.check(plans.load(file), str(file))
    assert reason in str(caught.value)


def test_a_plan_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such plan"):
        plans.load(tmp_path / "nowhere.toml")


def test_paths_in_a_plan_are_relative_to_its_own_folder(tmp_path: Path) -> None:
    plan = plans.load(write(tmp_path, "[hosts]\nlab = 3\n[nemesis]\nschedule = 'schedule.json'\n"))
    assert plan.nemesis.schedule == str(tmp_path / "schedule.json")
