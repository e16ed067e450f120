"""What a sync would do: decisions, turned into writes in their order, and what counts as applied afterwards.

Pure. Documents are compared and edited in the target's own spelling (`normal`). Where all of an object is
Git's, or there is none yet, Git's own bytes are written, comments and all; else the live version is edited by
key, so that whatever is not Git's stays byte for byte.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from fairlead.core import discretion
from fairlead.core.object_edits import kept_edits, merged, mode_of, next_base, plain
from fairlead.core.overrides import ABSENT, REMOVED, Document, Edit, Nothing, same
from fairlead.core.pruning import Verdict
from fairlead.core.resolve import Decisions
from fairlead.core.rules import Rules
from fairlead.core.waves import Step, document_steps, object_steps
from fairlead.formats import documents
from fairlead.model.reconciling import EXECUTABLE, Base, Desired, Format, Live, Rendered
from fairlead.ports.gitops import Write

FLEET: Final = "fleet"
LONGEST_DIFFERENCE: Final = 64 * 2**10  # characters

Normal = Callable[[Mapping[str, Any]], Document]


@dataclass(frozen=True, slots=True)
class Wave:
    """Writes that go together; the target must be healthy before the next."""

    step: Step
    writes: tuple[Write, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """`bases` are what counts as applied once all of it is; `dropped` are objects that are Git's no more.

    The tags are those of the versions that were read: an object that is written in several waves has the tag
    of the write before by then.
    """

    waves: tuple[Wave, ...] = ()
    bases: Mapping[str, Base] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    decisions: Decisions = field(default_factory=Decisions)
    removals: Verdict = field(default_factory=Verdict)
    difference: str = ""  # unified, for people

    @property
    def changes(self) -> int:
        """Objects that are written."""
        return len({write.object for wave in self.waves for write in wave.writes})


@dataclass(frozen=True, slots=True)
class Versions:
    """Of all objects of an application. Those that cannot be read are in none of them."""

    rendered: Rendered
    lives: Mapping[str, Live]
    bases: Mapping[str, Base]
    normal: Normal
    is_fleet: bool  # whose one object is `FLEET`

    def desired(self, name: str) -> Document | Nothing:
        there = self.rendered.objects.get(name)
        return ABSENT if there is None else self.normal(there.document)

    def live(self, name: str) -> Mapping[str, Any] | Nothing:
        there = self.lives.get(name)
        return ABSENT if there is None else there.document

    def base(self, name: str) -> Mapping[str, Any] | None:
        there = self.bases.get(name)
        return None if there is None else there.document

    @property
    def names(self) -> list[str]:
        return sorted({*self.rendered.objects, *self.bases})


def plan(
    versions: Versions,
    decisions: Decisions,
    rules: Rules,
    *,
    valid: Callable[[Mapping[str, Any]], bool] = lambda _: True,
    claim: bool = False,
) -> Plan:
    """`valid` says whether a document may be in force for the time of a wave. `claim`: a fleet is to become
    Git's, though it may be as Git says already.
    """
    waves: list[Wave] = []
    if versions.is_fleet and FLEET in decisions.writes and FLEET in versions.lives:
        waves += _fleet_waves(versions, decisions.writes[FLEET], rules, valid)
    else:
        for step, names in object_steps(decisions.writes, rules.wave):
            writes = tuple(_write(versions, name, decisions.writes[name]) for name in names)
            waves.append(Wave(step, writes))
    if claim and not waves and FLEET in versions.lives and FLEET in versions.rendered.objects:
        live = versions.lives[FLEET]
        keeps = kept_edits(live.by, live.document, live.document, versions.desired(FLEET))
        write = Write(FLEET, live.tag, live.content, live.document, keeps=keeps)
        waves.append(Wave(Step.of(0, removes=False), (write,)))
    bases, dropped = _bases(versions, decisions)
    return Plan(tuple(waves), bases, dropped, decisions, difference=_difference(versions, decisions))


def _fleet_waves(
    versions: Versions, edits: Sequence[Edit], rules: Rules, valid: Callable[[Mapping[str, Any]], bool]
) -> list[Wave]:
    live, desired = versions.lives[FLEET], versions.desired(FLEET)
    steps = document_steps(live.document, edits, lambda key: rules.wave(FLEET, key), valid=valid)
    waves = []
    for step, document in steps:
        content, keeps = (
            _content(versions, FLEET, document, edits),
            kept_edits(live.by, document, live.document, desired),
        )
        waves.append(Wave(step, (Write(FLEET, live.tag, content, document, keeps=keeps),)))
    return waves


def _write(versions: Versions, name: str, edits: Sequence[Edit]) -> Write:
    live, desired = versions.lives.get(name), versions.rendered.objects.get(name)
    tag = None if live is None else live.tag
    document = merged(versions.live(name), edits)
    executable = mode_of(edits)
    if executable is None:
        there = live or desired
        executable = there is not None and there.executable
    if not isinstance(document, Mapping):
        left = _outside(live, _format(versions, name, desired))
        return Write(name, tag, left, None if left is None else {}, executable)
    return Write(name, tag, _content(versions, name, document, edits), document, executable)


def _content(versions: Versions, name: str, document: Mapping[str, Any], edits: Sequence[Edit]) -> bytes:
    desired, live = versions.rendered.objects.get(name), versions.lives.get(name)
    if (
        desired is not None
        and (live is None or desired.whole)
        and same(versions.normal(desired.document), document)
    ):
        return desired.content
    format = _format(versions, name, desired)  # noqa: A001 - the field's own word
    if live is None:
        return documents.write(format, document)
    return documents.edit(format, live.content, plain(live.document, edits))


def _outside(live: Live | None, format: Format) -> bytes | None:  # noqa: A002 - the field's own word
    """What is a person's in an object that Git has dropped: the text around blocks. None if there is none."""
    if live is None or format is not Format.MARKDOWN or "" in live.document:
        return None
    left = documents.edit(format, live.content, [Edit((name,), REMOVED) for name in live.document])
    return left if left.strip() else None


def _format(versions: Versions, name: str, desired: Desired | None) -> Format:
    if desired is not None:
        return desired.format
    return Format.YAML if versions.is_fleet else documents.format_of(name)


def _bases(versions: Versions, decisions: Decisions) -> tuple[dict[str, Base], tuple[str, ...]]:
    bases: dict[str, Base] = {}
    dropped: list[str] = []
    for name in versions.names:
        left = [each for each in decisions.left if each.object == name]
        document = next_base(versions.base(name), versions.desired(name), left)
        if isinstance(document, Mapping):
            desired = versions.rendered.objects.get(name)
            content = b"" if desired is None else desired.content
            executable: bool | None = desired is not None and desired.executable
            if any(each.key in {(), EXECUTABLE} for each in left):
                executable = versions.bases[name].executable if name in versions.bases else None
            bases[name] = Base(name, versions.rendered.commit, content, document, executable)
        elif document is ABSENT:
            dropped.append(name)
    return bases, tuple(dropped)


def _difference(versions: Versions, decisions: Decisions) -> str:
    lines: list[str] = []
    for name, edits in decisions.writes.items():
        before = _text(versions, name, versions.live(name))
        after = _text(versions, name, merged(versions.live(name), edits))
        lines += difflib.unified_diff(before, after, f"live/{name}", f"git/{name}", lineterm="")
        if (executable := mode_of(edits)) is not None:
            lines.append(f"{name}: {'becomes executable' if executable else 'is executable no more'}")
    text = "\n".join(lines)
    if len(text) <= LONGEST_DIFFERENCE:
        return text
    return text[:LONGEST_DIFFERENCE].rpartition("\n")[0] + "\n... (more)"


def _text(versions: Versions, name: str, document: Mapping[str, Any] | Nothing) -> list[str]:
    if not isinstance(document, Mapping):
        return []
    if set(document) == {""} and isinstance(document[""], str):
        return document[""].splitlines()
    shown = discretion.shown(document)
    return json.dumps(shown, indent=2, ensure_ascii=False, sort_keys=True).splitlines()
