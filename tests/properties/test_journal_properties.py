"""Taking back: brings back what was there, touches nothing that others changed, and may be done twice."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.merge3 import compare
from fairlead.core.overrides import ABSENT
from fairlead.core.resolve import decide
from fairlead.core.rules import Rules
from fairlead.formats import documents
from fairlead.gitops import journal
from fairlead.gitops.planning import Versions, plan
from fairlead.model.gitops import Policy
from fairlead.model.reconciling import Base, Desired, Format, Live, Rendered
from fairlead.ports.gitops import Write

NAME = "a.json"
ATOMS = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.text("ab", max_size=2))
VALUES = st.recursive(
    ATOMS | st.lists(ATOMS, max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
    max_leaves=8,
)
TREES = st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=4)


def live_of(document: Any) -> Live | None:
    if document is None:
        return None
    content = documents.write(Format.JSON, document)
    return Live(NAME, str(hash(content)), content, document)


def written(live: Live | None, write: Write | None) -> Live | None:
    if write is None:
        return live
    if write.content is None:
        return None
    return live_of(documents.read(Format.JSON, write.content))


def planned(base: Any, live: Any, desired: Any, *, whole: bool) -> tuple[Versions, Any]:
    objects = {}
    if desired is not None:
        content = documents.write(Format.JSON, desired)
        objects[NAME] = Desired(NAME, Format.JSON, content, desired, whole=whole)
    lives = {} if live is None else {NAME: live_of(live)}
    bases = {} if base is None else {NAME: Base(NAME, "c0", b"", base)}
    versions = Versions(Rendered("c1", "d", objects), lives, bases, dict, is_fleet=False)  # type: ignore[arg-type]
    differences = compare(
        base, ABSENT if live is None else live, ABSENT if desired is None else desired,
        owned_whole=whole, object_id=NAME,
    )  # fmt: skip
    decisions = decide(differences, lambda name, key: Policy.REMOTE, [], 0.0)
    return versions, plan(versions, decisions, Rules.parse((), Policy.REMOTE, fleet=False))


@given(st.none() | TREES, st.none() | TREES, st.none() | TREES, st.booleans())
def test_what_was_written_comes_back_and_once_is_enough(base: Any, live: Any, desired: Any, whole: bool):
    versions, wanted = planned(base, live, desired, whole=whole)
    entries = journal.entries(versions, wanted, 1)
    if not entries:
        return
    entries = [journal.entry(journal.intent("d", replace(each, done=True))) for each in entries]
    now = live_of(live)
    assert journal.taken_back(entries, now) is None, "before the write there is nothing to take back"
    after = now
    for wave in wanted.waves:
        for write in wave.writes:
            after = written(after, write)
    assert all(journal.is_written(each, after) for each in entries)
    back = written(after, journal.taken_back(entries, after))
    assert (None if back is None else back.document) == live
    assert journal.taken_back(entries, back) is None


@given(TREES, TREES, TREES, st.dictionaries(st.sampled_from("xyz"), ATOMS, min_size=1, max_size=2))
def test_what_others_put_in_meanwhile_stays(base: Any, live: Any, desired: Any, foreign: Any):
    versions, wanted = planned(base, live, desired, whole=False)
    entries = journal.entries(versions, wanted, 1)
    if not entries:
        return
    after = live_of(live)
    for wave in wanted.waves:
        for write in wave.writes:
            after = written(after, write)
    edited = live_of({**(after.document if after else {}), **foreign})
    back = written(edited, journal.taken_back(entries, edited))
    assert back is not None
    assert {key: back.document.get(key) for key in foreign} == foreign
    again = journal.taken_back(entries, back)
    assert again is None or json.dumps(written(back, again).document) == json.dumps(back.document)  # type: ignore[union-attr]
