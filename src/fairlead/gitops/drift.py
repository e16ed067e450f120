"""`DriftDetector`: what is not as Git says, as rows that people read, kept, told when they are new."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from fairlead.core import discretion, severity
from fairlead.core.merge3 import compare, compare_modes
from fairlead.core.overrides import ABSENT, Key, key_text
from fairlead.core.resolve import Action, Decided, Decisions
from fairlead.core.rules import Rules
from fairlead.gitops.planning import Versions
from fairlead.model.event_data import DriftDetected
from fairlead.model.events import EventType
from fairlead.model.gitops import Application, DriftKind, Mode, PathRule, Policy
from fairlead.model.reconciling import EXECUTABLE, Difference, DriftRow, DriftState, Live, Symptom
from fairlead.ports import Recorder
from fairlead.ports.gitops import ApplicationStore

LONGEST_VALUE: Final = 500  # characters
MOST_ROWS: Final = 1000  # of one application

Conceal = Callable[[str], str]
"""Takes known secrets out of a text."""


class DriftDetector:
    """Compares, and keeps what it finds."""

    def __init__(
        self,
        store: ApplicationStore,
        recorder: Recorder,
        *,
        severities: Callable[[], Sequence[PathRule]] = tuple,
        conceal: Conceal = str,
    ) -> None:
        """`severities` gives the rules for all applications, as they are now."""
        self._store = store
        self._recorder = recorder
        self._severities = severities
        self.conceal = conceal

    def differences(self, versions: Versions, rules: Rules) -> list[Difference]:
        """Where the three versions of the objects part; none where live is as Git says."""
        found: list[Difference] = []
        for name in versions.names:
            desired, live = versions.rendered.objects.get(name), versions.lives.get(name)
            found += compare(
                versions.base(name),
                versions.live(name),
                versions.desired(name),
                owned_whole=desired is not None and desired.whole,
                list_keys=lambda key, name=name: rules.merge_key(name, key),  # type: ignore[misc]
                ignored=lambda key, name=name: key == EXECUTABLE or rules.ignored(name, key),  # type: ignore[misc]
                object_id=name,
            )
            if desired is not None and live is not None and not rules.ignored(name, EXECUTABLE):
                base = versions.bases[name].executable if name in versions.bases else None
                found += compare_modes(base, live=live.executable, desired=desired.executable, object_id=name)
        return found

    def rows(
        self,
        application: Application,
        decisions: Decisions,
        lives: Mapping[str, Live],
        now: float,
        *,
        symptoms: Sequence[Symptom] = (),
    ) -> list[DriftRow]:
        """What is drift, the worst first. `now` is Unix time, s.

        Git's own changes are none, for they are about to be carried out; where Git is only observed, nobody
        does that, and they are shown.
        """
        if not decisions.decided and not symptoms:
            return []
        rules = self._rules(application)
        found = [
            row
            for each in decisions.decided
            if (row := self._row(application, each, lives, rules, now)) is not None
        ]
        found += [self._symptom(application, each, now) for each in symptoms]
        found.sort(key=lambda row: (severity.ORDER.index(row.severity), row.object, row.key))
        return found[:MOST_ROWS]

    async def keep(self, application: Application, rows: Sequence[DriftRow]) -> list[DriftRow]:
        """Keep them in the place of the former ones. What is new is told, and returned.

        Raises StoreAwayError.
        """
        new, _ = await self._store.set_drift(application.name, rows)
        for row in new:
            self._recorder.note(EventType.DRIFT_DETECTED, application.name, _told(row))
        return new

    def _rules(self, application: Application) -> list[Rules]:
        fleet = application.target.fleet is not None
        return [Rules.of(application), Rules.parse(self._severities(), Policy.MANUAL, fleet=fleet)]

    def _row(
        self,
        application: Application,
        decided: Decided,
        lives: Mapping[str, Live],
        rules: Sequence[Rules],
        now: float,
    ) -> DriftRow | None:
        state, difference = decided.state, decided.difference
        if decided.action is Action.WRITE and application.sync.mode is Mode.OBSERVE:
            state = DriftState.OPEN
        if state is None:
            return None
        is_file = application.target.files is not None and difference.key in {(), EXECUTABLE}
        kind = DriftKind.FILE if is_file else DriftKind.CONFIGURATION
        live = lives.get(difference.object)
        key = key_text(difference.key)
        return DriftRow(
            application=application.name,
            object=difference.object,
            key=key,
            kind=kind,
            severity=severity.severity(difference.object, difference.key, kind, rules),
            state=state,
            base=self.shown(difference.base, difference.key),
            live=self.shown(difference.live, difference.key),
            desired=self.shown(difference.desired, difference.key),
            since=now,
            by=_author(live, key) if live is not None else "",
        )

    def _symptom(self, application: Application, symptom: Symptom, now: float) -> DriftRow:
        return DriftRow(
            application=application.name,
            object=symptom.object,
            key=symptom.key,
            kind=DriftKind.SERVICE,
            severity=symptom.severity,
            state=DriftState.OPEN,
            base=None,
            live=symptom.live,
            desired=symptom.desired,
            since=now,
            message=self.conceal(symptom.message),
        )

    def shown(self, value: Any, key: Key) -> str | None:
        """As JSON, shortened, without what looks like a secret, and without known ones."""
        if value is ABSENT or value is None:
            return None
        text = self.conceal(json.dumps(discretion.shown(value, key), ensure_ascii=False, sort_keys=True))
        return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "..."


def _author(live: Live, key: str) -> str:
    """Who changed it, if the target knows: of the key itself, or of one above it."""
    return next((by for edited, by in live.by.items() if key == edited or key.startswith(f"{edited}.")), "")


def _told(row: DriftRow) -> DriftDetected:
    return DriftDetected(
        application=row.application,
        object=row.object,
        key=row.key,
        kind=row.kind.value,
        severity=row.severity.value,
        state=row.state.value,
        by=row.by,
        message=row.message,
    )
