"""What a plan writes, in which order, and what counts as applied afterwards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.merge3 import compare
from fairlead.core.overrides import ABSENT
from fairlead.core.resolve import decide
from fairlead.core.rules import Rules
from fairlead.formats import documents
from fairlead.gitops.planning import Plan, Versions, plan
from fairlead.model.gitops import PathRule, Policy
from fairlead.model.reconciling import Base, Case, Desired, Format, Live, Rendered

Document = Mapping[str, Any]


def wanted(name: str, document: Document, *, whole: bool = False, comment: str = "") -> Desired:
    content = comment.encode() + documents.write(Format.YAML, document)
    return Desired(name, Format.YAML, content, document, whole=whole)


def there(name: str, document: Document, *, tag: str = "t1", content: bytes | None = None) -> Live:
    return Live(name, tag, content or documents.write(Format.YAML, document), document)


def versions(
    desired: Mapping[str, Desired], lives: Mapping[str, Live], bases: Mapping[str, Document] | None = None
) -> Versions:
    known = {name: Base(name, "c0", b"", document) for name, document in (bases or {}).items()}
    is_fleet = "fleet" in {*desired, *lives}
    return Versions(Rendered("c1", "d1", desired), lives, known, dict, is_fleet)


def planned(of: Versions, *rules: PathRule, default: Policy = Policy.REMOTE, fleet: bool = False) -> Plan:
    parsed = Rules.parse(rules, default, fleet=fleet)
    differences = [
        difference
        for name in of.names
        for difference in compare(
            of.base(name),
            of.live(name),
            of.desired(name),
            owned_whole=name in of.rendered.objects and of.rendered.objects[name].whole,
            object_id=name,
        )
    ]
    return plan(of, decide(differences, parsed.policy, [], 0.0), parsed)


def written(of: Plan) -> dict[str, Any]:
    return {write.object: write.document for wave in of.waves for write in wave.writes}


def test_where_all_is_as_git_says_nothing_is_written():
    of = versions({"a.yml": wanted("a.yml", {"x": 1})}, {"a.yml": there("a.yml", {"x": 1, "own": 2})})
    made = planned(of)
    assert made.waves == ()
    assert made.changes == 0
    assert made.difference == ""
    assert made.bases["a.yml"].document == {"x": 1}


def test_a_file_that_comes_out_as_git_has_it_gets_gits_bytes():
    for live in ({}, {"a.yml": there("a.yml", {"x": 1})}):
        desired = wanted("a.yml", {"x": 2}, comment="# why it is two\n", whole=bool(live))
        [wave] = planned(versions({"a.yml": desired}, live)).waves
        assert wave.writes[0].content == desired.content
        assert wave.writes[0].tag == ("t1" if live else None)


BLOCK = "<!-- fairlead:begin rules -->\n{}\n<!-- fairlead:end rules -->\n"


def notes(text: str) -> tuple[str, dict[str, Any]]:
    content = text.encode()
    return "CLAUDE.md", documents.read(Format.MARKDOWN, content)


def test_what_a_person_wrote_around_a_block_stays_when_git_changes_it():
    live = "# my own notes\n" + BLOCK.format("be kind") + "the end\n"
    name, document = notes(live)
    now = BLOCK.format("be brief")
    desired = Desired(name, Format.MARKDOWN, now.encode(), notes(now)[1])
    of = versions({name: desired}, {name: Live(name, "t", live.encode(), document)}, {name: document})
    [wave] = planned(of).waves
    assert wave.writes[0].content == live.replace("be kind", "be brief").encode()


@pytest.mark.parametrize("own", ["# my own notes\n", "", "\n\n"])
def test_of_a_dropped_text_only_its_blocks_go(own: str):
    live = own + BLOCK.format("be kind")
    name, document = notes(live)
    of = versions({}, {name: Live(name, "t", live.encode(), document)}, {name: document})
    [wave] = planned(of).waves
    assert wave.writes[0].content == (own.encode() if own.strip() else None)


def test_comments_of_a_shared_file_stay():
    live = b"# mine\nx: 1 # and this\n"
    desired = wanted("a.yml", {"x": 2}, comment="# gits\n")
    of = versions({"a.yml": desired}, {"a.yml": there("a.yml", {"x": 1}, content=live)}, {"a.yml": {"x": 1}})
    [wave] = planned(of).waves
    assert wave.writes[0].content == b"# mine\nx: 2 # and this\n"


def test_what_is_somebody_elses_stays_byte_for_byte():
    live = b"own:   [1,  2] # mine\nx: 1\n"
    of = versions(
        {"a.yml": wanted("a.yml", {"x": 2})},
        {"a.yml": there("a.yml", {"own": [1, 2], "x": 1}, content=live)},
        {"a.yml": {"x": 1}},
    )
    [wave] = planned(of).waves
    assert wave.writes[0].content == b"own:   [1,  2] # mine\nx: 2\n"
    assert planned(of).difference.splitlines()[:2] == ["--- live/a.yml", "+++ git/a.yml"]


def test_a_file_that_git_has_dropped_goes_and_its_base_too():
    of = versions({}, {"a.yml": there("a.yml", {"x": 1})}, {"a.yml": {"x": 1}})
    made = planned(of)
    assert written(made) == {"a.yml": None}
    assert made.waves[0].step.removes
    assert made.dropped == ("a.yml",)


def test_of_a_dropped_file_with_foreign_keys_only_our_own_go():
    of = versions({}, {"a.yml": there("a.yml", {"x": 1, "own": 2})}, {"a.yml": {"x": 1}})
    made = planned(of)
    assert written(made) == {"a.yml": {"own": 2}}
    assert made.dropped == ("a.yml",)


def test_what_a_policy_leaves_keeps_its_base():
    of = versions(
        {"a.yml": wanted("a.yml", {"x": 2, "y": 2})},
        {"a.yml": there("a.yml", {"x": 3, "y": 1})},
        {"a.yml": {"x": 1, "y": 1}},
    )
    made = planned(of, PathRule(path="a.yml#x", policy=Policy.MANUAL))
    assert written(made) == {"a.yml": {"x": 3, "y": 2}}
    assert made.bases["a.yml"].document == {"x": 1, "y": 2}
    assert [each.key for each in made.decisions.waiting] == [("x",)]


def test_waves_come_in_their_order_and_removals_last():
    names = ("z.yml", "b/late.yml", "a.yml")
    desired = {name: wanted(name, {"x": 1}) for name in names}
    of = versions(desired, {"gone.yml": there("gone.yml", {"x": 1})}, {"gone.yml": {"x": 1}})
    made = planned(of, PathRule(path="b/**", wave=5), PathRule(path="z.yml", wave=-1))
    order = [[write.object for write in wave.writes] for wave in made.waves]
    assert order == [["z.yml"], ["a.yml"], ["b/late.yml"], ["gone.yml"]]


def test_a_fleet_changes_wave_by_wave_and_ends_as_git_has_it():
    old = {"servers": {"a": {"args": ["1"]}, "b": {"args": ["1"]}, "gone": {}}}
    new = {"servers": {"a": {"args": ["2"]}, "b": {"args": ["2"]}}}
    of = versions(
        {"fleet": wanted("fleet", new, whole=True, comment="# ours\n")}, {"fleet": there("fleet", old)}
    )
    made = planned(of, PathRule(path="servers.a", wave=-1), fleet=True)
    documents_ = [wave.writes[0].document for wave in made.waves]
    assert documents_ == [
        {"servers": {"a": {"args": ["2"]}, "b": {"args": ["1"]}, "gone": {}}},
        {"servers": {"a": {"args": ["2"]}, "b": {"args": ["2"]}, "gone": {}}},
        new,
    ]
    assert made.waves[-1].writes[0].content is not None
    assert made.waves[-1].writes[0].content.startswith(b"# ours")
    assert made.changes == 1


def test_a_file_called_fleet_is_a_file():
    desired = {"fleet": Desired("fleet", Format.TEXT, b"two\n", {"": "two\n"})}
    lives = {"fleet": Live("fleet", "t", b"one\n", {"": "one\n"})}
    of = Versions(Rendered("c1", "d1", desired), lives, {}, dict, is_fleet=False)
    [wave] = planned(of).waves
    assert wave.writes[0].content == b"two\n"


def test_a_very_large_difference_is_cut():
    old, new = {f"k{n}": "x" * 50 for n in range(3000)}, {f"k{n}": "y" * 50 for n in range(3000)}
    text = planned(versions({"a.yml": wanted("a.yml", new)}, {"a.yml": there("a.yml", old)})).difference
    assert len(text) < 70_000
    assert text.endswith("... (more)")


VALUES = st.recursive(
    st.one_of(st.booleans(), st.integers(-3, 3), st.text("ab", max_size=2), st.lists(st.integers(0, 2))),
    lambda inner: st.dictionaries(st.sampled_from("pqr"), inner, max_size=3),
    max_leaves=6,
)
DOCUMENTS = st.dictionaries(st.sampled_from("xyz"), VALUES, max_size=3)


@given(st.none() | DOCUMENTS, st.none() | DOCUMENTS, DOCUMENTS, st.booleans())
def test_what_is_applied_is_as_git_says_and_stays_so(
    base: Document | None, live: Document | None, desired: Document, whole: bool
):
    """Git wins everywhere: after the plan nothing differs, whatever there was, and a second one is empty."""
    of = versions(
        {"a.yml": wanted("a.yml", desired, whole=whole)},
        {} if live is None else {"a.yml": there("a.yml", live)},
        {} if base is None else {"a.yml": base},
    )
    made = planned(of)
    after = written(made).get("a.yml", live)
    for wave in made.waves:
        for write in wave.writes:
            if write.content is not None:
                assert documents.read(Format.YAML, write.content) == write.document
    assert compare(desired, after, desired, owned_whole=whole) == []
    if whole:
        assert json.dumps(after, sort_keys=True) == json.dumps(desired, sort_keys=True)
    again = versions(
        of.rendered.objects and dict(of.rendered.objects),
        {} if after is None else {"a.yml": there("a.yml", after, tag="t2")},
        {name: each.document for name, each in made.bases.items()},
    )
    assert planned(again).waves == ()


@given(DOCUMENTS, DOCUMENTS, DOCUMENTS)
def test_a_policy_of_merging_loses_no_change_of_one_side(base: Document, live: Document, desired: Document):
    of = versions({"a.yml": wanted("a.yml", desired)}, {"a.yml": there("a.yml", live)}, {"a.yml": base})
    made = planned(of, default=Policy.MERGE)
    for each in made.decisions.decided:
        if each.difference.case is Case.DRIFT:
            assert each.difference in made.decisions.left, "the live change stays"
        if each.difference.case is Case.CONFLICT:
            assert each.difference in made.decisions.left or each.merged is not None
    assert ABSENT not in written(made).values()


@pytest.mark.parametrize("name", ["a.md", "a.txt"])
def test_texts_are_written_whole(name: str):
    desired = Desired(name, documents.format_of(name), b"two\n", {"": "two\n"})
    of = versions({name: desired}, {name: Live(name, "t", b"one\n", {"": "one\n"})}, {name: {"": "one\n"}})
    made = planned(of)
    assert made.waves[0].writes[0].content == b"two\n"
    assert made.difference.splitlines()[-2:] == ["-one", "+two"]


def test_a_live_edit_that_stays_is_kept_as_one_and_what_git_says_too_is_gits():
    live = there("fleet", {"servers": {"a": {"x": 9, "y": 9, "z": 9, "w": 0}}})
    keys = {f"servers.a.{name}": "ada" for name in "xyz"}
    live = replace(live, by=keys)
    desired = wanted("fleet", {"servers": {"a": {"x": 1, "y": 9, "z": 1, "w": 1}}}, whole=True)
    base = {"fleet": {"servers": {"a": {"x": 1, "y": 1, "z": 1, "w": 0}}}}
    local = PathRule(path="servers.a.x", policy=Policy.LOCAL)
    [wave] = planned(versions({"fleet": desired}, {"fleet": live}, base), local, fleet=True).waves
    [write] = wave.writes
    assert write.document == {"servers": {"a": {"x": 9, "y": 9, "z": 1, "w": 1}}}
    assert write.keeps == ("servers.a.x",)
