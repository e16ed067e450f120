"""Drift beside the comparison of objects: tools that are not as declared, edits that nobody has committed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fairlead.core import discretion, severity
from fairlead.core.merge3 import compare
from fairlead.core.overrides import ABSENT, key_text
from fairlead.core.rules import Rules
from fairlead.formats import documents
from fairlead.formats.place import DocumentError
from fairlead.git.checkout import Version
from fairlead.git.checkout_source import NAME
from fairlead.gitops.environment import Environment, drift_rows
from fairlead.gitops.passes import Look
from fairlead.model.gitops import DriftKind, PathRule, Policy
from fairlead.model.reconciling import Difference, DriftRow, DriftState, Format

_LONGEST = 500  # characters


@dataclass(frozen=True, slots=True)
class ToolDrift:
    """Of this host's tools, where an application declares some."""

    environment: Environment
    severities: Callable[[], Sequence[PathRule]]

    async def __call__(self, look: Look) -> list[DriftRow]:
        application = look.application
        if not application.tools.model_fields_set:
            return []
        reports = await self.environment.reports(application)
        fleet = application.target.fleet is not None
        rules = [Rules.of(application), Rules.parse(self.severities(), Policy.MANUAL, fleet=fleet)]
        return drift_rows(application, reports, rules, look.now)


@dataclass(frozen=True, slots=True)
class UncommittedDrift:
    """Of the checkout's file: what is on disk and not in HEAD."""

    version: Callable[[], Version | None]

    async def __call__(self, look: Look) -> list[DriftRow]:
        version = self.version()
        if look.subject.source.name != NAME or version is None or not version.uncommitted:
            return []
        try:
            committed, present = _document(version.committed), _document(version.present)
        except DocumentError as error:
            return [
                _row(
                    look, version.path, "", (None, None), f"it is not committed, and cannot be read: {error}"
                )
            ]
        found = compare(committed, present, committed, owned_whole=True, object_id=version.path)
        return [_of(look, version.path, each) for each in found]


def _document(content: bytes | None) -> Mapping[str, Any]:
    return {} if content is None else documents.read(Format.YAML, content)


def _of(look: Look, path: str, difference: Difference) -> DriftRow:
    values = _shown(difference.desired, difference), _shown(difference.live, difference)
    return _row(look, path, key_text(difference.key), values, "edited, and not committed")


def _row(look: Look, path: str, key: str, values: tuple[str | None, str | None], message: str) -> DriftRow:
    committed, present = values
    return DriftRow(
        application=look.name,
        object=path,
        key=key,
        kind=DriftKind.FILE,
        severity=severity.severity(path, (), DriftKind.FILE, [look.rules] if look.rules else []),
        state=DriftState.UNCOMMITTED,
        base=committed,
        live=present,
        desired=committed,
        since=look.now,
        message=message,
    )


def _shown(value: Any, difference: Difference) -> str | None:
    if value is ABSENT:
        return None
    text = json.dumps(discretion.shown(value, difference.key), ensure_ascii=False, sort_keys=True)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
