"""What the lane keeps of a request's head: everything that is decided before the body is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fairlead.core.accounts import Account
from fairlead.core.admission import SECURITY_HEADERS, Headers
from fairlead.mcp.eras import Era, RoutingHeaders, era_of_header
from fairlead.mcp.headers import decode_header_value
from fairlead.mcp.param_headers import PREFIX, Pairs
from fairlead.model.access import Caller

if TYPE_CHECKING:
    from fairlead.orchestrator.gateway.sessions import Session
    from fairlead.orchestrator.gateway.views import View

_PARAMETER: Final = PREFIX.lower().encode()
_MODERN_ONCE: Final = frozenset({b"mcp-protocol-version", b"mcp-method", b"mcp-name", b"mcp-session-id"})


MESSAGES: Final = b"/messages"  # where clients of HTTP+SSE (2024-11-05) post


class BadHeadError(Exception):
    """The head cannot be served; `status` is HTTP's, `message` says how to mend it."""

    def __init__(self, status: int, message: str, headers: bytes = b"") -> None:
        super().__init__(message)
        self.headers = headers
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class Tails:
    """How the heads of answers end, made once for a request's head.

    `common` has the headers that every answer carries. `json` stands after the value of content-length,
    `stream` after the status line of an event stream; both close the head.
    """

    common: bytes
    json: bytes
    stream: bytes


@dataclass(slots=True, eq=False)
class Head:
    """A head that was admitted. `length` is the body's in bytes, None while chunked."""

    view: View
    method: bytes
    caller: Caller
    principal: str  # the caller's name
    account: Account
    era: Era
    routing: RoutingHeaders
    session_id: str | None
    session: Session | None
    key: str  # who shares an instance of a server that holds state
    length: int | None
    keep_alive: bool
    chunked_answers: bool  # HTTP/1.1
    accepts_json: bool
    accepts_stream: bool
    tails: Tails
    may_call: bool = True  # else only lists and what changes in them
    parameters: Pairs = ()  # `Mcp-Param-*`, of a modern client
    last_event_id: str = ""  # of a GET that takes up a stream
    over_sse: bool = False  # the transport of 2024-11-05


def twin_of(path: bytes) -> bytes:
    """Where the streamable transport serves what HTTP+SSE serves at this path; other paths as they are."""
    if path == MESSAGES:
        return b"/mcp"
    return path[:-3] + b"mcp" if path.endswith(b"/sse") else path


def origin_form(target: bytes, headers: list[tuple[bytes, bytes]]) -> bytes:
    """The path and query of a request's target. An absolute one (RFC 9112, 3.2.2) must name its Host."""
    scheme, mark, rest = target.partition(b"://")
    if target[:1] == b"/" or not mark or scheme.lower() not in (b"http", b"https"):
        return target
    authority, slash, path = rest.partition(b"/")
    if [value.strip() for name, value in headers if name == b"host"] != [authority]:
        raise BadHeadError(400, "The request's target names another host than its Host header")
    return b"/" + path if slash else b"/"


def routing_headers(headers: list[tuple[bytes, bytes]]) -> tuple[Era, RoutingHeaders, str | None]:
    """The era, the modern routing headers and the session id. Raises BadHeadError on a repeated one."""
    seen: dict[bytes, str] = {}
    for name, value in headers:
        if name in _MODERN_ONCE:
            if name in seen:
                raise BadHeadError(400, f"The header {name.decode()} stands twice")
            seen[name] = value.decode("latin-1").strip(" \t")
    version = seen.get(b"mcp-protocol-version")
    routing = RoutingHeaders(
        version,
        seen.get(b"mcp-method"),
        decode_header_value(seen[b"mcp-name"]) if b"mcp-name" in seen else None,
    )
    return era_of_header(version), routing, seen.get(b"mcp-session-id")


def parameter_headers(headers: list[tuple[bytes, bytes]]) -> Pairs:
    """`Mcp-Param-*`: names in lower case, values as they came but for white space around them."""
    return tuple(
        (name.decode("ascii"), value.decode("latin-1").strip(" \t"))
        for name, value in headers
        if name.startswith(_PARAMETER)
    )


def last_event_id(headers: list[tuple[bytes, bytes]]) -> str:
    """`Last-Event-ID`, empty where there is none."""
    return next((value.decode("latin-1").strip() for name, value in headers if name == b"last-event-id"), "")


def accepted(headers: list[tuple[bytes, bytes]]) -> tuple[bool, bool]:
    """Whether the client takes JSON, and whether it takes an event stream. No Accept header takes both."""
    value = b",".join(value for name, value in headers if name == b"accept").lower()
    if not value or b"*/*" in value:
        return True, True
    json = b"application/json" in value or b"application/*" in value
    return json, b"text/event-stream" in value or b"text/*" in value


def require_json_body(headers: list[tuple[bytes, bytes]]) -> None:
    """Raise BadHeadError (415) for a body that is not declared as JSON."""
    for name, value in headers:
        if name == b"content-type":
            kind, _, parameters = value.decode("latin-1").lower().partition(";")
            if kind.strip() == "application/json" and (
                "charset" not in parameters or "utf-8" in parameters or "utf8" in parameters
            ):
                return
            break
    raise BadHeadError(415, "The body must be declared as Content-Type: application/json")


def encode_headers(headers: Headers) -> bytes:
    return b"".join(b"%b: %b\r\n" % header for header in headers)


def answer_tails(cors: Headers, *, keep_alive: bool, chunked: bool) -> Tails:
    common = encode_headers(SECURITY_HEADERS + cors)
    if not keep_alive:
        common += b"connection: close\r\n"
    stream = b"transfer-encoding: chunked\r\n" if chunked else b""
    return Tails(
        common=common,
        json=b"\r\ncontent-type: application/json\r\n" + common + b"\r\n",
        stream=b"content-type: text/event-stream\r\nx-accel-buffering: no\r\n" + stream + common + b"\r\n",
    )
