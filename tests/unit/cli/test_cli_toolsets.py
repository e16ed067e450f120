import json

import pytest

from support.rest_service import RestService

TOOLSETS = {
    "toolsets": [
        {
            "name": "docs",
            "description": "For\n\tdocs\x1b[2J",
            "mode": "list",
            "path": "/toolsets/docs/mcp",
            "servers": ["context7", "filesystem"],
            "tools": 6,
            "prompts": 0,
            "resources": 2,
            "templates": 1,
            "problems": ["filesystem: hide: nothing there is named 'x'"],
        },
        {
            "name": "find",
            "description": "",
            "mode": "search",
            "path": "/toolsets/find/mcp",
            "servers": [],
            "tools": 0,
            "prompts": 0,
            "resources": 0,
            "templates": 0,
            "problems": [],
        },
    ]
}


@pytest.fixture
def serving(service: RestService) -> RestService:
    service.answers["GET /api/toolsets"] = (200, TOOLSETS)
    return service


def test_they_are_listed_with_their_problems(fairlead, serving: RestService):
    lines = fairlead("toolsets").output.splitlines()
    assert [line.split() for line in lines] == [
        ["TOOLSET", "MODE", "TOOLS", "PROMPTS", "RESOURCES", "SERVERS"],
        ["docs", "list", "6", "0", "3", "context7,", "filesystem", "For", "docs"],
        ["find", "search", "0", "0", "0", "-"],
        ["!", "docs:", "filesystem:", "hide:", "nothing", "there", "is", "named", "'x'"],
    ]
    assert json.loads(fairlead("toolsets", "--json").output) == TOOLSETS


def test_there_are_none(fairlead, service: RestService):
    service.answers["GET /api/toolsets"] = (200, {"toolsets": []})
    assert fairlead("toolsets").output == "no toolsets: the fleet file has none under `toolsets`\n"


def test_without_a_running_system(fairlead):
    assert fairlead("toolsets").exit_code == 1


def test_a_client_is_connected_to_one(fairlead, serving: RestService):
    url = f"{serving.address}/toolsets/docs/mcp"
    result = fairlead("connect", "claude", "--toolset", "docs")
    assert f"claude mcp add --transport http fairlead-docs {url} --header" in result.stdout
    entry = json.loads(fairlead("connect", "claude", "--toolset", "docs", "--print-json").stdout)
    assert entry["mcpServers"]["fairlead-docs"]["url"] == url
    document = json.loads(fairlead("connect", "claude", "--toolset", "find", "--json").stdout)
    assert document["url"] == f"{serving.address}/toolsets/find/mcp"


def test_one_that_is_not_there_is_refused(fairlead, serving: RestService):
    result = fairlead("connect", "claude", "--toolset", "nope")
    assert result.exit_code == 2
    assert "no toolset 'nope'; there are: docs, find" in result.stderr


def test_a_name_that_cannot_be_is_wrong_usage(fairlead):
    result = fairlead("connect", "claude", "--toolset", "../x")
    assert result.exit_code == 2
    assert "cannot be a toolset's name" in result.stderr


def test_before_the_system_runs_any_name_is_taken(fairlead):
    assert "/toolsets/later/mcp" in fairlead("connect", "claude", "--toolset", "later").stdout
