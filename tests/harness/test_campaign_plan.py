"""A campaign's plan: the one that --init writes is the default, a wrong one is refused whole, and decks are fair."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from harness import UsageError
from harness.campaign.plan import SIMULATOR, TEMPLATE, CampaignPlan, hosts_of, load, run_plan, seconds_of
from harness.campaign.rotation import deal, deck
from harness.plan import checks
from tests.toys.claimant import ClaimantSettings


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "night.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_plan_with_comments_says_what_the_defaults_are(tmp_path: Path) -> None:
    assert load(write(tmp_path, TEMPLATE.format(path="night.toml"))) == CampaignPlan()
    assert load(write(tmp_path, "")) == CampaignPlan()


def test_what_the_plan_with_comments_leaves_out_may_be_put_in(tmp_path: Path) -> None:
    before, settings, after = re.split(r"(?m)(^# \[\[settings\]\](?:.*\n#)*.*\n)", TEMPLATE.format(path="night.toml"))
    plan = load(write(tmp_path, before + re.sub(r"(?m)^# ?", "", settings) + after))
    assert [setting.name for setting in plan.settings] == ["plain", "observed", "planted", "zookeeper"]
    assert plan.setting("planted").ensemble.bug == "half-quorum"
    for key in ("workload", "bounds"):
        assert f"\n{key} = {{ " in re.sub(r"(?m)^# ?", "", settings)


def test_the_plan_in_the_documentation_is_a_plan(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "campaigns.md").read_text(encoding="utf-8")
    plan = load(write(tmp_path, re.findall(r"```toml\n(.*?)```", text, re.DOTALL)[0]))
    assert plan.setting("planted").ensemble.bug == "half-quorum"


def test_a_key_that_belongs_into_a_table_of_a_setting_is_refused_with_the_table(tmp_path: Path) -> None:
    text = "processes = 2\n[[settings]]\nbug = 'half-quorum'\nrate_per_s = 5.0\nconvergence_s = 9.0\n"
    with pytest.raises(UsageError) as caught:
        load(write(tmp_path, text))
    message = str(caught.value)
    assert "[settings 1] bug: there is no such key; it belongs into ensemble = { bug = ... }" in message
    assert "rate_per_s: there is no such key; it belongs into workload = { rate_per_s = ... }" in message
    assert "convergence_s: there is no such key; it belongs into bounds = { convergence_s = ... }" in message
    assert "processes: there is no such key; it belongs into simulator = { processes = ... }" in message


def test_a_setting_may_be_of_any_system_with_its_own_settings(tmp_path: Path) -> None:
    name = "tests.toys.claimant:Claimant"
    setting = f"[[settings]]\non = ['hosts']\nmixes = ['crashes']\n[settings.system.'{name}']\nvotes = 2\n"
    text = f"[simulator]\nprocesses = 0\n{setting}"
    plan = load(write(tmp_path, text))
    run = run_plan(plan, hosts_of(plan, "lab:5", 3), plan.settings[0], "crashes", 1, "x")
    assert (run.system, run.system_settings) == (name, ClaimantSettings(votes=2))
    assert load(write(tmp_path, plan.to_toml())) == plan


def test_a_plan_written_out_and_read_again_is_the_same_plan(tmp_path: Path) -> None:
    plan = load(write(tmp_path, "[[settings]]\nname = 'a'\nservers = [5]\nensemble = {observers = ['n5']}\n"))
    assert load(write(tmp_path, plan.to_toml())) == plan


def test_every_wrong_key_is_named_with_its_table_and_the_nearest_right_one(tmp_path: Path) -> None:
    text = "naem = 'x'\n[[settings]]\nsystme = 'x'\n[[settings]]\nshare = 'a'\n[settings.ensemble]\ntick = 3\n"
    with pytest.raises(UsageError) as caught:
        load(write(tmp_path, text))
    message = str(caught.value)
    assert "night.toml: naem: there is no such key (did you mean name?)" in message
    assert "[settings 1] systme: there is no such key (did you mean system?)" in message
    assert "[settings 2] share: needs a whole number, not the text 'a'" in message
    assert "[settings 2.ensemble] tick: there is no such key (did you mean tick_ms?)" in message


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("this is not toml", "cannot be read as a plan"),
        ("name = '../x'", "is not a name"),
        ("name = 'latest'", "is not a name"),
        ("length = '8 hours'", "length '8 hours': give a length of time, as in 90s"),
        ("length = '0h'", "more than nothing"),
        ("length = '1000d'", "30d at most"),
        ("seed = -1", "seed: from 0"),
        ("settings = []", "[[settings]] there is none"),
        ("[mixes]\nx = ['kil']", "[mixes] x: there is no 'kil' (did you mean kill?)"),
        ("[[settings]]\nmixes = ['al']", "there is no 'al' (did you mean all?)"),
        ("[[settings]]\n[[settings]]", "two are named plain"),
        ("[[settings]]\non = ['host']", "there is no 'host' (did you mean hosts?)"),
        ("[[settings]]\nservers = [2]", "servers: from 3 to 50, not 2"),
        ("[[settings]]\nservers = []", "at least one of each"),
        ("[[settings]]\nshare = 0", "share: from 1"),
        ("[[settings]]\nensemble = {bug = 'half-quorums'}", "(did you mean half-quorum?)"),
        ("[[settings]]\nensemble = {tick_ms = 0}", "tick_ms: above 0"),
        ("[[settings]]\nsystem = 'zookeeper'", "zookeeper is not simulated"),
        ("[[settings]]\nsystem = 'zookeeper'\non = ['hosts']\n[simulator]\nprocesses = 0", "no other clock"),
        ("[[settings]]\nservers = [5]\n[hosts]\nensembles = ['lab:3']", "too small for every setting"),
        ("[[settings]]\nensemble = {observers = ['n5']}", "n5 is not one of the servers"),
        ("[hosts]\nensembles = ['lab:x']", "the number of hosts has to be"),
        ("[hosts]\nensembles = ['a,b,c', 'c,d,e']", "c is in two of them"),
        ("[hosts]\nensembles = []\n[simulator]\nprocesses = 0", "no place to run anything"),
        ("[[settings]]\non = ['hosts']", "no setting is for the simulator"),
        ("[canary]\nbug = 'none'", "[canary] bug: there is no 'none'"),
        ("[time]\nlimit_s = 25.0", "[time] limit_s, for setting plain: 25 s is too short"),
        ("[simulator]\nlimit_s = 25.0", "[simulator] limit_s, for setting plain: 25 s is too short"),
        ("[budget]\ndisk_mb = inf", "not inf"),
        ("[deadlines]\nend_s = nan", "not nan"),
        ("[retention]\nfailing_seeds = 0", "failing_seeds: from 1"),
    ],
)
def test_a_campaign_that_cannot_be_carried_out_is_refused_with_the_reason(
    tmp_path: Path, text: str, reason: str
) -> None:
    with pytest.raises(UsageError, match=r"night\.toml") as caught:
        load(write(tmp_path, text))
    assert reason in str(caught.value)


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load(write(tmp_path, "seed = -1\nlength = 'x'\n[mixes]\nx = ['kil']\n[canary]\nevery = 0\n"))
    for reason in ("seed", "length", "kil", "every"):
        assert reason in str(caught.value)


def test_a_plan_that_is_not_there_says_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"campaign --init"):
        load(tmp_path / "nowhere.toml")


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), ("8h", 28800), ("2d", 172800)])
def test_a_length_of_time_has_a_unit(text: str, seconds: float) -> None:
    assert seconds_of(text, "x") == seconds


def test_every_combination_is_dealt_once_before_any_comes_twice_and_shares_are_kept(tmp_path: Path) -> None:
    text = "seed = 7\n[[settings]]\nname = 'a'\nshare = 2\n[[settings]]\nname = 'b'\nservers = [3]\nmixes = ['time']\n"
    plan = load(write(tmp_path, text))
    cards = deck(plan, "lab:5")
    assert len(cards) == 2 * 2 * 4 + 1
    for rounds in range(3):
        dealt = [deal(plan, "lab:5", rounds * len(cards) + n) for n in range(len(cards))]
        assert Counter(dealt) == Counter(cards)
        assert dealt != list(cards)  # shuffled
    assert {card.servers for card in deck(plan, "lab:4")} == {3}
    assert {card.servers for card in deck(plan, SIMULATOR)} == {3, 5}


def test_a_run_on_hosts_gets_a_complete_plan_of_its_own(tmp_path: Path) -> None:
    text = "[hosts]\nensembles = ['a,b,c,d']\nssh_config = 'cfg'\n[[settings]]\nname = 'x'\nservers = [3]\n"
    plan = load(write(tmp_path, text))
    run = run_plan(plan, hosts_of(plan, "a,b,c,d", 3), plan.settings[0], "crashes", 41, "h1")
    assert checks.check(run, "here") == run
    assert run.hosts.names == ("a", "b", "c")
    assert run.hosts.ssh_config == str(tmp_path / "cfg")
    assert run.nemesis.kinds == ("kill", "stop", "host-kill", "pause")
    assert run.seed == 41
