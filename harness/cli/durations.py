"""Options that take a length of time.  All of them, and all plans, share one grammar: `harness.plan.durations`."""

from __future__ import annotations

import click

from harness import UsageError
from harness.plan.durations import duration_s


class Duration(click.ParamType):  # type: ignore[type-arg]  # generic in new versions of click only
    """Seconds, from `90`, `90s`, `10m`, `8h` or `1d`; `least_s` and `most_s` are inclusive."""

    name = "duration"

    def __init__(self, least_s: float = 0.0, most_s: float = 30 * 86_400.0) -> None:
        self._least_s = least_s
        self._most_s = most_s

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        option = max(param.opts, key=len) if param is not None else "a length of time"
        try:
            seconds = duration_s(str(value), option)
        except UsageError as error:
            self.fail(error.what, param, ctx)
        if not self._least_s <= seconds <= self._most_s:
            self.fail(f"from {self._least_s:g} s to {self._most_s:g} s, not {value}", param, ctx)
        return seconds
