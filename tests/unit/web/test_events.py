"""`GET /api/events` as a page."""

from __future__ import annotations

import pytest

from fairlead.model.events import Event, EventType
from support.live_service import scaled
from support.web_services import AUTHORIZED, client, services


@pytest.fixture
async def kept(behind):
    """Twelve events; every fourth is another server's."""
    log = behind.live.feed._log
    await behind.live.feed._look()
    await log.append([scaled(n, server_id="magic" if n % 4 == 0 else "filesystem") for n in range(1, 13)])
    await behind.live.feed._look()
    return log


def numbers(answer) -> list[int]:
    assert answer.status_code == 200, answer.text
    return [int(event["sequence"]) for event in answer.json()["events"]]


async def test_the_last_ones_come_without_a_number(http, kept) -> None:
    answer = await http.get("/api/events", params={"limit": 3})
    assert numbers(answer) == [10, 11, 12]
    assert answer.json()["events"][0] == kept.kept[9].document()
    assert (answer.json()["next"], answer.json()["latest"]) == (12, 12)


async def test_pages_follow_each_other(http, kept) -> None:
    seen, since = [], 0
    while page := numbers(answer := await http.get("/api/events", params={"since": since, "limit": 5})):
        seen += page
        since = answer.json()["next"]
    assert seen == list(range(1, 13))
    assert since == 12


@pytest.mark.parametrize(
    ("params", "wanted"),
    [
        ({"server": "magic"}, [4, 8, 12]),
        ({"server": "magic", "limit": 2}, [4, 8]),
        ({"subject": "mag*"}, [4, 8, 12]),
        ({"server": ["magic", "filesystem"], "since": 9}, [10, 11, 12]),
        ({"type": "server-scaled", "limit": 1}, [1]),
        ({"type": ["config-changed", "drift-detected"]}, []),
    ],
)
async def test_filters(http, kept, params, wanted) -> None:
    assert numbers(await http.get("/api/events", params={"since": 0, **params})) == wanted


async def test_a_page_of_what_is_rare_ends_somewhere_and_goes_on(http, behind) -> None:
    await behind.live.feed._log.append([scaled(n) for n in range(5000)])
    await behind.live.feed._log.append([scaled(1, server_id="magic")])
    await behind.live.feed._look()
    since, asked = 0, 0
    while not (
        page := numbers(answer := await http.get("/api/events", params={"since": since, "server": "magic"}))
    ):
        asked += 1
        assert answer.json()["next"] > since
        since = answer.json()["next"]
    assert page == [5001]
    assert 1 <= asked <= 5


async def test_what_is_not_kept_any_more(http, behind, kept) -> None:
    await kept.prune(before=9.0)
    behind.live.feed._ring.clear()
    answer = await http.get("/api/events", params={"since": 2})
    assert (answer.status_code, answer.json()["oldest"]) == (410, 9)
    assert numbers(await http.get("/api/events", params={"since": 8})) == [9, 10, 11, 12]
    assert numbers(await http.get("/api/events", params={"limit": 100})) == [9, 10, 11, 12]


async def test_what_is_still_to_come(http, kept) -> None:
    answer = await http.get("/api/events", params={"since": 13})
    assert (answer.status_code, answer.json()["latest"]) == (422, 12)


async def test_the_store_is_away(http, behind, kept) -> None:
    kept.away = "the connection was refused"
    assert numbers(await http.get("/api/events", params={"limit": 2})) == [11, 12]  # from memory
    behind.live.feed._ring.clear()
    for params in ({}, {"since": 3}):
        answer = await http.get("/api/events", params=params)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")


async def test_before_the_first_event(http) -> None:
    answer = await http.get("/api/events")
    assert answer.json() == {"events": [], "next": 0, "latest": 0, "epoch": ""}


@pytest.mark.parametrize(
    "params",
    [
        {"since": -1},
        {"since": "x"},
        {"limit": 0},
        {"limit": 1001},
        {"type": "nonsense"},
        {"types": "server-scaled"},
    ],
)
async def test_parameters_are_read_strictly(http, params) -> None:
    assert (await http.get("/api/events", params=params)).status_code == 422


async def test_it_takes_a_token() -> None:
    async with client(services()) as stranger:
        for path in ("/api/events", "/asyncapi.json", "/ws"):
            assert (await stranger.get(path)).status_code == 401


async def test_events_of_unknown_servers_are_seen_by_those_without_grants(behind) -> None:
    await behind.live.feed._log.append([Event(EventType.SERVICE_STARTED, "/test", "", {"node": "n"})])
    async with client(behind, **AUTHORIZED) as http:
        assert numbers(await http.get("/api/events", params={"since": 0})) == [1]
