"""One HTTP request to another service: bounded in time and size, and nowhere else than asked.

Redirects are not followed: keys, tokens and what they open come from where the settings say, or not at all.
Plain http is for loopback only, unless the caller takes it.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from ipaddress import ip_address
from typing import Final
from urllib.parse import SplitResult, urlsplit

import httptools

LIMIT: Final = 256 * 1024  # bytes of a body
TIMEOUT: Final = 5.0  # s, for all of it
_HEAD_LIMIT: Final = 64 * 1024
_CHUNK: Final = 64 * 1024
_URL: Final = re.compile(r"https?://[!-~]+")


class FetchError(Exception):
    """There is no usable answer. The message says why, for a person, and holds no secret."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer; names of headers in lower case, the last of several counts."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a request may go."""

    limit: int = LIMIT  # bytes of the answer's body
    plain: bool = False  # http to other machines, too: a network of containers
    tls: ssl.SSLContext | None = None  # whom to trust; None: whom the system does


ORDINARY: Final = Reach()


def check_url(url: str, *, plain: bool = False) -> SplitResult:
    """The parts of a URL that may be asked. Raises ValueError that says what is wrong with it."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        parts.port  # noqa: B018 - it is parsed when it is asked for
    except ValueError:
        host = ""
    if not host or not _URL.fullmatch(url) or parts.fragment:
        msg = "it is not a URL; write it like https://login.example.com/path"
        raise ValueError(msg)
    if parts.username is not None or parts.password is not None:
        msg = f"the URL at {host} must hold no credentials"
        raise ValueError(msg)
    if parts.scheme == "http" and not plain and not is_loopback(host):
        msg = f"the URL at {host} must begin with https://; plain http is for loopback only"
        raise ValueError(msg)
    return parts


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, whatever a resolver says."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def fetch(
    url: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    timeout: float = TIMEOUT,  # noqa: ASYNC109 - one bound over connecting, sending and reading
    reach: Reach = ORDINARY,
) -> Answer:
    """Ask, and return the whole answer, whatever its status. Raises FetchError."""
    try:
        parts = check_url(url, plain=reach.plain)
    except ValueError as wrong:
        raise FetchError(str(wrong)) from None
    where = f"{parts.scheme}://{parts.netloc}{parts.path}"  # a query may hold a secret
    try:
        async with asyncio.timeout(timeout):
            return await _exchange(parts, _request(parts, method, headers or {}, body), reach)
    except FetchError as error:
        raise FetchError(f"{where}: {error}") from None
    except TimeoutError:
        raise FetchError(f"{where}: no whole answer within {timeout:g} s") from None
    except ssl.SSLError as error:
        raise FetchError(f"{where}: TLS failed ({getattr(error, 'verify_message', '') or error})") from None
    except UnicodeError:
        raise FetchError(f"{where}: that is not the name of a host") from None
    except OSError as error:
        raise FetchError(f"{where}: cannot connect ({error.strerror or error})") from None


def _request(parts: SplitResult, method: str, headers: Mapping[str, str], body: bytes) -> bytes:
    lines = [
        f"{method} {parts.path or '/'}{'?' + parts.query if parts.query else ''} HTTP/1.1",
        f"Host: {parts.netloc}",
        "Connection: close",
        "Accept: application/json",
        "Accept-Encoding: identity",
        "User-Agent: fairlead",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


async def _exchange(parts: SplitResult, request: bytes, reach: Reach) -> Answer:
    secure = parts.scheme == "https"
    reader, writer = await asyncio.open_connection(
        parts.hostname, parts.port or (443 if secure else 80), ssl=(reach.tls or _tls()) if secure else None
    )
    try:
        writer.write(request)
        await writer.drain()
        reading = _Reading(reach.limit)
        while not reading.complete:
            data = await reader.read(_CHUNK)
            if not data:
                reading.cut_off()
                break
            reading.feed(data)
        return Answer(reading.status, reading.headers, bytes(reading.body))
    finally:
        writer.transport.abort()


class _Reading:
    """An answer on its way in, as httptools' parser tells of it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.complete = False
        self._overhead = 0
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        before = len(self.body)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self.complete:
                raise FetchError("the answer is not HTTP") from None
        self._overhead += len(data) - (len(self.body) - before)
        if len(self.body) > self._limit or self._overhead > _HEAD_LIMIT:
            raise FetchError(f"the answer is larger than {self._limit} bytes")

    def cut_off(self) -> None:
        """The other side closed the connection, which ends a body that has no length."""
        framed = "content-length" in self.headers or "transfer-encoding" in self.headers
        if not self.status or framed:
            raise FetchError("the connection was closed before the answer was whole")

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200:
            self.status = status
        else:
            self.headers.clear()

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.complete = self.status >= 200
