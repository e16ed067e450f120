"""Webhooks of GitHub, GitLab and Gitea (also Forgejo): who sent one is proved before a byte of it is parsed.

A webhook only says "look now", so one that was recorded and sent again could do no more than make us look. It
is refused all the same: each is remembered by what its proof covers, which an attacker cannot vary (a
delivery's id is not signed by GitHub and Gitea). GitLab's plain token covers nothing; there it is the body.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

MAX_BODY: Final = 25 * 2**20  # bytes; GitHub's own bound
FRESH: Final = 300.0  # s, that a signed time may be off
REMEMBERED: Final = 10_000
_SCHEME: Final = "v1,"
_KEY_PREFIX: Final = "whsec_"


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """What happened where. `branch` is None for anything but a push to a branch."""

    kind: str  # github, gitlab, gitea
    urls: tuple[str, ...]  # all addresses of the repository
    branch: str | None
    commit: str | None  # that the branch is at now; None when it was removed
    replay_key: str  # what must not come twice


@dataclass(frozen=True, slots=True)
class Refusal:
    """`status` is HTTP's; `message` is for a person, and says nothing of the secret."""

    status: int
    message: str
    proved: bool = False  # whether the sender has the secret: only then it is told more than that it failed


def verify(headers: Mapping[str, str], body: bytes, secret: str, now: float) -> WebhookEvent | Refusal:
    """Prove and parse one webhook. Names of `headers` are in lower case; `now` is Unix time in s."""
    if not secret:
        return Refusal(403, "this source has no `webhookSecret`, so webhooks for it are refused")
    if len(body) > MAX_BODY:
        return Refusal(413, f"the body has more than {MAX_BODY:,} bytes")
    kind = _kind(headers)
    if kind is None:
        return Refusal(400, "no header tells a webhook of GitHub, GitLab or Gitea")
    proof = (
        _gitlab_proof(headers, body, secret, now)
        if kind == "gitlab"
        else _digest_proof(kind, headers, body, secret)
    )
    if isinstance(proof, Refusal):
        return proof
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return Refusal(400, "the body is no JSON; choose the content type application/json", proved=True)
    if not isinstance(document, dict):
        return Refusal(400, "the body is no JSON object", proved=True)
    return _event(kind, headers, document, f"{kind}:{proof}")


def _kind(headers: Mapping[str, str]) -> str | None:
    if "x-gitea-event" in headers or "x-forgejo-event" in headers:  # which also call themselves GitHub
        return "gitea"
    if "x-gitlab-event" in headers:
        return "gitlab"
    return "github" if "x-github-event" in headers else None


def _digest_proof(kind: str, headers: Mapping[str, str], body: bytes, secret: str) -> str | Refusal:
    if kind == "github":
        name, prefix = "x-hub-signature-256", "sha256="
    else:
        name = "x-forgejo-signature" if "x-forgejo-signature" in headers else "x-gitea-signature"
        prefix = ""
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    if name not in headers:
        return Refusal(401, f"the header {name} is missing; give the webhook the source's secret")
    if not _same(headers[name], prefix + digest):
        return Refusal(401, "the signature is not of this secret and body")
    return digest


def _gitlab_proof(headers: Mapping[str, str], body: bytes, secret: str, now: float) -> str | Refusal:
    """A signing token is used where the host signs; the older secret token otherwise."""
    signature = headers.get("webhook-signature")
    if signature is None:
        if not _same(headers.get("x-gitlab-token", ""), secret):
            return Refusal(401, "the header x-gitlab-token is not the source's secret")
        return hashlib.sha256(body).hexdigest()
    delivery, at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not at.isascii() or not at.isdecimal() or len(at) > 12 or abs(now - int(at)) > FRESH:
        return Refusal(401, "the webhook's time is missing, or more than five minutes off; check both clocks")
    signed = f"{delivery}.{at}.".encode() + body
    good = False
    for key in _gitlab_keys(secret):
        digest = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        for one in signature.split()[:8]:
            good |= _same(one, _SCHEME + digest)
    return f"{delivery}.{at}" if good else Refusal(401, "the signature is not of this secret and body")


def _gitlab_keys(secret: str) -> Iterator[bytes]:
    """As Standard Webhooks has it, a key is `whsec_` and base64; anything else is its own bytes."""
    if secret.startswith(_KEY_PREFIX):
        try:
            yield base64.b64decode(secret.removeprefix(_KEY_PREFIX), validate=True)
        except binascii.Error:
            return
    else:
        yield secret.encode()


def _same(given: str, right: str) -> bool:
    """In a time that does not depend on where they differ."""
    return hmac.compare_digest(given.encode(errors="replace"), right.encode())


def _event(kind: str, headers: Mapping[str, str], document: dict[str, Any], key: str) -> WebhookEvent:
    place = document.get("project" if kind == "gitlab" else "repository")
    names = (
        "git_http_url",
        "git_ssh_url",
        "http_url",
        "ssh_url",
        "web_url",
        "clone_url",
        "html_url",
        "git_url",
    )
    urls = [place.get(name) for name in names] if isinstance(place, dict) else []
    found = tuple(dict.fromkeys(url for url in urls if isinstance(url, str)))
    if not _is_push(kind, headers):
        return WebhookEvent(kind, found, None, None, key)
    ref, after = document.get("ref"), document.get("after")
    branch = (
        ref.removeprefix("refs/heads/") if isinstance(ref, str) and ref.startswith("refs/heads/") else None
    )
    gone = not isinstance(after, str) or not after.strip("0")
    return WebhookEvent(kind, found, branch, None if gone else after, key)


def _is_push(kind: str, headers: Mapping[str, str]) -> bool:
    if kind == "gitlab":
        return headers["x-gitlab-event"] == "Push Hook"
    names = ("x-forgejo-event", "x-gitea-event") if kind == "gitea" else ("x-github-event",)
    return any(headers.get(name) == "push" for name in names)


class Deliveries:
    """Which webhooks were taken: the latest ones, so that none counts twice."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._seen: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def first(self, key: str) -> bool:
        """Whether it comes for the first time; from now on it does not."""
        if key in self._seen:
            return False
        self._seen[key] = None
        if len(self._seen) > self._remembered:
            del self._seen[next(iter(self._seen))]
        return True


REPLAYED: Final = Refusal(409, "this webhook came before; a new push makes a new one", proved=True)
UNPROVED: Final = Refusal(
    401,
    "no source of this name takes a webhook with this proof; the log says more, `webhookSecret` is the key",
)
"""The same for all, so that nobody learns which sources there are, or how near a guess was."""
