"""Secrets from files, as Docker, Kubernetes and systemd hand them over."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

LOG = structlog.get_logger("fairlead.secrets")
LARGEST: Final = 64 * 2**10  # bytes


class FileSecrets:
    """Implements `ports.SecretSource`: a name is an absolute path. Read anew each time, so it may rotate.

    `on_read` gets each value that is handed out, so that logs can keep it out.
    """

    def __init__(self, *, on_read: Callable[[str], None] = lambda value: None) -> None:
        self._on_read = on_read
        self._told: dict[str, str | None] = {}  # by file: why not; said once, however often somebody asks

    def __repr__(self) -> str:
        return "FileSecrets()"

    def get(self, name: str) -> str | None:
        """What the file holds, without its last line break; None for none, with the reason in the log."""
        try:
            value = _read(Path(name))
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            if self._told.get(name) != why:
                LOG.warning("a secret cannot be read", file=name, why=why)
            self._told[name] = why
            return None
        self._told.pop(name, None)
        if value:
            self._on_read(value)
        return value or None


def _read(path: Path) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO must not hold us up
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            msg = "it is not a plain file"
            raise ValueError(msg)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(LARGEST + 1)
    finally:
        os.close(descriptor)
    if len(content) > LARGEST:
        msg = f"it has more than {LARGEST} bytes"
        raise ValueError(msg)
    try:
        text = content.decode()
    except UnicodeDecodeError:
        msg = "it is not UTF-8 text"
        raise ValueError(msg) from None
    if "\0" in text:
        msg = "it holds a NUL character, which no variable or header can"
        raise ValueError(msg)
    return text.removesuffix("\n").removesuffix("\r")
