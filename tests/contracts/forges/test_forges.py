"""What every forge must do, against exchanges as the forges' API documentation shows them."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from fairlead.forges.choosing import forge_of
from fairlead.forges.pulls import PullRequests
from fairlead.model.errors import ProblemError
from fairlead.model.gitops import ForgeSpec
from fairlead.ports.gitops import Forge
from support.recorded_forge import RecordedForge

KINDS = ("github", "gitlab", "gitea")
BELOW = {"github": "/api/v3", "gitlab": "/api/v4", "gitea": "/api/v1"}
SECRET = "T0KEN"


@pytest.fixture(params=KINDS)
def recorded(request: pytest.FixtureRequest) -> dict[str, Any]:
    return json.loads(Path(__file__).with_name(f"{request.param}.json").read_text())


Replay = Callable[[str], AbstractContextManager[PullRequests]]


@pytest.fixture
def replay(recorded: dict[str, Any]) -> Replay:
    """Runs a forge that answers with the exchanges of that name, all of which must be used up."""

    @contextmanager
    def run(name: str) -> Any:
        below = BELOW[recorded["kind"]]
        with RecordedForge(list(recorded["exchanges"][name]), recorded["headers"], below) as server:
            spec = ForgeSpec(
                kind=recorded["kind"], url=server.address, project=recorded["project"], token="${T}"
            )
            yield forge_of(spec, SECRET)
        assert server.wrong == []
        assert server.exchanges == []

    return run


async def propose(forge: Forge, recorded: dict[str, Any]) -> str:
    return await forge.propose(**{name: recorded[name] for name in ("branch", "onto", "title", "body")})


@pytest.mark.parametrize("name", ["opened", "there already", "somebody was faster", "others only"])
async def test_a_proposal_gives_the_open_pull_request(replay: Replay, recorded: Any, name: str):
    with replay(name) as forge:
        assert await propose(forge, recorded) == recorded["expected"]["url"]


@pytest.mark.parametrize("name", ["withdrawn", "nothing to withdraw", "on the second page"])
async def test_withdrawing_closes_what_is_open(replay: Replay, recorded: Any, name: str):
    with replay(name) as forge:
        await forge.withdraw(recorded["branch"])


@pytest.mark.parametrize(
    ("name", "code", "told"),
    [
        ("nothing between the branches", "forge-refused", ""),
        ("wrong token", "forge-refused", "mend the forge's `token`"),
        ("no such project", "forge-refused", "mend `project` or `token`"),
        ("not an API", "forge-refused", "is `url` the one of the API"),
        ("too many requests", "forge-away", "it wants fewer requests"),
        ("broken", "forge-away", "status 502"),
    ],
)
async def test_what_the_forge_refuses_is_told(replay: Replay, recorded: Any, name: str, code: str, told: str):
    with replay(name) as forge, pytest.raises(ProblemError) as refused:
        await propose(forge, recorded)
    problem = refused.value.problem
    assert (problem.code, told in problem.detail) == (code, True), problem
    waits = {"too many requests": recorded["expected"]["wait"], "broken": 30.0}
    assert problem.retry_after == waits.get(name)
    if name == "nothing between the branches":
        assert problem.detail.endswith(f"with status 422: {recorded['expected']['said']}")


async def test_a_forge_that_is_away(recorded: dict[str, Any]):
    with RecordedForge([], {}) as server:
        spec = ForgeSpec(kind=recorded["kind"], url=server.address, project=recorded["project"], token="${T}")
    forge = forge_of(spec, SECRET)
    for attempt in (propose(forge, recorded), forge.withdraw("b")):
        with pytest.raises(ProblemError) as away:
            await attempt
        assert (away.value.problem.code, away.value.problem.retry_after) == ("forge-away", 30.0)
        assert SECRET not in str(away.value)
    assert SECRET not in repr(forge)


@pytest.mark.parametrize("answer", [{}, {"head": 1}, {"number": 1}, [], None, "x"])
async def test_an_answer_that_is_none_is_no_pull_request(recorded: dict[str, Any], answer: Any):
    request = recorded["exchanges"]["opened"]
    listing, creation = json.loads(json.dumps(request))
    creation["response"]["body"] = answer
    exchanges = [listing, creation, listing]
    with RecordedForge(exchanges, {}, BELOW[recorded["kind"]]) as server:
        spec = ForgeSpec(kind=recorded["kind"], url=server.address, project=recorded["project"], token="${T}")
        with pytest.raises(ProblemError, match="not what its API promises"):
            await propose(forge_of(spec, SECRET), recorded)


@pytest.mark.parametrize("project", ["config", "a/../b", "a/", "/a", "a b/c", "a/b?x", "a/b/..", ""])
def test_what_is_no_project_is_refused(project: str):
    for kind in KINDS:
        with pytest.raises(ProblemError, match="owner/name"):
            forge_of(ForgeSpec(kind=kind, project=project, token="t"), SECRET)


def test_only_gitlab_has_groups_in_groups():
    forge_of(ForgeSpec(kind="gitlab", project="a/b/c", token="t"), SECRET)
    for kind in ("github", "gitea"):
        with pytest.raises(ProblemError):
            forge_of(ForgeSpec(kind=kind, project="a/b/c", token="t"), SECRET)


@pytest.mark.parametrize(
    ("kind", "url", "base"),
    [
        ("github", None, "https://api.github.com"),
        ("github", "https://api.github.com/", "https://api.github.com"),
        ("github", "https://git.corp.example", "https://git.corp.example/api/v3"),
        ("gitlab", None, "https://gitlab.com/api/v4"),
        ("gitlab", "https://git.corp.example/gitlab/api/v4", "https://git.corp.example/gitlab/api/v4"),
        ("gitea", "https://git.corp.example/", "https://git.corp.example/api/v1"),
    ],
)
def test_where_the_api_is(kind: Any, url: str | None, base: str):
    forge = forge_of(ForgeSpec(kind=kind, url=url, project="a/b", token="t"), SECRET)
    assert f"{base!r}" in repr(forge)
