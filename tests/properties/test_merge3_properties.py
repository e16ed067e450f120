"""Three-way comparison: no change of one side is lost, no conflict is missed, a plan reaches its end."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.merge3 import compare
from fairlead.core.object_edits import edit, merged, next_base, plain
from fairlead.core.overrides import ABSENT, apply, lookup, same
from fairlead.core.resolve import Action, decide
from fairlead.model.gitops import Policy
from fairlead.model.reconciling import Case

NAMES = st.sampled_from(["a", "b", "c"])
TEXTS = st.sampled_from(["1\n2\n3\n", "x\n2\n3\n", "1\n2\nx\n", "1\ny\n3\n", "x\n2\nx\n"])
ATOMS = TEXTS | st.none() | st.booleans() | st.integers(0, 2) | st.just([1]) | st.just([])
ITEMS = st.dictionaries(NAMES, st.integers(0, 2), max_size=2).flatmap(
    lambda item: NAMES.map(lambda name: item | {"name": name})
)
LISTS = st.lists(ITEMS, max_size=3, unique_by=lambda item: item["name"]) | st.lists(ITEMS, max_size=2)
VALUES = st.recursive(ATOMS | LISTS, lambda inner: st.dictionaries(NAMES, inner, max_size=3), max_leaves=6)
DOCUMENTS = st.dictionaries(NAMES, VALUES, max_size=3)
VERSIONS = DOCUMENTS | st.just(ABSENT)
KEYED = st.sampled_from([lambda _: None, lambda _: "name"])


@st.composite
def three(draw: st.DrawFn) -> tuple[Any, Any, Any]:
    """Three versions, of which two often agree."""
    base, one, other = draw(DOCUMENTS), draw(VERSIONS), draw(VERSIONS)
    return draw(st.sampled_from([(base, one, other), (base, base, one), (base, one, base), (base, one, one)]))


def at(document: Any, key: Any) -> Any:
    if document is ABSENT:
        return ABSENT
    return lookup(document, key) if key else document


def alike(one: Any, other: Any, keyed: Any = lambda _: None) -> bool:
    """Equal, but for the order of lists with a merge key."""
    return compare(None, one, other, owned_whole=True, list_keys=keyed) == []


@given(DOCUMENTS, VERSIONS, KEYED, st.booleans())
def test_versions_that_agree_have_no_difference(base, both, keyed, owned_whole):
    assert compare(base, both, both, owned_whole=owned_whole, list_keys=keyed) == []
    assert compare(None, both, both, owned_whole=owned_whole, list_keys=keyed) == []


@given(three(), KEYED)
def test_it_is_symmetric(versions, keyed):
    base, live, desired = versions
    there = compare(base, live, desired, owned_whole=True, list_keys=keyed)
    back = compare(base, desired, live, owned_whole=True, list_keys=keyed)
    swapped = {Case.DEPLOY: Case.DRIFT, Case.DRIFT: Case.DEPLOY, Case.CONFLICT: Case.CONFLICT}
    assert sorted(
        (each.key, swapped[each.case], repr(each.desired), repr(each.live)) for each in there
    ) == sorted((each.key, each.case, repr(each.live), repr(each.desired)) for each in back)


@given(three())
def test_each_difference_is_what_the_versions_say_and_each_true_conflict_is_one(versions):
    base, live, desired = versions
    found = compare(base, live, desired, owned_whole=True)
    for each in found:
        values = [at(version, each.key) for version in versions]
        assert [each.base, each.live, each.desired] == values
        live_changed, git_changed = (not alike_value(values[0], value) for value in values[1:])
        assert (
            each.case
            is {
                (False, True): Case.DEPLOY,
                (True, False): Case.DRIFT,
                (True, True): Case.CONFLICT,
            }[live_changed, git_changed]
        )
        assert not alike_value(each.live, each.desired)


def kept(base: Any, desired: Any, left: Any) -> Any:
    """The base, as the next pass finds it."""
    found = next_base(base, desired, left)
    return None if found is ABSENT else found


def alike_value(one: Any, other: Any) -> bool:
    if one is ABSENT or other is ABSENT:
        return one is other
    return same(one, other)


def leaves(value: Any, key: Any = ()) -> dict[Any, Any]:
    if isinstance(value, dict) and value:
        return {at: leaf for name, item in value.items() for at, leaf in leaves(item, (*key, name)).items()}
    return {} if value is ABSENT else {key: value}


@given(three())
def test_nothing_that_only_one_side_changed_is_lost(versions):
    """Git's changes into the live version, the live ones stay: each leaf that one side set is there."""
    base, live, desired = versions
    found = compare(base, live, desired, owned_whole=True)
    result = merged(live, [edit(each.key, each.desired) for each in found if each.case is Case.DEPLOY])
    conflicts = [each.key for each in found if each.case is Case.CONFLICT]
    old, ours, theirs, all_of_it = (leaves(each) for each in (base, live, desired, result))
    for key in old.keys() | ours.keys() | theirs.keys():
        if any(key[: len(place)] == place for place in conflicts):
            continue
        was, here, there, now = (side.get(key, ABSENT) for side in (old, ours, theirs, all_of_it))
        if not alike_value(here, was) and not isinstance(at(result, key), dict):
            assert alike_value(now, here) or alike_value(here, ABSENT)
        if not alike_value(there, was) and alike_value(here, was) and not isinstance(at(result, key), dict):
            assert alike_value(now, there)


@given(st.none() | DOCUMENTS, VERSIONS, VERSIONS, KEYED)
def test_carrying_out_all_differences_reaches_what_git_says(base, live, desired, keyed):
    found = compare(base, live, desired, owned_whole=True, list_keys=keyed)
    result = merged(live, [edit(each.key, each.desired) for each in found])
    if base is not None or desired is not ABSENT:
        assert desired is result is ABSENT or alike(result, desired, keyed)


@given(st.none() | DOCUMENTS, VERSIONS, VERSIONS, KEYED)
def test_of_a_shared_object_only_owned_keys_are_changed(base, live, desired, keyed):
    found = compare(base, live, desired, owned_whole=False, list_keys=keyed)
    result = merged(live, [edit(each.key, each.desired) for each in found])
    owned = leaves(ABSENT if base is None else base).keys() | leaves(desired).keys()
    now = leaves(result)
    for key, value in leaves(live).items():
        if not any(key[: len(place)] == place[: len(key)] for place in owned):
            assert alike_value(now.get(key, ABSENT), value)
    assert compare(kept(base, desired, []), result, desired, owned_whole=False, list_keys=keyed) == []


@given(DOCUMENTS, three())
def test_plain_edits_do_the_same_without_items_of_lists(live, versions):
    found = compare(versions[0], live, versions[2], owned_whole=True, list_keys=lambda _: "name")
    changes = [edit(each.key, each.desired) for each in found]
    easy = plain(live, changes)
    assert not any(part.startswith("[") for each in easy for part in each.key)
    if all(each.key for each in easy):
        assert same(apply(live, easy), merged(live, changes))


@given(
    st.none() | DOCUMENTS,
    VERSIONS,
    VERSIONS,
    KEYED,
    st.sampled_from([Policy.REMOTE, Policy.LOCAL, Policy.MERGE, Policy.MANUAL]),
)
def test_a_second_pass_writes_nothing_more(base, live, desired, keyed, policy):
    """What was written, and the base that is kept for it, leave only what waits or was proposed."""

    def passes(base: Any, live: Any) -> Any:
        found = compare(base, live, desired, owned_whole=True, list_keys=keyed, object_id="x")
        return decide(found, lambda _object, _key: policy, [], 0.0)

    first = passes(base, live)
    after = merged(live, first.writes.get("x", ()))
    second = passes(kept(base, desired, first.left), after)
    assert second.writes == {}
    merged_texts = {each.difference.key for each in first.decided if each.action is Action.MERGE}
    again = {each.key for each in second.left}
    assert again - merged_texts == {each.key for each in first.left}, "a merged text is proposed from then on"
    if policy is Policy.REMOTE and (base is not None or desired is not ABSENT):
        assert second.decided == ()
        assert desired is after is ABSENT or alike(after, desired, keyed)


@given(three(), st.sets(NAMES, max_size=2))
def test_what_is_ignored_is_never_written(versions, names):
    base, live, desired = versions
    found = compare(base, live, desired, owned_whole=False, ignored=lambda key: bool(names & set(key)))
    for each in found:
        assert not names & set(each.key)
        for key in leaves(each.desired):
            assert not names & set(key)
