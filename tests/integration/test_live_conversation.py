"""What is said over a WebSocket: subscriptions, snapshots, commands, and every refusal."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from fairlead.core.ratelimit import Gcra, Rate
from fairlead.model.access import Caller, Effect, Grant, Role
from fairlead.model.events import Event, EventType
from fairlead.model.status import ServerState
from fairlead.web import live_conversation
from fairlead.web.live import LiveLimits
from support.live_service import LiveService, ask, live_service, scaled, told
from support.until import until


@pytest.fixture
async def service():
    async with live_service() as running:
        yield running


@pytest.fixture
async def client(service: LiveService):
    async with service.connect() as connected:
        await told(connected)
        yield connected


def code(answer: dict[str, Any]) -> str:
    assert answer["type"] == "error", answer
    return answer["problem"]["type"].removeprefix("urn:fairlead:problem:")


def sequence(message: dict[str, Any]) -> int:
    assert message["type"] == "event", message
    return int(message["event"]["sequence"])


# == subscriptions ======================================================================================


async def test_what_was_and_what_comes_with_no_gap_and_no_double(service: LiveService) -> None:
    """Whenever a client joins, from wherever, while events go on happening."""
    rng = random.Random(7)

    async def happen() -> None:
        while True:
            await service.happen(*[scaled(number) for number in range(4)])
            await asyncio.sleep(rng.random() / 200)

    happening = asyncio.ensure_future(happen())
    try:
        for _ in range(12):
            await asyncio.sleep(0.02)
            async with service.connect() as reader:
                latest = (await told(reader))["sequence"]
                since = rng.choice([0, latest // 2, latest])
                answer = await ask(reader, type="subscribe", id="s", since=since)
                assert answer == {"type": "result", "id": "s", "sequence": since, "result": None}
                seen = [sequence(await told(reader)) for _ in range(rng.randint(1, 60))]
                assert seen == list(range(since + 1, since + 1 + len(seen)))
                reader.transport.abort()  # with much unread, closing takes the library long
    finally:
        happening.cancel()


async def test_a_client_that_breaks_off_and_resumes_has_every_event_once(service: LiveService) -> None:
    seen: list[int] = []
    happening = asyncio.ensure_future(_happen_slowly(service, 300))
    try:
        while len(seen) < 300:
            async with service.connect() as reader:
                await told(reader)
                await ask(reader, type="subscribe", id="s", since=seen[-1] if seen else 0)
                seen += [sequence(await told(reader)) for _ in range(min(40, 300 - len(seen)))]
                reader.transport.abort()
    finally:
        await happening
    assert seen == list(range(1, 301))


async def _happen_slowly(service: LiveService, count: int) -> None:
    for number in range(count):
        await service.happen(scaled(number))
        await asyncio.sleep(0.001)


async def test_an_event_comes_as_a_cloud_event_for_each_subscription_that_wants_it(service, client) -> None:
    await ask(client, type="subscribe", id="every")
    await ask(client, type="subscribe", id="these", servers=["filesystem"], types=["server-scaled"])
    await service.happen(scaled(1))
    messages = [await told(client), await told(client)]
    assert {message["subscription"] for message in messages} == {"every", "these"}
    assert messages[0]["event"] == messages[1]["event"] == service.log.kept[0].document()


@pytest.mark.parametrize(
    ("chosen", "wanted"),
    [
        ({}, [1, 2, 3, 4]),
        ({"types": ["config-changed"]}, [3]),
        ({"types": ["config-changed", "server-scaled"]}, [1, 2, 3]),
        ({"servers": ["magic"]}, [2]),
        ({"servers": ["magic", "filesystem"]}, [1, 2, 4]),
        ({"subjects": ["file*"]}, [1, 4]),
        ({"subjects": ["magic", "filesystem-?"]}, [2, 4]),
        ({"subjects": ["*"], "servers": ["filesystem"]}, [1, 4]),
        ({"types": ["drift-detected"]}, []),
    ],
)
async def test_filters(service, client, chosen, wanted) -> None:
    await service.happen(
        scaled(1),
        scaled(2, server_id="magic"),
        Event(EventType.CONFIG_CHANGED, "/test", "", {"generation": 2}),
        Event(EventType.INSTANCE_LOST, "/test", "filesystem-1", {"server": "filesystem"}),
    )
    await ask(client, type="subscribe", id="s", since=0, **chosen)
    assert [sequence(await told(client)) for _ in wanted] == wanted
    assert (await ask(client, type="ping", id="end"))["type"] == "pong"  # and nothing else


async def test_after_the_answer_to_unsubscribe_nothing_comes(service, client) -> None:
    await ask(client, type="subscribe", id="s")
    await service.happen(scaled(1))
    assert sequence(await told(client)) == 1
    answer = await ask(client, type="unsubscribe", id="u", subscription="s")
    assert answer == {"type": "result", "id": "u", "sequence": 1, "result": None}
    await service.happen(scaled(2))
    assert (await ask(client, type="ping", id="end"))["type"] == "pong"
    assert "followers=0" in repr(service.feed)
    assert (await ask(client, type="subscribe", id="s"))["type"] == "result"  # the name is free again


async def test_subscriptions_that_cannot_be(service, client) -> None:
    assert code(await ask(client, type="subscribe", id="s", since=5)) == "events-to-come"
    await service.happen(*[scaled(number) for number in range(10)])
    await until(lambda: service.feed.latest == 10)
    await service.log.prune(before=8.0)
    service.feed._ring.clear()
    gone = await ask(client, type="subscribe", id="s", since=3)
    assert (code(gone), gone["problem"]["oldest"], gone["id"]) == ("events-gone", 9, "s")
    assert (await ask(client, type="subscribe", id="s", since=8))["type"] == "result"
    assert [sequence(await told(client)) for _ in range(2)] == [9, 10]
    assert code(await ask(client, type="subscribe", id="s")) == "id-in-use"
    assert code(await ask(client, type="unsubscribe", id="u", subscription="other")) == "unknown-subscription"


async def test_another_history(service) -> None:
    await service.happen(scaled(1), scaled(2))
    service.log.history = "a1"
    await until(lambda: service.feed.epoch == "a1")
    async with service.connect(Role.ADMIN) as client:
        welcome = await told(client)
        assert (welcome["epoch"], welcome["sequence"]) == ("a1", 2)
        good = await ask(client, type="subscribe", id="s", since=1, epoch="a1")
        assert good["type"] == "result"
        assert sequence(await told(client)) == 2
        gone = await ask(client, type="subscribe", id="t", since=1, epoch="0ld")
        assert code(gone) == "invalid-request"
        gone = await ask(client, type="subscribe", id="t", since=1, epoch="b2")
        assert (code(gone), gone["problem"]["epoch"], gone["problem"]["oldest"]) == ("events-gone", "a1", 3)
        service.log.history = "c3"  # under a reader
        gone = await told(client)
        assert (code(gone), gone["id"], gone["problem"]["epoch"]) == ("events-gone", "s", "c3")
        assert (await ask(client, type="subscribe", id="s", since=2, epoch="c3"))["type"] == "result"


async def test_while_the_store_is_away_recent_events_come_and_old_ones_do_not(service, client) -> None:
    await service.happen(scaled(1), scaled(2))
    service.log.away = "the connection was refused"
    assert (await ask(client, type="subscribe", id="recent", since=1))["type"] == "result"
    assert sequence(await told(client)) == 2
    service.feed._ring.clear()
    refused = await ask(client, type="subscribe", id="old", since=0)
    assert code(refused) == "store-unavailable"
    assert refused["problem"]["retryAfter"] == 2.0
    service.log.away = ""
    assert (await ask(client, type="subscribe", id="old", since=0))["type"] == "result"


async def test_a_subscription_whose_events_are_pruned_under_it_ends_alone(service, client) -> None:
    await service.happen(*[scaled(number) for number in range(3)])
    service.log.pause = 0.05
    service.feed._ring.clear()
    await client.send('{"type":"subscribe","id":"s","since":1}')
    await until(lambda: "followers=1" in repr(service.feed))
    service.log.kept.clear()
    assert (await told(client))["type"] == "result"
    gone = await told(client)
    assert (code(gone), gone["id"], gone["problem"]["oldest"]) == ("events-gone", "s", 4)
    service.log.pause = 0.0
    assert (await ask(client, type="subscribe", id="s"))["type"] == "result"


# == snapshots and commands =============================================================================


async def test_snapshots_are_what_rest_shows_with_the_number_to_follow_from(service, client) -> None:
    await service.happen(scaled(1))
    paths = {
        "servers": "/api/servers",
        "config": "/api/config",
        "metrics": "/api/metrics/summary",
        "server": "/api/servers/magic",
    }
    async with service.http() as http:
        for what, path in paths.items():
            more = {"server": "magic"} if what == "server" else {}
            answer = await ask(client, type="get", id=what, what=what, **more)
            assert (answer["type"], answer["id"], answer["sequence"]) == ("result", what, 1)
            shown = (await http.get(path)).json()
            if what == "metrics":
                assert answer["result"].keys() == shown.keys()
            else:
                assert answer["result"] == shown


async def test_commands_do_what_rest_does(service, client) -> None:
    answer = await ask(client, type="command", id="1", name="stop", server="magic")
    assert (answer["id"], answer["result"]["state"]) == ("1", "stopped")
    assert service.fleet.server("magic").state is ServerState.STOPPED
    assert (await ask(client, type="command", id="2", name="start", server="magic"))["result"][
        "state"
    ] == "ready"
    restarted = await ask(client, type="command", id="3", name="restart", server="magic")
    assert restarted["result"]["restarts"] == 1
    await ask(client, type="command", id="4", name="drain", server="magic", instance="magic-1")
    assert service.fleet.drained == [("magic", "magic-1")]
    checked = await ask(client, type="command", id="5", name="check")
    assert [each["server"] for each in checked["result"]["results"]] == ["filesystem", "magic"]
    service.fleet.open.add("magic")
    closed = await ask(client, type="command", id="6", name="reset-breaker", breaker="magic", scope="server")
    assert (closed["result"]["state"], service.fleet.open) == ("closed", set())


async def test_a_command_that_fails_is_an_error_with_the_problem_of_rest(service, client) -> None:
    answer = await ask(client, type="command", id="1", name="restart", server="magik")
    assert (answer["id"], code(answer), answer["problem"]["status"]) == ("1", "unknown-server", 404)
    reloaded = await ask(client, type="command", id="2", name="reload")
    assert reloaded["result"]["generation"] == 8


async def test_a_fault_of_ours_is_told_as_such_and_the_connection_goes_on(
    service, client, monkeypatch
) -> None:
    async def broken(_: str) -> None:
        msg = "a secret detail of the inside"
        raise RuntimeError(msg)

    monkeypatch.setattr(service.fleet, "check_health", broken)
    answer = await ask(client, type="command", id="1", name="check")
    assert code(answer) == "internal"
    assert "secret detail" not in str(answer)
    assert (await ask(client, type="ping", id="p"))["type"] == "pong"


async def test_a_slow_command_holds_up_nothing_and_goes_on_when_its_client_goes(service, monkeypatch) -> None:
    gate, done = asyncio.Event(), asyncio.Event()

    async def slow(_: str | None) -> list[Any]:
        await gate.wait()
        done.set()
        return []

    monkeypatch.setattr(service.fleet, "check_health", slow)
    async with service.connect() as client:
        await told(client)
        for number in range(live_conversation.MAX_COMMANDS):
            await client.send(f'{{"type":"command","id":"{number}","name":"check"}}')
        assert code(await ask(client, type="command", id="more", name="check")) == "too-many-commands"
        assert (await ask(client, type="ping", id="p"))["type"] == "pong"
    await until(lambda: service.live.readers == 0)
    assert not done.is_set()
    gate.set()
    await asyncio.wait_for(done.wait(), 10)
    await until(lambda: len(service.live.commands) == 0)


async def test_while_the_store_is_away_nothing_is_changed(service, client) -> None:
    service.away["store"] = "the connection was refused"
    for number, name in enumerate(("restart", "stop", "drain")):
        answer = await ask(client, type="command", id=str(number), name=name, server="magic")
        assert code(answer) == "store-unavailable"
    assert service.fleet.server("magic").state is ServerState.READY
    assert (await ask(client, type="command", id="c", name="check"))["type"] == "result"  # changes nothing
    assert (await ask(client, type="get", id="g", what="servers"))["type"] == "result"


# == who may ============================================================================================

OPERATING = [
    {"name": "start", "server": "magic"},
    {"name": "stop", "server": "magic"},
    {"name": "restart", "server": "magic"},
    {"name": "drain", "server": "magic"},
    {"name": "check"},
    {"name": "reset-breaker", "breaker": "magic"},
]


@pytest.mark.parametrize("role", [Role.VIEWER, Role.DEVELOPER])
async def test_who_may_only_look_may_not_operate(service, role) -> None:
    async with service.connect(role) as client:
        await told(client)
        for command in [*OPERATING, {"name": "reload"}]:
            assert code(await ask(client, type="command", id="1", **command)) == "forbidden"
        assert (await ask(client, type="get", id="1", what="servers"))["type"] == "result"
        assert code(await ask(client, type="get", id="1", what="config")) == "forbidden"
        assert code(await ask(client, type="subscribe", id="s", types=["access-changed"])) == "forbidden"
    refusals = [each for each in service.audited if each.outcome == "forbidden"]
    assert {each.action for each in refusals} >= {"ws command restart", "ws command reload", "ws get config"}
    assert all(each.kind == "refusal" and each.principal == role.word for each in refusals)


async def test_operators_operate_and_administrators_reload(service) -> None:
    async with service.connect(Role.OPERATOR) as client:
        await told(client)
        for command in OPERATING:
            assert (await ask(client, type="command", id="1", **command))["type"] == "result"
        assert code(await ask(client, type="command", id="1", name="reload")) == "forbidden"
    changes = [(each.action, each.server, each.outcome) for each in service.audited if each.kind == "change"]
    assert ("ws command restart", "magic", "ok") in changes
    assert len(changes) == len(OPERATING)


async def test_events_about_identities_are_for_administrators(service) -> None:
    events = [
        Event(each, "/test", "x", {}) for each in (EventType.ACCESS_CHANGED, EventType.AUTHENTICATION_FAILED)
    ]
    await service.happen(*events, scaled(3))
    for role, wanted in ((Role.OPERATOR, [3]), (Role.ADMIN, [1, 2, 3])):
        async with service.connect(role) as client:
            await told(client)
            await ask(client, type="subscribe", id="s", since=0)
            assert [sequence(await told(client)) for _ in wanted] == wanted


GRANTS = (Grant(servers=("file*",)), Grant(Effect.DENY, servers=("filesystem-secret",)))


async def test_grants_hold_for_events_snapshots_and_commands() -> None:
    async with live_service(grants=GRANTS) as service, service.connect(Role.OPERATOR) as client:
        await told(client)
        await ask(client, type="subscribe", id="s")
        await service.happen(
            scaled(1), scaled(2, server_id="magic"), scaled(3, server_id="filesystem-secret")
        )
        await service.happen(Event(EventType.SERVICE_STARTED, "/test", "", {"node": "n"}))
        assert [sequence(await told(client)) for _ in range(2)] == [1, 4]
        shown = await ask(client, type="get", id="g", what="servers")
        assert [each["id"] for each in shown["result"]["servers"]] == ["filesystem"]
        assert code(await ask(client, type="get", id="g", what="server", server="magic")) == "forbidden"
        assert code(await ask(client, type="command", id="c", name="restart", server="magic")) == "forbidden"
        assert code(await ask(client, type="command", id="c", name="check")) == "forbidden"  # of all
        assert (
            code(await ask(client, type="command", id="c", name="reset-breaker", breaker="magic"))
            == "forbidden"
        )
        for command in ({"name": "restart"}, {"name": "check"}):
            answer = await ask(client, type="command", id="c", server="filesystem", **command)
            assert answer["type"] == "result"
        closed = await ask(client, type="command", id="c", name="reset-breaker", breaker="filesystem-1")
        assert closed["type"] == "result"


# == messages that are none =============================================================================


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[]",
        "null",
        "NaN",
        '"text"',
        "{",
        "[" * 5000,
        '{"type":"ping","id":"1"}{"type":"ping","id":"2"}',
        '{"id":"1"}',
        '{"type":"fly","id":"1"}',
        '{"type":["ping"],"id":"1"}',
        '{"type":"ping"}',
        '{"type":"ping","id":""}',
        '{"type":"ping","id":7}',
        '{"type":"ping","id":"1","more":1}',
        '{"type":"subscribe","id":"1","since":"0"}',
        '{"type":"subscribe","id":"1","since":-1}',
        '{"type":"subscribe","id":"1","since":1.5}',
        '{"type":"subscribe","id":"1","since":1e400}',
        '{"type":"subscribe","id":"1","since":99999999999999999999}',
        '{"type":"subscribe","id":"1","types":["no-such-type"]}',
        '{"type":"subscribe","id":"1","types":[]}',
        '{"type":"subscribe","id":"1","types":"server-scaled"}',
        '{"type":"subscribe","id":"1","servers":[""]}',
        '{"type":"subscribe","id":"1","subjects":[1]}',
        '{"type":"command","id":"1"}',
        '{"type":"command","id":"1","name":"fly"}',
        '{"type":"command","id":"1","name":"restart"}',
        '{"type":"command","id":"1","name":"restart","server":null}',
        '{"type":"command","id":"1","name":"restart","server":"magic","force":true}',
        '{"type":"command","id":"1","name":"drain","server":{"$ne":""}}',
        '{"type":"get","id":"1","what":"secrets"}',
        '{"type":"get","id":"1","what":"server"}',
        '{"type":"ping","id":"\\ud800"}',
    ],
)
async def test_what_is_not_understood_is_said_and_the_connection_goes_on(service, client, text) -> None:
    await client.send(text)
    answer = await told(client)
    assert code(answer) == "invalid-request"
    assert answer["id"] in (None, "1")
    assert answer["problem"]["errors"]
    assert answer["problem"]["instance"] == client.response.headers["x-request-id"]
    assert (await ask(client, type="ping", id="p"))["id"] == "p"


async def test_a_misspelt_command_says_which_there_are(client) -> None:
    answer = await ask(client, type="command", id="1", name="sync")
    assert "check, drain, reload, reset-breaker, restart, start, stop" in answer["problem"]["detail"]


async def test_messages_count_as_requests() -> None:
    bucket = Gcra(Rate(per_minute=1, burst=4))  # slow: a busy machine takes its time
    async with live_service(limiter=lambda name: bucket if name == "viewer" else None) as service:
        async with service.connect(Role.VIEWER) as client:  # the handshake is one
            await told(client)
            for _ in range(3):
                assert (await ask(client, type="ping", id="p"))["type"] == "pong"
            refused = await ask(client, type="ping", id="p")
            assert code(refused) == "rate-limited"
            assert 1 <= refused["problem"]["retryAfter"] <= 60
        assert [each.outcome for each in service.audited] == ["rate-limited"]


async def test_more_messages_than_anybody_needs_end_the_connection(service, monkeypatch) -> None:
    monkeypatch.setattr(live_conversation, "MESSAGES", Rate(per_minute=1, burst=5))
    async with service.connect() as client:
        await told(client)
        for _ in range(5):
            await ask(client, type="ping", id="p")
        await client.send("{}")
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert (client.close_code, client.close_reason) == (1008, "too many messages")


async def test_an_expired_credential_is_noticed_without_being_asked(service) -> None:
    expired = Caller("viewer", Role.VIEWER, expires=1.0)
    assert not service.live.is_valid(expired)
    assert service.live.is_valid(Caller("viewer", Role.VIEWER, expires=9e12))


async def test_the_state_of_the_readers_is_shown() -> None:
    async with live_service(limits=LiveLimits(max_connections=8)) as service, service.connect() as client:
        await told(client)
        assert repr(service.live) == "Live('orchestrator', 1 of 8 seats)"
