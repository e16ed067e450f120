"""Toolsets: named views that show a choice of the servers' tools, as the fleet spec has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from fairlead.model.spec_model import SpecModel

EVERY_SERVER: Final = "*"  # stands for all servers that a toolset does not name
SEARCH_TOOLS: Final = "search_tools"
CALL_TOOL: Final = "call_tool"


def _all_or_none(value: Any) -> Any:
    """`true` stands for all names, `false` for none."""
    return ("*",) * value if isinstance(value, bool) else value


def _every_server(value: Any) -> Any:
    """`"*"` alone stands for everything of every server."""
    return {EVERY_SERVER: {}} if value == EVERY_SERVER else value


Glob = Annotated[str, Field(min_length=1, max_length=500)]
Names = Annotated[
    tuple[Glob, ...],
    BeforeValidator(_all_or_none),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {"type": "array", "items": {"type": "string"}}]}),
]
"""Names, in which `*` stands for any characters and `?` for one."""
NewName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]


def _or_every_server(schema: dict[str, Any]) -> None:
    """The schema of a mapping becomes that of a mapping or `"*"`."""
    kept = {key: schema.pop(key) for key in ("description",) if key in schema}
    mapping = dict(schema)
    schema.clear()
    schema.update(kept, anyOf=[{"const": EVERY_SERVER}, mapping])


class ToolsetServer(SpecModel):
    """What of one server a toolset shows. Names are the server's own, without its prefix."""

    tools: Names | None = None
    """Only these. Without it all; with it no prompts and resources, unless they are asked for."""
    hide: Names = ()
    """Tools that are not shown and cannot be called, whatever `tools` says."""
    rename: dict[str, NewName] = Field(default_factory=dict)
    """The exact names that tools have here instead of `server__tool`."""
    descriptions: dict[str, str] = Field(default_factory=dict)
    """Texts that stand in place of the tools' own descriptions."""
    prompts: Names | None = None
    """Without it all, or none where `tools` chooses."""
    resources: Names | None = None
    """By URI, templates among them, to be listed and read. Without it all, or none where `tools` chooses."""


class Toolset(SpecModel):
    """A named view at `/toolsets/{name}/mcp`."""

    description: str = ""
    """What it is for; clients are told."""
    mode: Literal["list", "search"] = "list"
    """`search` lists two tools, `search_tools` and `call_tool`, in place of all, for clients that drown."""
    servers: Annotated[
        dict[str, ToolsetServer],
        BeforeValidator(_every_server),
        Field(json_schema_extra=_or_every_server),
    ]
    """The servers that it shows, by id; `"*"` stands for all others, or alone for everything."""

    def choice(self, server: str) -> ToolsetServer | None:
        """What it shows of a server; None for nothing."""
        return self.servers.get(server) or self.servers.get(EVERY_SERVER)


@dataclass(frozen=True, slots=True)
class Misfit:
    """What in a toolset cannot be, and where: a key path from the top of the spec."""

    path: tuple[str, ...]
    message: str
    hint: str


def misfits(toolsets: Mapping[str, Toolset]) -> Iterator[Misfit]:
    """New names that meet. (Which tools there are is known only while the servers run.)"""
    for name, toolset in toolsets.items():
        taken: dict[str, str] = {}
        if toolset.mode == "search":
            taken = dict.fromkeys((SEARCH_TOOLS, CALL_TOOL), "the search itself has it")
        for server, choice in toolset.servers.items():
            path = ("toolsets", name, "servers", server, "rename")
            if choice.rename and server == EVERY_SERVER:
                yield Misfit(path, "a new name is for one server's tool", "name the server beside '*'")
                continue
            for tool, new in choice.rename.items():
                if new in taken:
                    message = f"{new!r} is taken: {taken[new]}"
                    yield Misfit((*path, tool), message, "give each tool of a toolset its own name")
                taken.setdefault(new, f"{server}'s {tool[:80]!r} has it")
