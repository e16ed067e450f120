"""What callers see whose grants choose: views of their own, with less in them.

A granted view is a copy of an endpoint's view that shows only the servers, tools, prompts and resources that
the grants let through. Everything that is asked of an endpoint is asked of its view (lists, routes, URIs,
tasks, what the handshake says), so what is not in it is not there for such a caller. Names are compared as
the servers have them: a toolset that renames a tool changes nothing about it.

Callers with the same grants share a view. Views live as long as anybody holds them (a known head, an open
request), and are kept up to date as long as they live; the latest few are held here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final
from weakref import WeakValueDictionary

from fairlead.core.access import may_read, may_use
from fairlead.model.access import Grant
from fairlead.orchestrator.catalogue import Catalogue
from fairlead.orchestrator.gateway.exposure import Exposure, Part
from fairlead.orchestrator.gateway.views import Audience, View
from fairlead.orchestrator.pool import ServerPool

HELD: Final = 64


class Granted(Exposure):
    """What grants let through of what an endpoint shows. `toolset` is the endpoint's own, if it is one."""

    def __init__(self, whole: Exposure, grants: tuple[Grant, ...], toolset: str | None) -> None:
        super().__init__()
        self.merges = whole.merges
        self._whole = whole
        self._grants = grants
        self._toolset = toolset

    def make(self, pool: ServerPool, catalogue: Catalogue) -> Part:
        whole, server = self._whole.part(pool, catalogue), pool.spec.id
        tools = {name: route for name, route in whole.tools.items() if self.may_call(server, route.name)}
        shown = {route.exposed for route in tools.values()}
        lists = {
            kind: [item for item in items if (item[0] in shown if kind == "tools" else self.reads(server))]
            for kind, items in whole.lists.items()
        }
        return Part(pool, catalogue, lists, tools, whole.prompts if self.reads(server) else {})

    def may_have(self, server: str, name: str) -> bool:
        return self._whole.may_have(server, name)

    def shown_as(self, server: str, tool: str) -> str | None:
        return self._whole.shown_as(server, tool) if self.may_call(server, tool) else None

    def may_read(self, server: str, uri: str) -> bool:
        return self.reads(server) and self._whole.may_read(server, uri)

    def may_call(self, server: str, tool: str) -> bool:
        return may_use(self._grants, server, tool, self._toolset)

    def reads(self, server: str) -> bool:
        """Whether what is no tool may be used."""
        return may_read(self._grants, server, self._toolset)


class GrantedViews:
    """Of one gateway. `base_of` gives the whole view of an endpoint, None where it is there no more."""

    def __init__(self, base_of: Callable[[str], View | None]) -> None:
        self._base_of = base_of
        self._living: WeakValueDictionary[Audience, View] = WeakValueDictionary()
        self._held: OrderedDict[Audience, View] = OrderedDict()

    def __repr__(self) -> str:
        return f"<GrantedViews {len(self._living)}>"

    def __len__(self) -> int:
        return len(self._living)

    def of(self, base: View, grants: tuple[Grant, ...]) -> View | None:
        """What is left of an endpoint's view; None where nothing of it may be used."""
        audience = base.endpoint, grants
        view = self._living.get(audience)
        if view is None:
            view = self._living[audience] = base.granted(
                grants, Granted(base.exposure, grants, base.toolset_name)
            )
        self._held[audience] = view
        self._held.move_to_end(audience)
        if len(self._held) > HELD:
            self._held.popitem(last=False)
        return view if view.pools or not base.endpoint else None

    def follow(self) -> Iterator[View]:
        """The servers are other ones now; gives the views that show others than before."""
        for view in self:
            base = self._base_of(view.endpoint)
            before = view.pools
            view.set_pools(base.pools.values() if base is not None else ())
            if view.pools != before:
                yield view

    def forget(self, endpoint: str) -> list[View]:
        """An endpoint's view shows servers in another way now: what is left of it is made anew."""
        old = [view for view in self if view.endpoint == endpoint]
        for view in old:
            self._held.pop(view.audience, None)
            del self._living[view.audience]
        return old

    def refresh(self, pool: ServerPool, kinds: frozenset[str]) -> Iterator[tuple[View, frozenset[str]]]:
        """A server's lists are new; gives the views that show it, with the kinds that they show of it."""
        for view in self:
            if pool.spec.id in view.pools:
                view.refresh(pool)
                assert isinstance(view.exposure, Granted)
                yield view, kinds if view.exposure.reads(pool.spec.id) else kinds & {"tools"}

    def forget_variants(self) -> None:
        for view in self:
            view.forget_variants()

    def __iter__(self) -> Iterator[View]:
        return iter(list(self._living.values()))
