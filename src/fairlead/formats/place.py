"""What is wrong in a document, with its place; and bytes to text and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fairlead.model.errors import SpecError

MAX_BYTES: Final = 2**20
_BOM: Final = "\ufeff"


class DocumentError(SpecError):
    """A document that cannot be read, or not be changed as wanted. `line` and `column` count from 1."""

    def __init__(self, message: str, hint: str, *, line: int = 1, column: int = 1) -> None:
        super().__init__(f"line {line}, column {column}: {message}", hint)
        self.line = line
        self.column = column


def error_at(text: str, at: int, message: str, hint: str) -> DocumentError:
    """The error at an offset of the text."""
    before = text[:at]
    return DocumentError(message, hint, line=before.count("\n") + 1, column=len(before) - before.rfind("\n"))


@dataclass(frozen=True, slots=True)
class Text:
    """A file's text without its byte order mark. `newline` is how its first line ends."""

    body: str
    bom: bool
    newline: str

    def encoded(self, body: str) -> bytes:
        return (_BOM * self.bom + body).encode()


def decoded(content: bytes, *, most: int = MAX_BYTES) -> Text:
    """Raises `DocumentError`: longer than `most` bytes, or not UTF-8."""
    check_size(content, most)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        before = content[: error.start].decode()
        message = f"the byte {content[error.start]:#04x} is not UTF-8"
        raise error_at(before, len(before), message, "save the file as UTF-8") from None
    body = text.removeprefix(_BOM)
    end = body.find("\n")
    return Text(body, text.startswith(_BOM), "\r\n" if end > 0 and body[end - 1] == "\r" else "\n")


def check_size(content: bytes, most: int = MAX_BYTES) -> None:
    if len(content) > most:
        raise DocumentError(
            f"the file has {len(content):,} bytes, more than {most:,}",
            "make it smaller, or leave it out of what is managed",
        )
