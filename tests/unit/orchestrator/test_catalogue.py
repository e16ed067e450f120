"""What is taken of a server's lists."""

import json

from msgspec import Raw

from fairlead.orchestrator.catalogue import Catalogue, Item, read_catalogue


def tool(name, header):
    properties = {"x": {"type": "string", "x-mcp-header": header}}
    return {"name": name, "inputSchema": {"type": "object", "properties": properties}}


class Listed:
    """An instance that only lists; `mirrors` as a modern server behind a URL does."""

    id = "s-1"

    def __init__(self, *tools, mirrors=True, capability="tools"):
        self.mirrors = mirrors
        self._tools = tools
        self._capability = capability

    def supports(self, capability):
        return capability == self._capability

    async def list_all(self, method, member, *, timeout):  # noqa: ASYNC109 - as the real one's
        return [Raw(json.dumps(each).encode()) for each in self._tools], None


async def test_tools_whose_annotations_are_wrong_are_left_out_over_http(capsys):
    listed = Listed(tool("good", "X"), tool("bad", "a b"), {"name": "plain"})
    catalogue = await read_catalogue(listed, timeout=1)
    assert [item.key for item in catalogue.items("tools")] == ["good", "plain"]
    said = capsys.readouterr().out
    assert "bad" in said
    assert "must be the name of an HTTP header" in said


async def test_over_stdio_they_stay_and_repeat_nothing():
    catalogue = await read_catalogue(Listed(tool("bad", "a b"), mirrors=False), timeout=1)
    assert [item.key for item in catalogue.items("tools")] == ["bad"]
    assert catalogue.mirrored("bad") == ()


async def test_a_server_without_tools_gets_no_list_of_them():
    assert (await read_catalogue(Listed(capability="none"), timeout=1)).lists == {}


def test_a_catalogue_knows_what_headers_repeat():
    catalogue = Catalogue({"tools": (Item("good", json.dumps(tool("good", "X")).encode()),)})
    assert [each.header for each in catalogue.mirrored("good")] == ["Mcp-Param-X"]
    assert catalogue.mirrored("other") == ()
    assert catalogue.mirrored(None) == ()
