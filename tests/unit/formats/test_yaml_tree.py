from __future__ import annotations

import time
from typing import Any

import pytest

from fairlead.formats.yaml_tree import MAX_DEPTH, Mapping, Node, Position, Scalar, compose, plain_value


def data(node: Node | None) -> Any:
    if isinstance(node, Scalar):
        return node.text
    if isinstance(node, Mapping):
        return {name: data(entry.value) for name, entry in node.entries.items()}
    assert node is not None
    return [data(item) for item in node.items]


def only_finding(text: str) -> tuple[Position, str, str]:
    (finding,) = compose(text).findings
    return finding.position, finding.message, finding.hint


def test_scalars_keep_their_text_and_their_place() -> None:
    root = compose("a: 010\nb:\n  - yes\n  - 'no'\n").root
    assert data(root) == {"a": "010", "b": ["yes", "no"]}
    assert isinstance(root, Mapping)
    entry = root.entries["a"]
    assert isinstance(entry.value, Scalar)
    assert (entry.key.position, entry.value.position) == (Position(1, 1), Position(1, 4))
    assert (entry.value.start, entry.value.end) == (3, 6)


def test_only_plain_nothing_is_null() -> None:
    root = compose("a:\nb: ~\nc: null\nd: 'null'\ne: ''\n").root
    assert isinstance(root, Mapping)
    nulls = [name for name, e in root.entries.items() if isinstance(e.value, Scalar) and e.value.is_null]
    assert nulls == ["a", "b", "c"]


def test_a_byte_order_mark_and_windows_line_ends_do_not_shift_places() -> None:
    root = compose("\ufeffa: 1\r\nb: 2\r\n").root
    assert isinstance(root, Mapping)
    assert root.entries["b"].key.position == Position(2, 1)


def test_aliases_and_merge_keys_are_followed() -> None:
    text = "x: &x {a: 1, b: 1}\ny: &y {b: 2, c: 2}\nz: {<<: [*x, *y], c: 3}\nw: *x\nv: {<<: *y, '<<': 4}"
    root = data(compose(text).root)
    assert root["z"] == {"a": "1", "b": "1", "c": "3"}, "earlier sources win, and what is written out wins"
    assert root["w"] == {"a": "1", "b": "1"}
    assert root["v"] == {"b": "2", "c": "2", "<<": "4"}, "a quoted << is a name like any other"


def test_an_anchor_may_be_used_anew() -> None:
    assert data(compose("a: &x 1\nb: *x\nc: &x 2\nd: *x").root) == {"a": "1", "b": "1", "c": "2", "d": "2"}


@pytest.mark.parametrize(
    ("text", "place", "message", "hint"),
    [
        ("a:\n\tb: 1", (2, 1), "cannot start any token", "spaces, not with tabs"),
        ("a: b: c", (1, 5), "mapping values are not allowed", "quote a value"),
        ("a: 1\nb\n", (3, 1), "could not find expected ':'", "write `key: value`"),
        ("a: [1, 2", (1, 9), "expected ',' or ']'", "close the bracket"),
        ("a: 'x", (1, 6), "unexpected end", "close the quote"),
        ("a: @x", (1, 4), "cannot start any token", "quote the value"),
        ("  a: 1\n b: 2", (2, 2), "<document start>", "indentation"),
        ("a: x\n- b", (2, 1), "expected <block end>", "indentation"),
        ("a: \x00", (1, 4), "U+0000", "remove"),
        ("é\nab: \x07", (2, 5), "U+0007", "remove"),
        ("a: \ud800", (1, 4), "U+D800", "remove"),
        ('a: "\\ud800"', (1, 4), "surrogate", "the character itself"),
        ('a: "\\U00110000"', (1, 1), "not readable", "what follows"),
        ("a: 1\n---\nb: 2", (2, 1), "second document", "keep one"),
        ("a: 1\nb: 2\na: 3", (3, 1), "'a' stands here a second time", "line 1"),
        ("[1]: x", (1, 1), "a key must be a text", "name: value"),
        ("? \n: x", (1, 2), "a key must be a text", "name: value"),
        ("a: !!python/object:os.system x", (1, 4), "the tag", "remove it"),
        ("a: !x {b: 1}", (1, 4), "the tag", "remove it"),
        ("a: *x", (1, 4), "no anchor &x", "before its first use"),
        ("a: &x [*x]", (1, 8), "&x holds itself", "remove the alias"),
        ("a: {<<: [1]}", (1, 10), "merges mappings only", "alias of a mapping"),
        ("%YAML 3.0\n---\na: 1", (1, 1), "incompatible", "stands before it"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    text: str, place: tuple[int, int], message: str, hint: str
) -> None:
    position, said, told = only_finding(text)
    assert position == Position(*place)
    assert message in said
    assert hint in told


def test_all_findings_come_at_once_and_name_their_key() -> None:
    findings = compose("s:\n  a: 1\n  a: 2\n  l:\n    - x: 1\n      x: 2\nt: !!odd 1\n").findings
    assert [(finding.path, finding.position.line) for finding in findings] == [
        (("s", "a"), 3),
        (("s", "l", 0, "x"), 6),
        (("t",), 7),
    ]


def test_a_syntax_error_names_the_key_it_is_in() -> None:
    (finding,) = compose("servers:\n  a:\n    args: [1, 2\n  b: 1").findings
    assert finding.path[:3] == ("servers", "a", "args")


def nested(brackets: int) -> str:
    return "[" * brackets + "]" * brackets


def test_depth_is_bounded_before_it_hurts() -> None:
    assert not compose(nested(MAX_DEPTH)).findings
    assert "deep" in only_finding(nested(MAX_DEPTH + 1))[1]
    assert "deep" in only_finding("[" * 1_000_000)[1]
    assert "deep" in only_finding("{a: " * 100_000)[1]
    chain = "a0: &a0 [x]\n" + "".join(f"a{i + 1}: &a{i + 1} [*a{i}]\n" for i in range(1000))
    assert "deep" in only_finding(chain)[1], "aliases add up"


def test_laughs_by_the_billion_are_refused() -> None:
    levels = "a0: &a0 lol\n" + "".join(
        f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 10)}]\n" for i in range(9)
    )
    before = time.process_time()
    assert "aliases expanded" in only_finding(levels)[1]
    assert time.process_time() - before < 40


@pytest.mark.parametrize("text", ["", "# only a comment\n", "\n\n", "---\n", "---\n...\n"])
def test_nothing_is_no_error_here(text: str) -> None:
    tree = compose(text)
    assert not tree.findings
    assert tree.root is None or (isinstance(tree.root, Scalar) and tree.root.is_null)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("Null", None),
        ("true", True),
        ("FALSE", False),
        ("yes", "yes"),
        ("on", "on"),
        ("12", 12),
        ("-12", -12),
        ("010", 10),
        ("0x1F", 31),
        ("0o17", 15),
        ("1.5", 1.5),
        (".5", 0.5),
        ("-1e3", -1000.0),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2025-01-01", "2025-01-01"),
        (".inf", ".inf"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_what_a_plain_scalar_is(text: str, value: object) -> None:
    found = plain_value(text)
    assert (found, type(found)) == (value, type(value))
