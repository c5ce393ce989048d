"""A plan is complete, reruns its run, and a wrong one is refused with every reason named."""

from pathlib import Path

import pytest

from harness import UsageError
from harness.plan import checks
from harness.plan import schema as plans
from harness.systems.zookeeper.settings import ZooKeeperSettings

TOY = "tests.toys.claimant:Claimant"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "plan.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_plan_written_out_and_read_again_is_the_same_plan(tmp_path: Path) -> None:
    plan = plans.Plan(
        name="nightly",
        seed=41,
        hosts=plans.HostsPlan(lab=5),
        system_settings=ZooKeeperSettings(tick_ms=300),
        ensemble=plans.EnsemblePlan(observers=("n5",), weights={"n1": 2}, groups=(("n1", "n2"), ("n3", "n4"))),
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
    assert "[time] limit_s: needs seconds, or a length of time as in 90s, 10m, 8h or 1d, not 'long'" in message
    assert all(line.startswith(f"{tmp_path}") for line in message.splitlines()), "one problem a line"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "[hosts]: there are none"),
        ("[hosts]\nlab = 5\nnames = ['a', 'b', 'c']", "[hosts] lab and names: give one of them"),
        ("[hosts]\nlab = 2", "at least 3 participants"),
        ("[hosts]\nlab = 1000", "[hosts] lab: from 0 to 50, not 1000"),
        ("[hosts]\nnames = ['a', 'a', 'b', 'c']", "named twice"),
        ("[hosts]\nlab = 3\n[ensemble]\nobservers = ['n9']", "[ensemble] observers: n9 is not one of the servers"),
        ("[hosts]\nlab = 3\n[ensemble]\ngroups = [['n1'], ['n2']]", "exactly one group"),
        ("[hosts]\nlab = 3\nssh_config = 'x'", "have one of their own"),
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
        (
            "system = 'zookeeper'\n[hosts]\nlab = 3\n[ensemble]\nbug = 'half-quorum'",
            "no bug can be planted in zookeeper",
        ),
        ("[hosts]\nlab = 3\n[ensemble.weights]\nn1 = 2", "give groups"),
        (
            "[hosts]\nlab = 3\n[ensemble]\ngroups = [['n1', 'n2', 'n3']]\nweights = {n1 = 0, n2 = 0, n3 = 0}",
            "all are 0, so no server can be elected",
        ),
        ("this is not toml", "cannot be read as a plan"),
    ],
)
def test_a_plan_that_cannot_be_run_is_refused_with_the_reason(tmp_path: Path, text: str, reason: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(UsageError, match=r"plan\.toml") as caught:
        checks.check(plans.load(file), file)
    assert reason in str(caught.value)


def test_a_plan_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such plan"):
        plans.load(tmp_path / "nowhere.toml")


def test_paths_in_a_plan_are_relative_to_its_own_folder(tmp_path: Path) -> None:
    plan = plans.load(write(tmp_path, "[hosts]\nlab = 3\n[nemesis]\nschedule = 'schedule.json'\n"))
    assert plan.nemesis.schedule == str(tmp_path / "schedule.json")


def test_the_settings_of_a_system_stand_in_its_own_table(tmp_path: Path) -> None:
    plan = plans.load(write(tmp_path, "[system.zookeeper]\ntick_ms = 200\n"))
    assert (plan.system, plan.system_settings) == ("zookeeper", ZooKeeperSettings(tick_ms=200))


def test_a_plan_of_version_0_1_has_them_in_the_table_ensemble(tmp_path: Path) -> None:
    text = "system = 'zookeeper'\n[ensemble]\ntick_ms = 200\nclient_port = 2182\nobservers = ['n4']\n"
    plan = plans.load(write(tmp_path, text))
    assert plan.system_settings == ZooKeeperSettings(tick_ms=200, client_port=2182)
    assert plan.ensemble.observers == ("n4",)
    assert plans.load(write(tmp_path, plan.to_toml())) == plan


def test_settings_that_are_the_defaults_are_no_settings(tmp_path: Path) -> None:
    assert plans.load(write(tmp_path, "[system.onethrone]\ntick_ms = 500\n")) == plans.Plan()
    assert plans.load(write(tmp_path, plans.Plan().to_toml())) == plans.Plan()


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("'90s'", 90), ("'1.5m'", 90), ("'2h'", 7200), ("'1d'", 86_400)]
)
def test_a_key_in_seconds_takes_a_length_of_time(tmp_path: Path, text: str, seconds: float) -> None:
    assert plans.load(write(tmp_path, f"[time]\nlimit_s = {text}\n")).time.limit_s == seconds


NAME_ONE = 'system: name one system, as in system = "onethrone" or [system.onethrone]'


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("seed = 'x'", ["seed: needs a whole number, not the text 'x'"]),
        ("seed = true", ["seed: needs a whole number, not true"]),
        ("name = 7", ["name: needs a text, not 7"]),
        ("hosts = 3", ["hosts: needs a table, not 3"]),
        ("[hosts]\nnames = 'n1'", ["[hosts] names: needs a list of texts, not the text 'n1'"]),
        ("[ensemble]\ngroups = ['n1']", ["[ensemble] groups: needs a list of lists of texts, not the list ['n1']"]),
        ("[ensemble]\nweights = {n1 = 'x'}", ["[ensemble] weights: needs a table of whole numbers, not {n1 = 'x'}"]),
        ("[workload]\nrate_per_s = []", ["[workload] rate_per_s: needs a number, not the list []"]),
        (
            "[time]\nlimit_s = '1w'\nstart_s = {}",
            [
                "[time] limit_s: needs seconds, or a length of time as in 90s, 10m, 8h or 1d, not '1w'",
                "[time] start_s: needs a number, not a table",
            ],
        ),
        ("system = 7", [NAME_ONE]),
        ("[system.onethrone]\n[system.zookeeper]", [NAME_ONE]),
        ("[system.onethrone]\ntik_ms = 5", ["[system.onethrone] tik_ms: there is no such key (did you mean tick_ms?)"]),
        ("[system.onethrone]\ntick_ms = 'x'", ["[system.onethrone] tick_ms: needs a whole number, not the text 'x'"]),
        (
            "[system.onethrone]\ntick_ms = 5\n[ensemble]\ntick_ms = 5",
            ["[ensemble] tick_ms: stands in [system.onethrone], too; leave it out"],
        ),
        ("ensemble = 7", ["ensemble: needs a table, not 7"]),
        ("a = 1\nb = = 2", ["cannot be read as a plan: it is not TOML, at line 2, column 5"]),
    ],
)
def test_every_problem_of_a_file_has_a_line_with_table_and_key_in_our_own_words(
    tmp_path: Path, text: str, problems: list[str]
) -> None:
    file = write(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        plans.load(file)
    assert str(caught.value).splitlines() == [f"{file}: {problem}" for problem in problems]


def test_a_file_that_is_no_text_is_no_plan(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(UsageError, match="it is not text in UTF-8"):
        plans.load(tmp_path / "plan.toml")


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ("[ensemble]\nobservers = ['n4']", "[ensemble] observers: claimant has none"),
        ("[ensemble]\ngroups = [['n1', 'n2'], ['n3', 'n4']]", "[ensemble] groups: claimant counts majorities only"),
        ("[ensemble]\nbug = 'half-quorum'", "[ensemble] bug: no bug can be planted in claimant"),
        (
            "[nemesis]\nkinds = ['clock']",
            "[nemesis] kinds: clock: its events are dated by the clock",
        ),
        (f"[system.'{TOY}']\nport = 0", f"[system.{TOY}] port: above 0, at most 65535, not 0"),
    ],
)
def test_a_system_says_itself_what_it_cannot_be_or_do(tmp_path: Path, more: str, reason: str) -> None:
    system = "" if "[system" in more else f"system = '{TOY}'\n"
    file = write(tmp_path, f"{system}[hosts]\nlab = 4\n{more}")
    with pytest.raises(UsageError) as caught:
        checks.check(plans.load(file), file)
    assert str(caught.value).removeprefix(f"{file}: ").startswith(reason)
