"""A leader that has lost its quorum leads on.

Origin: ZOOKEEPER-1294, 1450, 1699, 2247 (leaders that counted the wrong servers in the periodic check, or none).
Breaks: stepping-down.
"""

from __future__ import annotations

from typing import Set

from node.server import Server


class Bug(Server):
    def still_leads(self, synced: Set[int]) -> bool:
        return True
