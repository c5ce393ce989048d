"""JUnit XML for CI: the verdict, then a test case for each run on hosts, each mix of the simulator, and the canary.

    <testsuites> <testsuite name="hosts"> <testcase> [<failure> | <error> | <skipped>] ...

A broken promise is a `failure`, what is unknown or failed in the harness an `error`, and a run that the campaign itself
cut is `skipped`.  What a setting expects to be broken is no failure.  The first case is the campaign's verdict: it
passes exactly when the campaign is valid.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from harness.campaign.figures import Night
from harness.campaign.plan import HOSTS, SIMULATOR, CampaignPlan
from harness.campaign.tally import Counted, Flown, number
from harness.campaign.verdict import CampaignVerdict, decide

_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(night: Night, plan: CampaignPlan) -> bytes:
    """The document."""
    verdict = decide(plan, night.tally)
    suites = ET.Element("testsuites", name=plan.name)
    _verdict(suites, verdict)
    _hosts(suites, night, verdict)
    _simulator(suites, night, verdict)
    _canary(suites, night, verdict)
    for suite in suites:
        _sum(suite, [suite])
    _sum(suites, list(suites))
    ET.indent(suites)
    document: bytes = ET.tostring(suites, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _sum(element: ET.Element, suites: list[ET.Element]) -> None:
    cases = [case for suite in suites for case in suite.iter("testcase")]
    element.set("tests", str(len(cases)))
    for what, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        element.set(what, str(sum(case.find(tag) is not None for case in cases)))
    element.set("time", f"{sum(float(case.get('time', '0')) for case in cases):.3f}")


def _verdict(suites: ET.Element, verdict: CampaignVerdict) -> None:
    case = _case(ET.SubElement(suites, "testsuite", name="verdict"), "the campaign is valid", "verdict", 0.0)
    if verdict.valid is False:
        _tell(case, "failure", verdict.sentence, "\n".join(verdict.doubts))
    elif verdict.valid == "unknown":
        _tell(case, "error", verdict.sentence, "\n".join(verdict.doubts), "unknown")


def _hosts(suites: ET.Element, night: Night, verdict: CampaignVerdict) -> None:
    suite = ET.SubElement(suites, "testsuite", name=HOSTS)
    for row in night.sum.rows:
        if row.canary:
            continue
        bug = f", planted {row.bug}" if row.bug else ""
        name = f"{row.id}: {row.setting}, {row.servers} servers, {row.mix}, seed {row.seed}{bug}"
        case = _case(suite, name, HOSTS, row.seconds)
        if row.word == "invalid" and row.setting in verdict.expected:
            continue
        if row.word == "invalid":
            _tell(case, "failure", row.summary, row.folder)
        elif row.harness:
            _tell(case, "error", row.harness, row.folder, "harness")
        elif row.word == "unknown":
            _tell(case, "error", row.summary, row.folder, "unknown")
        elif row.word == "cut":
            _tell(case, "skipped", "the campaign cut it short", row.folder)


def _simulator(suites: ET.Element, night: Night, verdict: CampaignVerdict) -> None:
    suite = ET.SubElement(suites, "testsuite", name=SIMULATOR)
    for (world, setting, mix), counted in sorted(night.tally.by.items()):
        if world == SIMULATOR:
            case = _case(suite, f"{setting}, {mix}: {number(counted.runs, 'run')}", SIMULATOR, counted.seconds)
            _judge(case, verdict, setting, mix, counted)


def _judge(case: ET.Element, verdict: CampaignVerdict, setting: str, mix: str, counted: Counted) -> None:
    if counted.invalid and setting not in verdict.expected:
        groups = [group for group in verdict.groups if group.setting == setting]
        text = "\n".join(f"{group.id} {group.failure.signature.promise}: {group.failure.message}" for group in groups)
        _tell(case, "failure", f"{number(counted.invalid, 'run')} broke a promise", text or f"{setting}, {mix}")
    elif counted.unknown:
        _tell(case, "error", f"{number(counted.unknown, 'run is', 'runs are')} unknown", "", "unknown")


def _canary(suites: ET.Element, night: Night, verdict: CampaignVerdict) -> None:
    suite = ET.SubElement(suites, "testsuite", name="canary")
    for world in sorted({*night.tally.canary, *verdict.blind}):
        case = _case(suite, f"the planted bug is found: {world}", "canary", 0.0)
        if world in verdict.blind:
            runs = night.tally.canary.get(world, Flown()).runs
            _tell(case, "error", f"not found in {number(runs, 'run')}: the harness is blind", "", "blind")


def _case(suite: ET.Element, name: str, kind: str, seconds: float) -> ET.Element:
    return ET.SubElement(suite, "testcase", name=clean(name), classname=f"onethrone.{kind}", time=f"{seconds:.3f}")


def _tell(case: ET.Element, tag: str, message: str, text: str, kind: str = "promise") -> None:
    about = {"message": clean(message)} | ({} if tag == "skipped" else {"type": kind})
    ET.SubElement(case, tag, about).text = clean(text)


def clean(text: str) -> str:
    """Without the characters that XML has no way to write."""
    return _NOT_IN_XML.sub("\ufffd", text)
