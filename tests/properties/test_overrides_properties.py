"""Edits by key: the difference is exact and the smallest, and nothing of the owner's is lost."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.overrides import (
    ABSENT,
    REMOVED,
    Document,
    apply,
    diff,
    edits,
    key_text,
    lookup,
    parse_key,
    rebase,
    same,
)
from fairlead.model.reports import Override

NAMES = st.sampled_from(["a", "b", "servers", "weights", "x.y", ""])
ATOMS = st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from([1.0, "1", "x"]) | st.just([1])
VALUES = st.recursive(
    ATOMS,
    lambda inner: st.dictionaries(NAMES, inner, max_size=3) | st.lists(inner, max_size=2),
    max_leaves=8,
)
DOCUMENTS: st.SearchStrategy[Document] = st.dictionaries(NAMES, VALUES, max_size=4)


def overrides(base: Document, wanted: Document) -> list[Override]:
    found = []
    for edit in diff(base, wanted):
        was, removed = lookup(base, edit.key), edit.value is REMOVED
        found.append(
            Override(
                key=key_text(edit.key),
                value=None if removed else edit.value,
                removed=removed,
                was=None if was is ABSENT else was,
                by="ada",
                at=0.0,
            )
        )
    return found


@given(DOCUMENTS, DOCUMENTS)
def test_the_difference_makes_the_one_of_the_other_and_each_edit_is_needed(base, wanted):
    found = diff(base, wanted)
    assert same(apply(base, found), wanted)
    for leave_out in range(len(found)):
        assert not same(apply(base, found[:leave_out] + found[leave_out + 1 :]), wanted)


@given(DOCUMENTS, DOCUMENTS)
def test_no_edit_says_what_the_base_says_already(base, wanted):
    for edit in diff(base, wanted):
        old = lookup(base, edit.key)
        assert edit.value is not old
        assert not (isinstance(old, dict) and isinstance(edit.value, dict)), "mappings differ by key"
    assert diff(base, base) == []


@given(DOCUMENTS, DOCUMENTS)
def test_the_order_of_the_edits_does_not_matter(base, wanted):
    assert same(apply(base, reversed(diff(base, wanted))), wanted)


@given(st.lists(st.text(), min_size=1, max_size=4).map(tuple))
def test_every_key_can_be_written_and_read(key):
    assert parse_key(key_text(key)) == key


@given(DOCUMENTS, DOCUMENTS)
def test_overrides_on_what_they_were_made_for_all_stay(base, wanted):
    made = overrides(base, wanted)
    kept, dropped = rebase(made, base, base)
    about_lost_servers = [each for each in made if each in dropped]
    assert kept == tuple(each for each in made if each not in dropped)
    assert all(each.key.startswith("servers.") for each in about_lost_servers)
    assert same(apply(base, edits([*kept, *dropped])), wanted)


@given(DOCUMENTS, DOCUMENTS, DOCUMENTS)
def test_after_the_owners_change_each_key_is_the_owners_or_an_edit_of_what_it_left_alone(base, wanted, new):
    made = overrides(base, wanted)
    kept, dropped = rebase(made, new, new)
    assert sorted(each.key for each in made) == sorted(each.key for each in (*kept, *dropped))
    for each in kept:
        found: Any = lookup(new, parse_key(each.key))
        assert same(None if found is ABSENT else found, each.was)
    for each in dropped:
        key = parse_key(each.key)
        found = lookup(new, key)
        changed = not same(None if found is ABSENT else found, each.was)
        server_gone = key[0] == "servers" and len(key) > 2 and lookup(new, key[:2]) is ABSENT
        assert changed or server_gone
