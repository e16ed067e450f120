"""What came out, for people and for machines."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

from rich.console import Console
from rich.table import Table

from conformance.official import Complaint

LONGEST = 500  # characters of a message


@dataclass
class Outcome:
    """What a cell was expected to pass, and what of it failed."""

    name: str
    revision: str
    required: tuple[str, ...]
    beyond: tuple[str, ...] = ()
    excluded: dict[str, str] = field(default_factory=dict)  # -> the reason
    failures: list[Complaint] = field(default_factory=list)

    @classmethod
    def judge(
        cls,
        name: str,
        revision: str,
        found: dict[str, list[Complaint]],
        *,
        required: Iterable[str],
        beyond: Iterable[str] = (),
        excluded: dict[str, str] | None = None,
    ) -> Outcome:
        """`found`: the complaints of each scenario that came to its end."""
        excluded = excluded or {}
        wanted = tuple(scenario for scenario in required if scenario not in excluded)
        outcome = cls(name, revision, wanted, tuple(beyond), excluded)
        for scenario in (*wanted, *outcome.beyond):
            unfinished = [Complaint(scenario, "finished", "the scenario did not come to its end")]
            outcome.failures += found.get(scenario, unfinished)
        return outcome

    def score(self, scenarios: tuple[str, ...]) -> str:
        failed = {complaint.scenario for complaint in self.failures}
        return f"{sum(scenario not in failed for scenario in scenarios)}/{len(scenarios)}"


def as_json(outcomes: list[Outcome], left_out: dict[str, str]) -> str:
    cells = [
        asdict(outcome) | {"score": outcome.score(outcome.required), "passed": not outcome.failures}
        for outcome in outcomes
    ]
    return json.dumps({"cells": cells, "clientScenariosLeftOut": left_out}, indent=2)


def show(console: Console, outcomes: list[Outcome], left_out: dict[str, str]) -> None:
    """`left_out`: client scenarios that are in no cell, by how their names begin."""
    table = Table("cell", "revision", "required", "beyond", title="Conformance", title_justify="left")
    for outcome in outcomes:
        beyond = outcome.score(outcome.beyond) if outcome.beyond else "-"
        score = outcome.score(outcome.required)
        style = "red" if outcome.failures else "green"
        table.add_row(outcome.name, outcome.revision, score, beyond, style=style)
    console.print(table)
    reasons = [
        f"{outcome.name}: {scenario} {why}"
        for outcome in outcomes
        for scenario, why in outcome.excluded.items()
    ]
    for reason in reasons + [f"client scenarios {name}*: {why}" for name, why in left_out.items()]:
        console.print(f"n/a   {reason}", style="dim", markup=False, highlight=False)
    for outcome in outcomes:
        for (scenario, check), messages in _grouped(outcome.failures).items():
            more = f" (and {len(messages) - 1} more)" if len(messages) > 1 else ""
            console.print(
                f"fail  {outcome.name}: {scenario}, {check}: {messages[0][:LONGEST]}{more}",
                style="red",
                markup=False,
                highlight=False,
            )


def _grouped(complaints: list[Complaint]) -> dict[tuple[str, str], list[str]]:
    groups: dict[tuple[str, str], list[str]] = {}
    for complaint in complaints:
        groups.setdefault((complaint.scenario, complaint.check), []).append(complaint.message)
    return groups
