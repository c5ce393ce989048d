"""The code on `docs/writing-a-fault.md`, run as it stands there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.simulator.carriers import CARRIERS
from nemesis.faults import KINDS

PAGE = Path(__file__).parents[1] / "docs" / "writing-a-fault.md"


@contextmanager
def followed() -> Iterator[str]:
    """The page's kind is registered and simulated until the context ends; its name."""
    kinds, carriers = dict(KINDS), dict(CARRIERS)
    source = "\n\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL))
    future = "from __future__ import annotations\n"
    try:
        exec(compile(future + source.replace(future, ""), str(PAGE), "exec"), {"__name__": "written"})
        [name] = KINDS.keys() - kinds.keys()
        yield name
    finally:
        for registry, before in ((KINDS, kinds), (CARRIERS, carriers)):
            registry.clear()
            registry.update(before)  # type: ignore[arg-type]
