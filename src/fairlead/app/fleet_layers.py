"""The fleet spec in force as layers: what its owner says, and live edits by key on top of it.

A spec is turned into a document (the fleet file's own words) to be edited by key, and read back by the same
loader as the file, so that an edit is judged by the same rules. Which keys a live spec changes is found by
comparing full documents, in which a default has its key, too. What an edit replaced (`was`) is what the owner
has said there, so that a default which the owner writes out later counts as said anew.
Pure, but slow (50 ms for 100 servers): call in a thread where others wait.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fairlead.app.fleet_reading import Stated, complaint, problem, spec_of_edit
from fairlead.core import overrides as keys
from fairlead.core.overrides import ABSENT, REMOVED, Edit, Key, key_text, lookup, parse_key, same
from fairlead.formats.model_messages import path_text
from fairlead.model.fleet import FleetSpec
from fairlead.model.reports import Override
from fairlead.model.spec_problem import Loaded, SpecProblem
from fairlead.stores.fleet_file import document, load_document

WEIGHTS = ("loadBalancing", "weights")


@dataclass(frozen=True, slots=True)
class Layers:
    """The accepted spec and the live edits on top of it."""

    accepted: Stated = field(default_factory=Stated)
    overrides: tuple[Override, ...] = ()

    def load(self) -> Loaded:
        """The spec that both make together, or what is wrong with it."""
        if not self.overrides:
            return Loaded(self.accepted.spec, ())
        return read(edited(document(self.accepted.spec), keys.edits(self.overrides)))

    def live(self, wanted: FleetSpec, *, by: str, at: float) -> Composed:
        """With the live edits that make `wanted` of the accepted spec. Those that stay keep their author."""
        base, known = document(self.accepted.spec), {each.key: each for each in self.overrides}
        found = []
        for edit in _difference(self.accepted.spec, wanted):
            removed, key = edit.value is REMOVED, key_text(edit.key)
            old = known.get(key)
            if old is None or old.removed != removed or not same(old.value, None if removed else edit.value):
                was = keys.said_at(edit.key, removed=removed, base=base, said=self.accepted.said)
                value = None if removed else edit.value
                old = Override(key=key, value=value, removed=removed, was=was, by=by, at=at)
            found.append(old)
        return Composed(Layers(self.accepted, tuple(found)), wanted)

    def whole(self, wanted: Stated, kept: Iterable[str]) -> Composed:
        """The owner's `wanted`, in which the live edits of these keys stay live edits, where it has them.

        What it changes is applied to the accepted spec below them. The others are taken back, or its own.
        """
        names, why = set(kept), "GitOps has put a whole spec in force"
        stay = [each for each in self.overrides if each.key in names]
        bare = Composed(Layers(wanted), wanted.spec, tuple((each, why) for each in self.overrides))
        there = self.load().spec
        if not stay or there is None:
            return bare
        others = keys.edits(each for each in self.overrides if each.key not in names)
        changes = keys.diff(document(there), bare.document)
        below = edited(edited(document(self.accepted.spec), others), changes)
        spec = read(below).spec
        if spec is None:
            return bare
        base = document(spec)
        stay = [
            each.model_copy(
                update={"was": keys.said_at(parse_key(each.key), removed=each.removed, base=base, said=below)}
            )
            for each in stay
        ]
        layers = Layers(Stated(spec, below), tuple(stay))
        made = layers.load().spec
        if made is None or document(made) != bare.document:
            return bare
        return Composed(layers, made, tuple((each, why) for each in self.overrides if each.key not in names))

    def without(self, dropped: Iterable[str] | None) -> Composed:
        """Without the overrides of these keys, and what hangs on them; of all, if None.

        Raises ProblemError (422) when what is left does not fit together.
        """
        gone = {each.key for each in self.overrides} if dropped is None else set(dropped)
        added = [parse_key(each.key) for each in self.overrides if each.key in gone and not each.removed]
        servers = {key[1] for key in added if key[0] == "servers" and len(key) == 2}
        gone |= {each.key for each in self.overrides if _named_server(parse_key(each.key)) in servers}
        layers = Layers(self.accepted, tuple(each for each in self.overrides if each.key not in gone))
        back = tuple((each, "it was taken back") for each in self.overrides if each.key in gone)
        return Composed(layers, spec_of_edit(layers.load()), back)


@dataclass(frozen=True, slots=True)
class Composed:
    """Layers, the spec that they make, and each live edit that was dropped on the way, with the reason."""

    layers: Layers
    spec: FleetSpec
    dropped: tuple[tuple[Override, str], ...] = ()
    document: dict[str, Any] = field(init=False, repr=False)  # of the spec

    def __post_init__(self) -> None:
        object.__setattr__(self, "document", document(self.spec))


def accept(accepted: Stated, overrides: Sequence[Override]) -> Composed:
    """The owner's new spec, with those live edits on top that it has not overtaken and that fit it.

    Raises ProblemError (422) when they do not fit it and it cannot be told which of them.
    """
    kept, overtaken = keys.rebase(overrides, document(accepted.spec), accepted.said)
    dropped = [(each, "the owner of the fleet spec changed the same key") for each in overtaken]
    while True:
        layers = Layers(accepted, kept)
        loaded = layers.load()
        if loaded.spec is not None:
            return Composed(layers, loaded.spec, tuple(dropped))
        error = loaded.errors[0]
        offending = _nearest(error, kept)
        if not offending:
            detail = (
                f"with the live edits on top, {complaint(error)}; which of them it is cannot be told, so "
                "mend the spec or take them back with DELETE /api/fleet/overrides"
            )
            raise problem("edits-do-not-fit", "Live edits do not fit", detail, 422, problems=[detail])
        dropped += [(each, f"it does not fit any more: {complaint(error)}") for each in offending]
        kept = tuple(each for each in kept if each not in offending)


def edited(base: dict[str, Any], edits: Iterable[Edit]) -> dict[str, Any]:
    """The document with the edits. What names a server that they remove goes with it."""
    changed = keys.apply(base, edits)
    gone = _names(base, "servers") - _names(changed, "servers")
    places = [WEIGHTS, *(("toolsets", name, "servers") for name in _names(changed, "toolsets"))]
    return keys.apply(changed, [Edit((*place, server), REMOVED) for place in places for server in gone])


def read(changed: dict[str, Any]) -> Loaded:
    """What a document means; the places of its problems are their paths only."""
    return load_document(changed, "edit")


def _names(of: dict[str, Any], section: str) -> set[str]:
    named = of.get(section)
    return set(named) if isinstance(named, dict) else set()


def _difference(accepted: FleetSpec, wanted: FleetSpec) -> list[Edit]:
    """The edits that make `wanted` of `accepted`. A server that comes or goes is one of them."""
    short = document(wanted)
    found = []
    for edit in keys.diff(document(accepted, full=True), document(wanted, full=True)):
        server = _named_server(edit.key)
        if server in accepted.servers and server not in wanted.servers:
            continue  # it goes with its server
        new = edit.key[:2] == WEIGHTS and server not in accepted.servers
        if new and lookup(short, edit.key) is ABSENT:
            continue  # the weight that a new server has anyhow
        brief = ABSENT if edit.value is REMOVED else lookup(short, edit.key)
        found.append(edit if brief is ABSENT else Edit(edit.key, brief))
    return found


def _named_server(key: Key) -> str | None:
    """The server that is named at a key outside of `servers`: by a weight, or in a toolset."""
    if key[:2] == WEIGHTS and len(key) > 2:
        return key[2]
    return key[3] if key[0] == "toolsets" and len(key) > 3 else None


def _nearest(error: SpecProblem, overrides: Sequence[Override]) -> list[Override]:
    """The overrides whose keys have most in common with the error's place; none, if none has enough."""
    shared = {each.key: _shared(error.path, path_text(parse_key(each.key))) for each in overrides}
    most = max(shared.values())
    many = ("servers.", "toolsets.")  # every server's key begins with `servers`
    enough = 2 if error.path.startswith(many) else 1
    return [each for each in overrides if shared[each.key] == most >= enough]


def _shared(one: str, other: str) -> int:
    """How many parts two key paths have in common, from the start."""
    parts = zip(one.replace("[", ".").split("."), other.replace("[", ".").split("."), strict=False)
    count = 0
    for left, right in parts:
        if left != right:
            break
        count += 1
    return count
