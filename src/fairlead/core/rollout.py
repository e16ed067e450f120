"""The life of a deployment, as tables; who may approve one; which commit is next. Pure.

An illegal move is a bug and raises.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from email.utils import parseaddr
from typing import Final

from fairlead.core.lifecycle import IllegalTransitionError
from fairlead.model.gitops import Application, Environment
from fairlead.model.reconciling import DeploymentState, StepName

_D, _S = DeploymentState, StepName

TRANSITIONS: Final[dict[DeploymentState, frozenset[DeploymentState]]] = {
    _D.PENDING: frozenset({_D.RUNNING, _D.SUPERSEDED, _D.CANCELLED, _D.FAILED}),
    _D.RUNNING: frozenset({_D.WAITING, _D.SUCCEEDED, _D.FAILED, _D.ROLLED_BACK, _D.SUPERSEDED, _D.CANCELLED}),
    _D.WAITING: frozenset({_D.RUNNING, _D.SUPERSEDED, _D.CANCELLED, _D.FAILED}),
    _D.SUCCEEDED: frozenset(),
    _D.FAILED: frozenset(),
    _D.ROLLED_BACK: frozenset(),
    _D.SUPERSEDED: frozenset(),
    _D.CANCELLED: frozenset(),
}

ENDED: Final = frozenset(state for state, targets in TRANSITIONS.items() if not targets)

STEPS: Final[dict[StepName | None, frozenset[StepName]]] = {
    None: frozenset({_S.FETCH}),
    _S.FETCH: frozenset({_S.VERIFY}),
    _S.VERIFY: frozenset({_S.PLAN, _S.ROLL_BACK}),
    _S.PLAN: frozenset({_S.GATE, _S.FINISH, _S.ROLL_BACK}),
    _S.GATE: frozenset({_S.PLAN, _S.APPLY, _S.FINISH, _S.ROLL_BACK}),
    _S.APPLY: frozenset({_S.PLAN, _S.HEALTH, _S.ROLL_BACK}),
    _S.HEALTH: frozenset({_S.APPLY, _S.FINISH, _S.ROLL_BACK}),
    _S.FINISH: frozenset(),
    _S.ROLL_BACK: frozenset(),
}
"""Which steps may follow one; None is the beginning. Each wave is an APPLY and a HEALTH; what has changed
meanwhile is planned again; where nothing is to be done, it is finished. What was written before an
interruption is taken back from wherever it goes on."""


def move(current: DeploymentState, target: DeploymentState) -> DeploymentState:
    """`target`, if the table allows it from `current`."""
    if target not in TRANSITIONS[current]:
        raise IllegalTransitionError(f"a deployment cannot go from {current} to {target}")
    return target


def step(current: StepName | None, following: StepName) -> StepName:
    """`following`, if the table allows it after `current`."""
    if following not in STEPS[current]:
        raise IllegalTransitionError(f"a deployment's {following} cannot follow {current or 'its beginning'}")
    return following


def diagram() -> str:
    """The states as a Mermaid diagram, for the docs."""
    lines = ["stateDiagram-v2", f"    [*] --> {_D.PENDING}"]
    for state, targets in TRANSITIONS.items():
        lines += [f"    {state} --> {target}" for target in DeploymentState if target in targets]
        if not targets:
            lines.append(f"    {state} --> [*]")
    return "\n".join(lines)


def promotes(source: Application, target: Application) -> str:
    """Why a commit cannot be promoted from one application to the other; empty if it can."""
    order = tuple(Environment)
    if target.promoted_from != source.name:
        return f"{target.name} takes no commits of {source.name}: set its `promotedFrom` to {source.name}"
    if order.index(source.environment) >= order.index(target.environment):
        return f"{target.environment} does not come after {source.environment}: {' -> '.join(order)}"
    return ""


def approval_refusal(actor: str, author: str, approved_by: Collection[str]) -> str:
    """Why an approval does not count; empty if it does. `author` is the commit's, `Name <address>`."""
    if not actor:
        return "an approval needs a person: sign in"
    if is_author(actor, author):
        return "nobody approves a commit of their own: ask somebody else"
    if any(_folded(actor) == _folded(each) for each in approved_by):
        return f"{actor} has approved it already"
    return ""


def approvals_lacking(needed: int, author: str, approved_by: Iterable[str]) -> int:
    """How many more persons must approve. Nobody counts twice, and the author not at all."""
    counted = {_folded(each) for each in approved_by if each and not is_author(each, author)}
    return max(0, needed - len(counted))


def is_author(actor: str, author: str) -> bool:
    """Whether somebody is the author: by name, by address, or by what is before its @."""
    name, address = parseaddr(author)
    own = parseaddr(actor)[1] if "@" in actor else actor
    local = address.partition("@")[0]
    return _folded(own) in {_folded(each) for each in (author, name, address, local) if each}


def next_commit(
    newest_first: Sequence[str], applied: str | None, is_blocked: Callable[[str], bool]
) -> str | None:
    """The newest commit that is not blocked; None where that is the applied one, or there is none.

    It never goes back behind the applied commit, which is in the list, or else counts as older than it.
    """
    for commit in newest_first:
        if commit == applied:
            return None
        if not is_blocked(commit):
            return commit
    return None


def _folded(text: str) -> str:
    return text.strip().casefold()
