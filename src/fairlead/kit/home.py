"""Paths that begin with `~`."""

from __future__ import annotations

import os
from pathlib import Path


def expanded(path: str | Path) -> Path:
    """`~` and `~user` as the home they mean; that of nobody stays, and whoever opens it finds nothing."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - pathlib's raises RuntimeError there
