"""The write-ahead journal of a deployment: what is written to each object, and what brings it back. Pure.

An entry has edits by key, of what Git owns alone: what else stands in a shared file is neither kept nor
brought back. `forward` made the version that was written of the one that was there, `back` makes the former
one again. The former bytes are kept, too, where all of an object is Git's and none of it came from a secret.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fairlead.core import discretion
from fairlead.core.object_edits import at, equal, kept_edits, merged
from fairlead.core.overrides import ABSENT, REMOVED, Edit, Nothing, diff
from fairlead.formats import documents
from fairlead.gitops.planning import FLEET, Plan, Versions
from fairlead.model.reconciling import Base, Format, Intent, IntentState, Live
from fairlead.ports.gitops import Write

Tree = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """One object in one wave. `old` are the bytes from before, where they may be kept."""

    object: str
    order: int
    forward: tuple[Edit, ...] = field(repr=False)
    back: tuple[Edit, ...] = field(repr=False)
    old: bytes | None = field(default=None, repr=False)
    executable: bool = False  # as it was before
    became: bool = False  # whether what is written is
    done: bool = False

    @property
    def created(self) -> bool:
        """Whether there was nothing before."""
        return bool(self.back) and not self.back[0].key and self.back[0].value is REMOVED


def entries(versions: Versions, plan: Plan, first: int) -> list[Entry]:
    """What the plan writes; its waves are numbered from `first`."""
    found: list[Entry] = []
    documents_: dict[str, Tree | Nothing] = {}
    for number, wave in enumerate(plan.waves, first):
        for write in wave.writes:
            before = documents_.get(write.object, versions.live(write.object))
            after = ABSENT if write.content is None else _after(before, write)
            documents_[write.object] = after
            forward, back = _edits(before, after), _edits(after, before)
            live = versions.lives.get(write.object) if before is versions.live(write.object) else None
            old = live.content if live is not None and _may_keep(versions, write, live) else None
            executable = live is not None and live.executable
            found.append(Entry(write.object, number, forward, back, old, executable, write.executable))
    return found


def taken_back(entries_: Sequence[Entry], live: Live | None) -> Write | None:
    """What brings an object back; None if it is as before, or everything was changed by others meanwhile.

    `entries_` are the object's, in the order in which they were written. Keys that somebody else changed
    since then stay.
    """
    name = entries_[0].object
    now: Tree | Nothing = ABSENT if live is None else live.document
    wanted = now
    for entry in reversed(entries_):
        wanted = merged(wanted, _still_ours(entry, wanted))
    first = entries_[0]
    ours = live is None or live.executable == entries_[-1].became
    executable = first.executable if live is None or ours else live.executable
    if equal(now, wanted) and (live is None or live.executable == executable):
        return None
    tag = None if live is None else live.tag
    if not isinstance(wanted, Mapping):
        return Write(name, tag, None, None)
    keeps = () if live is None else kept_edits(live.by, wanted, live.document)
    return Write(name, tag, _content(first, live, wanted), wanted, executable, keeps)


def is_written(entry_: Entry, live: Live | None) -> bool:
    """Whether an object is as the entry's write makes it: the process may have ended before it was noted."""
    now: Tree | Nothing = ABSENT if live is None else live.document
    return (live is None or live.executable == entry_.became) and all(
        equal(at(now, edit.key), ABSENT if edit.value is REMOVED else edit.value) for edit in entry_.forward
    )


def applied(
    entries_: Iterable[Entry], bases: Mapping[str, Base], commit: str
) -> tuple[list[Base], list[str]]:
    """The bases after what was written, and the objects that have none any more."""
    changed: dict[str, Base] = {}
    gone: list[str] = []
    for entry in entries_:
        base = changed.get(entry.object) or bases.get(entry.object)
        document = merged(ABSENT if base is None else base.document, entry.forward)
        if isinstance(document, Mapping):
            content = b"" if base is None else base.content
            executable: bool | None = entry.became
            if base is not None and entry.became == entry.executable:  # what is left has its base still
                executable = base.executable
            changed[entry.object] = Base(entry.object, commit, content, document, executable)
        else:
            changed.pop(entry.object, None)
            gone.append(entry.object)
    return list(changed.values()), [name for name in gone if name not in changed]


def touched(entries_: Iterable[Entry]) -> frozenset[str] | None:
    """The servers of a fleet that were written; None where what was written may concern all of them."""
    found: set[str] = set()
    for entry_ in entries_:
        for edit in entry_.forward:
            if (servers := _servers(edit)) is None:
                return None
            found.update(servers)
    return frozenset(found)


def removed(entries_: Iterable[Entry]) -> frozenset[str]:
    """The servers of a fleet that are gone when all of it is written; entries in their order."""
    gone: set[str] = set()
    for entry_ in entries_:
        for edit in entry_.forward:
            match edit.key:
                case ("servers", name) if edit.value is REMOVED:
                    gone.add(name)
                case ("servers", name, *_):
                    gone.discard(name)
    return frozenset(gone)


def intent(deployment: str, entry: Entry) -> Intent:
    content = {
        "forward": [_stored(edit) for edit in entry.forward],
        "back": [_stored(edit) for edit in entry.back],
        "old": None if entry.old is None else base64.b64encode(entry.old).decode(),
        "executable": entry.executable,
        "became": entry.became,
    }
    state = IntentState.DONE if entry.done else IntentState.PLANNED
    return Intent(deployment, entry.object, entry.order, json.dumps(content).encode(), state)


def entry(kept: Intent) -> Entry:
    """What `intent` kept."""
    content = json.loads(kept.content)
    return Entry(
        kept.object,
        kept.order,
        tuple(_read(each) for each in content["forward"]),
        tuple(_read(each) for each in content["back"]),
        None if content["old"] is None else base64.b64decode(content["old"]),
        content["executable"],
        content.get("became", content["executable"]),
        kept.state is IntentState.DONE,
    )


def _after(before: Tree | Nothing, write: Write) -> Tree | Nothing:
    """What is there after the write, as its edits have it."""
    return before if write.document is None else write.document


def _edits(before: Tree | Nothing, after: Tree | Nothing) -> tuple[Edit, ...]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        return tuple(diff(dict(before), dict(after)))
    return (Edit((), REMOVED if after is ABSENT else after),)


def _may_keep(versions: Versions, write: Write, live: Live) -> bool:
    desired = versions.rendered.objects.get(write.object)
    gits = write.content is None if desired is None else desired.whole
    return gits and write.object != FLEET and not discretion.is_filled_in(live.document)


def _still_ours(entry_: Entry, now: Tree | Nothing) -> list[Edit]:
    """The edits back of the keys that are as they were written."""
    backs = {edit.key: edit for edit in entry_.back}
    found: list[Edit] = []
    for edit in entry_.forward:
        written = ABSENT if edit.value is REMOVED else edit.value
        if equal(at(now, edit.key), written):
            found.append(backs[edit.key])
        elif entry_.created and isinstance(now, Mapping) and isinstance(written, Mapping):
            found += [Edit((key,), REMOVED) for key in written if equal(now.get(key, ABSENT), written[key])]
    return found


def _content(first: Entry, live: Live | None, wanted: Tree) -> bytes:
    format_ = Format.YAML if first.object == FLEET else documents.format_of(first.object)
    if first.old is not None and equal(documents.read(format_, first.old), wanted):
        return first.old
    if live is None:
        return documents.write(format_, wanted)
    return documents.edit(format_, live.content, diff(dict(live.document), dict(wanted)))


def _servers(edit: Edit) -> Iterable[str] | None:
    match edit.key:
        case ("servers", name, *_):
            return [name]
        case ("servers",):
            return edit.value if isinstance(edit.value, Mapping) else None
        case ("toolsets", *_) | ("metadata", *_):
            return []
    return None


def _stored(edit: Edit) -> list[Any]:
    return [list(edit.key)] if edit.value is REMOVED else [list(edit.key), edit.value]


def _read(stored: list[Any]) -> Edit:
    return Edit(tuple(stored[0]), stored[1] if len(stored) == 2 else REMOVED)
