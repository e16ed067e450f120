"""The order of a sync."""

from fairlead.core.overrides import ABSENT, REMOVED, Edit
from fairlead.core.waves import Step, document_steps, object_steps

WAVES = {"first": -1, "a": 0, "b": 0, "late": 5, "later": 7}


def test_objects_go_in_waves_and_removals_backwards_at_the_end():
    write, remove = (Edit(("k",), 1), Edit(("l",), REMOVED)), (Edit((), REMOVED),)
    writes = {"late": write, "b": write, "first": write, "later": remove, "a": write, "gone": remove}
    steps = object_steps(writes, lambda name, _key: WAVES.get(name, 2))
    assert [(step.wave, step.removes, names) for step, names in steps] == [
        (-1, False, ("first",)),
        (0, False, ("a", "b")),
        (5, False, ("late",)),
        (7, True, ("later",)),
        (2, True, ("gone",)),
    ]
    assert object_steps({}, lambda _name, _key: 0) == []


def steps(live, edits, *, waves=None, valid=lambda _: True):
    found = document_steps(live, edits, lambda key: (waves or WAVES).get(key[-1], 0), valid=valid)
    return [(step.wave, step.removes, document) for step, document in found]


def test_a_fleet_goes_server_by_server_with_the_others_as_they_are_live():
    live = {"servers": {"a": 1, "late": 1, "gone": 1}, "x": 1}
    edits = [
        Edit(("servers", "gone"), REMOVED),
        Edit(("servers", "late"), 2),
        Edit(("servers", "a"), 2),
        Edit(("x",), 2),
    ]
    assert steps(live, edits) == [
        (0, False, {"servers": {"a": 2, "late": 1, "gone": 1}, "x": 2}),
        (5, False, {"servers": {"a": 2, "late": 2, "gone": 1}, "x": 2}),
        (0, True, {"servers": {"a": 2, "late": 2}, "x": 2}),
    ]
    assert live["servers"]["gone"] == 1


def test_a_server_is_changed_in_one_step():
    live = {"servers": {"late": {"command": "a", "args": [1], "env": {"X": 1}}}}
    edits = [
        Edit(("servers", "late", "command"), "b"),
        Edit(("servers", "late", "args"), REMOVED),
        Edit(("servers", "late", "env", "X"), REMOVED),
    ]
    assert steps(live, edits) == [(5, False, {"servers": {"late": {"command": "b", "env": {}}}})]


def test_a_new_fleet_goes_in_waves_too():
    servers = {"late": {"x": 1}, "a": {"x": 1}, "first": {}}
    first = {"servers": {"first": {}}}
    for live, edits in (
        (ABSENT, [Edit((), {"servers": servers})]),
        ({}, [Edit(("servers",), servers)]),
    ):
        found = steps(live, edits)
        assert [wave for wave, _, _ in found] == [-1, 0, 5]
        assert found[0][2] == first
        assert found[-1][2] == {"servers": servers}


def test_what_would_not_be_valid_is_joined_with_the_next_step():
    live = {"servers": {"a": 1}, "toolsets": {}}
    edits = [
        Edit(("toolsets", "t"), ["late"]),
        Edit(("servers", "late"), 1),
        Edit(("servers", "a"), REMOVED),
    ]

    def valid(document):
        return all(name in document["servers"] for names in document["toolsets"].values() for name in names)

    assert [(wave, removes) for wave, removes, _ in steps(live, edits, valid=valid)] == [
        (5, False),
        (0, True),
    ]
    last = steps(live, edits, valid=lambda _: False)
    assert last == [(0, True, {"servers": {"late": 1}, "toolsets": {"t": ["late"]}})]


def test_steps_are_ordered():
    assert sorted([Step.of(0, removes=True), Step.of(3, removes=True), Step.of(9, removes=False)]) == [
        Step.of(9, removes=False),
        Step.of(3, removes=True),
        Step.of(0, removes=True),
    ]
