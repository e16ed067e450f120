"""Toolsets in the fleet file: what they mean, and what is wrong in them, with place and remedy."""

import textwrap

import jsonschema
import pytest

from fairlead.model.fleet_schema import json_schema
from fairlead.model.toolset import ToolsetServer
from fairlead.stores.fleet_file import document, dump, load

FLEET = "servers: {fs: {command: x}, git: {command: y}}\n"


def problems(toolsets):
    found = load(FLEET + "toolsets:\n" + textwrap.indent(textwrap.dedent(toolsets), "  "), "f.yml")
    return found, [str(problem) for problem in found.problems]


def toolsets_of(text):
    found, told = problems(text)
    assert not told
    return found.spec.toolsets


def test_all_that_can_be_said():
    made = toolsets_of("""\
        docs:
          description: For docs
          mode: search
          servers:
            fs:
              tools: [read_*, 404]
              hide: [read_media]
              rename: {read_file: read}
              descriptions: {read_file: Reads.}
              prompts: true
              resources: ["file:*"]
            "*": {}
        """)
    toolset = made["docs"]
    assert (toolset.description, toolset.mode) == ("For docs", "search")
    assert toolset.servers["fs"] == ToolsetServer(
        tools=("read_*", "404"),
        hide=("read_media",),
        rename={"read_file": "read"},
        descriptions={"read_file": "Reads."},
        prompts=("*",),
        resources=("file:*",),
    )
    assert toolset.servers["*"] == ToolsetServer()


@pytest.mark.parametrize("servers", ['"*"', '{"*": {}}', '{"*": }', "{'*': ~}"])
def test_everything_of_every_server(servers):
    found, told = problems(f"all: {{servers: {servers}}}")
    if found.spec is None:
        assert "a mapping is wanted here, not nothing" in told[0]
    else:
        assert found.spec.toolsets["all"].servers == {"*": ToolsetServer()}


def test_they_are_written_and_read_again():
    text = FLEET + 'toolsets: {a: {servers: "*"}, b: {mode: search, servers: {fs: {prompts: false}}}}'
    spec = load(text, "f.yml").spec
    assert load(dump(spec), "again").spec == spec
    written = document(spec)["toolsets"]
    assert written == {
        "a": {"servers": {"*": {}}},
        "b": {"mode": "search", "servers": {"fs": {"prompts": []}}},
    }
    jsonschema.validate(document(spec), json_schema())
    jsonschema.validate(
        {"servers": {}, "toolsets": {"a": {"servers": "*"}, "b": {"servers": {"x": {"tools": True}}}}},
        json_schema(),
    )
    for wrong in (
        {},
        {"servers": ["fs"]},
        {"servers": {"fs": {"tools": "x"}}},
        {"servers": "*", "mode": "x"},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"servers": {}, "toolsets": {"a": wrong}}, json_schema())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "a: {servers: {gitt: {}}}",
            "f.yml:3:17: error: toolsets.a.servers.gitt: there is no such server; did you mean 'git'?",
        ),
        (
            "a: {servers: {nobody: {}}}",
            "f.yml:3:17: error: toolsets.a.servers.nobody: there is no such server; there are: fs, git",
        ),
        (
            "My Tools: {servers: '*'}",
            "f.yml:3:3: error: toolsets.'My Tools': 'My Tools' cannot be a toolset's name; it has 1 to 32 of "
            "a-z, 0-9 and -, and does not start with -: write my-tools",
        ),
        ("a: {}", "f.yml:3:3: error: toolsets.a.servers: is missing; add `servers:`"),
        (
            "a: {servers: fs}",
            "f.yml:3:16: error: toolsets.a.servers: a mapping is wanted here, not a text; "
            "write lines of `key: value` below it",
        ),
        (
            "a: {servers: '*', mode: serch}",
            "f.yml:3:27: error: toolsets.a.mode: 'serch' is not known here; write search",
        ),
        (
            "a: {servers: {fs: {tool: [x]}}}",
            "f.yml:3:22: error: toolsets.a.servers.fs.tool: unknown key; did you mean 'tools'?",
        ),
        (
            "a: {servers: {fs: {tools: read_file}}}",
            "f.yml:3:29: error: toolsets.a.servers.fs.tools: a list is wanted here, not a text; "
            "write lines of `- item` below it, or [item, item]",
        ),
        (
            "a: {servers: {fs: {rename: {x: 'a b'}}}}",
            "f.yml:3:34: error: toolsets.a.servers.fs.rename.x: has a character that cannot stand here, "
            "or is too long; it must match ^[A-Za-z0-9_.-]{1,64}$",
        ),
        (
            "a: {servers: {fs: {rename: {x: n}}, git: {rename: {y: n}}}}",
            "f.yml:3:57: error: toolsets.a.servers.git.rename.y: 'n' is taken: fs's 'x' has it; "
            "give each tool of a toolset its own name",
        ),
        (
            "a: {mode: search, servers: {fs: {rename: {x: call_tool}}}}",
            "f.yml:3:48: error: toolsets.a.servers.fs.rename.x: 'call_tool' is taken: the search itself "
            "has it; give each tool of a toolset its own name",
        ),
        (
            "a: {servers: {'*': {rename: {x: n}}}}",
            "f.yml:3:23: error: toolsets.a.servers.'*'.rename: a new name is for one server's tool; "
            "name the server beside '*'",
        ),
    ],
)
def test_an_error_says_where_what_and_how_to_mend_it(text, expected):
    assert problems(text)[1] == [expected]


def test_two_toolsets_may_give_the_same_name():
    assert toolsets_of("""\
        a: {servers: {fs: {rename: {x: n}}}}
        b: {servers: {fs: {rename: {x: n, y: search_tools}}}}
        """)
