"""Who may speak to Fairlead: one decision over a request's head, the same for both lanes.

`admit` looks in this order, and the first thing that is wrong is the answer:

     what is wrong                                                    status  code
  1  the peer's address is denied                                     403     denied-address
  2  the path is too long                                             414     path-too-long
  3  too many headers, or too large ones                              431     headers-too-large
  4  a header that decides something stands twice                     400     repeated-header
  5  Transfer-Encoding beside Content-Length                          400     ambiguous-length
  6  a transfer coding other than chunked                             501     unknown-transfer-coding
  7  Content-Length is not a number                                   400     bad-content-length
  8  no Host                                                          400     missing-host
  9  a Host that is not ours (DNS rebinding)                          421     foreign-host
 10  an Origin that is neither ours nor allowed                       403     foreign-origin
  -  (a CORS preflight of an allowed origin is answered here)         204
 11  no bearer token, nor a browser's session, unless public          401     missing-token
 12  a token that is not known, or has ended                          401     invalid-token
     an access token that gives no role                               403     insufficient-scope
     an access token that cannot be checked yet                       503     keys-unavailable
     a browser's session that has ended                               401     session-ended
     a change by a session without its X-CSRF-Token                   403     csrf
 13  Content-Length over the limit (0 for most public paths)          413     body-too-large

The framing comes first, since nothing can be told of a request whose end is in doubt. Host and Origin come
before the token, so that a foreign page learns nothing about a token, not even that it is right. A foreign
Host is 421 (RFC 9110, 15.5.20: this server gives no answers for that authority), as in the official MCP SDKs.

A browser's session is its cookie, which the browser sends wherever it is told to: so it counts only where
`cookies` says so (never for MCP), never beside `Authorization`, and for a change only with a token that a
foreign page cannot know. For a WebSocket the Origin, which browsers always send there, takes its place.

Public are only the exact bytes of `PUBLIC`, of the resource metadata's paths (`challenge.is_metadata`), and
where they are taken, of webhooks: no other spelling of such a path opens it, whatever the router behind makes
of it. All that can be computed
beforehand is in the `AdmissionPolicy`.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, NamedTuple

from fairlead.core import refusals
from fairlead.core.access import Identities, KnownTokens
from fairlead.core.challenge import challenge, is_metadata
from fairlead.model.access import Caller, Role
from fairlead.model.errors import Problem
from fairlead.model.fleet_values import ORIGIN

Headers = tuple[tuple[bytes, bytes], ...]
Network = IPv4Network | IPv6Network

DOCS_ASSETS: Final = ("docs.css", "docs.js", "icon.svg", "swagger-ui-bundle.js", "swagger-ui.css")
PUBLIC: Final = frozenset(
    [(b"GET", b"/health"), (b"HEAD", b"/health"), (b"GET", b"/docs")]
    + [(b"GET", b"/docs/assets/" + name.encode()) for name in DOCS_ASSETS]
    + [(b"GET", b"/login"), (b"POST", b"/login")]
)
"""Method and raw path of everything that needs no token, beside the resource metadata."""
LOGIN_BYTES: Final = 4096  # what POST /login may bring
WEBHOOK_BYTES: Final = 2**20  # what a webhook may bring
_WEBHOOK: Final = re.compile(rb"/webhooks/[A-Za-z0-9._-]{1,128}")  # names of sources

SECURITY_HEADERS: Final[Headers] = (
    (
        b"content-security-policy",
        b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
"""Sent with every answer of both lanes, unless the answer brings its own."""

_HSTS: Final[Headers] = ((b"strict-transport-security", b"max-age=31536000"),)


def transport_security(scheme: str, headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """HSTS for an answer over TLS; not to `localhost`, whose other ports speak plain HTTP to browsers."""
    if scheme != "https":
        return ()
    host = next((value.strip().lower() for name, value in headers if name == b"host"), b"")
    return () if host.partition(b":")[0] == b"localhost" else _HSTS


_SINGLE: Final = frozenset(
    {
        b"host",
        b"origin",
        b"authorization",
        b"content-length",
        b"transfer-encoding",
        b"access-control-request-method",
        b"access-control-request-headers",
        b"x-csrf-token",
    }
)
_EXPOSED: Final = b"Mcp-Session-Id, MCP-Protocol-Version, WWW-Authenticate, Retry-After, ETag, X-Request-Id"
_METHODS: Final = b"GET, HEAD, POST, PUT, DELETE"
_REQUEST_HEADERS: Final = (
    b"authorization, content-type, accept, last-event-id, mcp-session-id, mcp-protocol-version, mcp-method, "
    b"mcp-name, if-match, x-request-id, traceparent, tracestate, baggage"
)
_MCP_PARAM: Final = re.compile(rb"mcp-param-[a-z0-9_.-]{1,64}")
_HOST: Final = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(:(?P<port>[0-9]{1,5}))?")
_OWS: Final = b" \t"
_LENGTH_DIGITS: Final = 18
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_SAFE: Final = (b"GET", b"HEAD")


class RequestHead(NamedTuple):
    """What came before the body. `path` is raw and without the query, header names are in lower case.

    `peer` is the other side's IP address, None where it has none (a Unix socket).
    """

    method: bytes
    path: bytes
    headers: Sequence[tuple[bytes, bytes]]
    peer: str | None


class Admitted(NamedTuple):
    """Go on. `caller` is None on public paths; `cors` goes into the answer; `body_bytes` may follow."""

    caller: Caller | None
    cors: Headers
    body_bytes: int = 0


class Preflight(NamedTuple):
    """Answer 204 with these headers."""

    headers: Headers


class Refused(NamedTuple):
    """Answer with the problem and these headers."""

    problem: Problem
    headers: Headers


Verdict = Admitted | Preflight | Refused


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one request."""

    body_bytes: int = 10 * 10**6
    body_seconds: float = 30.0  # from the head to the body's end
    header_bytes: int = 32 * 1024  # names and values
    header_count: int = 100
    path_bytes: int = 8 * 1024


@dataclass(frozen=True, slots=True)
class SignIn:
    """How people come by what lets them in; each member is empty where there is no such way.

    Access tokens: `resource` is our public URL, `issuer` the authorization server, `scope` what a client of
    an MCP endpoint should ask it for. Browsers: `cookie` is the name of the cookie that holds a session.
    """

    resource: str = ""
    issuer: str = ""
    scope: str = ""
    cookie: str = ""


@dataclass(frozen=True, slots=True)
class AdmissionPolicy:
    """Everything that `admit` needs to know, made ready by `compile`."""

    identities: Identities = field(repr=False)
    hosts: frozenset[bytes]
    origins: Mapping[bytes, Headers]  # -> the CORS headers for its answers
    denied: tuple[Network, ...]
    limits: Limits
    sign_in: SignIn = SignIn()
    webhooks: bool = False  # whether they are taken here; each proves itself by what it brings

    @classmethod
    def compile(
        cls,
        identities: Identities | Mapping[bytes, str],
        port: int | Sequence[int],
        *,
        hosts: Iterable[str] = (),
        origins: Iterable[str] = (),
        denied: Iterable[str] = (),
        limits: Limits | None = None,
        sign_in: SignIn | None = None,
        webhooks: bool = False,
    ) -> AdmissionPolicy:
        """A policy for a service on a port or several. Raises ValueError that names what is wrong.

        `identities` may be given as SHA-256 digests of tokens to names, all administrators. `hosts`: names
        and addresses beside loopback, where 0.0.0.0 and :: count for nothing. Without a port they stand for
        the served one, a name also for none at all, as behind a TLS proxy. `origins`: allowed beside the
        service's own. `denied`: addresses and networks.
        """
        ports = (port,) if isinstance(port, int) else port
        every = [_authorities(host, each) for host in (*_LOOPBACK, *hosts) for each in ports]
        authorities = set[str]().union(*every)
        own = {origin for authority in authorities for origin in _own_origins(authority)}
        return cls(
            identities=_administrators(identities) if isinstance(identities, Mapping) else identities,
            hosts=frozenset(authority.encode() for authority in authorities),
            origins={
                o.encode(): _cors(o.encode()) for o in own | {parse_origin(origin) for origin in origins}
            },
            denied=tuple(map(parse_network, denied)),
            limits=limits or Limits(),
            sign_in=sign_in or SignIn(),
            webhooks=webhooks,
        )


def _administrators(tokens: Mapping[bytes, str]) -> Identities:
    return KnownTokens({digest: Caller(name, Role.ADMIN) for digest, name in tokens.items()})


def _authorities(host: str, port: int) -> set[str]:
    """What a Host header may say for this entry."""
    name = host.lower()
    try:
        address = ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        match = _HOST.fullmatch(name)
        if match is None:
            msg = f"allowed hosts: {host!r} is not a host; write a name or an address, or either with :port"
            raise ValueError(msg) from None
        if match["port"] is not None:
            return {name}
        return {f"{name}:{port}"} if name == "localhost" and port != 80 else {f"{name}:{port}", name}
    if address.is_unspecified:
        return set()
    plain = str(address).partition("%")[0]  # browsers do not send a zone
    name = f"[{plain}]" if address.version == 6 else plain
    return {f"{name}:{port}", name} if port == 80 else {f"{name}:{port}"}


def _own_origins(authority: str) -> Iterator[str]:
    """The origins of our own pages. Plain http without a port may be another service of that host."""
    match = _HOST.fullmatch(authority)
    assert match is not None
    name, port = match["name"], match["port"]
    if port not in (None, "80"):
        yield f"http://{authority}"
    if port == "80":
        yield f"http://{name}"
    yield f"https://{name if port == '443' else authority}"


def parse_origin(text: str) -> str:
    """An origin as browsers send it. Raises ValueError that says how to write it."""
    origin = text.strip().lower().removesuffix("/")
    if not ORIGIN.fullmatch(origin):
        msg = (
            f"allowedOrigins: {text!r} is not an origin; write scheme://host[:port], without path or wildcard"
        )
        raise ValueError(msg)
    for scheme, port in (("http:", ":80"), ("https:", ":443")):
        if origin.startswith(scheme):
            origin = origin.removesuffix(port)
    return origin


def parse_network(text: str) -> Network:
    """An address or a network. Raises ValueError that says how to write it."""
    try:
        return ip_network(text.strip(), strict=False)
    except ValueError:
        msg = f"deniedIPs: {text!r} is neither an address nor a network; write 192.0.2.7 or 10.0.0.0/8"
        raise ValueError(msg) from None


def _cors(origin: bytes) -> Headers:
    return (
        (b"access-control-allow-origin", origin),
        (b"access-control-expose-headers", _EXPOSED),
        (b"vary", b"Origin"),
    )


def admit(head: RequestHead, policy: AdmissionPolicy, *, cookies: bool = False) -> Verdict:
    """Decide about one request; see the table at the top of this module. Never raises."""
    method, path, headers, peer = head
    limits = policy.limits
    if policy.denied and peer is not None and is_denied(peer, policy.denied):
        return Refused(refusals.DENIED_ADDRESS, ())
    if len(path) > limits.path_bytes:
        return Refused(refusals.path_too_long(limits.path_bytes), ())
    single: dict[bytes, bytes] = {}
    if (problem := _read(headers, single, limits) or _framing(single)) is not None:
        return Refused(problem, ())
    if not (host := single.get(b"host")):
        return Refused(refusals.MISSING_HOST, ())
    if host not in policy.hosts and host.lower() not in policy.hosts:
        return Refused(refusals.FOREIGN_HOST, ())
    cors: Headers = ()
    if (origin := single.get(b"origin")) is not None:
        if (allowed := policy.origins.get(origin)) is None:
            return Refused(refusals.FOREIGN_ORIGIN, ())
        if method == b"OPTIONS" and b"access-control-request-method" in single:
            return _preflight(origin, single.get(b"access-control-request-headers", b""))
        cors = allowed
    caller, limit = None, _public_bytes(path)
    if not is_public(method, path, webhooks=policy.webhooks):
        found = _identify(head, single, policy, cookies=cookies)
        if isinstance(found, Problem):
            told = challenge(found, path, policy.sign_in.resource, policy.sign_in.scope)
            return Refused(found, ((b"www-authenticate", told), *cors) if told else cors)
        caller, limit = found, limits.body_bytes
    length = single.get(b"content-length")
    if length is not None and int(length) > limit:
        return Refused(refusals.body_too_large(limit), cors)
    return Admitted(caller, cors, limit)


def is_public(method: bytes, path: bytes, *, webhooks: bool = False) -> bool:
    """Whether a request needs no token; `path` is raw. `webhooks`: whether these are taken."""
    return (
        (method, path) in PUBLIC
        or (method == b"GET" and is_metadata(path))
        or (webhooks and method == b"POST" and _WEBHOOK.fullmatch(path) is not None)
    )


def _public_bytes(path: bytes) -> int:
    """How large a body may be that comes without a token."""
    if path == b"/login":
        return LOGIN_BYTES
    return WEBHOOK_BYTES if _WEBHOOK.fullmatch(path) else 0


def _identify(
    head: RequestHead, single: Mapping[bytes, bytes], policy: AdmissionPolicy, *, cookies: bool
) -> Caller | Problem:
    authorization = single.get(b"authorization")
    if authorization is not None:
        token = _bearer(authorization)
        return policy.identities.identify(token) if token else refusals.MISSING_TOKEN
    sessions = cookie_values(head.headers, policy.sign_in.cookie.encode()) if cookies else set()
    if not sessions:
        return refusals.MISSING_TOKEN
    if len(sessions) > 1:
        return refusals.TWO_SESSIONS  # one of them was put there by somebody else
    browser = policy.identities.identify_cookie(sessions.pop())
    if isinstance(browser, Problem):
        return browser
    if head.method == b"GET" and any(name == b"upgrade" for name, _ in head.headers):
        return browser.caller if b"origin" in single else refusals.CSRF
    told = single.get(b"x-csrf-token", b"")
    if head.method not in _SAFE and not hmac.compare_digest(told, browser.csrf_token):
        return refusals.CSRF
    return browser.caller


def cookie_values(headers: Sequence[tuple[bytes, bytes]], wanted: bytes) -> set[bytes]:
    """All different values of one cookie."""
    pairs = (
        pair.partition(b"=") for name, value in headers if name == b"cookie" for pair in value.split(b";")
    )
    return {value.strip(_OWS) for name, _, value in pairs if wanted and name.strip(_OWS) == wanted}


def announces_body(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a body follows. An answer that does not wait for it must close the connection."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip(_OWS + b"0") != b"")
        for name, value in headers
    )


def is_denied(peer: str, networks: tuple[Network, ...]) -> bool:
    """Whether an address lies in one of the networks; what is no address does."""
    try:
        address = ip_address(peer)
    except ValueError:
        return True  # whoever cannot be told apart from a denied one
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in networks)


def _read(
    headers: Sequence[tuple[bytes, bytes]], single: dict[bytes, bytes], limits: Limits
) -> Problem | None:
    """Measure the headers and fill `single` with those that decide something."""
    size = 0
    repeated = None
    for name, value in headers:
        size += len(name) + len(value)
        if name in _SINGLE:
            if name in single:
                repeated = name
            single[name] = value.strip(_OWS)
    if size > limits.header_bytes or len(headers) > limits.header_count:
        return refusals.headers_too_large(limits.header_bytes, limits.header_count)
    return refusals.repeated_header(repeated.decode().title()) if repeated else None


def _framing(single: Mapping[bytes, bytes]) -> Problem | None:
    length = single.get(b"content-length")
    if (coding := single.get(b"transfer-encoding")) is not None:
        if length is not None:
            return refusals.AMBIGUOUS_LENGTH
        if coding.lower() != b"chunked":
            return refusals.UNKNOWN_TRANSFER_CODING
    if length is not None and not (length.isdigit() and len(length) <= _LENGTH_DIGITS):
        return refusals.BAD_CONTENT_LENGTH
    return None


def _preflight(origin: bytes, asked: bytes) -> Preflight:
    """Mcp-Param-* cannot be listed beforehand, so those that are asked for are mirrored."""
    names = [name.strip(_OWS).lower() for name in asked.split(b",")]
    mirrored = [name for name in names if _MCP_PARAM.fullmatch(name)]
    return Preflight(
        (
            (b"access-control-allow-origin", origin),
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-allow-headers", b", ".join((_REQUEST_HEADERS, *mirrored))),
            (b"access-control-max-age", b"600"),
            (b"vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
        )
    )


def _bearer(authorization: bytes) -> bytes:
    """The token, or b"" when there is none or the scheme is another."""
    scheme, _, token = authorization.partition(b" ")
    return token.strip(_OWS) if scheme.lower() == b"bearer" else b""
