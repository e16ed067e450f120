"""Reports of the GitOps controller as REST shows them. Built from the models, so they cannot drift."""

from __future__ import annotations

import time
from typing import Any

from fairlead.model import gitops_reports as reports
from fairlead.model.status import StatusModel

Json = dict[str, Any]
NEW = "9a0b1c2d3e4f5a6b7c8d9e0f1a2b3c4d5e6f7a8b"
OLD = "3f9c2a71d04b4be8a5b6c1f2e3d4a5b6c7d8e9f0"
ID = "01a1f4a3c800-5b2e9c1d"
EARLIER = "01a1f4a3b000-aaaaaaaa"
HOUR = 3600.0


def _json(model: type[StatusModel], **fields: Any) -> Json:
    return model.model_validate(fields).model_dump(mode="json", by_alias=True)


def conditions(reason: str, message: str = "", *, ready: bool = False, stalled: bool = False) -> list[Json]:
    states = {"Ready": ready, "Reconciling": False, "Stalled": stalled}
    return [
        {"type": type_, "status": on, "reason": reason, "message": message, "since": time.time()}
        for type_, on in states.items()
    ]


def application(name: str = "fleet", **more: Any) -> Json:
    given = {
        "name": name, "environment": "production", "source": "config", "target": "fleet of this machine",
        "mode": "enforce", "commit": NEW, "applied": NEW, "generation": 1, "observedGeneration": 1,
        "conditions": conditions("Synced", ready=True), "drift": 0, "conflicts": 0, "suspended": False,
        "holds": [], "blocked": [], "deployment": ID,
    }  # fmt: skip
    return _json(reports.ApplicationReport, **{**given, **more})


def step(name: str, seconds: float | None = 0.1, **more: Any) -> Json:
    begun = time.time() - HOUR
    ended = None if seconds is None else begun + seconds
    return _json(reports.StepReport, name=name, started=begun, ended=ended, seconds=seconds, **more)


def deployment(state: str = "succeeded", **more: Any) -> Json:
    given = {
        "id": ID, "application": "fleet", "environment": "production", "commit": NEW, "previous": OLD,
        "reason": "commit", "actor": "ada", "author": "Bob <bob@example.org>", "state": state,
        "created": time.time() - 2.6 * HOUR, "ended": time.time() - 2.6 * HOUR + 12, "seconds": 12.0,
        "steps": [], "approvedBy": [],
    }  # fmt: skip
    return _json(reports.DeploymentReport, **{**given, **more})


def drift(**more: Any) -> Json:
    given = {
        "application": "fleet", "object": "fleet", "key": "servers.filesystem.args",
        "kind": "configuration", "severity": "high", "state": "open", "base": '["/notes"]', "live": '["/"]',
        "desired": '["/notes"]', "since": time.time() - 2.6 * HOUR, "by": "ada",
    }  # fmt: skip
    return _json(reports.DriftReport, **{**given, **more})


def drift_status(*rows: Json, **more: Any) -> Json:
    by_severity: dict[str, int] = {}
    by_kind: dict[str, int] = {}
    for row in rows:
        by_severity[row["severity"]] = by_severity.get(row["severity"], 0) + 1
        by_kind[row["kind"]] = by_kind.get(row["kind"], 0) + 1
    given = {
        "checked": time.time() - 2.6 * HOUR, "applications": 2, "drift": list(rows),
        "bySeverity": by_severity, "byKind": by_kind,
    }  # fmt: skip
    return _json(reports.DriftStatus, **{**given, **more})


def difference(**more: Any) -> Json:
    given = {
        "object": "fleet", "key": "servers.filesystem.args", "case": "conflict", "action": "wait",
        "base": '["/notes"]', "live": '["/"]', "desired": '["/notes", "/papers"]', "policy": "manual",
    }  # fmt: skip
    return _json(reports.Difference3, **{**given, **more})


def diff(*rows: Json, text: str = "") -> Json:
    return _json(reports.ApplicationDiff, application="fleet", commit=NEW, differences=list(rows), text=text)


def source(**more: Any) -> Json:
    given = {
        "name": "config", "url": "https://git.example.org/config.git", "branch": "main", "head": NEW,
        "subject": "A second folder", "age": 4.2,
    }  # fmt: skip
    return _json(reports.SourceReport, **{**given, **more})


def commit(**more: Any) -> Json:
    given = {
        "id": NEW, "author": "Bob <bob@example.org>", "time": time.time() - 2.6 * HOUR,
        "subject": "A second folder", "appliedTo": ["fleet"], "blockedFor": [],
    }  # fmt: skip
    return _json(reports.CommitReport, **{**given, **more})


def tool(**more: Any) -> Json:
    given = {"application": "fleet", "tool": "node", "wanted": ">=20", "installed": "22.1.0", "fits": True}
    return _json(reports.ToolReport, **{**given, **more})


def health(*, healthy: bool = True, **more: Any) -> Json:
    given = {"healthy": healthy, "environments": {"production": healthy}, "tools": [], "applications": []}
    return _json(reports.EnvironmentHealth, **{**given, **more})
