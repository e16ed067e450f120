from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import pytest

from fairlead.core.overrides import REMOVED, Edit
from fairlead.formats.documents import edit, read, write
from fairlead.formats.place import DocumentError
from fairlead.model.reconciling import Format

FLEET = """\
# the fleet of the team
version: "1"

servers:
  # looks things up
  context7:   # upstream
    args: ["-y", 'ctx']   # as they say
    env: { A: 1, B: two }
    timeout: 30s # enough
  files:
    roots:
      - /a   # first
      - path: /b
        mode: ro
      - /c
    notes: |
      line one

      line two

    empty:
# the end
"""
SHARED = """\
base: &base  # for all
  a: 1
  b: 2
one: *base
two:
  <<: *base
  own: 3 # mine
list: [*base, 4]
"""


def changed(content: str, *edits: tuple[str, Any]) -> str:
    by_key = [Edit(tuple(key.split(".")), value) for key, value in edits]
    return edit(Format.YAML, content.encode(), by_key).decode()


def refused(content: str) -> tuple[int, int, str]:
    with pytest.raises(DocumentError) as error:
        read(Format.YAML, content.encode())
    assert error.value.hint
    return error.value.line, error.value.column, str(error.value).split(": ", 1)[1]


def test_the_core_schema_of_yaml_1_2_is_read() -> None:
    text = "a: yes\nb: 0o17\nc: 010\nd: 1e3\ne: ~\nf: 2020-01-01\ng: '1'\nh: .inf\ni: True\n"
    assert read(Format.YAML, text.encode()) == {
        "a": "yes", "b": 15, "c": 10, "d": 1000.0, "e": None, "f": "2020-01-01", "g": "1", "h": ".inf",
        "i": True,
    }  # fmt: skip
    for nothing in ("", "# only a comment\n", "---\n", "null\n"):
        assert read(Format.YAML, nothing.encode()) == {}


@pytest.mark.parametrize(
    ("key", "value", "before", "after"),
    [
        ("version", "2", '"1"', '"2"'),
        ("servers.context7.args", ["-y", "c'"], "'ctx'", '"c\'"'),
        ("servers.context7.args", ["-y", "ctx", "--x"], "'ctx']", "'ctx', \"--x\"]"),
        ("servers.context7.env.B", REMOVED, "A: 1, B: two", "A: 1"),
        ("servers.context7.env.C", "a b", "two }", 'two, C: "a b" }'),
        ("servers.context7.timeout", "1m", "30s #", "1m #"),
        ("servers.context7.timeout", REMOVED, "    timeout: 30s # enough\n", ""),
        ("servers.context7.timeout", {"a": [1]}, "30s # enough\n", "# enough\n      a:\n        - 1\n"),
        ("servers.context7.timeout", "a\nb\n", "30s # enough\n", "| # enough\n      a\n      b\n"),
        ("servers.context7.new", {"x": [{}]}, "# enough\n", "# enough\n    new:\n      x:\n        - {}\n"),
        ("servers.files.roots", ["/a", "/c"], "      - path: /b\n        mode: ro\n", ""),
        ("servers.files.roots", ["/a", {"path": "/b", "mode": "rw"}, "/c"], "mode: ro", "mode: rw"),
        ("servers.files.roots", ["/a", {"mode": "ro"}, "/c"], "path: /b\n        mode", "mode"),
        ("servers.files.roots", ["/a", {"x": 1}, "/c"], "path: /b\n        mode: ro", "x: 1"),
        ("servers.files.roots", ["/a", [1, 2], "/c"], "path: /b\n        mode: ro", "- 1\n        - 2"),
        ("servers.files.roots", 5, FLEET[FLEET.index("\n      - /a") : FLEET.index("\n    notes")], " 5"),
        ("servers.files.notes", "short", "|\n      line one\n\n      line two\n", "short\n"),
        ("servers.files.notes", REMOVED, "    notes: |\n      line one\n\n      line two\n", ""),
        ("servers.files.empty", 1, "empty:", "empty: 1"),
        ("servers.files.empty.x", 1, "empty:\n", "empty:\n      x: 1\n"),
        ("servers.context7", REMOVED, FLEET[FLEET.index("  context7") : FLEET.index("  files")], ""),
        ("servers.git", {"command": "git"}, "    empty:\n", "    empty:\n  git:\n    command: git\n"),
        ("extra", 1, "    empty:\n", "    empty:\nextra: 1\n"),
    ],
)  # fmt: skip
def test_an_edit_changes_its_own_place_only(key: str, value: Any, before: str, after: str) -> None:
    assert before in FLEET
    assert changed(FLEET, (key, value)) == FLEET.replace(before, after, 1)
    windows = FLEET.replace("\n", "\r\n")
    assert changed(windows, (key, value)) == FLEET.replace(before, after, 1).replace("\n", "\r\n")


def test_quotes_stay_where_they_were() -> None:
    assert changed("a: 'x'\nb: \"x\"\nc: x\n", ("a", "it's"), ("b", "1"), ("c", "1")) == (
        "a: 'it''s'\nb: \"1\"\nc: \"1\"\n"
    )
    assert changed("a: 'x'\n", ("a", 1)) == "a: 1\n"
    assert changed("a: 'x'\n", ("a", "\t")) == 'a: "\\t"\n'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a:\n    x: 1\n", "a:\n    x: 1\n    n:\n        l:\n          - 1\n"),
        ("a:\n- 1\n", "a:\n  n:\n    l:\n    - 1\n"),
        ("a:\n- x: 1\n", "a:\n  n:\n    l:\n    - 1\n"),
        ("a: {}", "a:\n  n:\n    l:\n      - 1"),
        ("# x", "# x\na:\n  n:\n    l:\n      - 1\n"),
        ("--- # x\n", "--- # x\na:\n  n:\n    l:\n      - 1\n"),
        ("{}", "a:\n  n:\n    l:\n      - 1\n"),
        ("{b: 1}", "{b: 1, a: {n: {l: [1]}}}"),
        ("~ # x\n", " # x\na:\n  n:\n    l:\n      - 1\n"),
    ],
)
def test_new_keys_take_the_style_of_the_file(before: str, after: str) -> None:
    result = changed(before, ("a.n.l", [1]))
    assert result == after


def test_a_collection_starts_beside_its_dash() -> None:
    assert changed("a:\n-   x # c\n- y\n", ("a", [[1, 2], "y"])) == "a:\n- - 1 # c\n  - 2\n- y\n"


def test_a_mapping_without_members_is_written_as_one() -> None:
    assert changed("a:\n  b: 1\n", ("a.b", REMOVED)) == "a: {}\n"
    assert changed("a: 1\n", ("a", REMOVED)) == ""
    assert changed("# x\na: 1\n", ("a", REMOVED), ("b", 2)) == "# x\nb: 2\n"


def test_what_an_anchor_names_is_changed_at_its_own_place() -> None:
    assert changed(SHARED, ("two.own", 4)) == SHARED.replace("own: 3", "own: 4")
    assert changed(SHARED, ("two.b", 5)) == SHARED.replace("own: 3 # mine\n", "own: 3 # mine\n  b: 5\n")
    assert changed(SHARED, ("one", 1), ("list", [{"a": 1, "b": 2}, 5])) == SHARED.replace(
        "one: *base", "one: 1"
    ).replace("4]", "5]")


def test_aliases_in_the_way_are_written_out() -> None:
    assert changed(SHARED, ("base.a", 7)) == (
        "base: &base  # for all\n"
        "  a: 7\n"
        "  b: 2\n"
        "one:\n"
        "  a: 1\n"
        "  b: 2\n"
        "two:\n"
        "  own: 3 # mine\n"
        "  a: 1\n"
        "  b: 2\n"
        "list:\n"
        "  - a: 1\n"
        "    b: 2\n"
        "  - 4\n"
    )
    assert read(Format.YAML, changed(SHARED, ("base", REMOVED)).encode()) == {
        "one": {"a": 1, "b": 2}, "two": {"own": 3, "a": 1, "b": 2}, "list": [{"a": 1, "b": 2}, 4],
    }  # fmt: skip
    assert changed("{a: &x {b: 1}, c: *x}\n", ("a.b", 2)) == "{a: {b: 2}, c: {b: 1}}\n"
    assert changed("a: &x 1\nb: {? c : *x}\n", ("a", 2)) == "a: 2\nb:\n  c: 1\n"
    assert changed("a: &x {k: 1}\nb: {<<: *x, c: 2}\n", ("b.c", 3)) == "a: &x {k: 1}\nb:\n  c: 3\n  k: 1\n"
    assert "<<" not in changed(SHARED, ("two.a", REMOVED))
    assert changed("<<: {a: 1}\nb: 2\n", ("a", REMOVED)) == "b: 2\n"


def test_marked_keys_are_changed_with_the_mapping_around_them() -> None:
    assert changed("a:\n  ? b\n  : 1\n  c: 2\nd: 3 # x\n", ("a.b", 5)) == "a:\n  b: 5\n  c: 2\nd: 3 # x\n"
    assert changed("a: {b, ? c : 1}\nd: 3\n", ("a.b", 5)) == "a:\n  b: 5\n  c: 1\nd: 3\n"
    assert changed("? a\n: 1\n", ("b", 5)) == "a: 1\n\nb: 5\n"


def test_a_text_of_several_lines_does_not_swallow_a_comment() -> None:
    assert changed("a: 1\n      # c\n", ("b", "x\ny\n")) == 'a: 1\nb: "x\\ny\\n"\n      # c\n'
    assert changed("a: 1\n# c\n", ("b", "x\ny\n")) == "a: 1\nb: |\n  x\n  y\n# c\n"


def test_old_line_ends_are_read_but_not_edited() -> None:
    assert read(Format.YAML, b"a: 1\rb: 2\r") == {"a": 1, "b": 2}
    with pytest.raises(DocumentError, match="line 1, column 5: a carriage return ends a line here"):
        changed("a: 1\rb: 2\r", ("a", REMOVED))


def test_kept_and_tagged_texts() -> None:
    assert changed("a: |+\n  x\n\nb: 1\n", ("b", 2)) == "a: |+\n  x\n\nb: 2\n"
    assert changed("a: |+\n  x\n\n", ("b", 2)) == "a: |+\n  x\n\nb: 2\n"
    assert changed("a: !!str 1\nb: &x y\n", ("a", "2"), ("b", "z")) == 'a: "2"\nb: z\n'


@pytest.mark.parametrize(
    ("content", "line", "column", "message"),
    [
        ("- a\n", 1, 1, "a mapping is wanted at the top"),
        ("a: 1\na: 2\n", 2, 1, "the key 'a' stands here a second time"),
        ("a: !!python/object x\n", 1, 4, "the tag tag:yaml.org,2002:python/object is not understood"),
        ("a: [1\n", 2, 1, "not YAML: expected ',' or ']', but got '<stream end>'"),
        ("a: 1\n---\nb: 2\n", 2, 1, "a second document starts here"),
        ("a: *b\n", 1, 4, "there is no anchor &b above"),
        ("x: 1\na: !" + "x" * 5000, 2, 4, "a tag without end"),
        ("a: \x07\n", 1, 4, "the character U+0007 cannot stand in YAML"),
    ],
    ids=lambda value: "" if isinstance(value, str) and len(value) > 40 else None,
)
def test_what_is_wrong_is_told_with_its_place(content: str, line: int, column: int, message: str) -> None:
    assert refused(content) == (line, column, message)


def test_a_new_file_is_as_a_person_would_write_it() -> None:
    assert write(Format.YAML, {"a": {"b": ["x"]}, "c": 1}) == b"a:\n  b:\n    - x\n\nc: 1\n"


BOMB = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 9)) for n in range(12)
)


@pytest.mark.parametrize(
    "content",
    [BOMB, b"[" * 99_999, b"- " * 99_999, b"? " * 99_999, b"!" * 900_000, b"&a " * 999, b"a:" + b" " * 9_999],
    ids=["bomb", "brackets", "dashes", "keys", "tags", "anchors", "spaces"],
)  # fmt: skip
def test_hostile_files_take_no_long_time(content: bytes) -> None:
    started = time.process_time()
    with suppress(DocumentError):
        read(Format.YAML, content)
    assert time.process_time() - started < 30
