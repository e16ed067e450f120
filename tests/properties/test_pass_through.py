"""Whatever the SDK's types know passes through unharmed, and so does what nobody knows.

What must change is said here: URIs in merged endpoints, and what one era has and the other has not.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterable
from typing import Any

import mcp_types
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp_types import _v2025_11_25, _v2026_07_28

from support.lane_rig import lane_rig
from support.scripted import answer

TREACHEROUS = [
    "uri",
    '"taskId"',
    '"input_required"',
    '"isError":true',
    "resultType",
    "fairlead://s/x",
    "\u2028",
]
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12) | st.sampled_from(TREACHEROUS)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
UNKNOWN = st.dictionaries(TEXT.map("x-{}".format), JSON, max_size=2)
META = st.dictionaries(TEXT.map("vendor.example/{}".format), JSON, max_size=2)
URI = st.sampled_from(["file:///a b", "test://x/ü?q=1#f", "urn:x", "fairlead://s/own"])
BLOB = st.binary(max_size=8).map(lambda data: base64.b64encode(data).decode())
MIME = st.sampled_from(["text/plain", "image/png", "application/vnd.x+json; charset=utf-8"])
Tree = dict[str, Any]


def thing(required: dict[str, Any], /, **optional: Any) -> st.SearchStrategy[Tree]:
    """An object of the protocol; each may have members that nobody knows."""
    fixed = {
        name: value if isinstance(value, st.SearchStrategy) else st.just(value)
        for name, value in required.items()
    }
    known = st.fixed_dictionaries(fixed, optional=optional)
    return st.builds(lambda unknown, said: {**unknown, **said}, UNKNOWN, known)


ICONS = st.lists(
    thing(
        {"src": URI}, mimeType=MIME, sizes=st.just(["48x48", "any"]), theme=st.sampled_from(["light", "dark"])
    ),
    max_size=2,
)
ANNOTATIONS = thing(
    {},
    audience=st.just(["user"]),
    priority=st.sampled_from([0, 0.1, 1]),
    lastModified=st.just("2026-11-22T00:00:00Z"),
)
NAMED = {"title": TEXT, "description": TEXT, "icons": ICONS, "_meta": META}
CONTENTS = thing({"uri": URI, "text": TEXT}, mimeType=MIME, _meta=META) | thing(
    {"uri": URI, "blob": BLOB}, mimeType=MIME, _meta=META
)
LINK = thing(
    {"type": "resource_link", "uri": URI, "name": TEXT},
    **NAMED,
    mimeType=MIME,
    size=st.integers(0, 2**60),
    annotations=ANNOTATIONS,
)
BLOCK = st.one_of(
    thing({"type": "text", "text": TEXT}, annotations=ANNOTATIONS, _meta=META),
    thing({"type": "image", "data": BLOB, "mimeType": MIME}, annotations=ANNOTATIONS, _meta=META),
    thing({"type": "audio", "data": BLOB, "mimeType": MIME}, annotations=ANNOTATIONS, _meta=META),
    thing({"type": "resource", "resource": CONTENTS}, annotations=ANNOTATIONS, _meta=META),
    LINK,
)
STRUCTURED = st.dictionaries(TEXT, JSON | LINK, max_size=3)
SCHEMA = thing({"type": "object"}, properties=st.dictionaries(TEXT, st.just({"type": "string"}), max_size=2))
RESULTS = {
    "tools/call": thing(
        {"content": st.lists(BLOCK, max_size=3)},
        structuredContent=STRUCTURED,
        isError=st.booleans(),
        _meta=META,
    ),
    "prompts/get": thing(
        {
            "messages": st.lists(
                thing({"role": st.sampled_from(["user", "assistant"]), "content": BLOCK}), max_size=2
            )
        },
        description=TEXT,
        _meta=META,
    ),
    "resources/read": thing({"contents": st.lists(CONTENTS, max_size=2)}, _meta=META),
    "completion/complete": thing(
        {
            "completion": thing(
                {"values": st.lists(TEXT, max_size=2)}, total=st.integers(0, 9), hasMore=st.booleans()
            )
        },
        _meta=META,
    ),
}
ITEMS = {
    "tools": thing(
        {"name": "echo", "inputSchema": SCHEMA},
        **NAMED,
        outputSchema=SCHEMA,
        annotations=thing({}, title=TEXT, readOnlyHint=st.booleans(), openWorldHint=st.booleans()),
    ),
    "prompts": thing(
        {"name": "greet"},
        **NAMED,
        arguments=st.lists(thing({"name": TEXT}, required=st.booleans()), max_size=2),
    ),
    "resources": thing(
        {"name": TEXT, "uri": "test://one"},
        **NAMED,
        mimeType=MIME,
        size=st.integers(0, 2**60),
        annotations=ANNOTATIONS,
    ),
    "resourceTemplates": thing(
        {"name": TEXT, "uriTemplate": "test://{id}"}, **NAMED, mimeType=MIME, annotations=ANNOTATIONS
    ),
}
METHODS = {
    "tools": "tools/list",
    "prompts": "prompts/list",
    "resources": "resources/list",
    "resourceTemplates": "resources/templates/list",
}
ASKED = {
    "tools/call": {"name": "echo", "arguments": {}},
    "prompts/get": {"name": "greet"},
    "resources/read": {"uri": "test://one"},
    "completion/complete": {
        "ref": {"type": "ref/prompt", "name": "greet"},
        "argument": {"name": "a", "value": ""},
    },
}
MODELS = {
    "tools/call": "CallToolResult",
    "prompts/get": "GetPromptResult",
    "resources/read": "ReadResourceResult",
    "completion/complete": "CompleteResult",
}
HINTS = {"ttlMs": 0, "cacheScope": "private"}
SERVER_INFO = {"io.modelcontextprotocol/serverInfo": {"name": "scripted", "version": "1"}}
ERAS = st.sampled_from(["legacy", "modern"])
PATHS = st.sampled_from(["/mcp", "/servers/s/mcp"])


def server(era: str, items: dict[str, Tree], results: dict[str, Tree]) -> Callable[[Tree], Iterable[Tree]]:
    """A server that lists these items and answers with these results."""
    capabilities = {"tools": {}, "prompts": {}, "resources": {}, "completions": {}}
    modern = {"resultType": "complete"} if era == "modern" else {}
    lists = {method: {member: [items[member]]} for member, method in METHODS.items()}

    def script(message: Tree) -> Iterable[Tree]:
        method = message["method"]
        if "id" not in message:
            return []
        if method == ("initialize" if era == "legacy" else "server/discover"):
            about = {"serverInfo": {"name": "s", "version": "1"}, "protocolVersion": "2025-11-25"}
            more = about if era == "legacy" else {"supportedVersions": ["2026-07-28"], **modern, **HINTS}
            return [answer(message, capabilities=capabilities, **more)]
        if method in lists:
            return [answer(message, **lists[method], **modern, **(HINTS if modern else {}))]
        if method in results:
            return [answer(message, **results[method])]
        return [{"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": "no"}}]

    return script


def as_sent(era: str, method: str, tree: Tree) -> Tree:
    """The result as a server of this era says it."""
    if era == "legacy":
        return tree
    meta = {"_meta": {**tree.get("_meta", {}), **SERVER_INFO}}
    return {**tree, **meta, "resultType": "complete", **(HINTS if method == "resources/read" else {})}


def as_received(era: str, method: str, tree: Tree, path: str) -> Tree:
    """What must come of it at a client of this era."""
    own = ("resultType", *HINTS)
    tree = {name: value for name, value in tree.items() if name not in own}
    if era == "modern":
        tree = {**tree, "resultType": "complete", **(HINTS if method == "resources/read" else {})}
    if path != "/mcp":
        return tree
    if method == "tools/call":
        return {**tree, "content": [wrapped(block) for block in tree["content"]]}
    if method == "prompts/get":
        return {**tree, "messages": [{**m, "content": wrapped(m["content"])} for m in tree["messages"]]}
    if method == "resources/read":
        return {**tree, "contents": [wrapped(contents) for contents in tree["contents"]]}
    return tree


def wrapped(tree: Tree) -> Tree:
    """A content block or the contents of a resource in a merged endpoint."""
    if "resource" in tree:
        return {**tree, "resource": wrapped(tree["resource"])}
    return {**tree, "uri": f"fairlead://s/{tree['uri']}"} if "uri" in tree else tree


@settings(max_examples=100, deadline=None)
@given(data=st.data(), upstream=ERAS, downstream=ERAS, path=PATHS, method=st.sampled_from(sorted(RESULTS)))
def test_results_pass_through(data, upstream, downstream, path, method):
    tree = data.draw(RESULTS[method])
    sent = as_sent(upstream, method, tree)
    types = _v2025_11_25 if upstream == "legacy" else _v2026_07_28
    getattr(types, MODELS[method]).model_validate(sent)  # the SDK knows it
    items = {
        "tools": {"name": "echo", "inputSchema": {"type": "object"}},
        "prompts": {"name": "greet"},
        "resources": {"name": "one", "uri": "test://one"},
        "resourceTemplates": {"name": "t", "uriTemplate": "test://{id}"},
    }
    asked = dict(ASKED[method])
    if path == "/mcp" and "name" in asked:
        asked["name"] = f"s__{asked['name']}"
    if path == "/mcp" and "uri" in asked:
        asked["uri"] = f"fairlead://s/{asked['uri']}"
    if path == "/mcp" and "ref" in asked:
        asked["ref"] = {"type": "ref/prompt", "name": "s__greet"}

    async def run() -> Any:
        async with lane_rig(server(upstream, items, {method: sent})) as rig:
            return await rig.ask(downstream, method, asked, path)

    assert asyncio.run(run())["result"] == as_received(downstream, method, sent, path)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), upstream=ERAS, downstream=ERAS, path=PATHS)
def test_what_is_listed_passes_through(data, upstream, downstream, path):
    items = {member: data.draw(strategy) for member, strategy in ITEMS.items()}
    mcp_types.Tool.model_validate(items["tools"])  # the SDK knows them

    async def run() -> dict[str, Any]:
        async with lane_rig(server(upstream, items, {})) as rig:
            found = {}
            for member, method in METHODS.items():
                found[member] = (await rig.ask(downstream, method, {}, path))["result"][member]
            return found

    expected = {member: dict(item) for member, item in items.items()}
    if path == "/mcp":
        expected["tools"]["name"], expected["prompts"]["name"] = "s__echo", "s__greet"
        expected["resources"]["uri"] = "fairlead://s/test://one"
        expected["resourceTemplates"]["uriTemplate"] = "fairlead://s/test://{id}"
    assert asyncio.run(run()) == {member: [item] for member, item in expected.items()}


@settings(max_examples=100, deadline=None)
@given(
    arguments=st.dictionaries(TEXT, JSON, max_size=3),
    meta=META,
    unknown=UNKNOWN,
    upstream=ERAS,
    downstream=ERAS,
)
def test_what_clients_send_passes_through(arguments, meta, unknown, upstream, downstream):
    items = {"tools": {"name": "echo", "inputSchema": {"type": "object"}}, "prompts": {"name": "greet"}}
    items |= {
        "resources": {"name": "o", "uri": "test://one"},
        "resourceTemplates": {"name": "t", "uriTemplate": "t:{x}"},
    }
    meta = {**meta, "io.modelcontextprotocol/of-an-extension": {"a": 1}, "baggage": "a=1"}
    asked = {**unknown, "name": "s__echo", "arguments": arguments, "_meta": meta}

    async def run() -> Any:
        async with lane_rig(server(upstream, items, {"tools/call": {"content": []}})) as rig:
            await rig.ask(downstream, "tools/call", asked)
            return next(sent for sent in rig.link.sent if sent["method"] == "tools/call")["params"]

    sent = asyncio.run(run())
    told = sent.pop("_meta")
    assert sent == {**unknown, "name": "echo", "arguments": arguments}
    assert meta.items() <= told.items()


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_a_result_that_is_no_object_passes_through_as_it_is(era):
    items = {"tools": {"name": "echo", "inputSchema": {}}, "prompts": {"name": "greet"}}
    items |= {
        "resources": {"name": "o", "uri": "test://one"},
        "resourceTemplates": {"name": "t", "uriTemplate": "t:{x}"},
    }
    known = server("legacy", items, {})

    def script(message: Tree) -> Iterable[Tree]:
        if message["method"] == "tools/call":
            return [{"jsonrpc": "2.0", "id": message["id"], "result": [1, {"content": "x"}]}]
        return known(message)

    async with lane_rig(script) as rig:
        told = await rig.ask(era, "tools/call", {"name": "s__echo"})
        assert told["result"] == [1, {"content": "x"}]
