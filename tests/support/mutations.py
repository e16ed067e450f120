"""Messages that almost are what they should be, for the tests of everything that reads bytes.

Two ways lead there. `odd` takes a message as a tree and puts something else in some of its places, so that
what comes out is mostly good JSON and gets past the parser; `spoilt` damages bytes as wires and attackers do.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

Draw = Any
FACTOR = int(os.environ.get("FUZZ_FACTOR", "1"))
"""How many times as many examples as usual are tried."""


class Verbatim(bytes):
    """JSON, or what should be, that stands in a tree as it is."""


class Twice(dict):
    """An object whose members all stand twice, with another value in front."""


def nested(depth: int) -> Verbatim:
    return Verbatim(b"[" * depth + b"]" * depth)


SCALARS = [
    Verbatim(raw)
    for raw in (
        b"null", b"true", b"0", b"-0", b"-1", b"1.0", b"1e3", b"1e400", b"-1e-400", b"NaN", b"1" + b"0" * 30,
        b"9" * 400, b"9" * 5000, b'""', b'"x"', b'"\\u0000"', b'"\\ud800"', b'"\\udc00\\ud800"', b'"\xff"',
        b'"\xed\xa0\x80"', b'"\x00"', b'"a\\r\\nb"', b'"\xe2\x80\xa8"', b'"http://[::1"',
        b'"' + b"a" * 600 + b'"', b"[]", b"{}", b"[\r\n1\n]", b'{"a":\r1}', b'{"a":1,"a":2}', b"[[],{}]",
        b'{"":null}', b"'x'", b"",
    )
]  # fmt: skip
PIECES = [
    b"\0", b"\r", b"\n", b"\r\n", b" ", b"\t", b"\xff", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"\xef\xbb\xbf",
    b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\\ud800", b"\\u0000", b"1e999", b"9" * 400, b'"id":1,',
    b'"method":"x",', b'"result":{},', b'"a":1,"a":2,', b"\xe2\x80\xa8", b"/*", b"=?base64?", b"data: ",
    b"id: ",
    b"[" * 3000, b'{"a":' * 3000,
]  # fmt: skip
STYLES = [(b"", b""), (b"", b" "), (b"\n", b""), (b"\r\n ", b"\t"), (b"\r", b"\r")]
DEPTHS = st.integers(0, 60) | st.integers(850, 1010) | st.just(20_000)
VALUES = st.sampled_from(SCALARS) | DEPTHS.map(nested)


def written(tree: Any, style: tuple[bytes, bytes] = STYLES[0]) -> bytes:
    """A tree as JSON, with this white space between tokens."""
    line, gap = style
    if isinstance(tree, Verbatim):
        return bytes(tree)
    if isinstance(tree, dict):
        members = [_text(name) + gap + b":" + gap + written(value, style) for name, value in tree.items()]
        if isinstance(tree, Twice):
            members = [_text(name) + b":1" for name in tree] + members
        return b"{" + line + (b"," + line).join(members) + line + b"}"
    if isinstance(tree, list):
        return b"[" + line + (b"," + line).join(written(item, style) for item in tree) + line + b"]"
    return _text(tree)


def _text(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode(errors="surrogatepass")


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in a tree."""
    items = list(
        tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    )
    return [(tree, key) for key, _ in items] + [place for _, value in items for place in _places(value)]


def _copy(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {name: _copy(value) for name, value in tree.items()}
    return [_copy(item) for item in tree] if isinstance(tree, list) else tree


@st.composite
def odd(draw: Draw, trees: Sequence[Any]) -> bytes:
    """One of these trees as JSON, with some values replaced, left out, added or repeated."""
    root = [_copy(draw(st.sampled_from(trees)))]
    for _ in range(draw(st.integers(0, 3))):
        container, key = draw(st.sampled_from(_places(root)))
        what = draw(st.sampled_from(["other", "other", "none", "more", "twice", "borrowed"]))
        value = container[key]
        if what == "none" and isinstance(container, dict):
            del container[key]
        elif what == "more" and isinstance(value, dict):
            name = draw(st.sampled_from(["", "x", "_meta", "id", "method", "uri", "a\nb", "resultType"]))
            value[name] = draw(VALUES)
        elif what == "twice" and isinstance(value, dict):
            container[key] = Twice(value)
        elif what == "borrowed":
            other, its_key = draw(st.sampled_from(_places([draw(st.sampled_from(trees))])))
            container[key] = _copy(other[its_key])
        else:
            container[key] = draw(VALUES)
    return written(root[0], draw(st.sampled_from(STYLES)))


@st.composite
def spoilt(draw: Draw, seeds: st.SearchStrategy[bytes]) -> bytes:
    """Bytes that were cut, joined, flipped, repeated and stuffed."""
    data = draw(seeds)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 8) | st.integers(0, len(data))))
        match draw(st.sampled_from(["flip", "cut", "end", "repeat", "stuff", "stuff", "join", "any"])):
            case "flip":
                data = data[:start] + bytes(byte ^ 0x20 for byte in data[start:end]) + data[end:]
            case "cut":
                data = data[:start] + data[end:]
            case "end":
                data = data[:start]
            case "repeat":
                data = data[:end] + data[start:]
            case "join":
                data = data[:start] + draw(seeds)[start:]
            case "any":
                data = data[:start] + draw(st.binary(max_size=6)) + data[end:]
            case _:
                data = data[:start] + draw(st.sampled_from(PIECES)) + data[end:]
    return data


def almost(trees: Sequence[Any]) -> st.SearchStrategy[bytes]:
    """Something like one of these trees as JSON."""
    return odd(trees) | spoilt(odd(trees))
