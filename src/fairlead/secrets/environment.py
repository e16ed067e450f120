"""Secrets from the environment of the process."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping


class EnvironmentSecrets:
    """Implements `ports.SecretSource`: the environment first, then what is built in.

    An empty variable counts as not set: that is how Compose files and shells hand on what is missing.
    `on_read` gets each value of the environment that is handed out, so that logs can keep it out.
    """

    def __init__(
        self,
        built_in: Mapping[str, str],
        environ: Mapping[str, str] = os.environ,
        *,
        on_read: Callable[[str], None] = lambda value: None,
    ) -> None:
        self._built_in = built_in
        self._environ = environ
        self._on_read = on_read

    def __repr__(self) -> str:
        return f"EnvironmentSecrets(built_in={sorted(self._built_in)})"  # names only

    def get(self, name: str) -> str | None:
        value = self._environ.get(name)
        if not value:
            return self._built_in.get(name)
        if name not in self._built_in:
            self._on_read(value)
        return value
