from __future__ import annotations

from fairlead.model.reports import ToolsetStatus

DOCS = ToolsetStatus(
    name="docs",
    description="For docs",
    mode="search",
    path="/toolsets/docs/mcp",
    servers=["filesystem"],
    tools=2,
    prompts=1,
    resources=3,
    templates=4,
    problems=["filesystem: hide: nothing there is named 'x'"],
)


async def test_none(http):
    assert (await http.get("/api/toolsets")).json() == {"toolsets": []}


async def test_all_of_them(http, behind):
    behind.fleet.shown_toolsets = [DOCS]
    assert (await http.get("/api/toolsets")).json() == {"toolsets": [DOCS.model_dump(by_alias=True)]}


async def test_only_with_a_token(stranger):
    assert (await stranger.get("/api/toolsets")).status_code == 401
