"""JUnit XML for CI: a test case for each run on hosts, for each setting and mix of the simulator, and for the canary.

    <testsuites> <testsuite name="hosts"> <testcase> [<failure> | <error> | <skipped>] ...

A broken promise is a `failure`, what is unknown or failed in the harness an `error`, and a run that the campaign itself
cut is `skipped`.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from harness.campaign.figures import Night
from harness.campaign.plan import HOSTS, SIMULATOR
from harness.campaign.tally import Counted, number

_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(night: Night, name: str) -> bytes:
    """The document."""
    suites = ET.Element("testsuites", name=name)
    _hosts(suites, night)
    _simulator(suites, night)
    _canary(suites, night)
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


def _hosts(suites: ET.Element, night: Night) -> None:
    suite = ET.SubElement(suites, "testsuite", name=HOSTS)
    for row in night.sum.rows:
        if row.canary:
            continue
        bug = f", planted {row.bug}" if row.bug else ""
        name = f"{row.id}: {row.setting}, {row.servers} servers, {row.mix}, seed {row.seed}{bug}"
        case = _case(suite, name, HOSTS, row.seconds)
        if row.word == "invalid":
            _tell(case, "failure", row.summary, row.folder)
        elif row.harness:
            _tell(case, "error", row.harness, row.folder, "harness")
        elif row.word == "unknown":
            _tell(case, "error", row.summary, row.folder, "unknown")
        elif row.word == "cut":
            _tell(case, "skipped", "the campaign cut it short", row.folder)


def _simulator(suites: ET.Element, night: Night) -> None:
    suite = ET.SubElement(suites, "testsuite", name=SIMULATOR)
    for (world, setting, mix), counted in sorted(night.tally.by.items()):
        if world == SIMULATOR:
            case = _case(suite, f"{setting}, {mix}: {number(counted.runs, 'run')}", SIMULATOR, counted.seconds)
            _judge(case, night, setting, mix, counted)


def _judge(case: ET.Element, night: Night, setting: str, mix: str, counted: Counted) -> None:
    if counted.invalid:
        groups = [g for g in night.tally.groups.values() if g.setting == setting]
        text = "\n".join(f"{g.id} {g.failure.signature.promise}: {g.failure.message}" for g in groups)
        _tell(case, "failure", f"{number(counted.invalid, 'run')} broke a promise", text or f"{setting}, {mix}")
    elif counted.unknown:
        _tell(case, "error", f"{number(counted.unknown, 'run is', 'runs are')} unknown", "", "unknown")


def _canary(suites: ET.Element, night: Night) -> None:
    suite = ET.SubElement(suites, "testsuite", name="canary")
    for world, flown in night.tally.canary.items():
        case = _case(suite, f"the planted bug is found: {world}", "canary", 0.0)
        if not flown.found:
            _tell(case, "error", f"not found in {number(flown.runs, 'run')}: the harness is blind", "", "blind")


def _case(suite: ET.Element, name: str, kind: str, seconds: float) -> ET.Element:
    return ET.SubElement(suite, "testcase", name=clean(name), classname=f"onethrone.{kind}", time=f"{seconds:.3f}")


def _tell(case: ET.Element, tag: str, message: str, text: str, kind: str = "promise") -> None:
    about = {"message": clean(message)} | ({} if tag == "skipped" else {"type": kind})
    ET.SubElement(case, tag, about).text = clean(text)


def clean(text: str) -> str:
    """Without the characters that XML has no way to write."""
    return _NOT_IN_XML.sub("\ufffd", text)
