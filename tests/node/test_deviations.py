"""docs/deviations.md names methods that are there."""

from __future__ import annotations

import re
from pathlib import Path

import node.agent.addresses
import node.agent.links
import node.agent.storage
import node.properties
import node.protocol.database
import node.protocol.quorums
import node.protocol.server
import node.zoo_cfg

PLACES = {
    "Database": node.protocol.database.Database,
    "Hierarchical": node.protocol.quorums.Hierarchical,
    "storage": node.agent.storage,
    "addresses": node.agent.addresses,
    "links": node.agent.links,
    "properties": node.properties,
    "zoo_cfg": node.zoo_cfg,
}


def test_every_deviation_names_a_method_that_exists() -> None:
    text = (Path(__file__).parents[2] / "docs" / "deviations.md").read_text()
    rows = [line.rsplit("|", 2)[1] for line in text.splitlines() if line.startswith("| ") and "`" in line]
    names = [name for row in rows for name in re.findall(r"`([^`]+)`", row)]
    assert len(names) > 30
    for name in names:
        place, _, attribute = name.rpartition(".")
        assert hasattr(PLACES[place] if place else node.protocol.server.Server, attribute), name
