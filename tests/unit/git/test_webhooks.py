"""Webhooks: proved, parsed, taken once."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.git.webhooks import MAX_BODY, Deliveries, Refusal, WebhookEvent, verify

SECRET = "correct horse"
NOW = 1_800_000_000.0
AFTER = "a" * 40
HUB = {"clone_url": "https://git.example/team/config.git", "ssh_url": "git@git.example:team/config.git"}
LAB = {"git_http_url": "https://lab.example/team/config.git", "web_url": "https://lab.example/team/config"}


def push_of(kind: str, ref: str = "refs/heads/main", after: str = AFTER) -> bytes:
    place = {"project": LAB} if kind == "gitlab" else {"repository": HUB}
    return json.dumps({"ref": ref, "after": after, **place}).encode()


def digest(body: bytes, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def signed_as_gitlab(body: bytes, *, at: float = NOW, delivery: str = "msg_1", key: bytes = SECRET.encode()):
    mac = hmac.new(key, f"{delivery}.{int(at)}.".encode() + body, hashlib.sha256).digest()
    return {
        "x-gitlab-event": "Push Hook",
        "webhook-id": delivery,
        "webhook-timestamp": str(int(at)),
        "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
    }


def headers_of(kind: str, body: bytes, secret: str = SECRET) -> dict[str, str]:
    match kind:
        case "github":
            return {"x-github-event": "push", "x-hub-signature-256": f"sha256={digest(body, secret)}"}
        case "gitlab":
            return {"x-gitlab-event": "Push Hook", "x-gitlab-token": secret}
        case "gitlab-signed":
            return signed_as_gitlab(body, key=secret.encode())
        case "forgejo":
            own = {"x-forgejo-event": "push", "x-forgejo-signature": digest(body, secret)}
            return {**headers_of("gitea", body, "not asked"), **own}
        case _:  # which calls itself GitHub, too
            return {
                "x-gitea-event": "push",
                "x-gitea-signature": digest(body, secret),
                "x-github-event": "push",
                "x-hub-signature-256": f"sha256={digest(body, secret)}",
            }


KINDS = {
    "github": "github",
    "gitlab": "gitlab",
    "gitlab-signed": "gitlab",
    "gitea": "gitea",
    "forgejo": "gitea",
}


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    return request.param


def refused(
    headers: dict[str, str], body: bytes, status: int, *, secret: str = SECRET, now: float = NOW
) -> str:
    answer = verify(headers, body, secret, now)
    assert isinstance(answer, Refusal), answer
    assert answer.status == status
    assert SECRET not in answer.message
    return answer.message


def test_a_push(kind):
    body = push_of(KINDS[kind])
    event = verify(headers_of(kind, body), body, SECRET, NOW)
    assert isinstance(event, WebhookEvent)
    assert (event.kind, event.branch, event.commit) == (KINDS[kind], "main", AFTER)
    assert any(url.endswith("/team/config.git") for url in event.urls)


def test_a_branch_with_a_slash_a_tag_and_a_removal(kind):
    for ref, after, branch, commit in [
        ("refs/heads/team/blue", AFTER, "team/blue", AFTER),
        ("refs/tags/v1", AFTER, None, AFTER),
        ("refs/heads/old", "0" * 40, "old", None),
    ]:
        body = push_of(KINDS[kind], ref, after)
        event = verify(headers_of(kind, body), body, SECRET, NOW)
        assert isinstance(event, WebhookEvent)
        assert (event.branch, event.commit) == (branch, commit)


def test_anything_but_a_push_names_no_branch(kind):
    body = push_of(KINDS[kind])
    headers = {
        name: ("Tag Push Hook" if "gitlab" in name else "ping") if name.endswith("-event") else value
        for name, value in headers_of(kind, body).items()
    }
    event = verify(headers, body, SECRET, NOW)
    assert isinstance(event, WebhookEvent)
    assert event.branch is None


def test_a_wrong_secret(kind):
    body = push_of(KINDS[kind])
    refused(headers_of(kind, body, "wrong"), body, 401)


def test_another_body(kind):
    body = push_of(KINDS[kind])
    if kind == "gitlab":
        pytest.skip("the plain token says nothing of the body")
    refused(headers_of(kind, body), body + b" ", 401)


def test_no_proof_at_all(kind):
    body = push_of(KINDS[kind])
    headers = {name: value for name, value in headers_of(kind, body).items() if name.endswith("-event")}
    refused(headers, body, 401)


def test_no_secret_is_no_open_door(kind):
    body = push_of(KINDS[kind])
    refused(headers_of(kind, body, ""), body, 403, secret="")


def test_giteas_signature_counts_not_its_likeness_of_github():
    body = push_of("gitea")
    refused({**headers_of("gitea", body), "x-gitea-signature": digest(body, "wrong")}, body, 401)


@pytest.mark.parametrize("algorithm", ["sha1", "md5", ""])
def test_weaker_digests_are_refused(algorithm):
    body = push_of("github")
    refused({"x-github-event": "push", "x-hub-signature": f"sha1={algorithm}"}, body, 401)
    refused({"x-github-event": "push", "x-hub-signature-256": f"{algorithm}={digest(body)}"}, body, 401)


class TestGitLabsSigningToken:
    def test_a_standard_webhooks_key(self):
        key = bytes(range(32))
        secret = "whsec_" + base64.b64encode(key).decode()
        body = push_of("gitlab")
        assert isinstance(verify(signed_as_gitlab(body, key=key), body, secret, NOW), WebhookEvent)
        refused(signed_as_gitlab(body, key=b"other"), body, 401, secret=secret)

    def test_a_key_that_is_no_base64(self):
        body = push_of("gitlab")
        refused(signed_as_gitlab(body, key=b""), body, 401, secret="whsec_%%%")

    @pytest.mark.parametrize("off", [-301, 301, 1e6])
    def test_too_old_or_too_early(self, off):
        body = push_of("gitlab")
        assert "clocks" in refused(signed_as_gitlab(body, at=NOW + off), body, 401)

    @pytest.mark.parametrize("at", ["", "now", "-1", "1e9", "9" * 400, "١٢٣"])
    def test_times_that_are_none(self, at):
        body = push_of("gitlab")
        refused({**signed_as_gitlab(body), "webhook-timestamp": at}, body, 401)

    def test_a_new_time_does_not_pass_for_a_signed_one(self):
        body = push_of("gitlab")
        refused({**signed_as_gitlab(body, at=NOW - 1000), "webhook-timestamp": str(int(NOW))}, body, 401)

    def test_the_plain_token_does_not_mend_a_bad_signature(self):
        body = push_of("gitlab")
        headers = {**signed_as_gitlab(body, key=b"wrong"), "x-gitlab-token": SECRET}
        refused(headers, body, 401)

    def test_one_of_several_signatures(self):
        body = push_of("gitlab")
        headers = signed_as_gitlab(body)
        headers["webhook-signature"] = "v1,AAAA v2,BBBB " + headers["webhook-signature"]
        assert isinstance(verify(headers, body, SECRET, NOW), WebhookEvent)


@pytest.mark.parametrize("body", [b"", b"not json", b"[]", b"\xff", b"[" * 100_000], ids=range(5))
def test_bodies_that_are_no_document(body):
    refused(headers_of("github", body), body, 400)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"ref": 1, "after": None},
        {"ref": "refs/heads/main"},
        {"repository": "x"},
        {"repository": {"clone_url": 7}},
    ],
    ids=range(5),
)
def test_documents_of_another_shape(document):
    body = json.dumps(document).encode()
    event = verify(headers_of("github", body), body, SECRET, NOW)
    assert isinstance(event, WebhookEvent)
    assert event.commit is None
    assert event.urls == ()


def test_who_sends_no_known_header():
    refused({"content-type": "application/json"}, b"{}", 400)


def test_a_body_beyond_the_bound():
    body = b" " * (MAX_BODY + 1)
    refused(headers_of("github", body), body, 413)


@given(
    headers=st.dictionaries(
        st.sampled_from(sorted({name for kind in KINDS for name in headers_of(kind, b"")})),
        st.text(max_size=80),
    ),
    body=st.binary(max_size=200),
)
def test_whatever_comes_without_the_secret_is_refused(headers, body):
    assert isinstance(verify(headers, body, SECRET, NOW), Refusal)


class TestReplay:
    def test_the_same_has_the_same_key_whatever_its_delivery_id(self, kind):
        body = push_of(KINDS[kind])
        first = verify({**headers_of(kind, body), "x-github-delivery": "1"}, body, SECRET, NOW)
        second = verify({**headers_of(kind, body), "x-github-delivery": "2"}, body, SECRET, NOW)
        other_body = push_of(KINDS[kind], after="b" * 40)
        headers = headers_of(kind, other_body)
        if kind == "gitlab-signed":
            headers = signed_as_gitlab(other_body, delivery="msg_2")
        other = verify(headers, other_body, SECRET, NOW)
        assert isinstance(first, WebhookEvent)
        assert isinstance(second, WebhookEvent)
        assert isinstance(other, WebhookEvent)
        assert first.replay_key == second.replay_key != other.replay_key

    def test_each_is_taken_once(self):
        deliveries = Deliveries()
        assert deliveries.first("a")
        assert not deliveries.first("a")
        assert deliveries.first("b")

    def test_memory_is_bounded(self):
        deliveries = Deliveries(remembered=10)
        for number in range(1000):
            assert deliveries.first(str(number))
        assert len(deliveries) == 10
        assert not deliveries.first("999")
