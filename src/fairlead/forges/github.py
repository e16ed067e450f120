"""GitHub's dialect (REST, 2022-11-28), also of GitHub Enterprise Server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from fairlead.forges.api import Request
from fairlead.forges.pulls import PAGE, Pull, pull_of

PUBLIC: Final = "https://api.github.com"
_VERSION: Final = "2022-11-28"


@dataclass(frozen=True, slots=True)
class GitHub:
    """Implements `pulls.Dialect` for `owner/name`."""

    project: str

    def headers(self, token: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {token}", "X-GitHub-Api-Version": _VERSION}

    def listing(self, branch: str, onto: str | None, page: int) -> Request:
        head = f"{self.project.partition('/')[0]}:{branch}"
        query = {"state": "open", "head": head, "per_page": str(PAGE), "page": str(page)}
        return Request("GET", self._pulls, query | ({"base": onto} if onto else {}))

    def pull(self, item: Any, branch: str, onto: str | None) -> Pull | None:
        match item:
            case {"head": {"ref": str(ref), "repo": {"full_name": str(name)}}, "base": {"ref": str(base)}}:
                own = ref == branch and base == (onto or base) and name.lower() == self.project.lower()
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
