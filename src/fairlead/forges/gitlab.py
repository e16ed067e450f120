"""GitLab's dialect (API v4): a pull request is a merge request there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from fairlead.forges.api import Request
from fairlead.forges.pulls import PAGE, Pull, pull_of

PUBLIC: Final = "https://gitlab.com/api/v4"


@dataclass(frozen=True, slots=True)
class GitLab:
    """Implements `pulls.Dialect` for `group/name`; groups may have groups."""

    project: str

    def headers(self, token: str) -> dict[str, str]:
        return {"PRIVATE-TOKEN": token}

    def listing(self, branch: str, onto: str | None, page: int) -> Request:
        query = {"state": "opened", "source_branch": branch, "per_page": str(PAGE), "page": str(page)}
        return Request("GET", self._requests, query | ({"target_branch": onto} if onto else {}))

    def pull(self, item: Any, branch: str, onto: str | None) -> Pull | None:
        match item:
            case {"source_branch": str(source), "target_branch": str(target)}:
                own = item.get("source_project_id") == item.get("target_project_id")
                fits = own and source == branch and target == (onto or target)
                return pull_of(item, number="iid", url="web_url") if fits else None
        return None

    def creation(self, branch: str, onto: str, title: str, body: str) -> Request:
        asked = {"title": title, "source_branch": branch, "target_branch": onto, "description": body}
        return Request("POST", self._requests, body=asked)

    def closing(self, number: int) -> Request:
        return Request("PUT", f"{self._requests}/{number}", body={"state_event": "close"})

    @property
    def _requests(self) -> str:
        return f"/projects/{quote(self.project, safe='')}/merge_requests"
