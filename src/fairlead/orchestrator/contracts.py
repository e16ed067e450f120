"""Holds tools to the contracts in the lock file: the defence against a server that was trusted and turns.

The keeper has the lock's contracts and the fleet's policy. Each pool has its own `ToolContracts`, through
which every list passes that its server shows (everybody's, and those of single profiles): it notes what is
not as locked, says so in a condition, and takes out what is withheld, so that views, searches and balancing
never see it. What was offered is kept, to be judged again when the lock or the policy changes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog

from fairlead.core.contracts import Contracts, LockedContracts, ToolChange, ToolDifference, compare
from fairlead.core.visible import visible
from fairlead.mcp.contracts import contract_of, digest_of, tool_digest
from fairlead.mcp.errors import INVALID_PARAMS, McpError
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.fleet import ContractPolicy
from fairlead.model.status import Condition, ContractChange
from fairlead.orchestrator.catalogue import Catalogue, Item

if TYPE_CHECKING:
    from fairlead.orchestrator.pool import ServerPool

PROBLEM: Final = "contract-changed"
MOST_NAMED: Final = 8  # tools in a message, and parts of one
MOST_PARTS: Final = 50  # of one tool in the status
LONGEST: Final = 200  # characters of a name that comes from a server
MEND: Final = "see what is different with `fairlead lock --update`, which also accepts it"
LOG = structlog.get_logger("fairlead.contracts")


class ContractKeeper:
    """Of one fleet. Contracts that cannot be read are None: then nobody knows what a tool should be."""

    def __init__(self) -> None:
        self.policy = ContractPolicy.FLAG  # of servers that have none of their own
        self._locked: LockedContracts | None = {}
        self._digests: dict[str, dict[str, str]] = {}

    def __repr__(self) -> str:
        locked = "unreadable" if self._locked is None else list(self._locked)
        return f"<ContractKeeper {self.policy} {locked}>"

    def take(self, locked: LockedContracts | None) -> None:
        """What the lock file says now."""
        self._locked = locked
        self._digests = {
            server: {tool: digest_of(contract) for tool, contract in contracts.items()}
            for server, contracts in (locked or {}).items()
        }

    @property
    def readable(self) -> bool:
        return self._locked is not None

    def digests(self, server: str) -> Mapping[str, str] | None:
        """The digests of a server's locked tools; None when it has none."""
        return self._digests.get(server)

    def differences(self, server: str, tools: Iterable[Item]) -> dict[str, ToolDifference]:
        """Of a server's tools those that are not as locked; none of a server that has no locked contracts."""
        if self._locked is None:
            return {item.key: ToolDifference(item.key, ToolChange.NEW) for item in tools}
        digests = self._digests.get(server)
        if digests is None:
            return {}
        others = {item.key: item.raw for item in tools if digests.get(item.key) != tool_digest(item.raw)}
        contracts = self._locked[server]
        locked: Contracts = {tool: contracts[tool] for tool in others if tool in contracts}
        found = compare(locked, {tool: contract_of(raw) for tool, raw in others.items()})
        return {each.tool: each for each in found}


class ToolContracts:
    """Of one pool. `changed` is called when there is something else to say."""

    def __init__(self, pool: ServerPool, keeper: ContractKeeper, changed: Callable[[], None]) -> None:
        self.condition = _condition(True, "NothingLocked", "", time.time())
        self.changes: list[ContractChange] = []
        self._pool = pool
        self._keeper = keeper
        self._changed = changed
        self._offered: dict[str, Catalogue] = {}  # by the key of a profile; "" is everybody's
        self._found: dict[str, dict[str, ToolDifference]] = {}
        self._judged_by = self._rules()

    def __repr__(self) -> str:
        return f"<ToolContracts {self._policy} {sorted(self._all_found())}>"

    @property
    def _server(self) -> str:
        return self._pool.spec.id

    @property
    def _policy(self) -> ContractPolicy:
        return self._pool.spec.tool_contracts or self._keeper.policy

    def _rules(self) -> tuple[ContractPolicy, bool, Mapping[str, str] | None]:
        return self._policy, self._keeper.readable, self._keeper.digests(self._server)

    # -- lists pass through ------------------------------------------------------------------------------

    def offered(self, profile: str = "") -> Catalogue:
        """What the server shows to clients of this profile, whatever is withheld of it."""
        return self._offered.get(profile) or Catalogue()

    def admit(self, catalogue: Catalogue, profile: str = "") -> Catalogue:
        """What clients of this profile may see of what the server offers them."""
        self._judged_by = self._rules()
        found = self._keeper.differences(self._server, catalogue.items("tools"))
        self._offered[profile], self._found[profile] = catalogue, found
        self._tell()
        if not found or self._policy is not ContractPolicy.WITHHOLD:
            return catalogue
        kept = tuple(item for item in catalogue.items("tools") if item.key not in found)
        return replace(catalogue, lists={**catalogue.lists, "tools": kept})

    def forget_profiles(self) -> None:
        """There is a new version; what it offers to single profiles is not known."""
        self._offered = {"": self.offered()}
        self._found = {"": self._found.get("", {})}
        self._tell()

    def judge_again(self) -> None:
        """The lock or the policy may say something else than when the lists were judged."""
        if self._judged_by != self._rules():
            self._pool.show_lists(self.offered())
            self._pool.exclusive.lists.judge_tools()

    # -- calls -------------------------------------------------------------------------------------------

    @property
    def withheld(self) -> list[str]:
        """The server's own names of its tools that are not shown."""
        return list(self._all_found()) if self._policy is ContractPolicy.WITHHOLD else []

    def refusal(self, tool: str, profile: str | None = None) -> McpError | None:
        """Why a tool cannot be called, if it is withheld (of one profile's tools, or else of any's).

        A name that is neither listed nor locked counts as a new tool: a server may answer to it all the same.
        """
        digests = self._keeper.digests(self._server)
        if self._policy is not ContractPolicy.WITHHOLD or (digests is None and self._keeper.readable):
            return None
        found = self._all_found() if profile is None else self._found.get(profile, self._found.get("", {}))
        difference = found.get(tool)
        if difference is None:
            if tool in (digests or ()):
                return None
            difference = ToolDifference(tool, ToolChange.NEW)
        return self._refusal(difference)

    def _refusal(self, difference: ToolDifference) -> McpError:
        change = _change(difference, withheld=True)
        if not self._keeper.readable:
            why = "the lock file with its contract cannot be read; the log says why"
        elif difference.change is ToolChange.NEW:
            why = f"it is new, its contract is not locked; {MEND}"
        else:
            why = f"its contract has changed: {_named(change.parts)}; {MEND}"
        data = {
            "problem": PROBLEM,
            "server": self._server,
            "tool": change.tool,
            "change": change.change,
            "impact": change.impact,
            "parts": change.parts[:MOST_NAMED],
        }
        return McpError(INVALID_PARAMS, f"Tool withheld: {change.tool} of {self._server}: {why}", data)

    def require(self, tool: object, profile: str) -> None:
        """Refuse, with ProblemError, a tool that is withheld."""
        refused = self.refusal(tool, profile) if isinstance(tool, str) else None
        if refused is not None:
            extra = {name: value for name, value in refused.data.items() if name != "problem"}
            raise ProblemError(
                Problem(PROBLEM, "Tool withheld", refused.message, 409, Fault.UPSTREAM, extra=extra)
            )

    # -- telling -----------------------------------------------------------------------------------------

    def _all_found(self) -> dict[str, ToolDifference]:
        """Over all profiles; everybody's come first."""
        found: dict[str, ToolDifference] = {}
        for profile in sorted(self._found):
            found = self._found[profile] | found
        return found

    def _tell(self) -> None:
        policy, found = self._policy, self._all_found()
        withheld = policy is ContractPolicy.WITHHOLD
        changes = [_change(found[tool], withheld=withheld) for tool in sorted(found)]
        status, reason, message = self._fact(policy, changes)
        before = self.condition
        same = (before.status, before.reason) == (status, reason)
        since = before.since if same else time.time()
        self.condition = _condition(status, reason, message, since)
        known, self.changes = self.changes, changes
        log = LOG.debug if policy is ContractPolicy.SERVE else LOG.warning
        news = [change for change in changes if change not in known]
        for change in news:
            log(PROBLEM, server=self._server, policy=policy.value, **change.model_dump())
        if news:
            self._pool.events.contracts(policy.value, news)
        if self.condition != before or changes != known:
            self._changed()

    def _fact(self, policy: ContractPolicy, changes: list[ContractChange]) -> tuple[bool, str, str]:
        if not self._keeper.readable:
            return False, "LockUnreadable", "the lock file cannot be read; the log says why"
        digests = self._keeper.digests(self._server)
        if digests is None:
            return True, "NothingLocked", "all tools are served; `fairlead lock --update` locks them"
        if not changes:
            return True, "AsLocked", f"tools whose contracts are locked: {len(digests)}"
        names = _named([f"{change.tool} ({_named(change.parts) or change.change})" for change in changes])
        if policy is ContractPolicy.SERVE:
            return True, "NotHeld", f"not as locked, and served: {names}"
        how = "withheld" if policy is ContractPolicy.WITHHOLD else "served"
        return False, "ContractChanged", f"not as locked, and {how}: {names}; {MEND}"


def _change(difference: ToolDifference, *, withheld: bool) -> ContractChange:
    return ContractChange(
        tool=visible(difference.tool)[:LONGEST],
        change=difference.change.value,
        impact=difference.impact.value,
        parts=[visible(part)[:LONGEST] for part in difference.parts[:MOST_PARTS]],
        withheld=withheld,
    )


def _condition(status: bool, reason: str, message: str, since: float) -> Condition:
    return Condition(type="ContractsHeld", status=status, reason=reason, message=message, since=since)


def _named(names: Iterable[str]) -> str:
    """The first few."""
    all_ = list(names)
    more = f" and {len(all_) - MOST_NAMED} more" if len(all_) > MOST_NAMED else ""
    return ", ".join(all_[:MOST_NAMED]) + more
