"""What commands do with the database themselves, without a service."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fairlead.app.logs import on_stderr

_T = TypeVar("_T")


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """Do it to its end; stdout stays the command's own."""
    with on_stderr():
        return asyncio.run(work)
