"""Live edits by key."""

from typing import Any

import pytest

from fairlead.core.overrides import (
    ABSENT,
    REMOVED,
    Edit,
    apply,
    diff,
    edits,
    key_text,
    lookup,
    parse_key,
    rebase,
    same,
)
from fairlead.model.errors import SpecError
from fairlead.model.reports import Override

BASE = {
    "servers": {"a": {"command": "x", "scaling": {"maxInstances": 8}}, "b": {"command": "y"}},
    "loadBalancing": {"weights": {"a": 2.0}},
}


def override(key: str, value: Any = None, **more: Any) -> Override:
    return Override(key=key, value=value, by="ada", at=1.0, **more)


class TestKeys:
    @pytest.mark.parametrize(
        ("key", "text"),
        [
            (("servers", "a", "scaling", "maxInstances"), "servers.a.scaling.maxInstances"),
            (("servers", "my-1"), "servers.my-1"),
            (("metadata", "a.b"), 'metadata."a.b"'),
            (("metadata", ""), 'metadata.""'),
            (("metadata", 'a"\\'), r'metadata."a\"\\"'),
            (("metadata", "a b", "c"), 'metadata."a b".c'),
            (("metadata", "line\nend\n"), r'metadata."line\nend\n"'),
        ],
    )
    def test_a_key_is_written_and_read(self, key: tuple[str, ...], text: str) -> None:
        assert key_text(key) == text
        assert parse_key(text) == key

    @pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a..b", "a b", 'a."', 'a."b"c', 'a."\\x"', "a\n"])
    def test_what_is_no_key_is_refused(self, text: str) -> None:
        with pytest.raises(SpecError, match="is not a key"):
            parse_key(text)


class TestApply:
    def test_a_value_is_set_where_the_way_to_it_lacks(self) -> None:
        done = apply(BASE, [Edit(("servers", "b", "scaling", "minInstances"), 2)])
        assert done["servers"]["b"] == {"command": "y", "scaling": {"minInstances": 2}}
        assert BASE["servers"]["b"] == {"command": "y"}, "the base stays as it is"

    def test_a_key_is_taken_away_and_its_neighbours_stay(self) -> None:
        done = apply(BASE, [Edit(("servers", "a"), REMOVED)])
        assert done == {"servers": {"b": {"command": "y"}}, "loadBalancing": {"weights": {"a": 2.0}}}

    def test_taking_away_what_is_not_there_does_nothing(self) -> None:
        nowhere = [("servers", "z"), ("servers", "z", "q"), ("x", "y", "z"), ("servers", "b", "command", "q")]
        assert apply(BASE, [Edit(key, REMOVED) for key in nowhere]) == BASE

    def test_later_edits_win(self) -> None:
        key = ("servers", "a", "command")
        assert lookup(apply(BASE, [Edit(key, 1), Edit(key, 2)]), key) == 2

    def test_null_is_a_value(self) -> None:
        assert apply({}, [Edit(("a",), None)]) == {"a": None}

    def test_an_atom_on_the_way_becomes_a_mapping(self) -> None:
        assert apply({"a": 5}, [Edit(("a", "b"), 1)]) == {"a": {"b": 1}}


class TestDiff:
    def test_only_leaves_that_differ_are_named(self) -> None:
        wanted = {
            "servers": {"a": {"command": "x", "scaling": {"maxInstances": 9}}, "c": {"url": "u"}},
            "loadBalancing": {"weights": {"a": 2.0}},
        }
        assert diff(BASE, wanted) == [
            Edit(("servers", "a", "scaling", "maxInstances"), 9),
            Edit(("servers", "b"), REMOVED),
            Edit(("servers", "c"), {"url": "u"}),
        ]

    def test_a_list_is_one_atom(self) -> None:
        assert diff({"a": [1, 2]}, {"a": [1, 3]}) == [Edit(("a",), [1, 3])]
        assert diff({"a": [{"b": 1}]}, {"a": [{"b": 1}]}) == []

    @pytest.mark.parametrize(("old", "new"), [(1, True), (0, False), ([1], [True]), (None, ABSENT), ({}, [])])
    def test_what_python_takes_for_equal_is_not_always(self, old: Any, new: Any) -> None:
        wanted = {} if new is ABSENT else {"a": new}
        (edit,) = diff({"a": old}, wanted)
        assert edit.key == ("a",)

    def test_the_order_of_keys_does_not_matter(self) -> None:
        assert diff({"a": [{"x": 1, "y": 2}]}, {"a": [{"y": 2, "x": 1}]}) == []
        assert same({"x": 1, "y": 2}, {"y": 2, "x": 1})


class TestLookup:
    @pytest.mark.parametrize(
        ("key", "value"),
        [
            (("servers", "a", "command"), "x"),
            (("servers", "a", "scaling"), {"maxInstances": 8}),
            (("servers", "z"), ABSENT),
            (("servers", "a", "command", "deeper"), ABSENT),
            (("none", "at", "all"), ABSENT),
        ],
    )
    def test_a_value_or_nothing(self, key: tuple[str, ...], value: Any) -> None:
        assert lookup(BASE, key) == value


class TestRebase:
    def check(self, base: dict[str, Any], *, kept: list[Override], dropped: list[Override]) -> None:
        assert rebase([*kept, *dropped], base, base) == (tuple(kept), tuple(dropped))

    def test_what_the_owner_left_alone_stays(self) -> None:
        self.check(
            BASE,
            kept=[
                override("servers.a.scaling.maxInstances", 9, was=8),
                override("servers.b.strategy", "weighted"),
                override("servers.c", {"url": "u"}),
                override("servers.b", removed=True, was={"command": "y"}),
                override("loadBalancing.weights.b", 3.0),
                override("loadBalancing.strategy", "weighted"),
            ],
            dropped=[],
        )

    def test_what_the_owner_changed_too_falls(self) -> None:
        self.check(
            BASE,
            kept=[override("servers.a.command", "z", was="x")],
            dropped=[
                override("servers.a.scaling.maxInstances", 9, was=4),  # changed
                override("servers.b.command", "z"),  # added
                override("servers.b.scaling.maxInstances", 9, was=4),  # removed
                override("servers.b", {"command": "mine"}),  # added, too
                override("servers.a", removed=True, was={"command": "old"}),  # removed here, changed there
                override("servers.z", removed=True, was={"command": "y"}),  # removed on both sides
            ],
        )

    def test_even_when_both_changed_it_to_the_same(self) -> None:
        self.check(BASE, kept=[], dropped=[override("servers.a.scaling.maxInstances", 8, was=4)])

    def test_nothing_stays_of_a_server_that_the_owner_took_away(self) -> None:
        """Half a server would come back to life else."""
        self.check(
            BASE,
            kept=[],
            dropped=[
                override("servers.gone.command", "z"),
                override("servers.gone.scaling.minInstances", 2),
                override("loadBalancing.weights.gone", 2.0),
            ],
        )

    def test_the_weight_of_a_server_that_was_added_live_stays_with_it(self) -> None:
        self.check(
            BASE,
            kept=[override("loadBalancing.weights.c", 2.0), override("servers.c", {"url": "u"})],
            dropped=[],
        )
        self.check(
            BASE,
            kept=[],
            dropped=[
                override("loadBalancing.weights.z", 2.0),
                override("servers.z", removed=True, was={"url": "u"}),
            ],
        )

    def test_the_removal_of_a_server_is_about_its_own_entry_and_not_about_defaults(self) -> None:
        removed = override("servers.b", removed=True, was={"command": "y"})
        filled = {"servers": {"b": {"command": "y", "strategy": "weighted"}}}
        assert rebase([removed], filled, {"servers": {"b": {"command": "y"}}}) == ((removed,), ())
        assert rebase([removed], filled, {"servers": {"b": {"command": "z"}}}) == ((), (removed,))

    def test_null_and_true_are_compared_as_json_has_them(self) -> None:
        self.check({"a": None}, kept=[override("a", 1)], dropped=[])
        self.check({"a": True}, kept=[], dropped=[override("a", 2, was=1)])


def test_overrides_become_edits() -> None:
    assert edits([override("servers.a", removed=True), override('m."a.b"', [1])]) == [
        Edit(("servers", "a"), REMOVED),
        Edit(("m", "a.b"), [1]),
    ]
