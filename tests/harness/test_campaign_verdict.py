"""One object decides what a campaign came to, and every output of the campaign says the same."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

import msgspec
import pytest

from harness.campaign import figures
from harness.campaign.journal import CampaignJournal, Job
from harness.campaign.outcome import CountedOutcome
from harness.campaign.outcome import save as save_outcome
from harness.campaign.plan import VIOLATION, CampaignPlan, InSimulator, OnHosts, Setting
from harness.campaign.report import build, summary
from harness.campaign.report import write as write_report
from harness.campaign.tally import DONE, Tally, add_up
from harness.campaign.verdict import CampaignVerdict, decide
from tests.harness.test_campaign_parts import run_of

Entries = list[tuple[str, dict[str, Any]]]

ON_HOSTS = CampaignPlan(hosts=OnHosts(ensembles=("lab:3",)), simulator=InSimulator(processes=0))
"""A plan of one place, which `run_of` runs at."""
BEGUN: Entries = [("session", {"pid": 1, "length_s": 9})]


def feed(*entries: tuple[str, dict[str, Any]]) -> Tally:
    found = Tally()
    for at, (what, about) in enumerate(entries, 1):
        found.feed({"at": float(at), "what": what, **about})
    return found


def counted(job: Job, **runs: Any) -> Entries:
    return [("plan", {"job": msgspec.to_builtins(job)}), ("count", {"id": job.id, "runs": runs})]


def over(why: str = DONE) -> Entries:
    return [("over", {"why": why})]


CANARY = counted(run_of(1, canary=True, bug="half-quorum"), invalid=1)
PASSED = counted(run_of(2), valid=1)
CUT = counted(run_of(3), cut=1)
FAILED_IN_THE_HARNESS = counted(run_of(4), unknown=1, harness=1)
UNKNOWN = counted(run_of(6), unknown=1)
BROKEN = counted(run_of(5), invalid=1)


def verdict(*entries: Entries, plan: CampaignPlan = ON_HOSTS) -> CampaignVerdict:
    return decide(plan, feed(*BEGUN, *(entry for group in entries for entry in group)))


def test_invalid_beats_unknown_beats_valid_and_what_the_campaign_cut_counts_against_nobody() -> None:
    assert verdict(CANARY, PASSED, CUT, over()).valid is True
    assert verdict(CANARY, PASSED, UNKNOWN).valid == "unknown"
    assert "because the harness failed" in verdict(CANARY, PASSED, FAILED_IN_THE_HARNESS).sentence
    assert verdict(CANARY, PASSED, UNKNOWN, BROKEN).valid is False
    assert verdict(PASSED).valid == "unknown"  # the canary never flew
    assert verdict(CANARY).valid == "unknown"  # nothing was run
    assert verdict(CANARY, PASSED, over("interrupted")).valid == "unknown"


def test_a_place_that_the_plan_names_and_that_gave_no_run_makes_the_campaign_unknown() -> None:
    two = msgspec.structs.replace(ON_HOSTS, hosts=OnHosts(ensembles=("lab:3", "n1,n2,n3")))
    failed = run_of(7)
    failed.place = "n1,n2,n3"
    found = verdict(CANARY, PASSED, over(), plan=two)
    assert found.valid == "unknown"
    assert found.doubts == ("the ensemble n1,n2,n3 gave no run",)
    found = verdict(CANARY, PASSED, counted(failed, unknown=1, harness=1), over(), plan=two)
    assert found.valid == "unknown"
    assert found.doubts[0] == "the ensemble n1,n2,n3 gave no run: 1 try failed in the harness"


def test_a_night_in_which_only_the_simulator_ran_is_unknown_where_the_plan_names_hosts() -> None:
    """The expired key at 22:00: every canary on hosts fails, and so no run on hosts is ever begun."""
    both = msgspec.structs.replace(ON_HOSTS, simulator=InSimulator(processes=1))
    canary_on_hosts = counted(run_of(1, canary=True, bug="half-quorum"), unknown=1, harness=1)
    simulated_canary = counted(run_of(1, "simulate", canary=True, bug="half-quorum", seeds=3), invalid=3)
    simulated = counted(run_of(2, "simulate", seeds=180), valid=180)
    found = verdict(canary_on_hosts, simulated_canary, simulated, over(), plan=both)
    assert found.valid == "unknown"
    assert found.exit_code == 2
    assert found.harness_failed == 1
    assert found.blind == ("hosts",)


def test_a_planted_bug_that_was_expected_makes_the_campaign_valid_and_one_that_was_not_found_unknown() -> None:
    planted = msgspec.structs.replace(ON_HOSTS, settings=(Setting(), Setting(name="planted", expect=VIOLATION)))
    job = run_of(8, bug="half-quorum")
    job.setting = "planted"
    found = verdict(CANARY, PASSED, counted(job, invalid=1), over(), plan=planted)
    assert (found.valid, found.exit_code) == (True, 0)
    assert "1 run that had to break one" in found.sentence
    assert verdict(CANARY, PASSED, counted(job, valid=1), over(), plan=planted).valid == "unknown"
    assert verdict(CANARY, PASSED, over(), plan=planted).valid == "unknown"  # it never ran
    unexpected = msgspec.structs.replace(ON_HOSTS, settings=(Setting(), Setting(name="planted")))
    assert verdict(CANARY, PASSED, counted(job, invalid=1), over(), plan=unexpected).valid is False
    assert verdict(CANARY, counted(job, invalid=1), BROKEN, over(), plan=planted).valid is False


ENDINGS: dict[str, tuple[list[Entries], Any]] = {
    "valid": ([CANARY, PASSED, over()], True),
    "invalid": ([CANARY, PASSED, BROKEN, over()], False),
    "a run is unknown": ([CANARY, PASSED, UNKNOWN, over()], "unknown"),
    "the harness failed": ([CANARY, PASSED, FAILED_IN_THE_HARNESS, over()], "unknown"),
    "nothing ran": ([over()], "unknown"),
    "only the canary ran": ([CANARY, over()], "unknown"),
    "the canary was not found": (
        [counted(run_of(1, canary=True, bug="half-quorum"), valid=1), PASSED, over()],
        "unknown",
    ),
    "interrupted": ([CANARY, PASSED, over("interrupted")], "unknown"),
    "cut": ([CANARY, PASSED, CUT, over()], True),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_output_of_a_campaign_gives_the_same_verdict(ending: str, tmp_path: Any) -> None:
    entries, valid = ENDINGS[ending]
    (tmp_path / "campaign.toml").write_text(ON_HOSTS.to_toml(), encoding="utf-8")
    books = CampaignJournal(tmp_path)
    for what, about in [*BEGUN, *(entry for group in entries for entry in group)]:
        books.write(what, **about)
        if what == "count":
            folder = tmp_path / "runs" / about["id"]
            folder.mkdir(parents=True)
            outcome = CountedOutcome(**{key: n for key, n in about["runs"].items() if key != "harness"})
            save_outcome(outcome, folder)
    books.close()
    found = decide(ON_HOSTS, add_up(tmp_path))
    assert found.valid == valid
    write_report(tmp_path)
    said = msgspec.json.decode((tmp_path / "summary.json").read_bytes())
    assert (said["valid"], said["summary"], said["doubts"]) == (valid, found.sentence, list(found.doubts))
    assert said["harness_failed"] == found.harness_failed
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"<title>{found.word} " in page
    first = next(ET.parse(tmp_path / "junit.xml").getroot().iter("testcase"))
    told = {child.tag for child in first}
    assert told == ({"failure"} if valid is False else {"error"} if valid == "unknown" else set())
    assert summary(build(tmp_path, ON_HOSTS, figures.read(tmp_path)))["valid"] == valid
