"""What of a server's items a toolset shows, and under which names. Pure, over names alone."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import lru_cache

from fairlead.model.toolset import Toolset, ToolsetServer


@lru_cache(maxsize=1024)
def _pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    """`*` and `?` alone are special: URIs have brackets of their own."""
    return re.compile("|".join(fnmatch.translate(name.replace("[", "[[]")) for name in names) or r"(?!)")


def is_named(name: str, names: tuple[str, ...]) -> bool:
    return _pattern(names).match(name) is not None


def shows_tool(choice: ToolsetServer, tool: str) -> bool:
    return (choice.tools is None or is_named(tool, choice.tools)) and not is_named(tool, choice.hide)


def shows_prompt(choice: ToolsetServer, prompt: str) -> bool:
    return _shows_other(choice, choice.prompts, prompt)


def shows_resource(choice: ToolsetServer, uri: str) -> bool:
    """Also of a template's URI, and of one that is to be read."""
    return _shows_other(choice, choice.resources, uri)


def _shows_other(choice: ToolsetServer, names: tuple[str, ...] | None, key: str) -> bool:
    """What is not a tool: where tools are chosen, it must be asked for."""
    return choice.tools is None if names is None else is_named(key, names)


def new_names(toolset: Toolset) -> dict[str, tuple[str, str]]:
    """Each name that a rename gives, with the server and its tool; no other tool may have one of them."""
    return {
        new: (server, tool)
        for server, choice in toolset.servers.items()
        for tool, new in choice.rename.items()
    }


def exposed_tools(
    choice: ToolsetServer,
    tools: Sequence[str],
    usual: Callable[[str], str],
    taken: Collection[str],
) -> dict[str, str]:
    """The tools that are shown, each with its name in the toolset; no name comes twice.

    `usual` gives the name of a tool that is not renamed; where that is `taken` (a new name of another tool),
    the tool is left out.
    """
    shown = {}
    for tool in tools:
        if not shows_tool(choice, tool):
            continue
        name = choice.rename.get(tool)
        if name is not None or usual(tool) not in taken:
            shown[tool] = name or usual(tool)
    return shown


def complaints(
    choice: ToolsetServer, tools: Collection[str], shown: Collection[str], prompts: Collection[str]
) -> Iterator[str]:
    """What of a choice has no effect on a server with these tools and prompts, in words for a person."""
    for key, names, known in (
        ("tools", choice.tools, tools),
        ("hide", choice.hide, tools),
        ("prompts", choice.prompts, prompts),
    ):
        for name in names or ():
            if name != "*" and not any(is_named(each, (name,)) for each in known):
                yield f"{key}: nothing there is named {name!r}"
    for key, said in (("rename", choice.rename), ("descriptions", choice.descriptions)):
        for tool in said:
            if tool not in tools:
                yield f"{key}: there is no tool {tool!r}"
            elif not shows_tool(choice, tool):
                yield f"{key}: the tool {tool!r} is not shown"
    for tool in tools:
        if shows_tool(choice, tool) and tool not in shown:
            yield f"the tool {tool!r} is not shown, since another one was given its name"
