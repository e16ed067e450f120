"""What a toolset shows of one server."""

import time

import pytest

from fairlead.core.toolset import (
    complaints,
    exposed_tools,
    is_named,
    new_names,
    shows_prompt,
    shows_resource,
    shows_tool,
)
from fairlead.model.toolset import Toolset, ToolsetServer

TOOLS = ["read_file", "read_media", "write_file", "log"]


def exposed(taken=(), **choice):
    return exposed_tools(ToolsetServer(**choice), TOOLS, lambda tool: f"s__{tool}", taken)


@pytest.mark.parametrize(
    ("name", "globs", "expected"),
    [
        ("read_file", ("read_*",), True),
        ("read_file", ("write_*", "*_file"), True),
        ("read_file", ("read",), False),
        ("read_file", ("READ_FILE",), False),
        ("a", ("?",), True),
        ("ab", ("?",), False),
        ("file:///[x]/y", ("file:///[x]/*",), True),
        ("file:///x/y", ("file:///[x]/*",), False),
        ("two\nlines", ("two*",), True),
        ("anything", (), False),
        ("", ("*",), True),
    ],
)
def test_globs(name, globs, expected):
    assert is_named(name, globs) is expected


def test_a_glob_of_many_stars_takes_no_time():
    assert not is_named("a" * 5000, ("*a" * 200 + "b",))


def test_everything_is_shown_where_nothing_is_chosen():
    assert exposed() == {tool: f"s__{tool}" for tool in TOOLS}
    nothing = ToolsetServer()
    assert shows_prompt(nothing, "p")
    assert shows_resource(nothing, "x://1")


def test_tools_are_chosen_hidden_and_renamed():
    shown = exposed(tools=["read_*", "log"], hide=["*_media"], rename={"log": "history"})
    assert shown == {"read_file": "s__read_file", "log": "history"}
    assert exposed(tools=[]) == {}
    assert exposed(hide=True) == {}
    assert not shows_tool(ToolsetServer(tools=["log"], hide=["log"]), "log")


def test_who_chooses_tools_gets_prompts_and_resources_only_on_demand():
    chosen = ToolsetServer(tools=["*"])
    assert not shows_prompt(chosen, "p")
    assert not shows_resource(chosen, "x://1")
    asked = ToolsetServer(tools=["*"], prompts=True, resources=["x://*"])
    assert shows_prompt(asked, "p")
    assert shows_resource(asked, "x://1")
    assert not shows_resource(asked, "y://1")
    assert not shows_prompt(ToolsetServer(prompts=False), "p")


def test_a_usual_name_gives_way_to_a_new_one():
    shown = exposed(taken=["s__log", "kept"], rename={"read_file": "kept"})
    assert "log" not in shown
    assert shown["read_file"] == "kept"


def test_new_names():
    toolset = Toolset(servers={"a": {"rename": {"x": "y"}}, "*": {}})
    assert new_names(toolset) == {"y": ("a", "x")}
    assert toolset.choice("b") == ToolsetServer()
    assert Toolset(servers={"a": {}}).choice("b") is None
    assert Toolset(servers="*").choice("b") == ToolsetServer()


def test_what_has_no_effect_is_told():
    choice = ToolsetServer(
        tools=["read_*", "lgo", "*"],
        hide=["write_file", "x?"],
        rename={"gone": "a", "write_file": "b"},
        descriptions={"read_file": "fine", "nope": "x"},
        prompts=["greet", "*"],
        resources=["no://*"],
    )
    shown = exposed_tools(choice, TOOLS, lambda tool: tool, {"log"})
    assert list(complaints(choice, TOOLS, shown, ["hello"])) == [
        "tools: nothing there is named 'lgo'",
        "hide: nothing there is named 'x?'",
        "prompts: nothing there is named 'greet'",
        "rename: there is no tool 'gone'",
        "rename: the tool 'write_file' is not shown",
        "descriptions: there is no tool 'nope'",
        "the tool 'log' is not shown, since another one was given its name",
    ]
    assert list(complaints(ToolsetServer(), TOOLS, TOOLS, [])) == []


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("file:///docs/a.md", True),
        ("file:///docs/a..b/...", True),
        ("file:///docs/../secrets", False),
        ("file:///docs/..", False),
        ("file:///docs/x/..?y", False),
        ("file:///docs/%2E./secrets", False),
        ("file:///docs/.%2e%2Fsecrets", False),
        ("file:///docs/..\\secrets", False),
        ("file:///other", False),
    ],
)
def test_a_uri_does_not_climb_out_of_what_was_chosen(uri, shown):
    assert shows_resource(ToolsetServer(resources=("file:///docs/*",)), uri) is shown
    assert shows_resource(ToolsetServer(resources=True), uri), "who shows all has chosen nothing"


def test_thousands_of_whole_names_take_no_time():
    many = [f"tool_number_{number}" for number in range(5000)]
    choice = ToolsetServer(tools=many[:2500], hide=["nothing_here"])
    began = time.process_time()
    assert list(exposed_tools(choice, many, str, ())) == many[:2500]
    assert list(complaints(choice, set(many), set(many[:2500]), ())) == [
        "hide: nothing there is named 'nothing_here'"
    ]
    assert time.process_time() - began < 4.0, "the event loop waits"
