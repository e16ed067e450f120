"""What is done about each difference: the policies, as a table.

Git's own changes are always applied. Where the target was changed by hand, the policy of the place says who
wins: Git (and the live version is kept in the history), or the live version (and it is proposed to Git), or
nobody before a person has decided. A hold stops everything that touches its path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from fairlead.core.merge_text import merge_text
from fairlead.core.object_edits import edit
from fairlead.core.overrides import ABSENT, Edit, Key
from fairlead.core.patterns import Pattern
from fairlead.model.gitops import Policy
from fairlead.model.reconciling import Case, Difference, DriftState, Hold


class Action(StrEnum):
    WRITE = "write"  # Git's version to the target
    PROPOSE = "propose"  # the live version stays, and Git is asked to take it
    MERGE = "merge"  # what both make together, to the target and to Git
    WAIT = "wait"  # for a person
    HOLD = "hold"
    DEFER = "defer"  # a removal, until it is due and agreed to
    LEAVE = "leave"  # it is not Git's any more: no drift either


_W, _P, _T = Action.WRITE, Action.PROPOSE, Action.WAIT

TABLE: Final[Mapping[Policy, Mapping[Case, Action]]] = {
    Policy.REMOTE: {Case.DRIFT: _W, Case.CONFLICT: _W, Case.ADOPT: _W},
    Policy.LOCAL: {Case.DRIFT: _P, Case.CONFLICT: _P, Case.ADOPT: _P},
    Policy.MERGE: {Case.DRIFT: _P, Case.CONFLICT: Action.MERGE, Case.ADOPT: _T},
    Policy.MANUAL: {Case.DRIFT: _P, Case.CONFLICT: _T, Case.ADOPT: _T},
}
"""For what was changed by hand. MERGE falls back to WAIT. A proposal of `manual` is how a person is asked."""


@dataclass(frozen=True, slots=True)
class Decided:
    """`merged` is the text that both sides make together, of `Action.MERGE`."""

    difference: Difference
    policy: Policy
    action: Action
    merged: str | None = None

    @property
    def state(self) -> DriftState | None:
        """Of its row of drift; None where there is none: it is Git's own change, or not Git's any more."""
        if self.action is Action.LEAVE:
            return None
        if self.action is Action.WRITE and self.difference.case is Case.DEPLOY:
            return None
        return _STATES[self.action]


_STATES: Final = {
    Action.WRITE: DriftState.OPEN,
    Action.MERGE: DriftState.OPEN,
    Action.PROPOSE: DriftState.PROPOSED,
    Action.WAIT: DriftState.CONFLICT,
    Action.HOLD: DriftState.HELD,
    Action.DEFER: DriftState.OPEN,
}


@dataclass(frozen=True, slots=True)
class Decisions:
    """For all objects together. Edits are by object, in the order of the differences."""

    decided: tuple[Decided, ...] = ()
    writes: Mapping[str, tuple[Edit, ...]] = field(default_factory=dict)  # of the live version
    proposals: Mapping[str, tuple[Edit, ...]] = field(default_factory=dict)  # of Git's version
    waiting: tuple[Difference, ...] = ()
    left: tuple[Difference, ...] = ()  # what is not written: its base stays, see `object_edits.next_base`
    kept_objects: frozenset[str] = frozenset()  # whose live version is about to be overwritten: keep it
    removals: tuple[Difference, ...] = ()  # writes that take away what Git does not have any more


@dataclass(frozen=True, slots=True)
class HeldPath:
    pattern: Pattern
    until: float  # Unix time, s

    def touches(self, difference: Difference) -> bool:
        """Whether the difference is at the path, or has it inside."""
        versions = (difference.base, difference.live, difference.desired)
        return any(
            self.pattern.matches(difference.object, key)
            for version in versions
            for key in _keys(difference.key, version)
        )


def held_paths(holds: Iterable[Hold], application: str, *, fleet: bool) -> list[HeldPath]:
    """Those of an application. Raises `SpecError` for a malformed path."""
    return [
        HeldPath(Pattern.parse(hold.path, fleet=fleet), hold.until)
        for hold in holds
        if hold.application == application
    ]


def decide(
    differences: Iterable[Difference],
    policy_of: Callable[[str, Key], Policy],
    holds: Sequence[HeldPath],
    now: float,
    *,
    propose: bool = True,
) -> Decisions:
    """`now` is Unix time in s. Without `propose`, what would be proposed waits for a person."""
    in_force = [hold for hold in holds if hold.until > now]
    decided = []
    for difference in differences:
        policy = policy_of(difference.object, difference.key)
        if any(hold.touches(difference) for hold in in_force):
            decided.append(Decided(difference, policy, Action.HOLD))
        else:
            decided.append(_decided(difference, policy, propose))
    return _collected(decided)


def deferred(decisions: Decisions, removals: Sequence[Difference]) -> Decisions:
    """The same without these removals: they wait."""
    places = {(each.object, each.key) for each in removals}
    waits = [(each.difference.object, each.difference.key) in places for each in decisions.decided]
    return _collected(
        [
            replace(each, action=Action.DEFER) if wait else each
            for each, wait in zip(decisions.decided, waits, strict=True)
        ]
    )


def _collected(decided: Sequence[Decided]) -> Decisions:
    writes: dict[str, tuple[Edit, ...]] = {}
    proposals: dict[str, tuple[Edit, ...]] = {}
    for each in decided:
        difference = each.difference
        to_live = each.merged if each.action is Action.MERGE else difference.desired
        to_git = each.merged if each.action is Action.MERGE else difference.live
        if each.action in (Action.WRITE, Action.MERGE):
            _add(writes, difference, to_live)
        if each.action in (Action.PROPOSE, Action.MERGE):
            _add(proposals, difference, to_git)
    written = [each.difference for each in decided if each.action in (Action.WRITE, Action.MERGE)]
    return Decisions(
        decided=tuple(decided),
        writes=writes,
        proposals=proposals,
        waiting=tuple(each.difference for each in decided if each.action is Action.WAIT),
        left=tuple(each.difference for each in decided if each.action not in (Action.WRITE, Action.MERGE)),
        kept_objects=frozenset(
            difference.object
            for difference in written
            if difference.case is not Case.DEPLOY and difference.live is not ABSENT
        ),
        removals=tuple(difference for difference in written if difference.desired is ABSENT),
    )


def _decided(difference: Difference, policy: Policy, propose: bool) -> Decided:
    if policy is Policy.IGNORE:
        return Decided(difference, policy, Action.LEAVE)
    if policy is Policy.CREATE_ONLY:
        return Decided(difference, policy, Action.WRITE if difference.live is ABSENT else Action.LEAVE)
    if difference.case is Case.DEPLOY:
        return Decided(difference, policy, Action.WRITE)
    action = TABLE[policy][difference.case]
    if action is Action.MERGE:
        merged = _merged(difference)
        return Decided(difference, policy, Action.WAIT if merged is None or not propose else action, merged)
    return Decided(difference, policy, Action.WAIT if action is Action.PROPOSE and not propose else action)


def _merged(difference: Difference) -> str | None:
    base, live, desired = difference.base, difference.live, difference.desired
    if isinstance(base, str) and isinstance(live, str) and isinstance(desired, str):
        return merge_text(base, live, desired)
    return None


def _add(edits: dict[str, tuple[Edit, ...]], difference: Difference, value: Any) -> None:
    edits[difference.object] = (*edits.get(difference.object, ()), edit(difference.key, value))


def _keys(key: Key, value: Any) -> Iterator[Key]:
    """The key, and those of everything below."""
    yield key
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _keys((*key, name), item)
