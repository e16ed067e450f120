"""What is refused over a limit, and how that is said: in the lane, over a scripted server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fairlead.mcp.eras import META_CAPABILITIES, META_VERSION
from fairlead.model.errors import ProblemError
from fairlead.model.fleet import RateLimiting, ResourceLimits, ServerSpec
from support.lane_rig import Rig, bodies, lane_rig, request
from support.scripted import Script, legacy

OTHER = "flt_another-token-0123456789abcdefgh"
MODERN = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "echo"}
ABOUT = {META_VERSION: "2026-07-28", META_CAPABILITIES: {}}


def limit(rig: Rig, **limits: Any) -> None:
    """The rate is unbounded unless it is given."""
    limits.setdefault("rate_limiting", RateLimiting(enabled=False))
    rig.gateway.set_limits(ResourceLimits(**limits))


def call(
    number: int = 1, headers: dict[str, str] | None = None, *, token: str | None = None, text: str = ""
) -> bytes:
    """`tools/call` of `echo` at the server `s` itself, by a modern client unless `headers` say otherwise."""
    params: dict[str, Any] = {"name": "echo", "arguments": {"text": text}}
    if headers is None:
        params["_meta"] = ABOUT
    headers = (headers or MODERN) | ({"Authorization": f"Bearer {token}"} if token else {})
    message = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
    return request(json.dumps(message).encode(), headers, "/servers/s/mcp")


async def sent(rig: Rig, data: bytes) -> tuple[int, dict[str, str], Any]:
    """Status, headers and body of the answer; status 0 when there is none yet."""
    lane, wire = rig.connect()
    lane.data_received(data)
    await rig.settle()
    if not wire.out:
        return 0, {}, None
    lines = wire.out.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    return int(lines[0].split()[1]), headers, bodies(wire.out)[0]


def refusals(rig: Rig) -> dict[str, int]:
    found: dict[str, int] = rig.gateway.metrics.summary()["refused"]
    return found


@pytest.fixture
def silent() -> Script:
    """A server that lists `echo`, and never answers a call of it."""
    speaking = legacy()
    return lambda message: [] if message.get("method") == "tools/call" else speaking(message)


async def test_calls_in_flight_of_a_principal_are_bounded_and_others_are_not(silent):
    async with lane_rig(silent, principals={OTHER: "other"}) as rig:
        limit(rig, calls_per_principal=2)
        for number in range(2):
            assert (await sent(rig, call(number)))[0] == 0
        status, headers, body = await sent(rig, call(2))
        assert (status, headers["retry-after"]) == (429, "1")
        assert body["error"]["data"] == {"problem": "too-many-calls", "retryAfter": 1.0}
        assert (await sent(rig, call(0, token=OTHER)))[0] == 0
        assert refusals(rig) == {"too-many-calls": 1}
        with (
            pytest.raises(ProblemError, match="2 calls in flight"),
            rig.gateway.counted(_pool(rig), "tester"),
        ):
            pass
        with rig.gateway.counted(_pool(rig), "other"):
            assert rig.gateway.account("other").calls == 2


async def test_a_call_that_has_ended_makes_room():
    async with lane_rig() as rig:
        limit(rig, calls_per_principal=1)
        for number in range(5):
            assert (await sent(rig, call(number)))[0] == 200
        assert rig.gateway.account("tester").calls == 0
        assert rig.gateway.in_flight == 0


async def test_a_legacy_client_hears_it_in_an_answer_that_does_not_end_its_session(silent):
    async with lane_rig(silent) as rig:
        session = await rig.session("/servers/s/mcp")
        limit(rig, calls_per_principal=1)
        await sent(rig, call(1, session))
        status, headers, body = await sent(rig, call(2, session))
        assert (status, headers["retry-after"]) == (200, "1")
        assert (body["id"], body["error"]["data"]["problem"]) == (2, "too-many-calls")


async def test_requests_a_minute_of_a_server():
    async with lane_rig(s={"limits": {"requestsPerMinute": 6}}, t={}, principals={OTHER: "other"}) as rig:
        for number in range(6):
            token = OTHER if number % 2 else None
            assert (await sent(rig, call(number, token=token)))[0] == 200
        status, headers, body = await sent(rig, call(6))
        assert status == 429
        assert 1 <= int(headers["retry-after"]) <= 10
        assert "limits.requestsPerMinute" in body["error"]["message"]
        assert "'s'" in body["error"]["message"]
        assert refusals(rig) == {"rate-limited": 1}
        unbounded = ServerSpec(id="s", command="x")
        servers = {**rig.fleet.spec.servers, "s": unbounded}
        await rig.fleet.apply(rig.fleet.spec.model_copy(update={"servers": servers}))
        assert (await sent(rig, call(7)))[0] == 200


async def test_a_server_that_leaves_takes_its_bucket_with_it():
    async with lane_rig(s={"limits": {"requestsPerMinute": 6}}, t={}) as rig:
        assert "servers=1" in repr(rig.gateway.accounts)
        servers = {"t": rig.fleet.spec.servers["t"]}
        await rig.fleet.apply(rig.fleet.spec.model_copy(update={"servers": servers}))
        assert "servers=0" in repr(rig.gateway.accounts)


async def test_requests_a_minute_of_all():
    async with lane_rig(principals={OTHER: "other"}) as rig:
        limit(rig, rate_limiting=RateLimiting(requests_per_minute=600, total=3))
        statuses = [(await sent(rig, call(n, token=OTHER if n % 2 else None)))[0] for n in range(5)]
        assert statuses == [200, 200, 200, 429, 429]
        assert refusals(rig) == {"rate-limited": 2}


async def test_the_burst_of_a_principal_is_as_the_spec_says():
    async with lane_rig() as rig:
        limit(rig, rate_limiting=RateLimiting(requests_per_minute=60, burst=2))
        statuses = [(await sent(rig, call(number)))[0] for number in range(3)]
        assert statuses == [200, 200, 429]


async def test_a_limit_that_changes_forgets_neither_heads_nor_what_was_used():
    async with lane_rig() as rig:
        limit(rig, rate_limiting=RateLimiting(requests_per_minute=60, burst=2))
        await sent(rig, call(1))
        assert rig.gateway.known_heads
        limit(rig, rate_limiting=RateLimiting(requests_per_minute=120, burst=4))
        assert rig.gateway.known_heads
        statuses = [(await sent(rig, call(number)))[0] for number in range(3)]
        assert statuses == [200, 200, 429]


async def test_an_answer_that_is_too_large_is_replaced_and_its_instance_lives():
    big = call(text="x" * 5000)
    async with lane_rig() as rig:
        status, _, body = await sent(rig, big)
        assert (status, "x" * 5000 in body["result"]["content"][0]["text"]) == (200, True)
        limit(rig, max_answer_size=5000)
        _, _, body = await sent(rig, big)
        error = body["error"]
        assert "maxAnswerSize" in error["message"]
        assert error["data"]["limit"] == 5000 < error["data"]["size"] < 5200
        assert rig.gateway.in_flight == 0
        assert (await sent(rig, call()))[2]["result"]
        limit(rig)
        assert (await sent(rig, big))[2]["result"]
        assert len(rig.driver.links) == 1


async def test_very_many_principals_are_let_go_with_the_heads_that_know_them(monkeypatch):
    monkeypatch.setattr("fairlead.core.accounts.MAX_ACCOUNTS", 10)
    async with lane_rig() as rig:
        assert (await sent(rig, call()))[0] == 200
        assert rig.gateway.known_heads
        for number in range(20):
            rig.gateway.account(f"p{number}")
        rig.gateway.tick(1e9)
        assert not rig.gateway.known_heads
        assert len(rig.gateway.accounts) == 0
        assert (await sent(rig, call()))[0] == 200


def _pool(rig: Rig) -> Any:
    return rig.fleet._pools["s"]
