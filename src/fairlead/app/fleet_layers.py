"""The fleet spec in force as layers: what its owner says, and live edits by key on top of it.

A spec is turned into a document (the fleet file's own words) to be edited by key, and read back by the same
loader as the file, so that an edit is judged by the same rules. Which keys a live spec changes is found by
comparing full documents, in which a default has its key, too; what is kept of an edit is in the short form.
Pure, but slow (0.3 s for 100 kB): call in a thread where others wait.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fairlead.core import overrides as keys
from fairlead.core.overrides import ABSENT, REMOVED, Edit, key_text, lookup, parse_key, same
from fairlead.model.fleet import FleetSpec
from fairlead.model.reports import Override
from fairlead.model.spec_problem import Loaded, SpecProblem
from fairlead.stores.fleet_file import document, load
from fairlead.stores.fleet_messages import path_text
from fairlead.stores.yaml_text import write_yaml

WEIGHTS = ("loadBalancing", "weights")


@dataclass(frozen=True, slots=True)
class Layers:
    """The accepted spec and the live edits on top of it."""

    accepted: FleetSpec = field(default_factory=FleetSpec)
    overrides: tuple[Override, ...] = ()

    def load(self) -> Loaded:
        """The spec that both make together, or what is wrong with it."""
        if not self.overrides:
            return Loaded(self.accepted, ())
        return read(edited(document(self.accepted), keys.edits(self.overrides)))

    def live(self, wanted: FleetSpec, *, by: str, at: float) -> Layers:
        """The live edits that make `wanted` of the accepted spec. Those that stay keep their author."""
        base, known = document(self.accepted), {each.key: each for each in self.overrides}
        found = []
        for edit in _difference(self.accepted, wanted):
            removed, was = edit.value is REMOVED, lookup(base, edit.key)
            override = Override(
                key=key_text(edit.key),
                value=None if removed else edit.value,
                removed=removed,
                was=None if was is ABSENT else was,
                by=by,
                at=at,
            )
            old = known.get(override.key)
            stays = old is not None and old.removed == removed and same(old.value, override.value)
            found.append(old if old is not None and stays else override)
        return Layers(self.accepted, tuple(found))

    def without(self, dropped: Iterable[str] | None) -> Layers:
        """Without the overrides of these keys; of all, if None."""
        gone = {each.key for each in self.overrides} if dropped is None else set(dropped)
        return Layers(self.accepted, tuple(each for each in self.overrides if each.key not in gone))


@dataclass(frozen=True, slots=True)
class Composed:
    """Layers, the spec that they make, and each live edit that was dropped on the way, with the reason."""

    layers: Layers
    spec: FleetSpec
    dropped: tuple[tuple[Override, str], ...] = ()


def accept(accepted: FleetSpec, overrides: Sequence[Override]) -> Composed:
    """The owner's new spec, with those live edits on top that it has not overtaken and that fit it."""
    kept, overtaken = keys.rebase(overrides, document(accepted))
    dropped = [(each, "the owner of the fleet spec changed the same key") for each in overtaken]
    while True:
        layers = Layers(accepted, kept)
        loaded = layers.load()
        if loaded.spec is not None:
            return Composed(layers, loaded.spec, tuple(dropped))
        error = loaded.errors[0]
        offending = _nearest(error, kept)
        dropped += [(each, f"it does not fit any more: {complaint(error)}") for each in offending]
        kept = tuple(each for each in kept if each not in offending)


def edited(base: dict[str, Any], edits: Iterable[Edit]) -> dict[str, Any]:
    """The document with the edits. The weight of a server that they remove goes with it."""
    changed = keys.apply(base, edits)
    gone = _servers(base) - _servers(changed)
    return keys.apply(changed, [Edit((*WEIGHTS, server), REMOVED) for server in gone])


def read(changed: dict[str, Any]) -> Loaded:
    """What a document means; the places of its problems are their paths only."""
    return load(write_yaml(changed), "edit")


def complaint(problem: SpecProblem) -> str:
    """A problem of a document that nobody wrote as text, so without line and column."""
    text = f"{problem.path}: {problem.message}" if problem.path else problem.message
    return text + (f"; {problem.hint}" if problem.hint else "")


def _servers(of: dict[str, Any]) -> set[str]:
    servers = of.get("servers")
    return set(servers) if isinstance(servers, dict) else set()


def _difference(accepted: FleetSpec, wanted: FleetSpec) -> list[Edit]:
    """The edits that make `wanted` of `accepted`. A server that comes or goes is one of them."""
    short = document(wanted)
    found = []
    for edit in keys.diff(document(accepted, full=True), document(wanted, full=True)):
        server = edit.key[2] if edit.key[:2] == WEIGHTS else None
        if server is not None and server not in wanted.servers:
            continue  # it goes with its server
        if server is not None and server not in accepted.servers and lookup(short, edit.key) is ABSENT:
            continue  # the weight that a new server has anyhow
        brief = ABSENT if edit.value is REMOVED else lookup(short, edit.key)
        found.append(edit if brief is ABSENT else Edit(edit.key, brief))
    return found


def _nearest(error: SpecProblem, overrides: Sequence[Override]) -> list[Override]:
    """The overrides whose keys have most in common with the error's place: all, if none has anything."""
    shared = {each.key: _shared(error.path, path_text(parse_key(each.key))) for each in overrides}
    most = max(shared.values())
    return [each for each in overrides if shared[each.key] == most]


def _shared(one: str, other: str) -> int:
    """How many parts two key paths have in common, from the start."""
    parts = zip(one.replace("[", ".").split("."), other.replace("[", ".").split("."), strict=False)
    count = 0
    for left, right in parts:
        if left != right:
            break
        count += 1
    return count
