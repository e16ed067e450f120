"""The matrix of real clients and real servers: its clients, the cells that cannot be, and how it is printed.

A cell is (client, server, feature). What each feature of each server is, and so which cells there are, stands
in `test_matrix.py`; here stands which of them no client could fill, with the reason, and nothing else excuses
a cell: one that has no entry below must pass.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import accumulate, pairwise
from string import ascii_lowercase
from typing import ClassVar

import pytest

from e2e.programs import FLAVOURS, Flavour

INSPECTORS = [
    Flavour("inspector", "legacy", modern=False),
    Flavour("inspector", "auto", modern=True),
    Flavour("inspector", "modern", modern=True),
]
CLIENTS = [*FLAVOURS, *INSPECTORS]
PASSED, FAILED, NOT_RUN = "pass", "FAIL", "-"
GAP = 2  # columns between two columns


@dataclass(frozen=True)
class NotApplicable:
    """Cells that cannot be, of the clients and features that the patterns name."""

    clients: str
    features: str
    reason: str

    def covers(self, client: str, feature: str) -> bool:
        return fnmatchcase(client, self.clients) and fnmatchcase(feature, self.features)


NOT_APPLICABLE = (
    NotApplicable("inspector-*", "progress", "Inspector's command line prints no progress"),
    NotApplicable(
        "inspector-*", "cancelling", "Inspector's command line makes one request, without a way to cancel it"
    ),
    NotApplicable(
        "inspector-*", "sampling", "Inspector's command line has no model and declares no sampling"
    ),
    NotApplicable(
        "inspector-*", "elicitation*", "Inspector's command line has no user and declares no elicitation"
    ),
    NotApplicable("inspector-*", "completion", "Inspector's command line has no method for completion"),
    NotApplicable(
        "inspector-*", "list changes", "Inspector's command line ends when its one request is answered"
    ),
    NotApplicable(
        "inspector-*", "subscription", "Inspector's command line ends when its one request is answered"
    ),
    NotApplicable("inspector-*", "log messages", "Inspector's command line prints no log messages"),
    NotApplicable("inspector-*", "ping", "Inspector's command line has no method for ping"),
    NotApplicable("*-auto", "ping", "the modern era has no ping"),
    NotApplicable("*-modern", "ping", "the modern era has no ping"),
)


def excuse(client: str, feature: str) -> NotApplicable | None:
    """The entry that says why a cell cannot be."""
    return next((entry for entry in NOT_APPLICABLE if entry.covers(client, feature)), None)


@dataclass
class Matrix:
    """The outcomes of a run. `features`: those of each server, both in the order of print."""

    KEPT: ClassVar = pytest.StashKey["Matrix"]()
    """Where a run of pytest keeps its own."""
    features: Mapping[str, Iterable[str]]
    outcomes: dict[tuple[str, str, str], str] = field(default_factory=dict)

    @contextlib.contextmanager
    def cell(self, client: str, server: str, feature: str) -> Iterator[None]:
        """Whatever happens inside is the cell's outcome: an error is a failure."""
        self.outcomes[client, server, feature] = FAILED
        yield
        self.outcomes[client, server, feature] = PASSED

    def lines(self) -> list[str]:
        """As a table for people: a row for each feature of each server, a column for each client."""
        names = [str(client) for client in CLIENTS]
        programs = [client.program for client in CLIENTS]
        modes = [name.removeprefix(f"{client.program}-") for name, client in zip(names, CLIENTS, strict=True)]
        rows = [
            [server, feature, *(self._shown(name, server, feature) for name in names)]
            for server, features in self.features.items()
            for feature in features
        ]
        changes = [after if after != before else "" for before, after in pairwise(["", *programs])]
        return [
            *_table([["", "", *changes], ["server", "feature", *modes], *rows]),
            "",
            *_legend(),
            self.sum(),
        ]

    def _shown(self, client: str, server: str, feature: str) -> str:
        entry = excuse(client, feature)
        return f"n/a {_mark(entry)}" if entry else self.outcomes.get((client, server, feature), NOT_RUN)

    def sum(self) -> str:
        outcomes = list(self.outcomes.values())
        return f"{outcomes.count(PASSED)} cells passed, {outcomes.count(FAILED)} failed"


def _mark(entry: NotApplicable) -> str:
    """A letter for each reason."""
    return ascii_lowercase[list(dict.fromkeys(one.reason for one in NOT_APPLICABLE)).index(entry.reason)]


def _legend() -> list[str]:
    reasons = {_mark(entry): entry.reason for entry in NOT_APPLICABLE}
    return [f"n/a {mark}: {reason}" for mark, reason in reasons.items()]


def _table(rows: list[list[str]]) -> list[str]:
    """Columns as wide as they must be; the first row's texts run on over columns that have none in it."""
    first = [*rows[0], "end"]
    rooms = [[text if after else "" for text, after in pairwise(first)], *rows[1:]]
    widths = [max(len(row[column]) for row in rooms) for column in range(len(rows[0]))]
    starts = list(accumulate((width + GAP for width in widths), initial=0))[:-1]
    lines = []
    for row in rows:
        line = ""
        for start, text in zip(starts, row, strict=True):
            line = line.ljust(start) + text
        lines.append(line.rstrip())
    return lines
