"""Where MCP is served: `/mcp`, `/servers/{id}/mcp` and `/toolsets/{name}/mcp`, each with its view.

Callers whose grants choose see granted views of them (`granted.py`); for them an endpoint of which nothing
is left is not there, in the same words as one that never was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from fairlead.core.access import may_use
from fairlead.mcp.sealing import Sealer
from fairlead.model.access import Grant
from fairlead.model.errors import Fault, Problem
from fairlead.model.reports import ToolsetStatus
from fairlead.model.toolset import Toolset
from fairlead.orchestrator.gateway.exposure import Plain, Prefixed
from fairlead.orchestrator.gateway.granted import GrantedViews
from fairlead.orchestrator.gateway.toolsets import ToolsetView
from fairlead.orchestrator.gateway.views import View, path_of
from fairlead.orchestrator.metrics import MetricsCollector
from fairlead.orchestrator.pool import ServerPool

_EVERYTHING: Final = frozenset({"tools", "prompts", "resources"})
Grants = tuple[Grant, ...]


class Endpoints:
    """Of one gateway. `changed` is told of views whose lists are new, `gone` of those that are no more."""

    def __init__(
        self,
        metrics: MetricsCollector,
        sealer: Sealer,
        *,
        changed: Callable[[View, frozenset[str]], None],
        gone: Callable[[View], None],
    ) -> None:
        self._sealer = sealer
        self._changed = changed
        self._gone = gone
        self._plain, self._prefixed = Plain(metrics), Prefixed(metrics)
        self.merged = View("", self._prefixed, sealer)
        self._single: dict[bytes, View] = {}  # by path
        self._toolsets: dict[bytes, ToolsetView] = {}  # by path
        self.granted = GrantedViews(lambda endpoint: self._whole(path_of(endpoint)))

    def __repr__(self) -> str:
        return f"<Endpoints {self.merged} toolsets={len(self._toolsets)} {self.granted}>"

    # -- being kept up to date ---------------------------------------------------------------------------

    def set_pools(self, pools: Iterable[ServerPool]) -> None:
        """The servers that are there now. Views of those that stay are kept."""
        pools = list(pools)
        self.merged.set_pools(pools)
        before, self._single = self._single, {}
        for pool in pools:
            path = path_of(pool.spec.id)
            view = before.pop(path, None) or View(pool.spec.id, self._plain, self._sealer)
            view.set_pools([pool])
            self._single[path] = view
        for view in before.values():
            self._gone(view)
        self._changed(self.merged, _EVERYTHING)
        for toolset in self._toolsets.values():
            toolset.set_pools(pools)
            self._changed(toolset, toolset.tells(_EVERYTHING))
        for view in self.granted.follow():
            self._changed(view, view.tells(_EVERYTHING))

    def set_toolsets(self, toolsets: Mapping[str, Toolset]) -> None:
        """The toolsets that are there now. Views of those that stay are kept."""
        before, self._toolsets = self._toolsets, {}
        pools = self.merged.pools.values()
        for name, toolset in toolsets.items():
            path = f"/toolsets/{name}/mcp".encode()
            view = before.pop(path, None)
            if view is None:
                view = ToolsetView(name, toolset, self._prefixed, self._sealer)
                view.set_pools(pools)
            elif view.toolset != toolset:
                view.change(toolset, pools)
                self._changed(view, _EVERYTHING)
                for granted in self.granted.forget(view.endpoint):
                    self._changed(granted, _EVERYTHING)
            self._toolsets[path] = view
        for gone in before.values():
            self._gone(gone)
            self.granted.forget(gone.endpoint)

    def catalogue_changed(self, pool: ServerPool, kinds: frozenset[str]) -> None:
        """A server's lists are new."""
        for view in (self.merged, self._single.get(path_of(pool.spec.id)), *self._toolsets.values()):
            if view is not None and pool.spec.id in view.pools:
                view.refresh(pool)
                self._changed(view, view.tells(kinds))
        for view, shown in self.granted.refresh(pool, kinds):
            self._changed(view, view.tells(shown))

    def forget_variants(self) -> None:
        """Servers may have new versions, which offer other things to clients that can be asked more."""
        for view in (self.merged, *self._single.values(), *self._toolsets.values(), *self.granted):
            view.forget_variants()

    # -- being asked -------------------------------------------------------------------------------------

    def at(self, path: bytes, grants: Grants = ()) -> View | Problem | None:
        """The view at a path; a Problem for an endpoint that is not there; None for what is not MCP."""
        view = self._whole(path)
        if view is not None and grants:
            view = self.granted.of(view, grants)
        if view is not None:
            return view
        match path.split(b"/"):
            case [b"", b"servers", name, b"mcp"]:
                there = (each for each in self.merged.pools if may_use(grants, each))
                return _unknown("server", name, there)
            case [b"", b"toolsets", name, b"mcp"]:
                return _unknown("toolset", name, (each.name for each in self.toolsets(grants)))
        return None

    def toolsets(self, grants: Grants = ()) -> list[ToolsetStatus]:
        """What the toolsets show now, of those that are there for a caller with these grants."""
        if not grants:
            return [view.status() for view in self._toolsets.values()]
        granted = (self.granted.of(view, grants) for view in self._toolsets.values())
        return [view.status() for view in granted if isinstance(view, ToolsetView)]

    def _whole(self, path: bytes) -> View | None:
        return self.merged if path == b"/mcp" else self._single.get(path) or self._toolsets.get(path)


def _unknown(what: str, name: bytes, known: Iterable[str]) -> Problem:
    there = ", ".join(sorted(known)) or "none"
    detail = f"no {what} {name.decode('latin-1')[:100]!r}; there are: {there}"
    return Problem(f"unknown-{what}", f"No such {what}", detail, 404, Fault.CLIENT)
