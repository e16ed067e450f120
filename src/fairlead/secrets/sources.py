"""All sources of secrets as one."""

from __future__ import annotations

from collections.abc import Mapping

from fairlead.model.placeholders import IN_FILE, IN_VAULT
from fairlead.ports import SecretSource


class Secrets:
    """Implements `ports.SecretSource`: asks the source that a name's prefix tells, else the environment."""

    def __init__(self, environment: SecretSource, *, files: SecretSource, vault: SecretSource) -> None:
        self._environment = environment
        self._prefixed: Mapping[str, SecretSource] = {IN_FILE: files, IN_VAULT: vault}

    def __repr__(self) -> str:
        return f"Secrets({self._environment!r}, {', '.join(map(repr, self._prefixed.values()))})"

    def get(self, name: str) -> str | None:
        for prefix, source in self._prefixed.items():
            if name.startswith(prefix):
                return source.get(name.removeprefix(prefix))
        return self._environment.get(name)
