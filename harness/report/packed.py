"""The page's data in parts, because a browser opens a page in the time that its bytes take.

    data  --parted-->  timeline    what the lanes are drawn from
                       messages    what was sent
                       rest        what an op's card tells and find searches, and the lines of the history

Each part is JSON, deflated, in base64.  The page reads `timeline` first and draws it, and then reads the others
(static/packed.js): to a browser's parser a hundred thousand transitions are a word of a few hundred kilobytes.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Any

import msgspec

DRAWN = ("t", "s", "e", "l")
"""The columns of a lane that its bars, and who follows whom, are drawn from."""
_TOLD = ("texts", "evidence", "ops")


def parted(data: Mapping[str, Any]) -> dict[str, str]:
    """The parts by their names, in the order in which the page reads them."""
    timeline = {key: value for key, value in data.items() if key not in (*_TOLD, "messages")}
    timeline["lanes"] = [{key: lane[key] for key in DRAWN} for lane in data["lanes"]]
    rest = {key: data[key] for key in _TOLD}
    rest["lanes"] = [{key: column for key, column in lane.items() if key not in DRAWN} for lane in data["lanes"]]
    parts = {"timeline": timeline, "messages": data["messages"], "rest": rest}
    return {name: packed(part) for name, part in parts.items()}


def packed(value: Any) -> str:
    """`value` as JSON, deflated, in base64: nothing in it can be markup."""
    return base64.b64encode(zlib.compress(msgspec.json.encode(value))).decode()
