"""Toolsets: named views that show a choice of tools, renamed and described as the fleet spec says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import structlog

from fairlead.core.toolset import complaints, exposed_tools, new_names, shows_prompt, shows_resource
from fairlead.mcp.errors import INVALID_PARAMS, McpError
from fairlead.mcp.messages import encode_json
from fairlead.mcp.names import exposed_name
from fairlead.mcp.sealing import Sealer
from fairlead.model.reports import ToolsetStatus
from fairlead.model.toolset import EVERY_SERVER, Toolset, ToolsetServer
from fairlead.orchestrator.catalogue import Catalogue, Item
from fairlead.orchestrator.gateway.exposure import Exposure, Part, Prefixed, Route, Routes, Shown, changed
from fairlead.orchestrator.gateway.tool_search import TWO_TOOLS, Finder
from fairlead.orchestrator.gateway.views import View
from fairlead.orchestrator.pool import ServerPool

LOG = structlog.get_logger("fairlead.gateway")
_UNCHOSEN: Final = ToolsetServer()


class Chosen(Exposure):
    """What a toolset shows of servers: parts of the merged endpoint, as they are where nothing is chosen."""

    def __init__(self, toolset: Toolset, prefixed: Prefixed) -> None:
        super().__init__()
        self._toolset = toolset
        self._prefixed = prefixed
        self._new_names = new_names(toolset)

    def make(self, pool: ServerPool, catalogue: Catalogue) -> Part:
        whole = self._prefixed.part(pool, catalogue)
        choice = self._choice(pool.spec.id)
        if self._changes_nothing(choice):
            return whole
        lists: dict[str, list[Shown]] = {}
        lists["tools"], tools = self._tools(whole, choice)
        kept = [pair for pair in _pairs(whole, "prompts") if shows_prompt(choice, pair[0].key)]
        lists["prompts"] = [shown for _, shown in kept]
        names = (encode_json(name) for name, _ in lists["prompts"])
        prompts = {name: whole.prompts[name] for name in names}
        for kind in ("resources", "templates"):
            lists[kind] = [s for item, s in _pairs(whole, kind) if shows_resource(choice, item.key)]
        return Part(pool, catalogue, lists, tools, prompts)

    def _choice(self, server: str) -> ToolsetServer:
        choice = self._toolset.choice(server)
        assert choice is not None  # the view has no others
        return choice

    def _changes_nothing(self, choice: ToolsetServer) -> bool:
        return choice == _UNCHOSEN and not self._new_names

    def exposed(self, server: str, catalogue: Catalogue) -> dict[str, str]:
        """The tools of a server that are shown, with their names here."""
        return self._exposed(server, [item.key for item in catalogue.items("tools")])

    def _exposed(self, server: str, tools: Sequence[str]) -> dict[str, str]:
        return exposed_tools(
            self._choice(server), tools, lambda tool: exposed_name(server, tool), self._new_names
        )

    def shown_as(self, server: str, tool: str) -> str | None:
        return self._exposed(server, [tool]).get(tool)

    def _tools(self, whole: Part, choice: ToolsetServer) -> tuple[list[Shown], Routes]:
        shown: list[Shown] = []
        routes: Routes = {}
        exposed = self.exposed(whole.pool.spec.id, whole.catalogue)
        for item, (usual, as_it_is) in _pairs(whole, "tools"):
            name, raw = exposed.get(item.key), as_it_is
            if name is None:
                continue
            route = whole.tools[encode_json(usual)]
            if name != usual:
                raw = changed(raw, name=name)
                route = Route(
                    route.pool, item.key, name, route.stats, safe=route.safe, mirrored=route.mirrored
                )
            if item.key in choice.descriptions:
                raw = changed(raw, description=choice.descriptions[item.key])
            shown.append((name, raw))
            routes[encode_json(name)] = route
        return shown, routes

    def may_have(self, server: str, name: str) -> bool:
        given = self._new_names.get(name)
        return super().may_have(server, name) if given is None else given[0] == server

    def may_read(self, server: str, uri: str) -> bool:
        return shows_resource(self._choice(server), uri)

    def problems(self, pool: ServerPool) -> Iterator[str]:
        """What of the choice has no effect, as far as the server's lists are known."""
        choice = self._choice(pool.spec.id)
        if pool.catalogue.lists and not self._changes_nothing(choice):
            tools, prompts = (
                {item.key for item in pool.catalogue.items(kind)} for kind in ("tools", "prompts")
            )
            shown = self.exposed(pool.spec.id, pool.catalogue)
            yield from complaints(choice, tools, shown, prompts)


def _pairs(part: Part, kind: str) -> Iterable[tuple[Item, Shown]]:
    return zip(part.catalogue.items(kind), part.lists[kind], strict=True)


class ToolsetView(View):
    """A toolset's endpoint."""

    def __init__(self, name: str, toolset: Toolset, prefixed: Prefixed, sealer: Sealer) -> None:
        super().__init__(f"toolset:{name}", Chosen(toolset, prefixed), sealer)
        self.name = name
        self._prefixed = prefixed
        self._finder: Finder | None = None
        self._problems: dict[str, list[str]] = {}  # by server
        self._adopt(toolset)

    def _adopt(self, toolset: Toolset) -> None:
        self.toolset = toolset
        self.description = toolset.description
        self.searches = toolset.mode == "search"
        self.exposure = Chosen(toolset, self._prefixed)

    def change(self, toolset: Toolset, pools: Iterable[ServerPool]) -> None:
        """The spec has changed; sessions stay."""
        self._adopt(toolset)
        self.set_pools(pools)

    def set_pools(self, pools: Iterable[ServerPool]) -> None:
        super().set_pools(pool for pool in pools if self.toolset.choice(pool.spec.id) is not None)
        away = self.toolset.servers.keys() - {EVERY_SERVER, *self.pools}
        if self.grants:  # they leave out the others
            away = set()
        self._problems = {server: ["the server is disabled"] for server in away}
        for pool in self.pools.values():
            self._look_for_problems(pool)

    def refresh(self, pool: ServerPool) -> None:
        super().refresh(pool)
        self._look_for_problems(pool)

    def _look_for_problems(self, pool: ServerPool) -> None:
        """What of the spec has no effect now. The log is told of what is new."""
        server, exposure = pool.spec.id, self.exposure
        if not isinstance(exposure, Chosen):  # that the toolset itself says
            return
        known = self._problems.get(server, ())
        self._problems[server] = list(exposure.problems(pool))
        for problem in self._problems[server]:
            if problem not in known:
                LOG.warning("toolset", toolset=self.name, server=server, problem=problem)

    def _take(self, parts: Mapping[str, Part]) -> None:
        super()._take(parts)
        self._finder = None

    def tells(self, kinds: frozenset[str]) -> frozenset[str]:
        """Of changed lists those that clients see."""
        return kinds - {"tools"} if self.searches else kinds

    def page(self, kind: str, cursor: str | None) -> bytes:
        if kind == "tools" and self.searches:
            if cursor is not None:
                raise McpError(INVALID_PARAMS, "Invalid cursor: the list has one page")
            return TWO_TOOLS
        return super().page(kind, cursor)

    @property
    def finder(self) -> Finder:
        if self._finder is None:
            self._finder = Finder(list(self.items("tools")))
        return self._finder

    def status(self) -> ToolsetStatus:
        return ToolsetStatus(
            name=self.name,
            description=self.toolset.description,
            mode=self.toolset.mode,
            path=f"/toolsets/{self.name}/mcp",
            servers=list(self.pools),
            tools=self.count("tools"),
            prompts=self.count("prompts"),
            resources=self.count("resources"),
            templates=self.count("templates"),
            problems=[f"{server}: {what}" for server in self._problems for what in self._problems[server]],
        )
