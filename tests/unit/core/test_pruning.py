"""A mistake in Git does not take everything away."""

import pytest

from fairlead.core.overrides import ABSENT
from fairlead.core.pruning import Setting, judge, taken, things
from fairlead.model.gitops import Environment, Prune
from fairlead.model.reconciling import Case, Difference

NOW = 1_000.0
SERVERS = {"servers": {"a": {}, "b": {}, "c": {}}, "toolsets": {"t": {}}}


def gone(key=(), live=None, object_id="x"):
    return Difference(object_id, key, Case.DEPLOY, live, live, ABSENT)


def setting(total=100, *, environment=Environment.DEVELOPMENT, nothing=False, confirmed=False, **prune):
    return Setting(Prune(**prune), environment, total, nothing, confirmed)


def judged(count, how, *, since=NOW):
    return judge([gone(object_id=f"f{n}") for n in range(count)], how, lambda _: since, NOW)


@pytest.mark.parametrize(
    ("difference", "count"),
    [
        (gone((), SERVERS), 4),
        (gone((), {"": "text"}), 1),
        (gone(("servers",), SERVERS["servers"]), 3),
        (gone(("servers", "a"), {}), 1),
        (gone(("mcpServers", "a"), {}), 1),
        (gone(("servers", "a", "args"), []), 0),
        (gone(("security",), {"x": {}}), 0),
        (gone(("servers",), None), 0),
    ],
    ids=["object", "text", "servers", "server", "client", "argument", "section", "null"],
)
def test_what_counts_as_a_thing(difference, count):
    assert taken(difference) == count


def test_an_object_has_its_things_or_is_one():
    assert things(SERVERS) == 4
    assert things({"servers": {}}) == things({"a": 1}) == things(ABSENT) == 1


def test_a_few_removals_go_and_what_is_inside_of_things_always_does():
    assert judged(10, setting()).waiting == ()
    inside = [gone(("servers", "a", key)) for key in "abcdefghijklmn"]
    assert judge(inside, setting(max_count=0, enabled=False), lambda _: NOW, NOW).waiting == ()


def test_too_many_wait_all_of_them_until_a_person_agrees():
    verdict = judged(11, setting())
    assert len(verdict.waiting) == 11
    assert verdict.confirm
    assert "maxCount" in verdict.message
    assert judged(11, setting(confirmed=True)).waiting == ()


@pytest.mark.parametrize(
    ("count", "total", "waits"), [(2, 4, False), (3, 4, True), (3, 3, False), (1, 1, False), (6, 10, True)]
)
def test_the_share_counts_where_there_are_more_than_a_few(count, total, waits):
    verdict = judged(count, setting(total))
    assert bool(verdict.waiting) is waits
    assert ("maxPercent" in verdict.message) is waits


def test_a_share_of_nothing_lets_nothing_go():
    assert judged(1, setting(4, max_percent=0)).waiting


@pytest.mark.parametrize(
    ("environment", "confirm", "waits"),
    [
        (Environment.PRODUCTION, None, True),
        (Environment.PRODUCTION, False, False),
        (Environment.STAGING, None, False),
        (Environment.STAGING, True, True),
    ],
)
def test_production_asks_a_person(environment, confirm, waits):
    verdict = judged(1, setting(environment=environment, confirm=confirm))
    assert bool(verdict.waiting) is verdict.confirm is waits
    assert judged(1, setting(environment=environment, confirm=confirm, confirmed=True)).waiting == ()


def test_when_git_has_nothing_not_even_a_person_removes_all():
    verdict = judged(1, setting(nothing=True, confirmed=True))
    assert verdict.waiting
    assert not verdict.confirm
    assert "nothing at all" in verdict.message


def test_switched_off_nothing_goes():
    verdict = judged(1, setting(enabled=False, confirmed=True))
    assert verdict.waiting
    assert not verdict.confirm


def test_each_removal_has_its_grace():
    old, new, newer = (gone(object_id=name) for name in ("old", "new", "newer"))
    first_seen = {"old": NOW - 60.0, "new": NOW - 59.0, "newer": NOW}
    verdict = judge([old, newer, new], setting(grace=60.0), lambda each: first_seen[each.object], NOW)
    assert verdict.waiting == (newer, new)
    assert verdict.again == NOW + 1.0
    assert not verdict.confirm


def test_nothing_to_remove_needs_nothing():
    assert judge([], setting(nothing=True), lambda _: NOW, NOW).message == ""
