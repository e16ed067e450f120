"""Who may open a WebSocket: the same door as for REST, over real sockets, uvicorn and the lane."""

from __future__ import annotations

import asyncio
import base64

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from fairlead.model.access import Role
from support.live_service import TOKENS, LiveService, ask, bearer, live_service, told

BAD_TOKENS = ["", "Basic YTpi", "Bearer", "Bearer ", "Bearer nobody-knows-this-token", "Bearer  x y"]


@pytest.fixture
async def service():
    async with live_service() as running:
        yield running


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


async def test_a_client_is_welcomed_with_where_the_log_is_and_who_it_is(service: LiveService) -> None:
    async with service.connect(Role.VIEWER) as client:
        welcome = await told(client)
    assert welcome == {
        "type": "welcome",
        "protocol": "fairlead.v1",
        "service": "orchestrator",
        "node": "node-1",
        "sequence": 0,
        "epoch": "",
        "principal": "viewer",
        "role": "viewer",
    }


@pytest.mark.parametrize("authorization", BAD_TOKENS)
@pytest.mark.parametrize("path", ["/ws", "/nowhere", "/health/", "//ws", "/api/servers"])
async def test_without_a_good_token_every_path_is_401(
    service: LiveService, path: str, authorization: str
) -> None:
    answer = await service.raw(*service.handshake(path=path, role=None, authorization=authorization))
    assert status(answer) == 401
    assert b"www-authenticate: Bearer" in answer
    assert b"application/problem+json" in answer
    assert b"sec-websocket-accept" not in answer.lower()
    assert b"content-security-policy" in answer


@pytest.mark.parametrize(
    "path", ["/ws/", "//ws", "/WS", "/ws%2f", "/ws/..", "/", "/api/servers", "/health", "/docs"]
)
async def test_no_other_path_has_a_websocket(service: LiveService, path: str) -> None:
    answer = await service.raw(*service.handshake(path=path))
    assert status(answer) == 404
    assert b"urn:fairlead:problem:not-found" in answer


@pytest.mark.parametrize("path", ["/%77s", "/ws?x=1", "/ws?token=x"])
async def test_a_spelling_that_the_router_takes_needs_a_token_as_well(
    service: LiveService, path: str
) -> None:
    assert status(await service.raw(*service.handshake(path=path, role=None))) == 401
    async with service.connect(path=path) as client:
        assert (await told(client))["type"] == "welcome"


@pytest.mark.parametrize(
    ("host", "code"),
    [("evil.example", 421), ("127.0.0.1:1", 421), ("localhost.evil.example", 421), ("", 400)],
)
async def test_a_foreign_host_is_refused_before_the_token_is_looked_at(
    service: LiveService, host: str, code: int
) -> None:
    for role in (Role.ADMIN, None):
        answer = await service.raw(*service.handshake(role=role, host=host))
        assert status(answer) == code


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", "file://"])
async def test_a_page_of_a_foreign_origin_is_refused(service: LiveService, origin: str) -> None:
    answer = await service.raw(*service.handshake(origin=origin))
    assert status(answer) == 403
    assert b"foreign-origin" in answer


async def test_our_own_pages_and_allowed_ones_come_in(service: LiveService) -> None:
    for origin in (service.origin, "https://dash.example"):
        async with service.connect(origin=origin) as client:
            assert (await told(client))["type"] == "welcome"


async def test_what_decides_may_stand_only_once(service: LiveService) -> None:
    for header in (f"host: 127.0.0.1:{service.port}", f"authorization: Bearer {TOKENS[Role.ADMIN]}"):
        answer = await service.raw(*service.handshake(header))
        assert status(answer) == 400


# == a browser, which cannot set headers ================================================================


async def test_a_browser_sends_its_token_as_a_subprotocol(service: LiveService) -> None:
    offered = [bearer(TOKENS[Role.DEVELOPER]), "fairlead.v1"]
    async with service.connect(None, subprotocols=offered) as client:
        assert client.subprotocol == "fairlead.v1"
        assert (await told(client))["role"] == "developer"
        assert TOKENS[Role.DEVELOPER] not in str(client.response.headers)
        assert offered[0] not in str(client.response.headers)


@pytest.mark.parametrize(
    "offered",
    [
        ["fairlead.v1"],
        ["fairlead.v1", "fairlead.bearer."],
        ["fairlead.v1", "fairlead.bearer.%%%"],
        ["fairlead.v1", "fairlead.bearer.a"],
        ["fairlead.v1", "fairlead.bearer." + TOKENS[Role.ADMIN]],  # as it is, not in base64url
        ["fairlead.v1", bearer("nobody-knows-this-token")],
        [
            "fairlead.v1",
            "fairlead.bearer." + base64.urlsafe_b64encode(b"\xff\xff\xff\n").decode().rstrip("="),
        ],
        ["fairlead.v1", "Fairlead.Bearer." + bearer(TOKENS[Role.ADMIN]).rpartition(".")[2]],
    ],
)
async def test_a_subprotocol_without_a_good_token_is_401(service: LiveService, offered: list[str]) -> None:
    lines = service.handshake(f"sec-websocket-protocol: {', '.join(offered)}", role=None)
    assert status(await service.raw(*lines)) == 401


async def test_two_tokens_are_ambiguous(service: LiveService) -> None:
    one, other = bearer(TOKENS[Role.VIEWER]), bearer(TOKENS[Role.ADMIN])
    for role, offered in ((Role.ADMIN, f"fairlead.v1, {one}"), (None, f"{one}, {other}, fairlead.v1")):
        answer = await service.raw(*service.handshake(f"sec-websocket-protocol: {offered}", role=role))
        assert status(answer) == 400
        assert b"repeated-header" in answer


@pytest.mark.parametrize("offered", ["mqtt", bearer(TOKENS[Role.ADMIN])])
async def test_a_subprotocol_that_is_not_ours_is_400(service: LiveService, offered: str) -> None:
    role = None if offered.startswith("fairlead") else Role.ADMIN
    answer = await service.raw(*service.handshake(f"sec-websocket-protocol: {offered}", role=role))
    assert status(answer) == 400
    assert b"unknown-subprotocol" in answer


# == handshakes that are none ===========================================================================


async def test_without_an_upgrade_the_path_says_what_it_is(service: LiveService) -> None:
    async with service.http() as http:
        answer = await http.get("/ws")
    assert answer.status_code == 426
    assert answer.headers["upgrade"] == "websocket"
    assert answer.json()["type"] == "urn:fairlead:problem:upgrade-required"


@pytest.mark.parametrize(
    "replaced",
    [
        {"method": "POST"},
        {"method": "DELETE"},
        {"sec_websocket_key": ""},
        {"sec_websocket_key": "short"},
        {"sec_websocket_version": "8"},
        {"sec_websocket_version": ""},
        {"content_length": "5"},
        {"transfer_encoding": "chunked"},
        {"x_long": "y" * 9000},
        {"path": "/ws?" + "y" * 9000},
    ],
)
async def test_a_handshake_of_a_bad_form_is_answered_and_opens_nothing(
    service: LiveService, replaced
) -> None:
    answer = await service.raw(*service.handshake(**replaced))
    assert 400 <= status(answer) < 500
    assert b"content-security-policy" in answer
    assert TOKENS[Role.ADMIN].encode() not in answer
    assert service.live.readers == 0
    async with service.connect() as client:  # the service goes on
        assert (await told(client))["type"] == "welcome"


async def test_a_hundred_and_fifty_headers_are_too_many(service: LiveService) -> None:
    answer = await service.raw(*service.handshake(*[f"x-{n}: y" for n in range(150)]))
    assert status(answer) == 431


async def test_nothing_may_follow_the_handshake_before_its_answer(service: LiveService) -> None:
    answer = await service.raw(*service.handshake(), body=b"\x81\x85aaaa")
    assert status(answer) == 400


async def test_a_refused_target_gets_no_websocket_after_the_refusal(service: LiveService) -> None:
    answer = await service.raw(*service.handshake(path="http://evil.example/ws"))
    assert status(answer) == 400
    assert answer.count(b"HTTP/1.1") == 1
    assert service.live.readers == 0


async def test_an_mcp_path_answers_as_if_nothing_had_been_offered(service: LiveService) -> None:
    answer = await service.raw(*service.handshake(path="/mcp", role=None, connection="Upgrade, close"))
    assert status(answer) in (401, 404)
    assert b"101" not in answer.split(b"\r\n")[0]


async def test_an_upgrade_behind_an_open_request_is_not_carried_out(service: LiveService) -> None:
    first = [f"GET /health HTTP/1.1\r\nhost: 127.0.0.1:{service.port}\r\n\r\n" + service.handshake()[0]]
    answer = await service.raw(*first, *service.handshake()[1:])
    assert answer.count(b"HTTP/1.1 200") == 1
    assert b" 101 " not in answer


async def test_the_lane_no_longer_counts_a_connection_that_became_a_websocket(service: LiveService) -> None:
    before = service.gateway.metrics.connections
    async with service.connect() as client:
        await told(client)
        assert service.gateway.metrics.connections == before
        assert service.live.readers == 1
    while service.live.readers:
        await asyncio.sleep(0.01)
    assert service.gateway.metrics.connections == before


# == seats ==============================================================================================


async def test_the_number_of_readers_is_bounded_in_all_and_by_principal() -> None:
    from fairlead.web.live import LiveLimits

    async with live_service(limits=LiveLimits(max_connections=4)) as service:
        viewer, admin = service.connect(Role.VIEWER), service.connect(Role.ADMIN)
        async with viewer as first:
            await told(first)
            with pytest.raises(InvalidStatus) as refused:
                await service.connect(Role.VIEWER)
            assert refused.value.response.status_code == 429
            assert refused.value.response.headers["retry-after"] == "5"
            async with admin, service.connect(Role.DEVELOPER), service.connect(Role.OPERATOR):
                with pytest.raises(InvalidStatus) as full:
                    await service.connect(Role.ADMIN)
                assert full.value.response.status_code == 503
        while service.live.readers:
            await asyncio.sleep(0.01)
        async with service.connect(Role.VIEWER) as again:
            assert (await told(again))["type"] == "welcome"


# == revocation and the end =============================================================================


async def test_a_revoked_credential_ends_what_it_opened(service: LiveService) -> None:
    async with service.connect(Role.VIEWER) as client, service.connect(Role.ADMIN) as other:
        await told(client), await told(other)
        service.revoked.add("viewer")
        goodbye = await told(client)
        assert (goodbye["type"], goodbye["reason"]) == ("goodbye", "credential")
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert client.close_code == 4001
        assert (await ask(other, type="ping", id="p"))["type"] == "pong"


async def test_not_one_event_goes_out_after_the_revocation() -> None:
    from support.live_service import scaled

    async with live_service(sweeps=False) as service, service.connect(Role.VIEWER) as client:
        await told(client)
        await ask(client, type="subscribe", id="s")
        service.revoked.add("viewer")
        await service.happen(scaled(1))
        assert (await told(client))["type"] == "goodbye"


async def test_no_message_is_obeyed_after_the_revocation() -> None:
    async with live_service(sweeps=False) as service, service.connect(Role.ADMIN) as client:
        await told(client)
        service.revoked.add("admin")
        answer = await ask(client, type="command", id="c", name="stop", server="filesystem")
        assert answer["type"] == "goodbye"
        assert service.fleet.server("filesystem").state.value == "ready"
