"""How the seeds of a campaign are simulated."""

from __future__ import annotations

import msgspec

from harness.campaign.plan import CampaignPlan
from harness.simulator import knobs as worlds
from harness.simulator.knobs import Knobs


def knobs_of(plan: CampaignPlan, mix: str, seed: int) -> Knobs:
    """Those that a seed of the campaign is simulated with."""
    knobs = worlds.draw(seed)
    return msgspec.structs.replace(knobs, kinds=plan.mixes[mix]) if plan.mixes[mix] else knobs
