"""What versions before the database kept of the fleet spec: live edits, the spec's owner, what GitOps put.

One file, `overrides.json`, which is taken over and retired at the first start. One that is damaged is set
aside, and counts as lost until something is kept again, also across restarts. One that may be good (it cannot
be read just now, or a newer version wrote it) is left alone, and nothing starts without it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from fairlead.core.overrides import parse_key
from fairlead.model.reports import Override, Owner
from fairlead.stores import files
from fairlead.stores.state import StateFolder

LOG = structlog.get_logger("fairlead.config")
_FORMAT: Final = 1


class Kept(BaseModel):
    """`accepted` is what the owner has said, in its own words, and `source` the file that it stands in.

    What versions before the database kept of a file's spec is None.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    version: Literal[1] = _FORMAT
    owner: Owner = Owner.FILE
    overrides: tuple[Override, ...] = ()
    accepted: dict[str, Any] | None = None
    source: str = ""

    @field_validator("overrides")
    @classmethod
    def _keys_can_be_read(cls, value: tuple[Override, ...]) -> tuple[Override, ...]:
        for override in value:
            parse_key(override.key)
        return value

    @model_validator(mode="after")
    def _gitops_has_a_spec(self) -> Kept:
        if self.owner is Owner.GITOPS and self.accepted is None:
            msg = "what GitOps has put is missing"
            raise ValueError(msg)
        return self


@dataclass(frozen=True, slots=True)
class Found:
    """What was read; `lost` tells of what could not be and is gone, for a person."""

    kept: Kept = field(default_factory=Kept)
    lost: str = ""


class OverrideStore:
    """Reads block: call them in a thread where others wait."""

    def __init__(self, state: StateFolder) -> None:
        self._path = state.overrides_file

    def __repr__(self) -> str:
        return f"OverrideStore({str(self._path)!r})"

    def read(self) -> Found:
        """What is kept; nothing where there is no file, or a damaged one, which is set aside.

        Raises `ProblemError` when a file is there that may be good, but cannot be understood now.
        """
        content = files.read(self._path)
        if content is None:
            aside = self._asides()
            return Found(lost=f"{aside[-1]} was set aside and nothing was kept since") if aside else Found()
        try:
            return Found(Kept.model_validate_json(content))
        except ValidationError as damaged:
            self._refuse_newer(content)
            first = damaged.errors(include_url=False)[0]
            return self.set_aside(f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": "))

    def retire(self) -> None:
        """It has been taken over: what stands in it counts no more."""
        self._path.replace(self._path.with_name(f"{self._path.name}.imported"))

    def set_aside(self, why: str) -> Found:
        """Move the file out of the way, so that a person can look at it."""
        number = max((int(path.suffix[1:]) for path in self._asides()), default=0) + 1
        aside = self._path.with_name(f"{self._path.name}.damaged.{number}")
        try:
            self._path.replace(aside)
        except OSError as error:
            moved = f"nowhere: {error.strerror}"
        else:
            moved = str(aside)
        LOG.error(
            "the file that keeps live edits cannot be used and was set aside",
            file=str(self._path),
            why=why,
            moved_to=moved,
        )
        return Found(lost=f"{self._path} cannot be used ({why}) and was moved to {moved}")

    def _asides(self) -> list[Path]:
        found = self._path.parent.glob(f"{self._path.name}.damaged.*")
        return sorted(
            (path for path in found if path.suffix[1:].isdecimal()), key=lambda path: int(path.suffix[1:])
        )

    def _refuse_newer(self, content: bytes) -> None:
        try:
            document = json.loads(content)
        except (ValueError, RecursionError):
            return
        version = document.get("version") if isinstance(document, dict) else None
        if isinstance(version, int) and version > _FORMAT:
            raise files.state_problem(
                "state-newer",
                "the file that keeps live edits was written by a newer Fairlead",
                f"{self._path} has version {version}, this Fairlead reads {_FORMAT}: run the newer one, or "
                "move the file away to go on without the live edits and without GitOps",
            )
