from __future__ import annotations

from typing import Any

import pytest

from fairlead.core.overrides import REMOVED, Edit
from fairlead.formats.documents import edit, read, write
from fairlead.formats.place import DocumentError
from fairlead.model.reconciling import Format

MINE = """\
# My rules

<!-- a note of mine -->
```md
<!-- fairlead:begin example -->
```
<!-- fairlead:begin team -->
Be kind.

```sh
make test
```
<!-- fairlead:end team -->
The end, without a newline"""
TEAM = "Be kind.\n\n```sh\nmake test\n```"


def changed(content: str, *edits: tuple[str, Any]) -> str:
    return edit(Format.MARKDOWN, content.encode(), [Edit((name,), value) for name, value in edits]).decode()


def test_a_file_has_its_blocks_or_else_its_text() -> None:
    assert read(Format.MARKDOWN, MINE.encode()) == {"team": TEAM}
    assert read(Format.MARKDOWN, MINE.replace("\n", "\r\n").encode()) == {"team": TEAM}
    assert read(Format.MARKDOWN, b"\xef\xbb\xbfhi\r\n") == {"": "\ufeffhi\r\n"}
    assert read(Format.MARKDOWN, b"") == {"": ""}
    assert read(Format.MARKDOWN, b"\xff")[""].startswith("data:")
    tight = "<!--fairlead:begin  a-->\n<!-- fairlead:end a-->  \n"
    assert read(Format.MARKDOWN, tight.encode()) == {"a": ""}


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_only_the_inside_of_a_block_changes(newline: str) -> None:
    mine = MINE.replace("\n", newline)
    assert changed(mine, ("team", "Be bold.\n")) == MINE.replace(TEAM, "Be bold.\n").replace("\n", newline)
    assert changed(mine, ("team", "")) == MINE.replace(TEAM + "\n", "").replace("\n", newline)
    start, end = MINE.index("<!-- fairlead:begin team"), MINE.index("The end")
    assert changed(mine, ("team", REMOVED)) == (MINE[:start] + MINE[end:]).replace("\n", newline)


@pytest.mark.parametrize(
    ("before", "lead"),
    [
        ("", ""),
        ("hi", "hi\n\n"),
        ("hi\n", "hi\n\n"),
        ("hi\n\n", "hi\n\n"),
        ("\ufeffhi\r\n", "\ufeffhi\r\n\r\n"),
    ],
)
def test_a_new_block_stands_below_the_text(before: str, lead: str) -> None:
    block = "<!-- fairlead:begin a -->\nx\n<!-- fairlead:end a -->\n"
    after = changed(before, ("a", "x"))
    assert after == lead + (block.replace("\n", "\r\n") if "\r" in before else block)
    assert changed(changed(after, ("a", REMOVED)), ("a", "x")) == after, "no lines pile up"


def test_the_whole_text_is_edited_where_there_is_no_block() -> None:
    assert changed("hi", ("", "ho")) == "ho"
    assert changed("hi", ("", REMOVED)) == ""
    assert changed("hi", ("", "ho\n"), ("a", "x")) == (
        "ho\n\n<!-- fairlead:begin a -->\nx\n<!-- fairlead:end a -->\n"
    )
    assert changed(MINE, ("team", REMOVED), ("", "ho")) == "ho"


def test_a_text_does_not_take_the_place_of_blocks() -> None:
    with pytest.raises(DocumentError, match="its whole text is to be replaced") as error:
        changed(MINE, ("", "ho"))
    assert "remove the markers from the file" in error.value.hint


@pytest.mark.parametrize(
    ("content", "place", "message"),
    [
        ("x\n<!-- fairlead:begin a -->\n", "line 2", "the block 'a' has no end"),
        ("<!-- fairlead:end a -->\n", "line 1", "the marker end 'a' stands outside of a block"),
        (
            "<!-- fairlead:begin a -->\n<!-- fairlead:end b -->\n",
            "line 2",
            "the marker end 'b' stands within the block 'a'",
        ),
        (
            "<!-- fairlead:begin a -->\n<!-- fairlead:begin a -->\n",
            "line 2",
            "the marker begin 'a' stands within the block 'a'",
        ),
        (
            "<!-- fairlead:begin a -->\n<!-- fairlead:end a -->\n" * 2,
            "line 3",
            "the block 'a' stands here a second time",
        ),
        ("<!-- fairlead:begin -->\n", "line 1", "a marker without a proper name"),
        ("<!-- fairlead:begin a b -->\n", "line 1", "a marker without a proper name"),
        ("<!-- fairlead:begin a -->x\n", "line 1", "a marker without a proper name"),
    ],
)
def test_markers_that_do_not_belong_together_are_refused(content: str, place: str, message: str) -> None:
    with pytest.raises(DocumentError) as error:
        read(Format.MARKDOWN, content.encode())
    assert str(error.value).startswith(place)
    assert str(error.value).endswith(message)
    assert error.value.hint


def test_fences_of_any_length_and_kind() -> None:
    text = "````\n```\n<!-- fairlead:begin a -->\n````\n~~~ x\n````\n<!-- fairlead:begin a -->\n~~~\n"
    assert read(Format.MARKDOWN, text.encode()) == {"": text}


@pytest.mark.parametrize(
    ("before", "name", "text"),
    [
        ("", "a", "x\n<!-- fairlead:end a -->"),
        ("", "a", "x\r\ny"),
        ("", "a b", "x"),
        ("", "a", 5),
        ("```\nnever closed\n", "a", "x"),
        (MINE, "team", "<!-- fairlead:begin b -->"),
    ],
)
def test_what_would_not_read_back_is_not_written(before: str, name: str, text: Any) -> None:
    with pytest.raises(DocumentError):
        changed(before, (name, text))


def test_a_new_file() -> None:
    block = "<!-- fairlead:begin a -->\nx\n<!-- fairlead:end a -->\n"
    assert write(Format.MARKDOWN, {"": "hi\n"}) == b"hi\n"
    assert write(Format.MARKDOWN, {"a": "x"}).decode() == block
    assert write(Format.MARKDOWN, {"": "hi", "a": "x"}).decode() == "hi\n\n" + block
    with pytest.raises(DocumentError):
        write(Format.MARKDOWN, {"": block})
