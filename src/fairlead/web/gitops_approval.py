"""Who approves a deployment: a person, whom the history names.

The tokens of the service itself (`local`, for whoever can read the state folder, and `env`, that of
`FAIRLEAD_TOKEN`) are nobody in particular: a program has them as easily as a person, and whoever wrote the
commit could approve it by them. So they approve nothing, unless there is nobody else who could: on a machine
whose owner is the only one that may come in, the owner's word is all there is. Beside this holds what
`core.rollout` says: nobody approves a commit of their own, nor twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fairlead.access.keyring import RESERVED
from fairlead.access.roster import Roster
from fairlead.core.admission import AdmissionPolicy
from fairlead.model.access import Caller, Role
from fairlead.model.errors import Fault, Problem, ProblemError

NOBODY: Final = Problem(
    "approval-refused",
    "Not allowed",
    "an approval needs a person, and this token is the service's own: use a key of your principal "
    "(`fairlead key add`), or sign in",
    403,
    Fault.CLIENT,
)


class Approvers:
    """Of one service."""

    def __init__(self, roster: Roster | None, policy: Callable[[], AdmissionPolicy]) -> None:
        self._roster = roster
        self._policy = policy

    async def name_of(self, caller: Caller) -> str:
        """The person who asks. Raises ProblemError (403), StoreAwayError."""
        if caller.name in RESERVED and await self._are_others():
            raise ProblemError(NOBODY)
        return caller.name

    async def _are_others(self) -> bool:
        if self._policy().sign_in.issuer:  # whose people are not known here
            return True
        principals = [] if self._roster is None else await self._roster.principals()
        return any(
            each.role >= Role.OPERATOR and not each.disabled and not each.grants for each in principals
        )
