from __future__ import annotations

from typing import Any

import pytest

from fairlead.core.overrides import REMOVED, Edit
from fairlead.formats import documents
from fairlead.formats.place import MAX_BYTES, DocumentError
from fairlead.model.reconciling import Format


@pytest.mark.parametrize(
    ("path", "format_"),
    [
        (".mcp.json", Format.JSON),
        (".claude/settings.json", Format.JSON),
        (".config/opencode/opencode.JSONC", Format.JSON),
        ("base/mcp-servers.yml", Format.YAML),
        ("a.yaml", Format.YAML),
        (".codex/config.toml", Format.TOML),
        ("CLAUDE.md", Format.MARKDOWN),
        (".cursor/rules/a.mdc", Format.MARKDOWN),
        ("hooks/run.sh", Format.TEXT),
        ("json", Format.TEXT),
        (".json", Format.TEXT),
        ("folder.json/file", Format.TEXT),
    ],
)
def test_the_format_is_told_by_the_ending(path: str, format_: Format) -> None:
    assert documents.format_of(path) is format_


@pytest.mark.parametrize("format_", [each for each in Format if each is not Format.JSON])
def test_a_file_of_more_than_a_mebibyte_is_refused(format_: Format) -> None:
    with pytest.raises(DocumentError, match="1,048,577 bytes, more than 1,048,576") as refused:
        documents.read(format_, b" " * (MAX_BYTES + 1))
    assert refused.value.hint == "make it smaller, or leave it out of what is managed"


@pytest.mark.parametrize("format_", [Format.JSON, Format.YAML, Format.TOML])
def test_what_is_not_utf_8_is_refused_with_its_place(format_: Format) -> None:
    with pytest.raises(DocumentError, match="line 2, column 3: the byte 0xff is not UTF-8") as refused:
        documents.read(format_, b"\n  \xff")
    assert (refused.value.line, refused.value.column) == (2, 3)
    assert refused.value.hint == "save the file as UTF-8"


@pytest.mark.parametrize("format_", [Format.JSON, Format.YAML, Format.TOML])
def test_an_empty_file_is_an_empty_document_that_can_be_filled(format_: Format) -> None:
    assert documents.read(format_, b"") == {}
    filled = documents.edit(format_, b"", [Edit(("a", "b"), 1)])
    assert documents.read(format_, filled) == {"a": {"b": 1}}


@pytest.mark.parametrize("format_", list(Format))
def test_edits_that_change_nothing_leave_the_bytes(format_: Format) -> None:
    content = {
        Format.JSON: b'{ "a":1 }',
        Format.YAML: b"a :  1",
        Format.TOML: b"a=  1",
        Format.MARKDOWN: b"<!--fairlead:begin a-->\n1\n<!-- fairlead:end a -->",
        Format.TEXT: b"a",
    }[format_]
    document = documents.read(format_, content)
    edits = [Edit((name,), value) for name, value in document.items()]
    assert documents.edit(format_, content, [*edits, Edit(("nowhere", "x"), REMOVED)]) == content


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, "\ud800", {"a": object()}])
def test_what_is_no_json_data_is_not_written(value: Any) -> None:
    with pytest.raises(DocumentError, match="no JSON data"):
        documents.write(Format.JSON, {"a": value})
    with pytest.raises(DocumentError, match="no JSON data"):
        documents.edit(Format.YAML, b"a: 1", [Edit(("a",), value)])


def test_a_change_that_makes_the_file_wrong_is_refused() -> None:
    deep: Any = 1
    for _ in range(40):
        deep = {"a": deep}
    with pytest.raises(DocumentError, match=r"cannot be made: then, line \d+, .* nested more than 32 deep"):
        documents.edit(Format.YAML, b"a: 1\n", [Edit(("a",), deep)])
    with pytest.raises(DocumentError, match="nested more than 32 deep"):
        documents.write(Format.YAML, deep)


def test_a_change_that_says_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairlead.formats.json_document.rewrites", lambda *_: [b'{"a": true}'])
    with pytest.raises(DocumentError, match="without changing something else in it"):
        documents.edit(Format.JSON, b'{"a": 2}', [Edit(("a",), 1)])
