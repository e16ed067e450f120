"""Secrets from the environment of the process."""

from __future__ import annotations

import os
from collections.abc import Mapping


class EnvironmentSecrets:
    """Implements `ports.SecretSource`: the environment first, then what is built in.

    An empty variable counts as not set: that is how Compose files and shells hand on what is missing.
    """

    def __init__(self, built_in: Mapping[str, str], environ: Mapping[str, str] = os.environ) -> None:
        self._built_in = built_in
        self._environ = environ

    def __repr__(self) -> str:
        return f"EnvironmentSecrets(built_in={sorted(self._built_in)})"  # names only

    def get(self, name: str) -> str | None:
        return self._environ.get(name) or self._built_in.get(name)
