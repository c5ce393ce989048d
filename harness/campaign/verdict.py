"""The verdict on a campaign: one object, which the exit code, the terminal and every file of the campaign show.

Invalid beats unknown beats valid.

*   *Invalid*: a run broke a promise, in a setting that expects none to be broken.
*   *Unknown*: nothing was run; a run is unknown, or the harness failed at it; a place that the plan names gave no run;
    the canary was not found in a world that the plan uses, so that the harness is blind there; a setting that plants a
    bug, or expects a violation, showed none; or the campaign ended before its time.
*   *Valid*: none of these.

A setting may say `expect = "violation"`: its runs are there to be found out (a planted bug, a release with a known
bug).  What they break is no failure of the campaign; that they break nothing is a doubt.

Runs that the campaign itself cut short count against nobody, unless they broke a promise.
"""

from __future__ import annotations

from dataclasses import dataclass

from checker.promises.base import Valid
from harness.campaign.plan import HOSTS, SIMULATOR, VIOLATION, CampaignPlan
from harness.campaign.tally import DONE, Flown, Group, Tally, number
from harness.results import exits


@dataclass(frozen=True)
class CampaignVerdict:
    """What a campaign came to."""

    valid: Valid
    sentence: str
    """The verdict in one sentence."""
    doubts: tuple[str, ...]
    """Why the verdict is unknown, or would be if nothing were broken."""
    blind: tuple[str, ...]
    """Worlds in which the canary should have been found, and was not."""
    harness_failed: int
    """Runs that failed in the harness, the canary's among them."""
    groups: tuple[Group, ...]
    """Distinct failures: those that nobody expected first, then the frequent ones."""
    expected: frozenset[str]
    """Settings that expect a violation."""

    @property
    def word(self) -> str:
        return {True: "valid", False: "invalid", "unknown": "unknown"}[self.valid]

    @property
    def exit_code(self) -> int:
        return exits.of(self.valid)


def decide(plan: CampaignPlan, tally: Tally) -> CampaignVerdict:
    """The verdict on what the journal tells so far."""
    expected = frozenset(setting.name for setting in plan.settings if setting.expect == VIOLATION)
    broken = sum(counted.invalid for (_, setting, _), counted in tally.by.items() if setting not in expected)
    blind = _blind(plan, tally)
    doubts = tuple(_doubts(plan, tally, expected, blind))
    valid: Valid = False if broken else "unknown" if doubts else True
    groups = sorted(
        tally.groups.values(),
        key=lambda group: (group.setting in expected, bool(group.failure.signature.bug), -sum(group.runs.values())),
    )
    return CampaignVerdict(
        valid,
        _sentence(tally, valid, broken, doubts, groups, expected),
        doubts,
        blind,
        tally.total.harness + sum(flown.harness for flown in tally.canary.values()),
        tuple(groups),
        expected,
    )


def places_of(plan: CampaignPlan) -> dict[str, str]:
    """Every place that the plan names, and its name for people."""
    places = {ensemble: f"the ensemble {ensemble}" for ensemble in plan.hosts.ensembles}
    return places | ({SIMULATOR: "the simulator"} if plan.simulator.processes else {})


def _blind(plan: CampaignPlan, tally: Tally) -> tuple[str, ...]:
    used = {HOSTS: bool(plan.hosts.ensembles), SIMULATOR: bool(plan.simulator.processes)}
    ours = {
        world
        for world in used
        if any(world in setting.on and setting.system == plan.canary.system for setting in plan.settings)
    }
    return tuple(
        world
        for world in used
        if used[world] and world in ours and plan.canary.bug and not tally.canary.get(world, Flown()).found
    )


def _doubts(plan: CampaignPlan, tally: Tally, expected: frozenset[str], blind: tuple[str, ...]) -> list[str]:
    total, doubts = tally.total, []
    if not total.runs:
        doubts.append("nothing was run")
    for place, name in places_of(plan).items():
        at = tally.places.get(place)
        if at is None or not at.judged:
            failed = f": {number(at.harness, 'try', 'tries')} failed in the harness" if at and at.harness else ""
            doubts.append(f"{name} gave no run{failed}")
    if total.unknown:
        harness = f", {total.harness} of them because the harness failed" if total.harness else ""
        doubts.append(f"{number(total.unknown, 'run is', 'runs are')} unknown{harness}")
    for world in blind:
        where = "on hosts" if world == HOSTS else "in the simulator"
        runs = tally.canary.get(world, Flown()).runs
        doubts.append(f"the harness is blind {where}: the canary was not found in {number(runs, 'run')}")
    for setting in plan.settings:
        if setting.name not in expected and setting.name not in tally.planted:
            continue
        of_it = [counted for key, counted in tally.by.items() if key[1] == setting.name]
        runs = sum(counted.runs - counted.cut for counted in of_it)
        if any(counted.invalid for counted in of_it):
            continue
        bug = tally.planted.get(setting.name)
        if bug and runs:
            doubts.append(f"bug {bug!r}, planted by setting {setting.name!r}, was not found in {number(runs, 'run')}")
        elif setting.name in expected:
            doubts.append(f"setting {setting.name!r} expects a violation, and {number(runs, 'run')} showed none")
    if tally.over not in (None, "", DONE):
        doubts.append(f"it ended before its time: {tally.over}")
    return doubts


def _sentence(
    tally: Tally, valid: Valid, broken: int, doubts: tuple[str, ...], groups: list[Group], expected: frozenset[str]
) -> str:
    total = tally.total
    hosts = sum(counted.runs for key, counted in tally.by.items() if key[0] == HOSTS)
    seen = f"{number(total.runs, 'run')} ({number(hosts, 'on hosts', 'on hosts')})"
    if valid is False:
        unexpected = [group for group in groups if group.setting not in expected]
        real = sum(1 for group in unexpected if not group.failure.signature.bug)
        planted = len(unexpected) - real
        if not real:
            kinds = f"only what was planted failed, in {number(planted, 'distinct way')}"
        else:
            kinds = number(real, "distinct failure") + (f", and {planted} of planted bugs" if planted else "")
        return f"Invalid: {kinds}; {number(broken, 'of', 'of')} {seen} broke a promise."
    if valid == "unknown":
        more = f" (and {number(len(doubts) - 1, 'more reason')})" if len(doubts) > 1 else ""
        return f"Unknown: {doubts[0]}{more}; {seen}."
    found = sum(counted.invalid for (_, setting, _), counted in tally.by.items() if setting in expected)
    wanted = f", but for {number(found, 'run')} that had to break one and did" if expected else ""
    return f"Valid: every promise held in {seen}{wanted}."
