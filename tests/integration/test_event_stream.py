"""`GET /api/events` as a stream, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fairlead.model.access import Role
from fairlead.web import event_stream
from fairlead.web.live import LiveLimits
from support.live_service import TOKENS, LiveService, live_service, scaled
from support.until import until

Part = tuple[str, str, Any]  # id, event, data


@pytest.fixture
async def service():
    async with live_service() as running:
        yield running


class Stream:
    """The parts of a stream as they come."""

    def __init__(self, response) -> None:
        self.response = response
        self._lines = response.aiter_lines()

    async def part(self) -> Part:
        fields: dict[str, str] = {}
        async with asyncio.timeout(20):
            async for line in self._lines:
                name, _, value = line.partition(": ")
                if not line and "data" in fields:
                    return fields.get("id", ""), fields["event"], json.loads(fields["data"])
                if name:
                    fields[name] = value
        raise EOFError

    async def line(self) -> str:
        async with asyncio.timeout(20):
            return await anext(self._lines)


@contextlib.asynccontextmanager
async def streaming(service: LiveService, role: Role = Role.ADMIN, **options: Any) -> AsyncIterator[Stream]:
    headers = {"accept": "text/event-stream", **options.pop("headers", {})}
    async with (
        service.http(role) as http,
        http.stream("GET", "/api/events", headers=headers, **options) as response,
    ):
        yield Stream(response)


async def test_what_was_and_what_comes_in_order_each_once(service: LiveService) -> None:
    await service.happen(*[scaled(n) for n in range(5)])
    async with streaming(service, params={"since": 0}) as stream:
        assert stream.response.status_code == 200
        assert stream.response.headers["content-type"] == "text/event-stream"
        assert stream.response.headers["cache-control"] == "no-store"
        assert await stream.line() == "retry: 2000"
        parts = [await stream.part() for _ in range(5)]
        await service.happen(scaled(5))
        parts.append(await stream.part())
    assert [number for number, _, _ in parts] == ["1", "2", "3", "4", "5", "6"]
    assert {name for _, name, _ in parts} == {"server-scaled"}
    assert [data for _, _, data in parts] == [stored.document() for stored in service.log.kept]


async def test_a_client_that_comes_again_goes_on_where_it_was(service: LiveService) -> None:
    await service.happen(*[scaled(n) for n in range(5)])
    async with streaming(service, params={"since": 0}, headers={"last-event-id": "3"}) as stream:
        assert [(await stream.part())[0] for _ in range(2)] == ["4", "5"]


async def test_one_that_comes_again_to_another_history_begins_anew(service: LiveService) -> None:
    await service.happen(*[scaled(n) for n in range(5)])
    service.log.history = "a1-00000001"
    await until(lambda: service.feed.epoch)
    async with streaming(service, params={"since": 3}) as stream:
        assert [(await stream.part())[0] for _ in range(2)] == ["a1-00000001:4", "a1-00000001:5"]
        service.log.history = "a1-00000002"
        _, name, problem = await stream.part()
        assert (name, problem["oldest"], problem["epoch"]) == ("error", 6, "a1-00000002")
    async with streaming(service, headers={"last-event-id": "a1-00000001:4"}) as stream:
        assert stream.response.status_code == 410
    async with streaming(service, headers={"last-event-id": "a1-00000002:4"}) as stream:
        assert (await stream.part())[0] == "a1-00000002:5"
    async with service.http() as http:
        page = (await http.get("/api/events", params={"since": 4, "epoch": "a1-00000002"})).json()
        assert (page["epoch"], len(page["events"])) == ("a1-00000002", 1)
        gone = await http.get("/api/events", params={"since": 4, "epoch": "a1-00000001"})
        assert (gone.status_code, gone.json()["oldest"], gone.json()["epoch"]) == (410, 6, "a1-00000002")
        assert (await http.get("/api/events", params={"epoch": "a1-00000001"})).status_code == 200
        assert (await http.get("/api/events", params={"since": 4, "epoch": "é"})).status_code == 422


async def test_without_a_number_it_begins_now_and_filters_hold(service: LiveService) -> None:
    await service.happen(scaled(0))
    async with streaming(service, params={"server": "magic"}) as stream:
        await stream.line()
        await service.happen(scaled(1), scaled(2, server_id="magic"))
        assert (await stream.part())[0] == "3"


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"params": {"since": 7}}, 422),
        ({"headers": {"last-event-id": "7"}}, 422),
        ({"headers": {"last-event-id": "x"}}, 422),
        ({"headers": {"last-event-id": "x:1"}}, 422),
        ({"headers": {"last-event-id": "a:"}}, 422),
        ({"headers": {"last-event-id": "-1"}}, 422),
        ({"headers": {"last-event-id": "9" * 30}}, 422),
        ({"params": {"type": "nonsense"}}, 422),
    ],
)
async def test_what_cannot_be_followed_is_said_before_it_begins(service, options, status) -> None:
    async with streaming(service, **options) as stream:
        assert stream.response.status_code == status
        assert stream.response.headers["content-type"] == "application/problem+json"


async def test_the_store_is_away(service: LiveService) -> None:
    await service.happen(scaled(0))
    service.feed._ring.clear()
    service.log.away = "the connection was refused"
    async with streaming(service, params={"since": 0}) as stream:
        assert stream.response.status_code == 503
    service.log.away = ""


async def test_roles_and_the_number_of_streams() -> None:
    async with live_service(limits=LiveLimits(max_connections=4)) as service:
        async with streaming(service, Role.VIEWER, params={"type": "access-changed"}) as stream:
            assert stream.response.status_code == 403
        async with streaming(service, Role.VIEWER) as stream:
            await stream.line()
            async with streaming(service, Role.VIEWER) as second:
                assert second.response.status_code == 429
        await until(lambda: service.live.readers == 0)
        assert "followers=0" in repr(service.feed)


async def test_a_silent_stream_is_kept_alive_and_a_gone_client_noticed(service, monkeypatch) -> None:
    monkeypatch.setattr(event_stream, "KEEP_ALIVE", 0.05)
    async with streaming(service) as stream:
        assert await stream.line() == "retry: 2000"
        assert await stream.line() == ""
        assert [await stream.line() for _ in range(4)] == [": ", "", ": ", ""]
        await service.happen(scaled(1))
        assert (await stream.part())[0] == "1"
        assert service.live.readers == 1
    await until(lambda: service.live.readers == 0)


async def test_a_revoked_credential_ends_it(service: LiveService) -> None:
    async with streaming(service, Role.VIEWER) as stream:
        await stream.line()
        service.revoked.add("viewer")
        _, name, data = await stream.part()
        assert (name, data["reason"], data["resumeFrom"]) == ("goodbye", "credential", 0)
        with pytest.raises(EOFError):
            await stream.part()


async def test_not_one_event_goes_out_after_the_revocation() -> None:
    async with live_service(sweeps=False) as service, streaming(service, Role.VIEWER) as stream:
        await stream.line()
        service.revoked.add("viewer")
        await service.happen(scaled(1))
        _, name, data = await stream.part()
        assert (name, data["resumeFrom"]) == ("goodbye", 0)


async def test_the_end_of_the_service_says_where_to_resume(service: LiveService) -> None:
    async with streaming(service) as stream:
        await stream.line()
        await service.happen(scaled(1), scaled(2))
        assert [(await stream.part())[0] for _ in range(2)] == ["1", "2"]
        service.live.close()
        service.server.should_exit = True
        assert await stream.part() == (
            "",
            "goodbye",
            {"type": "goodbye", "reason": "stopping", "resumeFrom": 2, "subscriptions": {"events": 2}},
        )


async def test_events_that_are_pruned_before_they_are_read_end_it_with_the_problem(service) -> None:
    await service.happen(*[scaled(n) for n in range(3)])
    service.feed._ring.clear()
    service.log.pause = 0.05
    opening = asyncio.ensure_future(_first(service))
    await until(lambda: "followers=1" in repr(service.feed))
    service.log.kept.clear()
    _, name, data = await opening
    assert (name, data["type"], data["oldest"]) == ("error", "urn:fairlead:problem:events-gone", 4)


async def _first(service: LiveService) -> Part:
    async with streaming(service, params={"since": 1}) as stream:
        return await stream.part()


async def test_a_client_that_does_not_read_is_sent_away(monkeypatch) -> None:
    async with live_service(limits=LiveLimits(queue=20)) as service:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port, limit=2**17)
        head = ("GET /api/events HTTP/1.1", f"Host: 127.0.0.1:{service.port}", "Accept: text/event-stream")
        writer.write("\r\n".join([*head, f"Authorization: Bearer {TOKENS[Role.ADMIN]}", "", ""]).encode())
        await reader.readuntil(b"retry")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        for number in range(400):
            await service.happen(scaled(number, size=20_000))
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        seen = 0
        async with asyncio.timeout(20):
            while b"event: slow" not in (line := await reader.readuntil(b"\n")):
                seen += line.startswith(b"id: ")
            data = await reader.readuntil(b"\n")
        assert 0 < seen < 400
        assert json.loads(data.removeprefix(b"data: "))["resumeFrom"] == seen
        writer.transport.abort()
        await until(lambda: service.live.readers == 0)


async def test_a_client_that_goes_is_noticed_at_once(service: LiveService) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    head = ("GET /api/events HTTP/1.1", f"Host: 127.0.0.1:{service.port}", "Accept: text/event-stream")
    writer.write("\r\n".join([*head, f"Authorization: Bearer {TOKENS[Role.ADMIN]}", "", ""]).encode())
    await reader.readuntil(b"retry")
    writer.close()
    await until(lambda: service.live.readers == 0, guard=5.0)  # far less than between two comments


async def test_who_stops_reading_keeps_no_seat() -> None:
    """Neither while its credential is good, nor when that has been revoked."""
    async with live_service(limits=LiveLimits(queue=20)) as service:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port, limit=2**17)
        head = ("GET /api/events HTTP/1.1", f"Host: 127.0.0.1:{service.port}", "Accept: text/event-stream")
        writer.write("\r\n".join([*head, f"Authorization: Bearer {TOKENS[Role.ADMIN]}", "", ""]).encode())
        await reader.readuntil(b"retry")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        for number in range(400):
            await service.happen(scaled(number, size=20_000))
        service.revoked.add("admin")
        try:
            await until(lambda: service.live.readers == 0, guard=15.0)
        finally:
            writer.transport.abort()
