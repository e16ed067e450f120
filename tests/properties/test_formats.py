"""Edits by key: what is wanted is there afterwards, and what is not touched is there byte for byte.

Each entry of the top level is a text of its own, which must be found again unless it was edited.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead.core.overrides import REMOVED, Edit, apply, same
from fairlead.formats.documents import edit, read, write
from fairlead.formats.place import DocumentError
from fairlead.model.reconciling import Format
from support.mutations import FACTOR
from support.written_files import DOCUMENTS, FILES, TEXTS, edits_of, without_null

BOM = b"\xef\xbb\xbf"
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


@pytest.mark.parametrize("format_", list(FILES))
@given(data=st.data())
@settings(max_examples=120 * FACTOR, deadline=None, suppress_health_check=SLOW)
def test_an_edit_does_what_it_says_and_nothing_else(format_: Format, data: st.DataObject) -> None:
    document, text, entries = data.draw(FILES[format_])
    content = data.draw(st.sampled_from([b"", BOM])) + text.encode()
    assert same(read(format_, content), document)
    edits = data.draw(edits_of(document, format_))
    changed = edit(format_, content, edits)
    assert same(read(format_, changed), apply(document, edits))
    touched = {each.key[0] for each in edits}
    for name in entries.keys() - touched:
        assert entries[name].encode() in changed
    assert changed.startswith(BOM) == content.startswith(BOM)
    if "\r" in text and "\n" not in text.replace("\r\n", ""):
        assert b"\n" not in changed.replace(b"\r\n", b""), "a new line ends as the others do"


@pytest.mark.parametrize("format_", list(FILES))
@given(document=DOCUMENTS)
@settings(max_examples=100 * FACTOR, deadline=None)
def test_a_new_file_says_what_was_written(format_: Format, document: dict[str, object]) -> None:
    if format_ is Format.TOML:
        document = without_null(document)
    content = write(format_, document)
    assert same(read(format_, content), document)
    assert edit(format_, content, [Edit(("a",), document["a"])] if "a" in document else []) == content
    assert content == b"" or content.endswith(b"\n")


PIECES = {
    Format.JSON: [*'{}[],:"\\/*\n\r\t 1e.-x', "//", "/*", "*/", "null", '"a":1', "\ufeff", "\x85"],
    Format.YAML: [
        *"{}[],:\"'\\#\n\r\t ?-|>&*!%@`~x1",
        "\n  ", "- ", "? ", "&a ", "*a", "<<: ", "---\n", "...\n", "!!str ",
        "|+\n", ">-\n", "\x85", "\u2028", "\ufeff", "# c\n", "%YAML 1.1\n---\n", "a: &a {b: 1}\n",
    ],
    Format.TOML: [
        *"{}[],=.\"'\\#\n\r\t x1-+:", "[[", "[a]\n", "[[a]]\n", '\"\"\"', "\'\'\'", "a.b = 1\n",
        "1979-05-27 07:32:00",
        "inf", "nan", "0x1F", "1_000", "\ufeff", "\x85",
    ],
}  # fmt: skip


@pytest.mark.parametrize("format_", list(PIECES))
@given(data=st.data())
@settings(max_examples=200 * FACTOR, deadline=None, suppress_health_check=SLOW)
def test_a_damaged_file_is_refused_or_understood(format_: Format, data: st.DataObject) -> None:
    text = data.draw(st.just("") | FILES[format_].map(lambda file: file[1]))
    for _ in range(data.draw(st.integers(1, 5 if text else 15))):
        at = data.draw(st.integers(0, len(text)))
        text = (
            text[:at]
            + data.draw(st.sampled_from(PIECES[format_]))
            + text[at + data.draw(st.integers(0, 2)) :]
        )
    try:
        document = read(format_, text.encode())
    except DocumentError as error:
        if not 1 <= error.line <= text.count("\n") + text.count("\r") + 2:
            raise AssertionError from error
        return
    edits = data.draw(edits_of(document, format_))
    try:
        changed = edit(format_, text.encode(), edits)
    except DocumentError:
        return  # rather than a change of something else
    assert same(read(format_, changed), apply(document, edits))


@pytest.mark.parametrize("format_", list(Format))
@given(content=st.binary(max_size=60))
@settings(max_examples=200 * FACTOR)
def test_any_bytes_are_refused_or_understood(format_: Format, content: bytes) -> None:
    try:
        document = read(format_, content)
    except DocumentError:
        assert format_ is not Format.TEXT
        return
    assert edit(format_, content, []) == content
    if format_ is Format.TEXT:
        assert write(format_, document) == content


BLOCK_NAMES = st.sampled_from(["a", "rules", "x-1", "a.b"])
LINES = st.sampled_from(
    ["", "# x", "```", "~~~~", "```py", "text", " ", "<!-- note -->", "é", "fairlead:begin a"]
)


@st.composite
def markdown_files(draw: st.DrawFn) -> tuple[list[str], dict[str, str], str]:
    """The parts outside of blocks, the blocks between them, and the whole."""
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    outside, blocks, text = [], {}, ""
    names = draw(st.lists(BLOCK_NAMES, unique=True))
    for name in [*names, ""]:
        part = "".join(
            f"{line}{newline}"
            for line in draw(st.lists(LINES.filter(lambda line: line[:1] not in "`~" or not line)))
        )
        outside.append(part)
        text += part
        if name:
            lines = draw(st.lists(LINES))
            blocks[name] = "\n".join(lines)
            inner = "".join(f"{line}{newline}" for line in lines)
            text += f"<!-- fairlead:begin {name} -->{newline}{inner}<!--fairlead:end  {name}-->{newline}"
    return outside, blocks, text


@given(markdown_files(), st.dictionaries(BLOCK_NAMES, st.lists(LINES).map("\n".join) | st.just(REMOVED)))
@settings(max_examples=300 * FACTOR)
def test_blocks_are_edited_and_what_is_outside_stays(
    file: tuple[list[str], dict[str, str], str], new: dict[str, object]
) -> None:
    outside, blocks, text = file
    content = text.encode()
    assert read(Format.MARKDOWN, content) == (blocks or {"": text})
    edits = [Edit((name,), value) for name, value in new.items()]
    changed = edit(Format.MARKDOWN, content, edits)
    wanted = apply(blocks, edits)
    found = read(Format.MARKDOWN, changed)
    assert {name: inner for name, inner in found.items() if name} == wanted
    rest = changed.decode()
    for part in outside:
        assert part in rest
        rest = rest[rest.index(part) + len(part) :]
    if not wanted:
        assert found[""].startswith("".join(outside).rstrip()), "what is left is the person's text"


@given(TEXTS)
def test_texts_are_any_text(text: str) -> None:
    assert read(Format.TEXT, write(Format.TEXT, {"": text})) == {"": text}
    assert edit(Format.TEXT, b"old", [Edit(("",), text)]) == text.encode()
