"""Whatever is sent: the door answers, and only a known token or a public path opens it."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.admission import (
    PUBLIC,
    AdmissionPolicy,
    Admitted,
    Limits,
    Preflight,
    Refused,
    RequestHead,
    admit,
    is_public,
)

TOKEN = b"a-token-that-is-known"
POLICY = AdmissionPolicy.compile(
    {hashlib.sha256(TOKEN).digest(): "ada"},
    3002,
    hosts=["fleet.example"],
    origins=["https://dash.example"],
    denied=["192.0.2.0/24"],
    limits=Limits(body_bytes=100),
)

NAMES = st.sampled_from(
    [
        *(b"host", b"origin", b"authorization", b"content-length", b"transfer-encoding", b"expect"),
        *(
            b"access-control-request-method",
            b"access-control-request-headers",
            b"cookie",
            b"x-forwarded-host",
        ),
    ]
)
VALUES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [
            *(b"localhost:3002", b"fleet.example", b"evil.example", b"https://dash.example", b"null"),
            *(b"Bearer " + TOKEN[:-1], b"Bearer ", b"Basic x", TOKEN, b"chunked", b"5", b"101", b"POST"),
        ]
    ),
)
HEADERS = st.lists(st.tuples(st.one_of(NAMES, st.binary(max_size=20)), VALUES), max_size=8)
PATHS = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(sorted({path for _, path in PUBLIC})),
    st.builds(lambda path, tail: path + tail, st.sampled_from([b"/health", b"/docs"]), st.binary(max_size=4)),
)
METHODS = st.one_of(st.sampled_from([b"GET", b"HEAD", b"POST", b"OPTIONS"]), st.binary(max_size=8))
PEERS = st.one_of(st.none(), st.ip_addresses().map(str), st.text(max_size=12))
HEADS = st.builds(RequestHead, METHODS, PATHS, HEADERS.map(tuple), PEERS)
WITH_HOST = HEADS.map(lambda head: head._replace(headers=((b"host", b"localhost:3002"), *head.headers)))


@given(st.one_of(HEADS, WITH_HOST))
def test_without_a_known_token_only_public_paths_are_admitted(head: RequestHead):
    verdict = admit(head, POLICY)
    if isinstance(verdict, Admitted):
        assert is_public(head.method, head.path)
        assert verdict.caller is None
    elif isinstance(verdict, Preflight):
        assert head.method == b"OPTIONS"
        assert (
            b"access-control-allow-origin",
            dict(head.headers)[b"origin"].strip(b" \t"),
        ) in verdict.headers
    else:
        assert isinstance(verdict, Refused)
        assert 400 <= verdict.problem.status <= 501


@given(st.one_of(HEADS, WITH_HOST), st.integers(0, 8))
def test_a_known_token_opens_only_to_our_own_hosts_and_origins(head: RequestHead, place: int):
    headers = list(head.headers)
    headers.insert(place, (b"authorization", b"Bearer " + TOKEN))
    if isinstance(admit(head._replace(headers=tuple(headers)), POLICY), Admitted):
        sent = dict(headers)
        assert sent[b"host"].strip(b" \t").lower() in POLICY.hosts
        assert b"origin" not in sent or sent[b"origin"].strip(b" \t") in POLICY.origins
        assert int(sent.get(b"content-length", b"0")) <= POLICY.limits.body_bytes
        assert not {b"content-length", b"transfer-encoding"} <= set(sent)


@given(st.binary(max_size=60))
def test_no_other_token_is_taken_for_a_known_one(value: bytes):
    headers = ((b"host", b"localhost:3002"), (b"authorization", b"Bearer " + value))
    verdict = admit(RequestHead(b"GET", b"/api/servers", headers, None), POLICY)
    assert isinstance(verdict, Admitted) == (value.strip(b" \t") == TOKEN)
