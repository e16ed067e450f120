from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import pytest

from fairlead.core.overrides import REMOVED, Edit
from fairlead.formats.documents import edit, read, write
from fairlead.formats.place import DocumentError
from fairlead.formats.toml_document import MAX_DEPTH
from fairlead.model.reconciling import Format

CODEX = """\
# my settings
model = "x"  # which
when = 2020-01-01 07:32:00

[mcp_servers.a] # first
command = 'npx'
args = ["-y", "p"]   # args
env = { A = "1" }

# about b
[mcp_servers.b]
url = "http://b"
http.headers.x = 1 # deep

[[hooks]]
n = 1
[hooks.sub]
k = 2

[[hooks]]
n = 2 # two

[last]
# nothing here
"""
A = CODEX[CODEX.index("[mcp_servers.a]") : CODEX.index("\n# about b")]
B = CODEX[CODEX.index("[mcp_servers.b]") : CODEX.index("\n[[hooks]]")]
HOOKS = CODEX[CODEX.index("[[hooks]]") : CODEX.index("\n[last]")]


def changed(content: str, *edits: tuple[str, Any]) -> str:
    by_key = [Edit(tuple(key.split(".")), value) for key, value in edits]
    return edit(Format.TOML, content.encode(), by_key).decode()


def refused(content: str) -> tuple[int, int, str]:
    with pytest.raises(DocumentError) as error:
        read(Format.TOML, content.encode())
    assert error.value.hint
    return error.value.line, error.value.column, str(error.value).split(": ", 1)[1]


def test_what_json_does_not_have_is_read_as_text() -> None:
    text = "a = 2020-01-01\nb = 07:32:00\nc = [inf, -inf, nan]\nd = 0x1F\ne = 2020-01-01T07:32:00Z\n"
    assert read(Format.TOML, text.encode()) == {
        "a": "2020-01-01",
        "b": "07:32:00",
        "c": ["inf", "-inf", "nan"],
        "d": 31,
        "e": "2020-01-01T07:32:00+00:00",
    }


@pytest.mark.parametrize(
    ("key", "value", "before", "after"),
    [
        ("model", "y", '"x"', '"y"'),
        ("model", REMOVED, 'model = "x"  # which\n', ""),
        ("new", [1, {"a": 2}], "07:32:00\n", "07:32:00\nnew = [1, { a = 2 }]\n"),
        ("mcp_servers.a.args", ["-y", "q", "r"], '"p"]', '"q", "r"]'),
        ("mcp_servers.a.env.B b", "2", '"1" }', '"1", "B b" = "2" }'),
        ("mcp_servers.a.env.A", REMOVED, '{ A = "1" }', "{ }"),
        ("mcp_servers.a.env", "none", '{ A = "1" }', '"none"'),
        ("mcp_servers.a.command", "a\nb", "'npx'", '"a\\nb"'),
        ("mcp_servers.a.cwd", "/x", 'A = "1" }\n', 'A = "1" }\ncwd = "/x"\n'),
        ("mcp_servers.a", REMOVED, "\n" + A, ""),
        ("mcp_servers.b", REMOVED, B, ""),
        ("mcp_servers.b.http.headers.x", 2, "x = 1 #", "x = 2 #"),
        ("mcp_servers.b.http.headers.y", {"z": 1}, "# deep\n", "# deep\nhttp.headers.y = { z = 1 }\n"),
        ("mcp_servers.b.http.headers.x", REMOVED, "http.headers.x = 1 # deep\n", "http.headers = {}\n"),
        ("mcp_servers.c", {"x": {"y": 1}}, "# deep\n", "# deep\n\n[mcp_servers.c.x]\ny = 1\n"),
        ("mcp_servers.all", True, "# deep\n", "# deep\n\n[mcp_servers]\nall = true\n"),
        (
            "hooks",
            [{"n": 1, "sub": {"k": 2}}, {"n": 2}, {"m": {}}],
            "# two\n",
            "# two\n\n[[hooks]]\nm = {}\n",
        ),
        ("hooks", REMOVED, "\n" + HOOKS, ""),
        ("hooks", 1, "\n" + HOOKS, ""),
        ("last.text", "a\n\nb\n", "[last]\n", '[last]\ntext = """\na\n\nb\n"""\n'),
        ("last.text", 'a\n"', "[last]\n", '[last]\ntext = "a\\n\\""\n'),
        ("last", REMOVED, "\n[last]\n", ""),
    ],
)
def test_an_edit_changes_its_own_place_only(key: str, value: Any, before: str, after: str) -> None:
    assert before in CODEX
    wanted = CODEX.replace(before, after, 1)
    if (key, value) == ("hooks", 1):
        wanted = wanted.replace("07:32:00\n", "07:32:00\nhooks = 1\n")
    assert changed(CODEX, (key, value)) == wanted
    windows = changed(CODEX.replace("\n", "\r\n"), (key, value))
    assert windows == wanted.replace("\n", "\r\n")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "a = 1\n"),
        ("# licence\n\n# sec\n[b]", "# licence\n\na = 1\n\n# sec\n[b]"),
        ("[b]\n", "a = 1\n\n[b]\n"),
        ("b = 2", "b = 2\na = 1"),
    ],
)
def test_a_new_key_of_the_top_stands_above_all_sections(before: str, after: str) -> None:
    assert changed(before, ("a", 1)) == after


def test_a_new_table_is_a_section() -> None:
    assert changed(CODEX, ("z", {"b": {"c": [{"d": 1}], "e": 2}})).removeprefix(CODEX) == (
        "\n[z.b]\ne = 2\n\n[[z.b.c]]\nd = 1\n"
    ), "below what is said of the last one"
    assert changed("x = 1\n", ("x", {"y": 1})) == "\n[x]\ny = 1\n"
    assert changed("x.y = 1 # c\n", ("x", {})) == "x = {}\n"
    assert changed("[x]\ny = 1 # c\n[x.z]\n", ("x", {})) == "[x]\n"


def test_arrays_of_tables_change_as_a_whole() -> None:
    result = changed(CODEX, ("hooks", [{"n": 5}]))
    assert result == CODEX.replace("\n" + HOOKS, "") + "\n[[hooks]]\nn = 5\n"
    text = "[[a]]\nb = 1\n[a.c]\nd = 2\n[[a.e]]\nf = 3\n[z]\ny = 1\n"
    assert read(Format.TOML, text.encode())["a"] == [{"b": 1, "c": {"d": 2}, "e": [{"f": 3}]}]
    assert changed(text, ("a", REMOVED)) == "[z]\ny = 1\n"
    assert changed(text, ("z.y", 2)) == text.replace("y = 1", "y = 2")


def test_values_between_brackets() -> None:
    text = "a = [ # list\n  1, # one\n  { x = 1 },\n  '''l]''',\n]\nb = {c.d = 1, \"e\" = []}\n'f g'.h = 1\n"
    assert changed(text, ("a", [1, {"x": 2, "y": 3}, "l]"])) == text.replace(
        "{ x = 1 },\n  '''l]''',\n", "{ x = 2, y = 3 },\n  '''l]''',\n"
    )
    assert changed(text, ("b.c.d", 2)) == text.replace('{c.d = 1, "e" = []}', "{ c = { d = 2 }, e = [] }")
    assert changed(text, ("f g.h", 2)) == text.replace("h = 1", "h = 2")


@pytest.mark.parametrize(
    ("content", "line", "column", "message"),
    [
        ("a = 1\nb 2\n", 2, 3, "not TOML: Expected '=' after a key in a key/value pair"),
        ("a = 1\na = 2\n", 2, 6, "not TOML: Cannot overwrite a value"),
        ("a = [1", 1, 7, "not TOML: Unclosed array"),
        ("a = " + "9" * 5000, 1, 1, "there is a number that is too large"),
        ("a = " + "[" * 300_000, 1, 1, f"nested more than {MAX_DEPTH} deep"),
        ("a = " + "[" * 100 + "]" * 100, 1, 1, f"nested more than {MAX_DEPTH} deep"),
        ("b = 1\n[" + "a." * 9999 + "a]", 2, 1, f"a key of more than {MAX_DEPTH} parts"),
        ("a." * 9999 + "a = 1", 1, 1, f"a key of more than {MAX_DEPTH} parts"),
    ],
    ids=lambda value: "" if isinstance(value, str) and len(value) > 60 else None,
)
def test_what_is_wrong_is_told_with_its_place(content: str, line: int, column: int, message: str) -> None:
    assert refused(content) == (line, column, message)


def test_there_is_no_null() -> None:
    with pytest.raises(DocumentError, match="TOML has no null") as error:
        changed("a = 1\n", ("b", [None]))
    assert error.value.hint == "take the key away instead"


def test_a_new_file_has_its_tables_as_sections() -> None:
    document = {"a": {"b": {"c": 1.5}}, "z": "é\x7f", "q": [{"a": True, "b": {"c": 2}}], "e": {}}
    assert write(Format.TOML, document).decode() == (
        'z = "é\\u007f"\ne = {}\n\n[a.b]\nc = 1.5\n\n[[q]]\na = true\n\n[q.b]\nc = 2\n'
    )


@pytest.mark.parametrize(
    "content",
    [
        b"".join(b"[" + b".".join([b"a"] * 60) + b".x%d]\n" % n for n in range(7000)),
        b"[[a]]\n" * 170_000,
        b'a = """' + b"\\" * 900_000,
        b'["' + b'\\"' * 400_000,
        b"a = " + b"{a=" * 200_000,
    ],
    ids=["sections", "arrays", "backslashes", "quotes", "tables"],
)
def test_hostile_files_take_no_long_time(content: bytes) -> None:
    started = time.process_time()
    with suppress(DocumentError):
        edit(Format.TOML, content, [Edit(("zz",), 1)])
    assert time.process_time() - started < 60  # quadratic, it would be hours
