"""What of a server's items a toolset shows, and under which names. Pure, over names alone."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import lru_cache
from typing import Final

from fairlead.model.toolset import Toolset, ToolsetServer

_CLIMBS: Final = re.compile(r"(?:^|[/\\]|%2f|%5c)(?:\.|%2e){2}(?:[/\\?#]|%2f|%5c|$)", re.IGNORECASE)
"""A part of a URI that leads out of what stands before it."""


@lru_cache(maxsize=1024)
def _namer(names: tuple[str, ...]) -> Callable[[str], bool]:
    """`*` and `?` alone are special: URIs have brackets of their own. Whole names, of which there may be
    thousands, are looked up."""
    whole = frozenset(name for name in names if not _is_glob(name))
    globs = [name.replace("[", "[[]") for name in names if _is_glob(name)]
    pattern = re.compile("|".join(map(fnmatch.translate, globs)) or r"(?!)")
    return lambda name: name in whole or pattern.match(name) is not None


def _is_glob(name: str) -> bool:
    return "*" in name or "?" in name


def is_named(name: str, names: tuple[str, ...]) -> bool:
    return _namer(names)(name)


def shows_tool(choice: ToolsetServer, tool: str) -> bool:
    return _shower(choice)(tool)


def _shower(choice: ToolsetServer) -> Callable[[str], bool]:
    """Which tools are shown; made once for many tools."""
    wanted = _namer(("*",) if choice.tools is None else choice.tools)
    hidden = _namer(choice.hide)
    return lambda tool: wanted(tool) and not hidden(tool)


def shows_prompt(choice: ToolsetServer, prompt: str) -> bool:
    return _shows_other(choice, choice.prompts, prompt)


def shows_resource(choice: ToolsetServer, uri: str) -> bool:
    """Also of a template's URI, and of one that is to be read. `docs/*` does not mean `docs/../secrets`."""
    chosen = choice.resources
    if chosen is not None and "*" not in chosen and _CLIMBS.search(uri):
        return False
    return _shows_other(choice, chosen, uri)


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
    shown, shows = {}, _shower(choice)
    for tool in tools:
        if not shows(tool):
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
            if name == "*" or name in known:
                continue
            if not _is_glob(name) or not any(map(_namer((name,)), known)):
                yield f"{key}: nothing there is named {name!r}"
    shows = _shower(choice)
    for key, said in (("rename", choice.rename), ("descriptions", choice.descriptions)):
        for tool in said:
            if tool not in tools:
                yield f"{key}: there is no tool {tool!r}"
            elif not shows(tool):
                yield f"{key}: the tool {tool!r} is not shown"
    for tool in tools:
        if shows(tool) and tool not in shown:
            yield f"the tool {tool!r} is not shown, since another one was given its name"
