"""What the state folder keeps of the fleet spec: live edits, the spec's owner, and what GitOps put last.

One file, `overrides.json`. It never stops a start: one that is damaged is set aside, with a warning.
"""

from __future__ import annotations

import threading
from typing import Any, Final, Literal

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from fairlead.core.overrides import parse_key
from fairlead.model.errors import ProblemError
from fairlead.model.reports import Override, Owner
from fairlead.stores import files
from fairlead.stores.state import StateFolder

LOG = structlog.get_logger("fairlead.config")
_FORMAT: Final = 1


class Kept(BaseModel):
    """`accepted` is the accepted spec in the fleet file's words while GitOps owns it, else None."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    version: Literal[1] = _FORMAT
    owner: Owner = Owner.FILE
    overrides: tuple[Override, ...] = ()
    accepted: dict[str, Any] | None = None

    @field_validator("overrides")
    @classmethod
    def _keys_can_be_read(cls, value: tuple[Override, ...]) -> tuple[Override, ...]:
        for override in value:
            parse_key(override.key)
        return value

    @model_validator(mode="after")
    def _gitops_has_a_spec(self) -> Kept:
        if (self.owner is Owner.GITOPS) != (self.accepted is not None):
            msg = "an accepted spec is kept exactly while GitOps owns it"
            raise ValueError(msg)
        return self


class OverrideStore:
    """Reads and writes block: call them in a thread where others wait."""

    def __init__(self, state: StateFolder) -> None:
        self._path = state.overrides_file
        self._writing = threading.Lock()

    def __repr__(self) -> str:
        return f"OverrideStore({str(self._path)!r})"

    def read(self) -> Kept:
        """What is kept; nothing where there is no file, or a damaged one, which is set aside."""
        try:
            content = files.read(self._path)
            return Kept() if content is None else Kept.model_validate_json(content)
        except ProblemError as unusable:
            self.set_aside(unusable.problem.title)
        except ValidationError as damaged:
            first = damaged.errors(include_url=False)[0]
            self.set_aside(f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": "))
        return Kept()

    def write(self, kept: Kept) -> None:
        """Replace what is kept, whole or not at all. Raises `ProblemError`."""
        with self._writing:
            files.write(self._path, kept.model_dump_json(indent=2).encode() + b"\n")

    def set_aside(self, why: str) -> None:
        """Move the file out of the way, so that a person can look at it."""
        aside = self._path.with_name(f"{self._path.name}.damaged")
        try:
            self._path.replace(aside)
        except OSError as error:
            moved = f"nowhere: {error.strerror}"
        else:
            moved = str(aside)
        LOG.warning(
            "the file that keeps live edits cannot be used and was set aside",
            file=str(self._path),
            why=why,
            moved_to=moved,
        )
