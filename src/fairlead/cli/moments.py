"""Moments on the command line: `1h` ago, or a time of day and date."""

from __future__ import annotations

import re
import time
from datetime import datetime
from typing import Any

import click

_AGO = re.compile(r"([0-9]+)([smhdw])")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}


class Moment(click.ParamType[float]):
    """Gives Unix time, s."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        if (ago := _AGO.fullmatch(str(value))) is not None:
            return max(0.0, time.time() - int(ago[1]) * _UNITS[ago[2]])
        try:
            return datetime.fromisoformat(str(value)).timestamp()
        except (ValueError, OverflowError, OSError):
            self.fail(f"{value!r} is no moment; write 90s, 15m, 2h, 3d, or 2026-11-23T09:30", param, ctx)


class Span(click.ParamType[float]):
    """Gives seconds, more than none."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        span = _AGO.fullmatch(str(value))
        if span is None or not int(span[1]):
            self.fail(f"{value!r} is no time; write 90s, 15m, 2h, 90d", param, ctx)
        return int(span[1]) * _UNITS[span[2]]
