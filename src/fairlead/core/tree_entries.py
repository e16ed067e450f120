"""What is refused in a repository's tree, whether it is committed or about to be."""

from __future__ import annotations

import re
from typing import Final

LINK: Final = "it is a symbolic link; put the file itself in its place"
SUBMODULE: Final = "it is a submodule; put the files themselves in its place"
LFS: Final = "it is a pointer of Git LFS, and its content is elsewhere; keep it in Git itself"
LFS_SIZE: Final = 1024  # bytes; a pointer is smaller
MAX_PATH: Final = 1024  # bytes

_POINTER: Final = b"version https://git-lfs.github.com/spec/"
_IGNORABLE: Final = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")  # as HFS+ ignores them


def is_lfs_pointer(content: bytes) -> bool:
    return len(content) < LFS_SIZE and content.startswith(_POINTER)


def name_problem(raw: bytes, path: str) -> str:
    """Why nothing may have the name `raw` at the end of `path`; empty when it may."""
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        return "its name is not UTF-8; rename it"
    plain = _IGNORABLE.sub("", name).rstrip(" .").lower()
    if plain in {"", ".git", "git~1"} or name in {".", ".."} or "/" in name:
        return f"nothing may be called {name!r}: it would lead out of its folder, or into Git's own"
    if "\\" in name or any(ord(character) < 0x20 or ord(character) == 0x7F for character in name):
        return "its name has a backslash or a control character; rename it"
    if len(path.encode()) > MAX_PATH:
        return f"its path has more than {MAX_PATH:,} bytes; shorten it"
    return ""
