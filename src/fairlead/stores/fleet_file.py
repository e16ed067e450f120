"""The fleet file: YAML text to a fleet spec and back.

Loading goes in four steps, each of which reports all that it finds, with its place: text to tree
(`yaml_tree`), a walk through the tree for what is unknown, not in force or without effect (`fleet_walk`),
the file's `defaults` filled into each server as tree upon tree, so that every value still knows where it was
written, and the model. Layers of a configuration are several files that are put upon each other in the same
way before the third step.
"""

from __future__ import annotations

from collections import abc
from typing import Any, Final, cast

from pydantic_core import ErrorDetails

from fairlead.formats.model_messages import some
from fairlead.formats.model_reading import Reading, find
from fairlead.formats.model_walk import folded, merged, nearest_folded, to_data, without_nulls
from fairlead.formats.yaml_text import write_yaml
from fairlead.formats.yaml_tree import Entry, Mapping, Node, Path, Position, tree_of
from fairlead.model.fleet import FleetFile, FleetSpec, HealthCheck, LoadBalancing, ServerSpec
from fairlead.model.shapes import shape_of_model
from fairlead.model.spec_model import SpecModel
from fairlead.model.spec_problem import Loaded
from fairlead.model.toolset import EVERY_SERVER, misfits
from fairlead.stores.fleet_walk import FleetWalk

_SHAPE: Final = shape_of_model(FleetFile)
_MOST_GUESSES: Final = 20  # at what a name was meant to be
_WANTED: Final = "write `servers:` and below it the servers"


def load(text: str | bytes, source: str) -> Loaded:
    """Read a fleet file's content; `source` is the name that problems show.

    Pure, and never raises. A file of 100 kB takes about 0.3 s, so call it in a thread where others wait.
    """
    loading = _Loading(source)
    return loading.load(loading.reading.tree(text, _WANTED))


def load_layers(layers: abc.Sequence[tuple[str, bytes]]) -> Loaded:
    """Read the layers of a fleet file, the lowest first; each has the name that its problems show.

    A layer may be empty. `said` has them put together.
    """
    loading = _Loading(layers[-1][0])
    trees = [loading.reading.tree(content, _WANTED, file=name) for name, content in layers]
    whole = Mapping(Position(1, 1, layers[-1][0]))
    for tree in trees:
        if tree is not None:
            loading.walk(tree)
            whole = cast("Mapping", merged(whole, tree))
    return loading.load(cast("Mapping", without_nulls(whole)) if None not in trees else None)


def load_document(data: dict[str, Any], source: str) -> Loaded:
    """Read a fleet file's content that is data already; its problems have no place but their key path.

    However large it is: documents with their `defaults` filled in are many times the file's size.
    """
    return _Loading(source).load(tree_of(data))


def dump(spec: FleetSpec) -> str:
    """The spec as a fleet file in today's form; `load(dump(spec))` gives an equal spec."""
    return write_yaml(document(spec))


def document(spec: FleetSpec, *, full: bool = False) -> dict[str, Any]:
    """The spec as JSON data in the fleet file's own words.

    What nobody has said is left out, unless it is to be `full`.
    """
    data = _written(spec, full)
    servers = data.get("servers", {})
    weights = {id_: server.pop("weight") for id_, server in servers.items() if "weight" in server}
    for id_, server in servers.items():
        del server["id"]
        check = _own_health_check(spec.servers[id_].health_check, spec.load_balancing, full)
        server.pop("healthCheck", None)
        if check:
            server["healthCheck"] = check
    balancing = data.pop("loadBalancing", {}) | ({"weights": weights} if weights or full else {})
    ordered = {"version": spec.version, **data, "servers": servers}
    return ordered | ({"loadBalancing": balancing} if balancing else {})


def _written(
    model: SpecModel, full: bool, *, only: set[str] | None = None, but: set[str] | None = None
) -> dict[str, Any]:
    return model.model_dump(
        mode="json", by_alias=True, exclude_unset=not full, exclude_none=True, include=only, exclude=but
    )


class _Loading:
    """One file on its way."""

    def __init__(self, source: str) -> None:
        self.reading = Reading(source)

    def load(self, root: Node | None) -> Loaded:
        spec = self._spec(root) if isinstance(root, Mapping) else None
        problems = self.reading.problems
        if self.reading.failed or spec is None:
            return Loaded(None, problems)
        return Loaded(spec, problems, cast("dict[str, Any]", to_data(cast("Node", root), _SHAPE)))

    def walk(self, root: Mapping) -> None:
        FleetWalk(self.reading.report).node(root, _SHAPE)

    def _spec(self, root: Mapping) -> FleetSpec | None:
        self.walk(root)
        filled = _with_defaults(root)
        file = self.reading.model(filled, FleetFile, lambda error: _place(filled, error))
        if file is None:
            return None
        self._check_names(root, file)
        return _meaning(file)

    def _check_names(self, root: Mapping, file: FleetFile) -> None:
        """Servers that are named elsewhere in the file must be there, and toolsets must hold together."""
        weights = (("loadBalancing", "weights", name) for name in file.load_balancing.weights)
        chosen = (
            ("toolsets", name, "servers", server)
            for name, toolset in file.toolsets.items()
            for server in toolset.servers
            if server != EVERY_SERVER
        )
        unknown = [loc for loc in (*weights, *chosen) if loc[-1] not in file.servers]
        known = {folded(server): server for server in file.servers} if unknown else {}
        for number, loc in enumerate(unknown):
            meant = nearest_folded(loc[-1], known) if number < _MOST_GUESSES else None
            hint = f"did you mean {meant!r}?" if meant else f"there are: {some(file.servers)}"
            self.reading.error(find(root, (*loc, "[key]"))[1], loc, "there is no such server", hint)
        for misfit in misfits(file.toolsets):
            self.reading.error(find(root, misfit.path)[1], misfit.path, misfit.message, misfit.hint)


def _with_defaults(root: Mapping) -> Mapping:
    """The same file with every server filled up from `defaults`."""
    defaults, servers = root.entries.get("defaults"), root.entries.get("servers")
    if not (
        defaults and isinstance(defaults.value, Mapping) and servers and isinstance(servers.value, Mapping)
    ):
        return root
    filled = Mapping(servers.value.position)
    for name, entry in servers.value.entries.items():
        filled.entries[name] = Entry(entry.key, merged(defaults.value, entry.value))
    return Mapping(root.position, root.entries | {"servers": Entry(servers.key, filled)})


def _place(root: Mapping, error: ErrorDetails) -> tuple[Node, Position, Path] | None:
    """Where a complaint of the model belongs; None, if it is told elsewhere."""
    loc = error["loc"]
    node, position, path = find(root, loc)
    if error["type"] == "missing":
        path = loc
    if loc[0] == "defaults" and len(path) < len(loc) and "servers" in root.entries:
        return None  # what defaults leave open is judged in each server
    if loc[0] == "servers":
        default, _, default_path = find(root, ("defaults", *path[2:]))
        path = default_path if default is node and len(path) > 2 else path
    return node, position, path


def _meaning(file: FleetFile) -> FleetSpec:
    weights = file.load_balancing.weights
    balancing = LoadBalancing(**_said(file.load_balancing, but="weights"))
    servers = {
        name: ServerSpec(
            **_said(entry)
            | ({"weight": weights[name]} if name in weights else {})
            | {"id": name, "health_check": _health_check(entry.health_check, balancing)}
        )
        for name, entry in file.servers.items()
    }
    return FleetSpec(**_said(file, but="defaults") | {"servers": servers, "load_balancing": balancing})


def _said(model: SpecModel, *, but: str = "") -> dict[str, Any]:
    """Only what the file says, so that the spec goes on telling that from its defaults."""
    return {name: getattr(model, name) for name in model.model_fields_set if name != but}


_OF_THE_FLEET: Final = {
    "interval": "health_check_interval",
    "retries": "unhealthy_threshold",
    "recoveries": "recovery_threshold",
}
"""Parts of a health check, and where `loadBalancing` has them for servers that do not say."""


def _health_check(own: HealthCheck, fleet: LoadBalancing) -> HealthCheck:
    """A server's health check, filled up with what the fleet says for all.

    `model_fields_set` goes on naming what the server says itself, so that it still does after the fleet's
    part was edited.
    """
    common = {
        name: getattr(fleet, of_fleet)
        for name, of_fleet in _OF_THE_FLEET.items()
        if name not in own.model_fields_set
    }
    return HealthCheck.model_construct(_fields_set=own.model_fields_set, **dict(own) | common)


def _own_health_check(check: HealthCheck, fleet: LoadBalancing, full: bool) -> dict[str, Any]:
    """What of a server's health check the file must say: all that `_health_check` would not fill in."""
    stated = {
        name
        for name, of_fleet in _OF_THE_FLEET.items()
        if name in check.model_fields_set or getattr(check, name) != getattr(fleet, of_fleet)
    }
    return _written(check, full, but=set(_OF_THE_FLEET)) | _written(check, full=True, only=stated)
