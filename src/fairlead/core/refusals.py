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
        detail=f"This token's requests a minute are used up. Try again in {seconds} s, or raise "
        "security.resourceLimits.rateLimiting.requestsPerMinute of the fleet file.",
        status=429,
        fault=Fault.CLIENT,
        retry_after=seconds,
    )
