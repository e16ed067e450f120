"""Gitea's dialect (API v1), which Forgejo speaks, too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from fairlead.forges.api import Request
from fairlead.forges.pulls import PAGE, Pull, pull_of

PUBLIC: Final = "https://gitea.com/api/v1"


@dataclass(frozen=True, slots=True)
class Gitea:
    """Implements `pulls.Dialect` for `owner/name`."""

    project: str

    def headers(self, token: str) -> dict[str, str]:
        return {"Authorization": f"token {token}"}

    def listing(self, branch: str, onto: str | None, page: int) -> Request:
        """All that are open: it cannot look for a branch of which nobody says where it is to go."""
        query = {"state": "open", "limit": str(PAGE), "page": str(page)}
        return Request("GET", self._pulls, query | ({"base_branch": onto} if onto else {}))

    def pull(self, item: Any, branch: str, onto: str | None) -> Pull | None:
        match item:
            case {"head": {"ref": str(ref), "repo_id": here}, "base": {"ref": str(base), "repo_id": there}}:
                own = ref == branch and base == (onto or base) and here == there
                return pull_of(item, number="number", url="html_url") if own else None
        return None

    def creation(self, branch: str, onto: str, title: str, body: str) -> Request:
        asked = {"title": title, "head": branch, "base": onto, "body": body}
        return Request("POST", self._pulls, body=asked)

    def closing(self, number: int) -> Request:
        return Request("PATCH", f"{self._pulls}/{number}", body={"state": "closed"})

    @property
    def _pulls(self) -> str:
        return f"/repos/{self.project}/pulls"
