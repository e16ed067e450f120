"""The problems that end a request at the door, in the words that both lanes use."""

from __future__ import annotations

import math
from typing import Final

from fairlead.model.errors import Fault, Problem


def _refusal(status: int, code: str, title: str, detail: str) -> Problem:
    return Problem(code=code, title=title, detail=detail, status=status, fault=Fault.CLIENT)


DENIED_ADDRESS: Final = _refusal(
    403,
    "denied-address",
    "This address is denied",
    "Your IP address is in security.networkPolicies.deniedIPs of the fleet file.",
)
UNKNOWN_TRANSFER_CODING: Final = _refusal(
    501,
    "unknown-transfer-coding",
    "Unknown transfer coding",
    "Transfer-Encoding may only be chunked. Send the body so, or with Content-Length.",
)
AMBIGUOUS_LENGTH: Final = _refusal(
    400,
    "ambiguous-length",
    "The body's length is ambiguous",
    "Transfer-Encoding and Content-Length exclude each other (RFC 9112, 6.1). Send only one of them.",
)
BAD_CONTENT_LENGTH: Final = _refusal(
    400,
    "bad-content-length",
    "Content-Length is not a number",
    "Content-Length must be the body's size in bytes, in decimal digits.",
)
MISSING_HOST: Final = _refusal(
    400,
    "missing-host",
    "The Host header is missing",
    "Send Host with the name and port of this service (RFC 9112, 3.2), also with HTTP/1.0.",
)
FOREIGN_HOST: Final = _refusal(
    421,
    "foreign-host",
    "This service does not answer for that host",
    "The Host header must be localhost, 127.0.0.1 or [::1] with the port of this service, or one of its "
    "allowed hosts. To reach it under another name, add that to FAIRLEAD_ALLOWED_HOSTS.",
)
FOREIGN_ORIGIN: Final = _refusal(
    403,
    "foreign-origin",
    "This origin is not allowed",
    "Pages of the Origin that was sent may not use this service. To allow it, add it to "
    "security.networkPolicies.allowedOrigins of the fleet file.",
)
MISSING_TOKEN: Final = _refusal(
    401,
    "missing-token",
    "A token is needed",
    "Send `Authorization: Bearer TOKEN`. `fairlead token add NAME` makes a token.",
)
INVALID_TOKEN: Final = _refusal(
    401,
    "invalid-token",
    "The token is not valid",
    "The bearer token is not known here, or was revoked. `fairlead token add NAME` makes a new one.",
)
EXPIRED_KEY: Final = _refusal(
    401,
    "invalid-token",
    "The key has expired",
    "This API key was good up to a time that is over. `fairlead key add` makes a new one.",
)
SESSION_OVER: Final = _refusal(
    401,
    "session-ended",
    "The session has ended",
    "This browser's session is over or was ended. `fairlead login` shows a link for a new one.",
)
TWO_SESSIONS: Final = _refusal(
    400,
    "two-sessions",
    "Two sessions at once",
    "The browser sends two cookies of the session's name. Delete the cookies of this host and log in anew.",
)
CSRF: Final = _refusal(
    403,
    "csrf",
    "The change does not come from our own page",
    "A change by a browser's session needs the header X-CSRF-Token with `csrfToken` of GET /api/session; a "
    "WebSocket needs an Origin.",
)


def not_granted(server: str) -> Problem:
    """`server` need not be there."""
    detail = (
        f"Your grants do not cover server {server[:128]!r}, or what of it you ask for. An administrator can "
        "change them."
    )
    return _refusal(403, "forbidden", "Not allowed", detail)


def bad_token(why: str) -> Problem:
    """An access token (JWT) that is refused; `why` is for a person."""
    detail = f"The access token is refused: {why}. Get a new one from the authorization server."
    return _refusal(401, "invalid-token", "The token is not valid", detail)


def no_role(where: str, scopes: str) -> Problem:
    """An access token whose owner may do nothing here. `where`: what of it was looked at."""
    detail = f"The {where} of the access token gives no role here. It must hold one of: {scopes}."
    return _refusal(403, "insufficient-scope", "The token gives no role", detail)


def keys_away(wait: float) -> Problem:
    """It cannot be said yet whether an access token is good. `wait`: seconds until it may be."""
    return Problem(
        code="keys-unavailable",
        title="The token cannot be checked just now",
        detail="The authorization server's signing keys are being read, or cannot be. Send the same token "
        "again in a moment.",
        status=503,
        fault=Fault.GATEWAY,
        retry_after=wait,
    )


def path_too_long(limit: int) -> Problem:
    return _refusal(414, "path-too-long", "The path is too long", f"A path may have {limit} bytes.")


def headers_too_large(size: int, count: int) -> Problem:
    detail = f"A request may have {count} headers, and {size} bytes of names and values in all."
    return _refusal(431, "headers-too-large", "The headers are too large", detail)


def repeated_header(name: str) -> Problem:
    detail = f"{name} may stand only once in a request. Send it once."
    return _refusal(400, "repeated-header", "A header is repeated", detail)


def body_too_large(limit: int) -> Problem:
    detail = "This path takes no body."
    if limit:
        detail = (
            f"A body may have at most {limit} bytes. Send less, or raise "
            "security.resourceLimits.maxRequestSize of the fleet file."
        )
    return _refusal(413, "body-too-large", "The body is too large", detail)


def head_too_slow(seconds: float) -> Problem:
    """The head did not come within its time."""
    return _refusal(408, "head-too-slow", "The head took too long", f"A head has {seconds:g} s to come.")


def body_too_slow(seconds: float) -> Problem:
    detail = (
        f"The body was not complete in {seconds:g} s. Send it faster, or raise FAIRLEAD_EDGE_BODY_TIMEOUT."
    )
    return _refusal(408, "body-too-slow", "The body took too long", detail)


def rate_limited(wait: float) -> Problem:
    """`wait`: seconds until the next request is admitted; told in whole seconds, as Retry-After has them."""
    seconds = max(1, math.ceil(wait))
    return Problem(
        code="rate-limited",
        title="Too many requests",
        detail="The requests a minute, of this principal or of all, are used up. Try again in "
        f"{seconds} s, or raise requestsPerMinute or total in security.resourceLimits.rateLimiting of the "
        "fleet file.",
        status=429,
        fault=Fault.CLIENT,
        retry_after=seconds,
    )


def server_rate_limited(server: str, wait: float) -> Problem:
    """`wait` as in `rate_limited`."""
    seconds = max(1, math.ceil(wait))
    detail = (
        f"The requests a minute of server {server!r} are used up. Try again in {seconds} s, or raise its "
        "limits.requestsPerMinute in the fleet file."
    )
    return Problem("rate-limited", "Too many requests", detail, 429, Fault.CLIENT, seconds)


def too_many_calls(calls: int) -> Problem:
    """A principal has so many calls in flight, and may have no more."""
    detail = (
        f"This principal has {calls} calls in flight here, which is its limit. Wait for one to end, or raise "
        "security.resourceLimits.callsPerPrincipal of the fleet file."
    )
    return Problem("too-many-calls", "Too many calls in flight", detail, 429, Fault.CLIENT, 1.0)


def overloaded(calls: int, held: int, server: str, limit: int) -> Problem:
    """So many calls are in flight in all, `held` of them of one server, which therefore gets no more."""
    detail = (
        f"{calls} calls are in flight, {held} of them of server {server!r}; the limit is {limit}. Try again, "
        "or raise security.resourceLimits.maxConcurrentRequests of the fleet file."
    )
    return Problem("overloaded", "Overloaded", detail, 429, Fault.GATEWAY, 1.0)


def too_many_sessions(limit: int, principal: str | None = None) -> Problem:
    """So many sessions are open, of one principal or in all."""
    whose = "" if principal is None else f" of {principal!r}"
    setting = "MAX_SESSIONS" if principal is None else "MAX_PER_PRINCIPAL"
    detail = (
        f"{limit} sessions{whose} are open, which is the limit. End one (DELETE), wait until an idle one "
        f"expires, or raise FAIRLEAD_SESSIONS_{setting}."
    )
    return Problem("too-many-sessions", "Too many sessions", detail, 429, Fault.CLIENT, 30.0)


def too_many_pipelined(most: int) -> Problem:
    detail = f"more than {most} requests wait on this connection; read the answers, or use another connection"
    return Problem("too-many-pipelined", "Too many requests", detail, 503, Fault.CLIENT, 1.0)
