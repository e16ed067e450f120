"""Where a remote server is: its URL taken apart, the headers for it checked, a connection to it made.

Addresses are resolved and tried one by one here, so that an error keeps its kind: the loop's own
`create_connection` melts several into one text.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import quote, urljoin, urlsplit

from fairlead.model.errors import Fault, Problem, ProblemError

_P = TypeVar("_P", bound=asyncio.Protocol)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[0-9A-Za-z._:-]+")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_OWN_HEADERS = re.compile(
    r"host|connection|content-length|content-type|transfer-encoding|te|trailer|upgrade|expect"
    r"|accept|accept-encoding|last-event-id|mcp-session-id|mcp-protocol-version|mcp-method|mcp-name",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An http or https URL. `target` may hold a key in its query, so it is never shown."""

    scheme: str
    host: str
    port: int
    target: str = field(repr=False)  # path and query, as they stand in the request line

    @classmethod
    def parse(cls, url: str) -> Endpoint:
        """Take `url` apart. Raises ProblemError `invalid-url`, which names no part that may be secret."""
        try:
            parts = urlsplit(url)
            port = parts.port
            host = (parts.hostname or "").encode("idna").decode("ascii")
        except ValueError:  # UnicodeError is one
            raise _invalid("it cannot be taken apart") from None
        if parts.scheme not in _DEFAULT_PORTS:
            raise _invalid(f"its scheme is {parts.scheme or 'missing'!r}, not http or https")
        if parts.username is not None or parts.password is not None:
            raise _invalid("it holds credentials; put them into `headers`")
        if not _HOST.fullmatch(host):
            raise _invalid("it names no host, or one with characters that no host has")
        target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
        if parts.query:
            target += "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~?")
        return cls(parts.scheme, host, port or _DEFAULT_PORTS[parts.scheme], target)

    def join(self, reference: str) -> Endpoint:
        """The endpoint that `reference` means, seen from here. Raises ProblemError `invalid-url`."""
        try:
            url = urljoin(f"{self.origin}{self.target}", reference)
        except ValueError:
            raise _invalid("it cannot be taken apart") from None
        return Endpoint.parse(url)

    @property
    def authority(self) -> str:
        """The value of the `Host` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.authority}"

    def __str__(self) -> str:
        return f"{self.origin}{self.target.partition('?')[0]}"


def header_lines(headers: Mapping[str, str]) -> bytes:
    """The configured headers as they stand on the wire.

    Raises ProblemError `invalid-header`; it names the header, never the value.
    """
    lines = b""
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            raise _bad_header(name, "its name is not one that HTTP allows")
        if _OWN_HEADERS.fullmatch(name):
            raise _bad_header(name, "Fairlead sets it by itself; take it out of `headers`")
        if not _VALUE.fullmatch(value):
            raise _bad_header(name, "its value has line breaks or characters outside of Latin-1")
        lines += f"{name}: {value.strip()}\r\n".encode("latin-1")
    return lines


async def dial(
    endpoint: Endpoint,
    factory: Callable[[], _P],
    *,
    tls: ssl.SSLContext | None,
    timeout: float,  # noqa: ASYNC109 - one bound over resolving, connecting and the handshake
) -> _P:
    """Make one connection and return the protocol that owns it.

    `timeout` is in seconds. Raises ProblemError (fault UPSTREAM): `unknown-host`, `connection-refused`,
    `connect-timeout`, `tls-failed`, `connect-failed`.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout):
            sock = await _connect(loop, endpoint)
            try:
                name = endpoint.host if tls else None
                _, protocol = await loop.create_connection(factory, sock=sock, ssl=tls, server_hostname=name)
            except BaseException:
                sock.close()
                raise
            return protocol
    except OSError as error:
        raise connect_problem(endpoint, error, waited=timeout) from None


async def _connect(loop: asyncio.AbstractEventLoop, endpoint: Endpoint) -> socket.socket:
    where = endpoint.host, endpoint.port
    try:  # an address needs no resolver, and no thread to wait for one
        addresses = socket.getaddrinfo(*where, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        addresses = await loop.getaddrinfo(*where, type=socket.SOCK_STREAM)
    failure: OSError = OSError("no address")
    for family, kind, protocol, _, address in addresses:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            _keep_alive(sock)
            await loop.sock_connect(sock, address)
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure


def _keep_alive(sock: socket.socket) -> None:
    """Have the kernel find out in two minutes that a peer is gone: streams may be silent for hours."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, option):  # not on every platform
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def connect_problem(endpoint: Endpoint, error: OSError, *, waited: float) -> ProblemError:
    """What a failed attempt to connect means, and what to do."""
    match error:
        case ssl.SSLCertVerificationError():
            code, what = "tls-failed", f"its certificate was refused: {error.verify_message}"
            how = "Mend the certificate, or name the authority that signed it in SSL_CERT_FILE."
        case ssl.SSLError():
            code, what = "tls-failed", f"the TLS handshake failed ({getattr(error, 'reason', None) or error})"
            how = "Does the server speak https on this port? If not, write http:// in `url`."
        case socket.gaierror():
            code, what = "unknown-host", f"the name {endpoint.host!r} cannot be resolved"
            how = "Check the host in `url`, and that this machine's DNS knows it."
        case ConnectionRefusedError():
            code, what = "connection-refused", "connection refused"
            how = "Is the server running there? Check host and port in `url`."
        case TimeoutError():
            code, what = "connect-timeout", f"no connection within {waited:g} s"
            how = "Check host and port in `url`, and that no firewall is in between."
        case _:
            code, what = "connect-failed", error.strerror or "the connection was closed at once"
            how = "Check host and port in `url`."
    return upstream_problem(code, "Cannot connect", f"{endpoint}: {what}. {how}")


def upstream_problem(code: str, title: str, detail: str) -> ProblemError:
    status = 504 if code.endswith("timeout") else 502
    return ProblemError(Problem(code=code, title=title, detail=detail, status=status, fault=Fault.UPSTREAM))


def _invalid(why: str) -> ProblemError:
    detail = f"The server's `url` cannot be used: {why}. Write it like https://host:port/mcp."
    return upstream_problem("invalid-url", "Invalid URL", detail)


def _bad_header(name: str, why: str) -> ProblemError:
    return upstream_problem("invalid-header", "Invalid header", f"The header {name!r} cannot be sent: {why}.")
