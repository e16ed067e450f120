"""The keys that an authorization server signs with: fetched in the background, kept, rotated.

`find` never waits. A key that is not known here may be a new one, so asking for it makes the keys be read
again, at most every `COOLDOWN`; until that has been done the answer is "come again" (503), for a 401 would
make a client throw a good token away. When the keys were read after the question and it is not among them,
it is refused. While the server cannot be reached the keys that are known stay good for `STALE`, no longer: a
key that was withdrawn must not live on because somebody keeps us from hearing of it.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import structlog
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, JWKRegistry, Key, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from fairlead.core import refusals
from fairlead.kit.fetch import FetchError, fetch
from fairlead.model.errors import Problem

COOLDOWN: Final = 10.0  # s between two looks because of a key that is not known
FORGET: Final = 60.0  # s after which it is forgotten that a key was asked for
STALE: Final = 3600.0  # s that keys are good after they were last read
ALGORITHMS: Final = frozenset(
    f"{family}{bits}" for family in ("RS", "PS", "ES") for bits in (256, 384, 512)
) | {"EdDSA", "Ed25519"}
"""Asymmetric ones only: with `none` or an HMAC, whoever knows the public key could sign."""
MAX_KEYS: Final = 100
MAX_ASKED: Final = 1000  # key ids that nobody knows, of which it is known when they were asked for
_PAUSE: Final = (60.0, 900.0)  # s between two looks, by what Cache-Control says
_USUAL_PAUSE: Final = 600.0
_FIRST_RETRY, _LAST_RETRY = 1.0, 60.0
_RSA_BITS: Final = range(2048, 8193)
_MAX_AGE: Final = re.compile(r"(?:^|[\s,])max-age=(\d{1,9})(?:$|[\s,])", re.IGNORECASE)
LOG = structlog.get_logger("fairlead.access")


class SigningKeys:
    """The keys of one issuer. `find` and `run` belong to the same event loop.

    `url` is where the keys are; None asks the issuer's metadata (RFC 8414, OpenID Connect) for it.
    `now` is a clock in seconds that is never set back.
    """

    def __init__(self, issuer: str, url: str | None, *, now: Callable[[], float] = time.monotonic) -> None:
        self._issuer = issuer
        self._url = url
        self._now = now
        self._keys: Mapping[str, Key] = {}
        self._thumbprints: frozenset[str] = frozenset()
        self._read_at = float("-inf")  # when the reading began that brought the keys
        self._tried_at = float("-inf")
        self._asked: dict[str, float] = {}  # key id that is not known -> when it was asked for
        self._wanted = asyncio.Event()
        self._problem = "they have not been read yet"
        self.on_withdrawn: Callable[[], None] = lambda: None  # a key is not in force any more

    def __repr__(self) -> str:
        return f"SigningKeys({self._issuer!r}, {sorted(self._keys)}, problem={self._problem!r})"

    def find(self, kid: str | None, algorithm: str) -> Key | Problem:
        """The key that a token names (None: the only one there is). A Problem is 401, or 503 for now."""
        if self._now() - self._read_at > STALE:
            return refusals.keys_away(1.0)
        if kid is None:
            fitting = [key for key in self._keys.values() if _fits(key, algorithm)]
            return fitting[0] if len(fitting) == 1 else refusals.bad_token("it does not name its key")
        key = self._keys.get(kid)
        if key is None:
            return self._unknown(kid)
        return key if _fits(key, algorithm) else refusals.bad_token("its key is for another algorithm")

    def _unknown(self, kid: str) -> Problem:
        now = self._now()
        asked = self._asked.get(kid)
        if asked is not None and asked < self._read_at:  # the keys were read since, and it is none of them
            if now - self._read_at <= COOLDOWN:
                return refusals.bad_token("it is signed with a key that its issuer does not publish")
            asked = None
        if asked is None and len(self._asked) < MAX_ASKED:
            self._asked[kid] = now
        self._wanted.set()
        return refusals.keys_away(max(1.0, self._tried_at + COOLDOWN - now))

    def holds(self, thumbprint: str) -> bool:
        """Whether this very key (RFC 7638) is still in force."""
        return thumbprint in self._thumbprints and self._now() - self._read_at <= STALE

    async def run(self) -> None:
        """Keep the keys fresh, for ever."""
        retry = _FIRST_RETRY
        while True:
            self._wanted.clear()
            pause = await self.read()
            if pause is None:
                pause, retry = retry, min(_LAST_RETRY, retry * 2)
            else:
                retry = _FIRST_RETRY
            try:
                async with asyncio.timeout(pause):
                    await self._wanted.wait()
                    await asyncio.sleep(self._tried_at + COOLDOWN - self._now())
            except TimeoutError:
                pass

    async def read(self) -> float | None:
        """Read the keys once; seconds until the next look, None when they could not be read."""
        began = self._tried_at = self._now()
        try:
            keys, pause = await self._fetch()
        except FetchError as error:
            if str(error) != self._problem:
                LOG.warning("signing keys cannot be read", issuer=self._issuer, reason=str(error))
            self._problem = str(error)
            return None
        if self._problem or keys.keys() != self._keys.keys():
            LOG.info("signing keys read", issuer=self._issuer, keys=len(keys))
        for kid in self._keys.keys() - keys.keys():
            self._asked[kid] = began - 1.0  # it is known that it is gone
        self._keys, self._read_at, self._problem = keys, began, ""
        before, self._thumbprints = self._thumbprints, frozenset(key.thumbprint() for key in keys.values())
        if before - self._thumbprints:
            self.on_withdrawn()
        self._asked = {kid: at for kid, at in self._asked.items() if kid not in keys and began - at < FORGET}
        return pause

    async def _fetch(self) -> tuple[dict[str, Key], float]:
        url = self._url or await self._discover()
        answer = await fetch(url)
        document = _document(url, answer.status, answer.body)
        keys = _read_keys(document.get("keys"))
        if not keys:
            raise FetchError(f"{url}: it is no JWK set with a key that can be used here")
        lowest, highest = _PAUSE
        said = _MAX_AGE.search(answer.headers.get("cache-control", ""))
        return keys, min(highest, max(lowest, float(said[1]))) if said else _USUAL_PAUSE

    async def _discover(self) -> str:
        """Where the issuer says that its keys are."""
        parts = urlsplit(self._issuer)
        origin, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
        trouble: list[str] = []
        for url in (
            f"{origin}/.well-known/oauth-authorization-server{path}",
            f"{origin}{path}/.well-known/openid-configuration",
        ):
            try:
                answer = await fetch(url)
                document = _document(url, answer.status, answer.body)
                if document.get("issuer") != self._issuer:
                    raise FetchError(f"{url}: it is not about {self._issuer!r}")
                if isinstance(found := document.get("jwks_uri"), str):
                    return found
                raise FetchError(f"{url}: it has no jwks_uri")
            except FetchError as error:
                trouble.append(str(error))
        raise FetchError("; ".join(trouble))


def _document(url: str, status: int, body: bytes) -> dict[str, Any]:
    if status != 200:
        hint = "; redirects are not followed" if 300 <= status < 400 else ""
        raise FetchError(f"{url}: HTTP {status}{hint}")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise FetchError(f"{url}: it is no JSON object")
    return document


def _read_keys(rows: Any) -> dict[str, Key]:
    """Those that can be used, by their ids. Bad ones are passed over: they are not worth the good ones."""
    keys: dict[str, Key] = {}
    for row in rows[:MAX_KEYS] if isinstance(rows, list) else ():
        try:
            with warnings.catch_warnings(action="ignore", category=SecurityWarning):
                key = JWKRegistry.import_key(row)
            key.ensure_kid()
        except (JoseError, ValueError, TypeError, KeyError, AttributeError):
            continue
        # A private key that is published is nobody's any more.
        if not isinstance(key, RSAKey | ECKey | OKPKey) or key.is_private or key.kid is None:
            continue
        if isinstance(key, RSAKey) and key.public_key.key_size not in _RSA_BITS:
            continue
        keys.setdefault(key.kid, key)
    return keys


def _fits(key: Key, algorithm: str) -> bool:
    try:
        JWSRegistry.algorithms[algorithm].check_key(key)
        key.check_key_op("verify")
    except JoseError:
        return False
    return True
