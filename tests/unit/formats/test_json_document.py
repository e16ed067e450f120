from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import Any

import pytest

from fairlead.core.overrides import REMOVED, Edit
from fairlead.formats import place
from fairlead.formats.documents import edit, read, write
from fairlead.formats.json_document import MAX_BYTES, MAX_DEPTH
from fairlead.formats.place import DocumentError
from fairlead.model.reconciling import Format

SETTINGS = """\
// settings of an editor
{
    "theme": "dark", // as the room is
    /* what may run */
    "allow": ["Bash(ls)", 'x'],
    "env": {},

    "mcpServers": {
        "a": { "command": "npx", "args": ["-y", "a"] }, // first
        // "b" was here
        "c": {"url": "http://c",},
    },
}
""".replace("'x'", '"x"')


OPEN_TEXT = "close it with \", and write \\n for a line's end"


def changed(content: str, *edits: tuple[str, Any]) -> str:
    by_key = [Edit(tuple(key.split(".")), value) for key, value in edits]
    return edit(Format.JSON, content.encode(), by_key).decode()


def refused(content: str) -> tuple[int, int, str, str]:
    with pytest.raises(DocumentError) as error:
        read(Format.JSON, content.encode())
    where, message = str(error.value).split(": ", 1)
    assert where == f"line {error.value.line}, column {error.value.column}"
    return error.value.line, error.value.column, message, error.value.hint


def test_comments_and_trailing_commas_are_understood() -> None:
    assert read(Format.JSON, SETTINGS.encode()) == {
        "theme": "dark",
        "allow": ["Bash(ls)", "x"],
        "env": {},
        "mcpServers": {"a": {"command": "npx", "args": ["-y", "a"]}, "c": {"url": "http://c"}},
    }
    assert read(Format.JSON, b'\xef\xbb\xbf{"a":[1,-0.5e3,true,null,"\\u00e9//"]} // x') == {
        "a": [1, -500.0, True, None, "é//"]
    }
    assert read(Format.JSON, b" // nothing yet\n") == {}


def test_a_value_is_replaced_in_its_place() -> None:
    assert changed(SETTINGS, ("theme", "light"), ("mcpServers.a.args", ["-y", "b"])) == SETTINGS.replace(
        "dark", "light"
    ).replace('["-y", "a"]', '["-y", "b"]')


def test_a_member_goes_with_its_line_and_other_comments_stay() -> None:
    assert changed(SETTINGS, ("theme", REMOVED), ("mcpServers.a", REMOVED)) == SETTINGS.replace(
        '    "theme": "dark", // as the room is\n', ""
    ).replace('        "a": { "command": "npx", "args": ["-y", "a"] }, // first\n', "")


def test_members_on_one_line_go_with_their_commas() -> None:
    assert changed('{"a": 1, "b": 2, "c": 3}', ("b", REMOVED)) == '{"a": 1, "c": 3}'
    assert changed('{"a": 1, "b": 2, "c": 3}', ("c", REMOVED), ("b", REMOVED)) == '{"a": 1}'
    assert changed('{ "a": 1, "b": 2 }', ("a", REMOVED), ("b", REMOVED)) == "{ }"
    assert changed('{"a": 1}', ("a", REMOVED), ("b", 2)) == '{"b": 2}'


def test_the_last_member_takes_the_comma_before_it_along() -> None:
    assert changed('{\n  "a": 1, // one\n  "b": 2\n}\n', ("b", REMOVED)) == '{\n  "a": 1 // one\n}\n'
    assert changed('{\n  "a": 1\n, "b": 2 }\n', ("b", REMOVED)) == '{\n  "a": 1\n }\n'


def test_a_new_member_stands_below_the_last_one_in_its_style() -> None:
    server = {"command": "node", "args": ["x", "y"], "env": {}}
    assert changed(SETTINGS, ("mcpServers.d", server)) == SETTINGS.replace(
        '        "c": {"url": "http://c",},\n',
        '        "c": {"url": "http://c",},\n'
        '        "d": {\n'
        '            "command": "node",\n'
        '            "args": [\n'
        '                "x",\n'
        '                "y"\n'
        "            ],\n"
        '            "env": {}\n'
        "        },\n",
    )
    assert changed(SETTINGS, ("env.A", "1")) == SETTINGS.replace(
        '"env": {},', '"env": {\n        "A": "1"\n    },'
    )


def test_a_comma_comes_before_the_comment_on_the_last_line() -> None:
    assert changed('{\n\t"a": 1 // one\n\t// more\n}', ("b", [1])) == (
        '{\n\t"a": 1, // one\n\t// more\n\t"b": [\n\t\t1\n\t]\n}'
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("{}", '{\n  "b": "é"\n}'),
        ("", '{\n  "b": "é"\n}\n'),
        ("// x", '// x\n{\n  "b": "é"\n}\n'),
        ('{"a":1}', '{"a":1,"b":"é"}'),
        ('{"a": 1, }', '{"a": 1, "b": "é", }'),
        ('{"a":1,\n "c":2}', '{"a":1,\n "c":2,\n "b":"é"}'),
        ("{\r\n}\r\n", '{\r\n  "b": "é"\r\n}\r\n'),
    ],
)
def test_a_new_member_in_files_of_any_style(before: str, after: str) -> None:
    assert changed(before, ("b", "é")) == after.replace(', "b": "é", }', ', "b": "é", }')


def test_lists_change_by_their_items() -> None:
    text = '{\n  "allow": [\n    "a", // A\n    "b", // B\n    "c" // C\n  ]\n}\n'
    assert changed(text, ("allow", ["a", "x", "c"])) == text.replace('"b"', '"x"')
    assert changed(text, ("allow", ["a", "c"])) == text.replace('    "b", // B\n', "")
    assert changed(text, ("allow", ["a", "b", "c", "d"])) == text.replace(
        '"c" // C\n', '"c", // C\n    "d"\n'
    )
    assert changed(text, ("allow", ["n"])) == '{\n  "allow": [\n    "n"\n  ]\n}\n', "nothing in common"
    assert changed(text, ("allow", [])) == '{\n  "allow": []\n}\n'
    assert changed(text, ("allow", "all")) == '{\n  "allow": "all"\n}\n'
    assert changed('{"a": []}', ("a", [1, 2])) == '{"a": [1, 2]}'


def test_the_state_of_a_client_is_left_alone() -> None:
    state = {"numStartups": 7, "projects": {"/a": {"history": [{"display": "hi"}], "mcpServers": {}}}}
    text = json.dumps(state, indent=2)
    assert changed(text, ("projects./a.mcpServers.x", {"command": "x"})) == text.replace(
        '"mcpServers": {}',
        '"mcpServers": {\n        "x": {\n          "command": "x"\n        }\n      }',
    )


@pytest.mark.parametrize(
    ("content", "line", "column", "message", "hint"),
    [
        ('{"a": 1\n "b": 2}', 2, 2, "a comma or } is wanted here", "write a comma, or close it with }"),
        ("{a: 1}", 1, 2, "a name in double quotes is wanted here", 'write "name": value'),
        ('{"a" 1}', 1, 6, "a colon is wanted here", 'write "name": value'),
        ('{"a": 1, "a": 2}', 1, 10, "the key 'a' stands here a second time", "keep one of them"),
        ('{"a": {"b": 1, "b": 2}} // c', 1, 16, "the key 'b' stands here a second time", "keep one of them"),
        ("[1]", 1, 1, "an object is wanted at the top", 'write {"name": value}'),
        ("{} x", 1, 4, "nothing may follow here", "remove it, or check the brackets above"),
        ('{"a": 1 /* x}', 1, 9, "a comment without its end", "close it with */"),
        ('{"a": "x\ny"}', 1, 7, "a text that does not end on its line", OPEN_TEXT),
        (r'{"a": "\x"}', 1, 7, "a text with a backslash that means nothing", r"write \\ for a backslash"),
        (r'{"a": "\ud800"}', 1, 7, "half of a surrogate pair is no character", "write the character itself"),
        ("{\"a\": 'x'}", 1, 7, "a value is wanted here", 'quote texts with "; write true, false or null'),
        ('{"a": 01}', 1, 7, "a value is wanted here", 'quote texts with "; write true, false or null'),
        ('{"a": NaN}', 1, 7, "a value is wanted here", 'quote texts with "; write true, false or null'),
        ('{"a": 1e999}', 1, 7, "a number that is too large", "write it as a text"),
        ('{"a": ' + "9" * 5000 + "}", 1, 7, "a number that is too large", "write it as a text"),
        ('{"a": ', 1, 7, "a value is wanted here", 'quote texts with "; write true, false or null'),
        ('{"a": ' + "[" * 100_000, 1, 6 + MAX_DEPTH, f"nested more than {MAX_DEPTH} deep", "make it flatter"),
    ],
    ids=lambda value: "" if isinstance(value, str) and len(value) > 40 else None,
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(
    content: str, line: int, column: int, message: str, hint: str
) -> None:
    assert refused(content) == (line, column, message, hint)


def test_plain_json_that_is_too_deep_is_refused() -> None:
    deep: Any = 1
    for _ in range(MAX_DEPTH):
        deep = {"a": deep}
    assert read(Format.JSON, json.dumps(deep).encode()) == deep
    assert refused(json.dumps({"a": deep}))[2] == f"nested more than {MAX_DEPTH} deep"


def test_a_pair_of_surrogates_is_a_character() -> None:
    assert read(Format.JSON, rb'{"a": "\ud83d\ude00"}') == {"a": "\N{GRINNING FACE}"}


def test_a_new_file_is_as_a_person_would_write_it() -> None:
    assert (
        write(Format.JSON, {"a": {"b": ["é"]}})
        == '{\n  "a": {\n    "b": [\n      "é"\n    ]\n  }\n}\n'.encode()
    )


@pytest.mark.parametrize(
    "content",
    [b"/*" * 400_000, b"// x\n" * 190_000, b'{"a": "' + b"\\" * 900_000, b'{"a":1,' * 140_000],
    ids=["comment", "comments", "backslashes", "objects"],
)  # fmt: skip
def test_hostile_files_take_no_long_time(content: bytes) -> None:
    started = time.process_time()
    with suppress(DocumentError):
        read(Format.JSON, content)
    assert time.process_time() - started < 30


def test_a_clients_own_state_may_be_larger_than_what_git_has():
    state = ",".join(f'"p{number}":{{"history":["{"x" * 1000}"]}}' for number in range(1200))
    content = f'{{"projects":{{{state}}},\n  "mcpServers": {{}}}}'.encode()
    assert len(content) > place.MAX_BYTES
    changed = edit(Format.JSON, content, [Edit(("mcpServers", "a"), {"command": "x"})])
    assert changed.startswith(content.partition(b'"mcpServers"')[0])
    with pytest.raises(DocumentError, match="more than 8,388,608"):
        read(Format.JSON, b" " * (MAX_BYTES + 1))
