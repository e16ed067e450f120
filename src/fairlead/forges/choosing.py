"""The forge that a source names."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from fairlead.forges import gitea, github, gitlab
from fairlead.forges.pulls import Dialect, PullRequests
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.gitops import ForgeSpec

_PART: Final = re.compile(r"(?!\.{1,2}\Z)[\w.-]+", re.ASCII)
_PUBLIC: Final = {"github": github.PUBLIC, "gitlab": gitlab.PUBLIC, "gitea": gitea.PUBLIC}
_BELOW: Final = {"github": "/api/v3", "gitlab": "/api/v4", "gitea": "/api/v1"}
"""Where the API lies at an installation of one's own."""


def forge_of(spec: ForgeSpec, token: str) -> PullRequests:
    """`token` is what the spec's placeholder stands for. Raises ProblemError for what is no project."""
    parts = spec.project.split("/")
    deep = spec.kind == "gitlab"
    if len(parts) < 2 or (len(parts) > 2 and not deep) or not all(map(_PART.fullmatch, parts)):
        detail = f"`forge.project: {spec.project[:200]}` is not the name of a project: write it as owner/name"
        raise ProblemError(Problem("forge-project", "No project of a forge", detail, 422, Fault.CLIENT))
    return PullRequests(_base(spec), _dialect(spec), token)


def _dialect(spec: ForgeSpec) -> Dialect:
    match spec.kind:
        case "github":
            return github.GitHub(spec.project)
        case "gitlab":
            return gitlab.GitLab(spec.project)
        case "gitea":
            return gitea.Gitea(spec.project)


def _base(spec: ForgeSpec) -> str:
    """The API's base URL; people also give that of the installation."""
    if spec.url is None:
        return _PUBLIC[spec.kind]
    url = spec.url.rstrip("/")
    host_alone = urlsplit(url).path == ""
    return url + _BELOW[spec.kind] if host_alone and url != github.PUBLIC else url
