"""Access tokens of an OAuth 2.1 authorization server: JWTs, checked here as a resource server must.

A token is worth something only when all of this holds: it is one strict JWS (no duplicate members, nothing
critical that is not understood, a type that access tokens have), signed with an asymmetric algorithm by a key
that its issuer publishes now (see `jwks`; what the token itself says of where keys are is not looked at),
made by our issuer, for us, and in its time. It must not be bound to a key of the client's (`cnf`), since we
do not ask for a proof of that key. Its audience may be all of the service, or one server or toolset; then
it is good for that one alone, and for no more than calling.

The outcome is kept by the token's digest until the token expires or its key is withdrawn, so that a client
pays for the signature once.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from joserfc.errors import JoseError
from joserfc.jwk import Key
from joserfc.jws import JWSRegistry, deserialize_compact

from fairlead.access.jwks import ALGORITHMS, SigningKeys
from fairlead.core import refusals
from fairlead.model.access import Caller, Grant, Role
from fairlead.model.errors import Problem, ProblemError

PREFIX: Final = "oauth:"
"""Begins the names of principals that a token names, so that they are nobody's else."""
SCOPES: Final = {f"fairlead:{role.word}": role for role in Role}
MAX_TOKEN: Final = 8192  # bytes
MAX_KNOWN: Final = 10_000
LEEWAY: Final = 60.0  # s that clocks may differ
_END_OF_TIME: Final = 2.0**53  # s; neither NaN nor an integer without end is below it
_COMPACT: Final = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_TYPES: Final = ("at+jwt", "jwt")
_NAME: Final = re.compile(r"[!-~]{1,120}")
_ONE_OF: Final = re.compile(r"/(servers|toolsets)/([A-Za-z0-9][A-Za-z0-9_.-]*)/mcp")
_WORDS: Final = {role.word: role for role in Role} | SCOPES


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What a token must say. `resource` is the service's own public URL, without a slash at its end.

    `audiences` are further ones that stand for the whole service. `role_claim` and `principal_claim` name a
    member of the token, or with dots one inside of another; without `role_claim` the scopes say the role.
    """

    issuer: str
    resource: str
    audiences: tuple[str, ...] = ()
    principal_claim: str = "sub"
    role_claim: str | None = None
    default_role: Role | None = None


def looks_like_jwt(token: bytes) -> bool:
    """Whether a bearer token is meant to be one; then nobody else is asked about it."""
    return token.startswith(b"eyJ") and token.count(b".") == 2


class JwtVerifier:
    """Who comes by an access token. `now` is Unix time in seconds."""

    def __init__(self, rules: TokenRules, keys: SigningKeys, *, now: Callable[[], float] = time.time) -> None:
        self._rules = rules
        self._keys = keys
        self._now = now
        self._known: dict[bytes, Caller] = {}  # by the token's SHA-256

    def __repr__(self) -> str:
        return f"JwtVerifier({self._rules.issuer!r}, known={len(self._known)})"

    def identify(self, token: bytes) -> Caller | Problem:
        """The caller that a token speaks for, or a Problem: 401, 403 (no role), or 503 (come again)."""
        digest = hashlib.sha256(token).digest()
        known = self._known.get(digest)
        if known is not None:
            if self.is_valid(known):
                return known
            del self._known[digest]  # why it is not, the whole check says
        try:
            caller = self._verify(token, digest)
        except ProblemError as refused:
            return refused.problem
        if len(self._known) >= MAX_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[digest] = caller
        return caller

    def is_valid(self, caller: Caller) -> bool:
        """Whether the token that a caller came by is still good: in its time, its key still published."""
        kind, _, thumbprint = caller.credential.rpartition(":")
        return (
            kind.startswith("jwt:")
            and caller.expires is not None
            and self._now() < caller.expires
            and self._keys.holds(thumbprint)
        )

    def knows(self, principal: str) -> bool:
        """Whether a principal is one that tokens name; who is one of those only a token can say."""
        return principal.startswith(PREFIX)

    def _verify(self, token: bytes, digest: bytes) -> Caller:
        """Raises ProblemError."""
        if len(token) > MAX_TOKEN or not _COMPACT.fullmatch(token):
            raise _refused(f"it is no JWT, or longer than {MAX_TOKEN} bytes")
        header_part, claims_part, _ = token.split(b".")
        header, claims = _strict_object(header_part), _strict_object(claims_part)
        algorithm = _check_header(header)
        if claims.get("iss") != self._rules.issuer:
            raise _refused("another issuer made it")  # and our keys have nothing to say about it
        key = self._keys.find(header.get("kid"), algorithm)
        if isinstance(key, Problem):
            raise ProblemError(key)
        _check_signature(token, key, algorithm)
        expires = self._check_times(claims)
        grants, highest = self._check_audience(claims.get("aud"))
        if "cnf" in claims:
            raise _refused("it is bound to a key of the client's, of which no proof is asked for here")
        return Caller(
            name=PREFIX + self._principal(claims),
            role=min(highest, self._role(claims)),
            grants=grants,
            credential=f"jwt:{digest[:8].hex()}:{key.thumbprint()}",
            expires=expires,
        )

    def _check_times(self, claims: Mapping[str, Any]) -> float:
        """Unix time at which the token ends here."""
        now = self._now()
        expires = _time(claims, "exp")
        if expires is None:
            raise _refused("it has no `exp`")
        if now >= expires + LEEWAY:
            raise _refused("it has expired")
        begins = _time(claims, "nbf")
        if begins is not None and now < begins - LEEWAY:
            raise _refused("it is not valid yet")
        _time(claims, "iat")  # it decides nothing here, but who writes nonsense is not believed
        return expires + LEEWAY

    def _check_audience(self, audience: Any) -> tuple[tuple[Grant, ...], Role]:
        """What the audience leaves of what the token's owner may do."""
        rules = self._rules
        given = [audience] if isinstance(audience, str) else audience
        if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
            raise _refused("its `aud` is neither a string nor a list of strings")
        if any(each in rules.audiences or _is_whole(each, rules.resource) for each in given):
            return (), Role.ADMIN
        grants = tuple(_narrowed(given, rules.resource))
        if not grants:
            raise _refused(f"it is for another audience than {rules.resource}")
        return grants, Role.DEVELOPER

    def _principal(self, claims: Mapping[str, Any]) -> str:
        claim = self._rules.principal_claim
        name = _claim(claims, claim)
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise _refused(f"its `{claim}` is not 1 to 120 printable ASCII characters")
        if claim == "email" and claims.get("email_verified", True) is not True:
            raise _refused("its `email` is not verified")
        return name

    def _role(self, claims: Mapping[str, Any]) -> Role:
        rules = self._rules
        if rules.role_claim is not None:
            words, known = _claim(claims, rules.role_claim), _WORDS
        else:
            words, known = claims.get("scope", claims.get("scp")), SCOPES
        listed = words.split() if isinstance(words, str) else words if isinstance(words, list) else []
        roles = [known[word] for word in listed if isinstance(word, str) and word in known]
        if not roles and rules.default_role is None:
            where = f"`{rules.role_claim}`" if rules.role_claim else "`scope`"
            raise ProblemError(refusals.no_role(where, " ".join(SCOPES)))
        return max(roles) if roles else rules.default_role or Role.VIEWER


class _Registry(JWSRegistry):
    """The algorithms that we allow, and headers that we do not know passed over, as RFC 7515 asks."""

    max_header_length = MAX_TOKEN

    def __init__(self) -> None:
        super().__init__(algorithms=ALGORITHMS, strict_check_header=False)

    def get_alg(self, name: str) -> Any:
        return self.algorithms[name]  # `_check_header` has looked; the base would warn of EdDSA each time


_REGISTRY: Final = _Registry()


def _check_header(header: Mapping[str, Any]) -> str:
    """The algorithm. What a header says of where keys are (`jku`, `jwk`, `x5u`, `x5c`) is not looked at."""
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise _refused("its algorithm is not allowed")
    if "crit" in header or "b64" in header:
        raise _refused("its header holds something critical that is not understood here")
    if kid is not None and (not isinstance(kid, str) or len(kid) > 256):
        raise _refused("its `kid` is not a short string")
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in _TYPES:
        raise _refused("it is no access token, but something else that is signed")
    return algorithm


def _check_signature(token: bytes, key: Key, algorithm: str) -> None:
    try:
        signed = deserialize_compact(token, key, registry=_REGISTRY)
    except (JoseError, ValueError, TypeError):
        raise _refused("its signature is wrong") from None
    if signed.protected.get("alg") != algorithm:  # both parsers must have read the same
        raise _refused("its header can be read in two ways")


def _strict_object(part: bytes) -> dict[str, Any]:
    """A part of the token as JSON. Nothing in it may stand twice: two readers would see two tokens."""
    try:
        text = base64.b64decode(part + b"=" * (-len(part) % 4), b"-_", validate=True).decode("utf-8")
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (binascii.Error, ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise _refused("its parts are not JSON objects, or something stands twice in them")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        msg = "a member stands twice"
        raise ValueError(msg)
    return members


def _no_constant(name: str) -> Any:
    msg = f"{name} is not JSON"
    raise ValueError(msg)


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _END_OF_TIME:
        raise _refused(f"its `{name}` is not a time")
    return float(value)


def _claim(claims: Mapping[str, Any], path: str) -> Any:
    """A member by its own name, else by a path of names with dots between them."""
    if path in claims:
        return claims[path]
    value: Any = claims
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _is_whole(audience: str, resource: str) -> bool:
    return audience.removesuffix("/") in (resource, f"{resource}/mcp")


def _narrowed(audiences: list[str], resource: str) -> Iterator[Grant]:
    """Grants for the servers and toolsets that the audiences name."""
    for audience in audiences:
        match = audience.startswith(resource) and _ONE_OF.fullmatch(audience[len(resource) :])
        if match:
            kind, name = match.groups()
            yield Grant(servers=(name,)) if kind == "servers" else Grant(toolsets=(name,))


def _refused(why: str) -> ProblemError:
    return ProblemError(refusals.bad_token(why))
