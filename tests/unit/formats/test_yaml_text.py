from __future__ import annotations

import pytest

from fairlead.formats.yaml_text import Style, entry_lines, in_quotes, inline, quoted, write_yaml


def test_the_layout_is_that_of_a_person() -> None:
    data = {
        "version": "1",
        "servers": {"a": {"args": ["-x", "1 core"], "environment": {}, "on": True, "none": None, "n": 1.5}},
        "channels": [{"type": "log", "level": "warning"}, [1, 2]],
    }
    assert write_yaml(data) == (
        'version: "1"\n'
        "\n"
        "servers:\n"
        "  a:\n"
        "    args:\n"
        '      - "-x"\n'
        "      - 1 core\n"
        "    environment: {}\n"
        "    on: true\n"
        "    none: null\n"
        "    n: 1.5\n"
        "\n"
        "channels:\n"
        "  - type: log\n"
        "    level: warning\n"
        "  - - 1\n"
        "    - 2\n"
    )


def test_only_what_is_surely_a_text_goes_without_quotes() -> None:
    bare = ["npm:x", "30s", "/workspace:/workspace:rw", "yes", "2025-01-01", "a b"]
    assert [quoted(text) for text in bare] == bare
    for text in [
        "",
        "1",
        "true",
        "null",
        "~",
        "0x1",
        "1.0",
        "1e3",
        "a: b",
        "a #b",
        "a:",
        "- a",
        "@a",
        " a",
        "a ",
    ]:
        assert quoted(text) == f'"{text}"'
    assert quoted('a"\\\n\t\r\x85é') == r'"a\"\\\n\t\r\U00000085é"'


def test_several_lines_stand_on_several_lines_where_that_can_be_done() -> None:
    data = {"a": "x: y\n\n  # z\n", "b": ["l1\nl2"], "c": {"d": "1\n2"}}
    assert write_yaml(data) == (
        "a: |\n  x: y\n\n    # z\n\nb:\n  - |-\n    l1\n    l2\n\nc:\n  d: |-\n    1\n    2\n"
    )


@pytest.mark.parametrize("text", ["a\n", "\na\n", " a\nb", "a\n \nb", "a\n\n", "a\tb\nc", "a\x85b\nc", "\n"])
def test_other_lines_stand_in_quotes(text: str) -> None:
    written = write_yaml({"a": text})
    assert written == f"a: {in_quotes(text)}\n"
    assert written.count("\n") == 1


def test_values_on_one_line() -> None:
    data = {"a": [1, "x", None, {"b c": "d"}], "1": {}, "e": []}
    assert inline(data) == '{a: [1, "x", null, {b c: "d"}], "1": {}, e: []}'


def test_the_indentation_is_that_of_the_file() -> None:
    lines = list(entry_lines("a", {"b": [{"c": 1, "d": {"e": 2}}]}, "", Style("    ", "")))
    assert lines == ["a:", "    b:", "    - c: 1", "      d:", "          e: 2"]


def test_a_key_that_is_too_long_for_its_line_is_marked_as_a_key() -> None:
    assert write_yaml({"k" * 2000: 1}) == f"? {'k' * 2000}\n: 1\n"
