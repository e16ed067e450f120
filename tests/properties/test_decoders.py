"""Whatever bytes come from clients, servers and files: no decoder crashes, hangs, or takes ever more memory.

Each decoder gets messages that are almost good. It may raise what it says that it raises, and nothing else;
what it gives holds only valid JSON and UTF-8, and what is to be sent on stands on one line.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import UNSET, Raw

from fairlead.core.overrides import key_text, parse_key
from fairlead.drivers import http_answer
from fairlead.drivers.http_connection import _keep_alive_seconds
from fairlead.mcp import contracts, eras, messages, names, profiles, rewrite
from fairlead.mcp.caching import read_hint
from fairlead.mcp.errors import McpError
from fairlead.mcp.framing import FrameTooLongError, LineSplitter
from fairlead.mcp.headers import decode_header_value
from fairlead.mcp.log_levels import is_heard
from fairlead.mcp.param_headers import AnnotationError, Mirrored, check_headers, headers_for, mirrored_by
from fairlead.mcp.request_state import Caller, RequestState, open_state
from fairlead.mcp.sealing import SealBrokenError, Sealer, SessionClaims, open_session
from fairlead.mcp.sse import SseDecoder, SseError
from fairlead.mcp.task_ids import TaskHandle, open_task
from fairlead.model.errors import ProblemError, SpecError
from fairlead.orchestrator.catalogue import LISTINGS, _key
from fairlead.orchestrator.gateway.event_store import read_event_id
from fairlead.orchestrator.gateway.params import mirrored_name, text_member
from fairlead.orchestrator.gateway.rounds import Rounds
from fairlead.orchestrator.gateway.tool_search import _document, unwrap_call
from fairlead.orchestrator.gateway.views import View
from fairlead.orchestrator.instance import MCPServerInstance
from fairlead.orchestrator.replies import error_from_server, result_of
from fairlead.packages import lock
from fairlead.stores.fleet_file import load
from fairlead.stores.overrides import OverrideStore
from fairlead.stores.state import StateFolder
from support.mutations import FACTOR, PIECES, Verbatim, almost, nested, spoilt, written

SEALER = Sealer(b"k" * 32)
CALLER = Caller("ada", "", "tools/call", "s__echo")
ABOUT = {
    eras.META_VERSION: "2026-07-28",
    eras.META_CAPABILITIES: {
        "sampling": {"tools": {}},
        "elicitation": {"form": {}, "url": {}},
        "roots": {"listChanged": True},
        "extensions": {eras.TASKS: {}},
    },
    eras.META_CLIENT: {"name": "t", "version": "0"},
    eras.META_LOG_LEVEL: "error",
    "progressToken": 7,
    "traceparent": "00-1-2-01",
}
CALL = {"name": "s__echo", "arguments": {"a": [1, {"b": "é"}]}, "_meta": ABOUT}
INCOMING = [
    {"jsonrpc": "2.0", "id": 0, "method": "tools/call", "params": CALL},
    {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "x", "reason": "y"}},
    {"jsonrpc": "2.0", "id": "fairlead-1", "result": {"action": "accept", "content": {"answer": "x"}}},
    {"jsonrpc": "2.0", "id": 1, "error": {"code": -1, "message": "no", "data": {"a": 1}}},
]
TOOL = {
    "name": "echo",
    "title": "Echo",
    "description": "Gives it back.",
    "inputSchema": {
        "type": "object",
        "properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "deep": {"properties": {"n": {"type": "integer", "x-mcp-header": "N"}}},
            "list": {"items": {"anyOf": [{"type": "string"}]}, "$defs": {"x": {}}},
        },
    },
    "outputSchema": {"type": "object"},
    "annotations": {"readOnlyHint": True},
}
ASKING = {
    "resultType": "input_required",
    "inputRequests": {
        "a": {"method": "elicitation/create", "params": {"mode": "url", "message": "m", "url": "https://x"}},
        "b": {"method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 1}},
    },
    "requestState": "s",
}
BLOCKS = [
    {"type": "text", "text": "x"},
    {"type": "resource_link", "uri": "file:///a", "name": "a"},
    {"type": "resource", "resource": {"uri": "file:///b", "text": "b"}},
]
RESULTS = [
    {"content": BLOCKS, "structuredContent": {"uri": "x"}, "isError": False},
    {"messages": [{"role": "user", "content": BLOCKS[2]}, {"role": "user", "content": BLOCKS}]},
    {"contents": [{"uri": "file:///a", "text": "a"}], "ttlMs": 5, "cacheScope": "public"},
    {"resultType": "complete", "content": [], "_meta": {}},
    ASKING,
]
FROM_SERVER = [
    *({"jsonrpc": "2.0", "id": 1, "result": result} for result in RESULTS),
    {"jsonrpc": "2.0", "id": 1, "error": {"code": -32042, "message": "m", "data": {"elicitations": [{}]}}},
    {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "progress": 0.5}},
    {"jsonrpc": "2.0", "id": 9, "method": "elicitation/create", "params": {"message": "m"}},
]


@dataclass(frozen=True)
class Reader:
    """One decoder: what it reads, and what it may raise instead."""

    read: Callable[[bytes], Any]
    trees: Sequence[Any]  # of JSON that it can read
    refuses: tuple[type[Exception], ...] = ()
    sent_on: bool = False  # what it gives is for the wire

    def try_on(self, data: bytes) -> Any:
        try:
            return self.read(data)
        except self.refuses:
            return None


def whole_incoming(body: bytes) -> Any:
    """As the gateway reads a client's message."""
    message = messages.decode_incoming(body)
    if message.method is UNSET:
        return answered(body)
    if message.id is not UNSET:
        messages.request_id(message)
    members = messages.decode_members(message.params)
    raw = members.pop("_meta", None)
    meta = eras.NO_META if raw is None else eras.read_meta(bytes(raw))
    name = mirrored_name(message.method, members)
    eras.check_modern(message.method, meta, eras.RoutingHeaders("2026-07-28", message.method, name), name)
    sent = eras.meta_for(eras.Era.MODERN, meta, b"{}", 3)
    json.loads(sent)
    return messages.join_members({**members, "_meta": sent})


def compact_call(params: bytes) -> Any:
    messages.require_utf8(params)
    messages.decode_members(params)
    return messages.decode_call(params)


def from_server(frame: bytes) -> Any:
    message = messages.decode_from_server(frame)
    if message is None or message.method is not UNSET:
        return message
    raw = result_of(message)
    if isinstance(raw, McpError):
        raw.tree()
        return raw.encode()
    for method in ("tools/call", "prompts/get", "resources/read"):
        wrapped = rewrite.wrap_uris(method, raw, "s")
        for done in (eras.complete_result(method, wrapped), eras.strip_result_type(wrapped)):
            if json_of(raw) is not None:
                assert json_of(messages.one_line(done)) is not None
    return message


def json_of(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return None


def answered(raw: bytes) -> Any:
    """What a client says to a question, as a server gets it."""
    message = messages.decode_incoming(raw)
    if message.error is UNSET:
        return b"{}" if message.result is UNSET else messages.one_line(bytes(message.result))
    return messages.one_line(error_from_server(message.error).encode())


def asked(raw: bytes) -> Any:
    """The rounds of a call that a server wants input for."""
    sent: list[bytes] = []

    def ask(
        method: str, params: bytes, heard: Callable[[messages.Incoming], None], wanted: Callable[[], bool]
    ) -> None:
        assert wanted()
        messages.encode_json(method)
        assert b"\n" not in params
        heard(messages.decode_incoming(b'{"jsonrpc":"2.0","id":1,"result":\r{"a":1}}'))
        assert not wanted()

    rounds = Rounds(b'{"name":"x"}', ask, sent.append, lambda refused: None)
    messages.require_utf8(raw)
    rounds.next(raw)
    return sent[0] if sent else None


class Pages:
    """An instance whose server answers a list with these bytes."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    async def ask(self, method: str, members: dict[str, Any], *, timeout: float) -> bytes:  # noqa: ASYNC109
        return self.raw


def listed(raw: bytes) -> Any:
    found = []
    for listing in LISTINGS.values():
        reading = MCPServerInstance.list_all(Pages(raw), listing.method, listing.member, timeout=1)  # type: ignore[arg-type]
        try:
            reading.send(None)
        except StopIteration as stop:
            found += [_key(item, listing.key) for item in stop.value[0]]
    return [key for key in found if key is not None]


def arguments(raw: bytes) -> Any:
    found = [
        Mirrored("Mcp-Param-Region", ("region",), integer=False),
        Mirrored("Mcp-Param-N", ("deep", "n"), integer=True),
    ]
    told = headers_for(found, Raw(raw))
    check_headers(found, Raw(raw), [(header.lower(), "7") for header, _ in told])
    return None


def tool(raw: bytes) -> Any:
    annotations = contracts.annotations_of(raw)
    assert re.fullmatch("[0-9a-f]{64}", contracts.tool_digest(raw))
    return [_document(raw), annotations, mirrored_by(raw)]


def sealed(purpose: str, read: Callable[[str], Any]) -> Callable[[bytes], Any]:
    """Both as it comes, and as if the payload had been sealed by us (by another version, say)."""

    def both(raw: bytes) -> Any:
        if raw.count(b"[") + raw.count(b"{") < 100:
            read(SEALER.seal(purpose, raw))
        return read(raw.decode("utf-8", "replace"))

    return both


ERROR = {"code": 1, "message": "x", "data": {}}
LISTED = {"tools": [TOOL, {}], "prompts": [TOOL], "nextCursor": "", "ttlMs": 1}
LOCK = {
    "format": 1,
    "about": "x",
    "npm": {
        "npm:json-stream@1.0.0": {
            "node_modules/json-stream": {
                "version": "1.0.0",
                "integrity": "sha512-" + "A" * 86 + "==",
                "os": ["linux"],
                "dependencies": {"a": "^1"},
            }
        }
    },
    "pypi": {"pypi:a==1.0.0": {"a==1.0.0": {"hashes": ["sha256:" + "0" * 64], "marker": "os_name == 'nt'"}}},
}
VIEW = View("", None, SEALER)  # type: ignore[arg-type]
STATE = RequestState(CALLER, 2e9, "node", "instance", 3, "inner")
CLAIMS = SessionClaims("node", "ada", "", 2e9, 1)
HANDLE = TaskHandle("ada", "s", "node", "instance", "t")


def builtin(value: Any) -> Any:
    return msgspec.to_builtins(value)


READERS = {
    "incoming": Reader(messages.decode_incoming, INCOMING, (McpError,)),
    "request": Reader(whole_incoming, INCOMING, (McpError,), sent_on=True),
    "call": Reader(compact_call, [CALL, {"name": "x"}], (McpError,)),
    "members": Reader(messages.decode_members, [CALL, {}], (McpError,)),
    "any": Reader(lambda raw: messages.decode_any(raw) and None, [CALL], (McpError,)),
    "from server": Reader(from_server, FROM_SERVER),
    "error": Reader(lambda raw: error_from_server(Raw(raw)).message, [ERROR]),
    "meta": Reader(eras.read_meta, [ABOUT, {}], (McpError,)),
    "profile": Reader(profiles.read_profile, [ABOUT[eras.META_CAPABILITIES]], (McpError,)),
    "level": Reader(lambda raw: is_heard(raw, "info"), [{"level": "error", "data": "x"}]),
    "hint": Reader(lambda raw: read_hint(messages.decode_members(raw)), [RESULTS[2]], (McpError,)),
    "answer": Reader(answered, INCOMING[2:], (McpError,), sent_on=True),
    "rounds": Reader(asked, [ASKING], (McpError,), sent_on=True),
    "lists": Reader(listed, [LISTED], (McpError,)),
    "tool": Reader(tool, [TOOL], (AnnotationError,)),
    "arguments": Reader(arguments, [{"region": "7", "deep": {"n": 7.0}}], (McpError,)),
    "search call": Reader(
        lambda raw: unwrap_call(messages.decode_members(raw)),
        [{"name": "call_tool", "arguments": {"name": "x", "arguments": {}}}],
        (McpError,),
    ),
    "text": Reader(lambda raw: text_member(messages.decode_members(raw), "name"), [CALL], (McpError,)),
    "state": Reader(
        sealed("request state", lambda text: open_state(SEALER, text, CALLER, 1e9)),
        [builtin(STATE)],
        (McpError,),
    ),
    "session": Reader(
        sealed("session", lambda text: open_session(SEALER, text)), [builtin(CLAIMS)], (SealBrokenError,)
    ),
    "task": Reader(sealed("task", lambda text: open_task(SEALER, text, "ada")), [builtin(HANDLE)]),
    "cursor": Reader(
        sealed("cursor ", lambda text: VIEW.page("tools", text)), [["tools", ["s", "x"]]], (McpError,)
    ),
    "refusal": Reader(
        lambda raw: http_answer.read_refusal(400, {}, raw, 1, now=0.0),
        [{"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "m"}}],
    ),
    "batch": Reader(http_answer.frames_of, [FROM_SERVER, FROM_SERVER[0]], sent_on=True),
    "lock": Reader(lambda raw: str(lock.decode(raw)), [LOCK], (ValueError, RecursionError)),
}  # fmt: skip
AFTER_UTF8 = set(READERS) - {
    "incoming",
    "request",
    "call",
    "from server",
    "answer",
    "refusal",
    "batch",
    "lock",
}
"""They read parts of a message that was found to be UTF-8, or what we have sealed ourselves."""
FRAMES = ("batch", "refusal")  # what they give is decoded as any frame of a server: UTF-8 is judged there
readers = pytest.mark.parametrize("name", READERS)


def pieces(value: Any) -> list[bytes]:
    """All bytes and raw slices in what a decoder gave, which may be nested as deep as it can be read."""
    found: list[bytes] = []
    waiting = [value]
    while waiting:
        match waiting.pop():
            case bytes() | Raw() as piece:
                found.append(bytes(piece))
            case str(text):
                found.append(text.encode())  # which half a surrogate pair could not
            case dict(members):
                waiting += (one for pair in members.items() for one in pair)
            case list(items) | tuple(items):
                waiting += items
            case msgspec.Struct() as struct:
                waiting += (getattr(struct, name) for name in struct.__struct_fields__)
    return found


def fits(name: str, data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return name not in AFTER_UTF8
    return True


@readers
@settings(max_examples=30 * FACTOR, deadline=None)
@given(data=st.data())
def test_whatever_comes_is_read_or_refused(name, data):
    reader = READERS[name]
    raw = data.draw(almost(reader.trees), label="raw")
    if not fits(name, raw):
        return
    found = pieces(reader.try_on(raw))
    for piece in found:
        assert name in FRAMES or piece.decode() is not None
        if reader.sent_on:
            assert b"\n" not in piece
            assert b"\r" not in piece
    assert sum(map(len, found)) <= 8 * len(raw) + 2000


@readers
def test_what_is_too_deep_for_one_is_too_deep_for_all(name):
    """How deep can be read depends on how deep the reader itself stands: near that bound nothing breaks."""
    reader = READERS[name]

    def in_all_places(tree: Any, odd_one: Any) -> list[Any]:
        parts: list[Any] = []
        if isinstance(tree, dict):
            parts = [
                {**tree, key: one} for key, value in tree.items() for one in in_all_places(value, odd_one)
            ]
        elif isinstance(tree, list) and tree:
            parts = [[one, *tree[1:]] for one in in_all_places(tree[0], odd_one)]
        return [odd_one, *parts]

    for depth in range(850, 1000):
        for tree in in_all_places(reader.trees[0], nested(depth))[: None if depth % 20 == 0 else 5]:
            reader.try_on(written(tree))


CONSUMERS = {
    "strip": (eras.strip_result_type, RESULTS[3]),
    "complete": (lambda raw: eras.complete_result("resources/read", raw), RESULTS[2]),
    "wrap": (lambda raw: rewrite.wrap_uris("tools/call", raw, "s"), RESULTS[0]),
    "contract": (contracts.tool_digest, TOOL),
}


@pytest.mark.parametrize("name", [*CONSUMERS, *AFTER_UTF8])
def test_what_was_read_where_there_was_room_may_be_too_deep_further_down(name):
    read, tree = CONSUMERS.get(name) or (READERS[name].try_on, READERS[name].trees[0])

    def far_down(frames: int, raw: bytes) -> Any:
        return far_down(frames - 1, raw) if frames else read(raw)

    room = sys.getrecursionlimit() - len(inspect.stack()) - 100
    for key in tree if isinstance(tree, dict) else ():
        far_down(room, written({**tree, key: nested(300)}))
        far_down(room, written({**tree, "x": nested(300), key: tree[key]}))


SIZE = 40_000
HOSTILE = {
    "arrays": b"[" * SIZE,
    "whole arrays": b"[" * (SIZE // 2) + b"]" * (SIZE // 2),
    "objects": b'{"a":' * (SIZE // 5),
    "empty arrays": b"[" + b",".join([b"[]"] * (SIZE // 3)) + b"]",
    "members": b"{" + b",".join(b'"%d":0' % number for number in range(SIZE // 9)) + b"}",
    "the same member": b"{" + b",".join([b'"a":0'] * (SIZE // 6)) + b"}",
    "a number": b"9" * SIZE,
    "a fraction": b"0." + b"9" * SIZE,
    "escapes": b'"' + b"\\u0001" * (SIZE // 6) + b'"',
    "quotes": b'"' + b'\\"' * (SIZE // 2),
    "backslashes": b'"' + b"\\" * SIZE,
    "white space": b" " * SIZE + b"{}",
    "a schema": b'{"properties":{"a":' * 300
    + b'{"properties":{%b}}' % b",".join(b'"%d":{}' % number for number in range(SIZE // 11))
    + b"}}" * 299
    + b'},"properties":{"x":{"type":"string","x-mcp-header":"A"}}}',
    "surrogates": b'"' + b"\\ud83d" * (SIZE // 6) + b'"',
    "text": b'"' + "\u20ac".encode() * (SIZE // 3) + b'"',
}
hostile = pytest.mark.parametrize("kind", HOSTILE)


@readers
@hostile
def test_memory_and_time_are_in_proportion_to_what_came(name, kind):
    reader, raw = READERS[name], HOSTILE[kind]
    tree = reader.trees[0]
    whole = [raw]
    if isinstance(tree, dict):
        whole += [written({**tree, key: Verbatim(raw)}) for key in tree] + [
            written({**tree, "x": Verbatim(raw)})
        ]
    for body in whole:
        began = time.process_time()
        tracemalloc.start()
        try:
            reader.try_on(body)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 80 * len(body) + 2**20, f"{peak / len(body):.0f} times"
        assert time.process_time() - began < 25.0


def test_what_is_remembered_of_clients_is_bounded():
    """They repeat themselves, so what they say is kept with its meaning; but not whatever its size."""
    big = "x" * 50_000

    def say(number: int) -> None:
        capabilities = {"sampling": {}, "x": f"{number}{big}"}
        about = {eras.META_CAPABILITIES: capabilities, eras.META_CLIENT: {"name": f"{number}{big}"}}
        meta = eras.read_meta(written(about))
        assert meta.profile.key == "sampling"
        assert big.encode() in eras.meta_for(eras.Era.MODERN, meta, b"{}", None)

    say(0)
    tracemalloc.start()
    try:
        for number in range(100):
            say(number)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 10 * len(big)


# -- streams and single lines ----------------------------------------------------------------------------

LINES = st.sampled_from(
    [b"data: {}", b"id: 1", b"event: x", b"retry: 1", b": c", b"\xef\xbb\xbf", b"data", b"id: \0", b""]
)
STREAMS = (
    st.lists(LINES).map(b"\n".join) | spoilt(st.lists(LINES, min_size=1).map(b"\r\n".join)) | st.binary()
)


@settings(max_examples=100 * FACTOR, deadline=None)
@given(chunks=st.lists(STREAMS, max_size=6), limit=st.integers(1, 100))
def test_a_stream_keeps_no_more_than_its_bound_and_each_message_is_one_line(chunks, limit):
    decoder = SseDecoder(max_event=limit)
    try:
        for chunk in chunks:
            for event in decoder.feed(chunk):
                assert len(event.data) <= limit
                assert "\n" not in event.event + event.event_id
                for frame in http_answer.event_frames(event):
                    assert b"\n" not in frame
                    assert b"\r" not in frame
            assert decoder._size + len(decoder._tail) <= limit
    except SseError:
        pass


@settings(max_examples=100 * FACTOR, deadline=None)
@given(chunks=st.lists(STREAMS, max_size=6), limit=st.integers(1, 100))
def test_lines_are_bounded_whole_and_single(chunks, limit):
    splitter = LineSplitter(limit)
    try:
        for chunk in chunks:
            for frame in splitter.feed(chunk):
                assert 0 < len(frame) <= limit
                assert b"\n" not in frame
                assert b"\r" not in frame
            assert splitter.buffered_bytes <= limit
    except FrameTooLongError:
        pass


WORDS = st.lists(
    st.sampled_from(["5", "-", "0", " ", "Mon, 23 Nov 2026 00:00:00 GMT", "+9999", "timeout=5", ",", "\0"])
)
TEXTS = st.text(max_size=40) | WORDS.map("".join) | st.from_regex(r"\A\w{3}, \d+ \w{3} \d+ [\d:]+ \S*")


@settings(max_examples=100 * FACTOR, deadline=None)
@given(text=TEXTS, status=st.integers(100, 599), body=almost(FROM_SERVER))
@example(text="=?base64?" + "A" * 999 + "?=", status=301, body=b"")
@example(text="http://[", status=302, body=b"")
def test_headers_are_read_or_ignored(text, status, body):
    raw = text.encode("utf-8", "replace")
    decode_header_value(text)
    seconds = http_answer.retry_after(text, 1e9)
    assert seconds is None or seconds >= 0
    _keep_alive_seconds(raw)
    place = read_event_id(text)
    assert place is None or f"{place[0]}-{place[1]}" == text
    headers = {b"retry-after": raw, b"location": raw, b"content-type": raw}
    told = http_answer.read_refusal(status, headers, body, 1, now=1e9)
    if isinstance(told, bytes):
        assert b"\n" not in told
    else:
        assert len(told.reason) < 1000
    found = names.unwrap_uri(text)
    assert found is None or names.wrap_uri(*found) == text
    assert len(names.containers(text)) <= 129
    assert len(names.exposed_name("s", text)) <= names.MAX_NAME


# -- files -----------------------------------------------------------------------------------------------

KEPT = {
    "version": 1,
    "owner": "file",
    "overrides": [
        {"key": "servers.x.enabled", "value": False, "removed": False, "was": True, "by": "ada", "at": 1.0}
    ],
    "accepted": None,
}
FLEET = {
    "version": "1",
    "defaults": {"timeouts": {"call": "5m"}},
    "servers": {
        "a": {"command": "npx", "args": ["-y", "x@1"], "environment": {"A": "${A}"}},
        "b": {"url": "https://x/mcp"},
    },
    "toolsets": {"t": {"servers": {"a": {"tools": ["x*"], "rename": {"x": "y"}}}, "mode": "search"}},
}


@settings(max_examples=100 * FACTOR, deadline=None)
@given(content=almost([KEPT]))
def test_kept_edits_are_read_or_set_aside(tmp_path_factory, content):
    state = StateFolder(tmp_path_factory.mktemp("state"))
    state.overrides_file.write_bytes(content)
    try:
        found = OverrideStore(state).read()
    except ProblemError:
        assert state.overrides_file.read_bytes() == content
    else:
        assert bool(found.lost) != state.overrides_file.exists()


@settings(max_examples=30 * FACTOR, deadline=None)
@given(content=almost([FLEET]))
def test_a_fleet_file_is_read_or_its_faults_are_named(content):
    found = load(content, "f.yml")
    assert (found.spec is None) == bool(found.errors)


@settings(max_examples=100 * FACTOR, deadline=None)
@given(text=TEXTS | st.from_regex(r'\A([\w.-]+|"[^"]*")(\.\w+)*'))
def test_a_key_is_read_or_refused(text):
    try:
        key = parse_key(text)
    except SpecError:
        return
    assert parse_key(key_text(key)) == key


@given(where=st.integers(0, 200), piece=st.sampled_from(PIECES))
def test_a_lock_file_is_good_or_refused(where, piece):
    good = written(LOCK)
    try:
        found = lock.decode(good[:where] + piece + good[where:])
    except (ValueError, RecursionError):
        return
    assert lock.decode(lock.encode(found)) == found
