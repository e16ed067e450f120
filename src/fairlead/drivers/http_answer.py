"""What a remote server's HTTP answer means. Pure: status, headers and body in, messages or a failure out."""

from __future__ import annotations

import email.utils
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET, Raw, UnsetType

from fairlead.mcp.messages import decode_from_server, error, one_line
from fairlead.mcp.sse import SseEvent

EVENT_STREAM = b"text/event-stream"
JSON = b"application/json"
_MAX_QUOTED = 200  # characters of the server's own words in a reason
_decode_batch = msgspec.json.Decoder(list[Raw]).decode


class _RefusalBody(msgspec.Struct):
    """A JSON-RPC error in the body of an HTTP error."""

    error: Raw
    id: int | str | UnsetType | None = UNSET


class _ErrorObject(msgspec.Struct):
    message: str


_decode_refusal = msgspec.json.Decoder(_RefusalBody).decode
_decode_error = msgspec.json.Decoder(_ErrorObject).decode


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no answer. `retry_after` is in seconds."""

    reason: str
    retry_after: float | None = None


def content_type(headers: dict[bytes, bytes]) -> bytes:
    """The media type in lower case, without parameters; empty where none is given."""
    return headers.get(b"content-type", b"").partition(b";")[0].strip().lower()


def is_event_stream(status: int, headers: dict[bytes, bytes]) -> bool:
    return 200 <= status < 300 and content_type(headers) == EVENT_STREAM


def frames_of(payload: bytes) -> list[bytes]:
    """The messages in `payload`, each on one line: a single one, or a batch (2025-03-26) taken apart."""
    payload = payload.strip()
    if not payload.startswith(b"["):
        return [one_line(payload)] if payload else []
    try:
        return [one_line(bytes(raw)) for raw in _decode_batch(payload)]
    except (msgspec.DecodeError, RecursionError):
        return [one_line(payload)]


def event_frames(event: SseEvent) -> list[bytes]:
    """The messages that an event carries; none in a priming event or one of another kind."""
    return frames_of(event.data) if event.event == "message" else []


def answers(frame: bytes, request_id: int) -> bool:
    """Whether `frame` is the answer to this request of ours."""
    message = decode_from_server(frame)
    return message is not None and message.method is UNSET and message.id == request_id


def knows_no_session(status: int, body: bytes) -> bool:
    """Whether an answer says that the session has ended: 404, or the 400 that many servers give.

    They keep their sessions in a table, and when that is lost ask for "a valid session ID", of no request.
    """
    if status != 400:
        return status == 404
    message, error_id, _ = _json_rpc_error(body)
    return not isinstance(error_id, int) and "session" in message.lower()


def read_refusal(
    status: int, headers: dict[bytes, bytes], body: bytes, request_id: int, *, now: float
) -> bytes | Refusal:
    """What an answer that is neither JSON of a 2xx nor an event stream says about a request.

    A JSON-RPC error that carries the request's id is the answer. One without an id is too where the server
    blames the request (that is how a legacy server answers `server/discover`), with the id put in; where it
    blames itself, the load or the credentials, it is a refusal with the error's message. `now` is Unix time.
    """
    _, error_id, raw = _json_rpc_error(body)
    blames_request = 400 <= status < 500 and status not in (401, 403, 429)
    if raw is not None and (error_id == request_id or (error_id is None and blames_request)):
        return one_line(error(b"%d" % request_id, raw))
    return refusal_of(status, headers, body, now=now)


def refusal_of(status: int, headers: dict[bytes, bytes], body: bytes, *, now: float) -> Refusal:
    """The same for an exchange that carries no request of its own."""
    message, _, _ = _json_rpc_error(body)
    wait = retry_after(headers.get(b"retry-after", b"").decode("latin-1"), now)
    return Refusal(_reason(status, headers, message), wait)


def _json_rpc_error(body: bytes) -> tuple[str, Any, bytes | None]:
    try:
        refusal = _decode_refusal(body)
        message = _decode_error(refusal.error).message
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "", UNSET, None
    return message, None if refusal.id is UNSET else refusal.id, bytes(refusal.error)


def _reason(status: int, headers: dict[bytes, bytes], message: str) -> str:
    reason = f"HTTP {status} from the server"
    match status:
        case 401 | 403:
            reason += ": the credentials are missing or were refused; check `headers` in the fleet file"
        case 404:
            reason += ": nothing answers at this path; check `url` in the fleet file"
        case 405:
            reason += ": it takes no messages at this path; check `url` and `transport` in the fleet file"
        case 202 | 204:
            reason += ": it accepted the request, but will not answer it"
        case _ if 300 <= status < 400:
            reason += f": redirects are not followed; put {_shown(headers)} into `url` if you trust it"
        case _ if status < 300:
            kind = content_type(headers).decode("latin-1") or "nothing with a content type"
            reason += f": it sent {kind[:_MAX_QUOTED]}, not JSON or an event stream; is `url` right?"
    if message:
        reason += f" ({message[:_MAX_QUOTED]})"
    return reason


def _shown(headers: dict[bytes, bytes]) -> str:
    """Where a redirect leads, without what may be secret in it."""
    try:
        parts = urlsplit(headers.get(b"location", b"").decode("latin-1"))
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "the new address"
    origin = f"{parts.scheme}://{host}" if host else ""
    return f"{origin}{parts.path}"[:_MAX_QUOTED] or "the new address"


def retry_after(value: str, now: float) -> float | None:
    """Seconds to wait, from a number of seconds or an HTTP date; None where it says neither."""
    value = value.strip()
    if value.isascii() and value.isdigit() and len(value) < 10:
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None
