"""Which removals of a sync may go ahead, so that a mistake in Git does not take everything away.

What is counted is *things*: a server, a toolset, or an object that has neither. A removal of what is inside
of a thing is an ordinary change. If the removals are too many together, none of them goes before a person
has agreed; and if Git has no object at all, none goes even then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fairlead.core.overrides import Key
from fairlead.model.gitops import Environment, Prune
from fairlead.model.reconciling import Difference

COLLECTIONS: Final = ("servers", "toolsets", "mcpServers")
"""Mappings, at the top of a document, of things by name."""

FEW: Final = 4
"""Of fewer things than this, a share says nothing."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What removals are judged by. `confirmed`: a person has agreed to these very removals."""

    prune: Prune
    environment: Environment
    total: int  # things that are there, of the whole application
    nothing_desired: bool  # Git has no object for the application
    confirmed: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """`waiting` are to be deferred; `message` says why, and what to do. `again` is when to look again."""

    waiting: tuple[Difference, ...] = ()
    message: str = ""
    confirm: bool = False  # a person's agreement would let them go
    again: float | None = None  # Unix time, s


def things(document: Any) -> int:
    """How many things an object is: those in it, or itself."""
    return max(1, sum(_members(document, name) for name in COLLECTIONS))


def taken(difference: Difference) -> int:
    """How many things a removal takes away."""
    key: Key = difference.key
    if not key:
        return things(difference.live)
    if key[0] not in COLLECTIONS or len(key) > 2:
        return 0
    return 1 if len(key) == 2 else _members({key[0]: difference.live}, key[0])


def judge(
    removals: Sequence[Difference],
    setting: Setting,
    since: Callable[[Difference], float],
    now: float,
) -> Verdict:
    """`since` tells when a removal was first wanted, `now` when it is; Unix time, s."""
    counted = [each for each in removals if taken(each) > 0]
    if not counted:
        return Verdict()
    if not setting.prune.enabled:
        return Verdict(tuple(counted), "Nothing is removed: `sync.prune.enabled` is false.")
    if setting.nothing_desired:
        advice = "Remove the application's document if this is meant, else mend its `path` or `render`."
        return Verdict(tuple(counted), f"Git has nothing at all for this application. {advice}")
    if not setting.confirmed and (why := _needs_agreement(sum(map(taken, counted)), setting)):
        return Verdict(tuple(counted), f"{why} Confirm the removals to carry them out.", confirm=True)
    due = {id(each): since(each) + setting.prune.grace for each in counted}
    early = tuple(each for each in counted if due[id(each)] > now)
    if not early:
        return Verdict()
    again = min(due[id(each)] for each in early)
    what = "1 removal waits" if len(early) == 1 else f"{len(early)} removals wait"
    return Verdict(early, f"{what} for the end of `sync.prune.grace`.", again=again)


def _needs_agreement(count: int, setting: Setting) -> str:
    prune = setting.prune
    if count > prune.max_count:
        return f"{count} would be removed, more than `sync.prune.maxCount` ({prune.max_count})."
    if setting.total >= FEW and count * 100 > prune.max_percent * setting.total:
        share = f"more than `sync.prune.maxPercent` ({prune.max_percent})"
        return f"{count} of {setting.total} would be removed, {share}."
    in_production = setting.environment is Environment.PRODUCTION
    if in_production if prune.confirm is None else prune.confirm:
        return f"{count} would be removed, which needs a person's agreement here (`sync.prune.confirm`)."
    return ""


def _members(document: Any, name: str) -> int:
    members = document.get(name) if isinstance(document, Mapping) else None
    return len(members) if isinstance(members, Mapping) else 0
