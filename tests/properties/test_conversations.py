"""Whoever asks, answers, dies, comes back or goes away: what is said reaches its own conversation alone.

Histories of a gateway between four servers (legacy over a pipe, shared or per session; legacy over HTTP;
modern) and clients of both eras, in virtual time; see `support.conversations`. After each step nobody has
heard anything that was not for them, a server that is leased alone works on one call, and there are no more
instances than allowed. Once everybody is let go on, every call ends and nothing is left.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from fairlead.core.access import KnownTokens
from fairlead.model.access import Caller, Role
from support.conversations import (
    ABLE,
    ANSWER,
    CALL,
    METHODS,
    PRINCIPALS,
    SPECS,
    Call,
    Client,
    World,
    a_world,
    change,
)
from support.mutations import FACTOR
from support.virtual_time import run_virtually

Step = tuple[str, int, int, int]


def one_of(found: list[Any], number: int) -> Any:
    """Which one is meant, or None where there is none."""
    return found[number % len(found)] if found else None


# -- servers -----------------------------------------------------------------------------------------------


def speaking(world: World, *, busy: bool = True) -> list[Any]:
    return [server for server in world.servers if server.speaks and (server.working or not busy)]


def server_answers(world: World, a: int, b: int, c: int) -> None:
    if server := one_of(speaking(world), a):
        server.finish(one_of(list(server.working.values()), b), error=c % 8 == 7, url=c % 8 == 6)


def server_asks(world: World, a: int, b: int, c: int) -> None:
    if server := one_of(speaking(world), a):
        kinds = [one_of(list(METHODS), c), one_of(list(METHODS), c // 3), one_of(list(METHODS), c // 9)]
        server.ask(one_of(list(server.working.values()), b), kinds[: 1 + b % 3])


def server_asks_too_late(world: World, a: int, b: int, c: int) -> None:
    """About a call that it was told to give up."""
    if server := one_of([server for server in speaking(world, busy=False) if server.given_up], a):
        work = one_of(server.given_up, b)
        if c % 2 or server.modern:
            server.tell(work, progress=c % 4 == 1)
        else:
            server.ask(work, [one_of(list(METHODS), c)])


def server_tells(world: World, a: int, b: int, c: int) -> None:
    if server := one_of(speaking(world), a):
        server.tell(one_of(list(server.working.values()), b), progress=c % 2 == 0)


def server_withdraws(world: World, a: int, b: int, c: int) -> None:
    if server := one_of([server for server in speaking(world, busy=False) if server.asked], a):
        server.withdraw(one_of(list(server.asked), b))


def server_dies(world: World, a: int, b: int, c: int) -> None:
    if server := one_of(speaking(world), a):
        server.link.lose()


def server_hangs(world: World, a: int, b: int, c: int) -> None:
    if server := one_of(speaking(world, busy=b % 2 == 0), a):
        server.link.hang()


def server_goes_on(world: World, a: int, b: int, c: int) -> None:
    if server := one_of(
        [server for server in world.servers if server.link._hangs and not server.link.lost], a
    ):
        server.link.go_on()


# -- clients -----------------------------------------------------------------------------------------------


def client_comes(world: World, a: int, b: int, c: int) -> None:
    if len(world.clients) < 8:
        client = Client(world, one_of(list(PRINCIPALS), a), one_of(ABLE, b), modern=c % 2 == 0)
        world.clients.append(client)


def client_calls(world: World, a: int, b: int, c: int) -> None:
    if client := one_of([client for client in world.clients if not client.ended], a):
        client.call(one_of(list(SPECS), b), "look" if c % 4 == 0 else "work")


def legacy(world: World) -> list[Client]:
    return [client for client in world.clients if not client.modern and not client.ended]


def client_replies(world: World, a: int, b: int, c: int) -> None:
    """Rightly, mostly; else with an error, twice, or to what it was not asked."""
    if client := one_of([client for client in legacy(world) if client.questions], a):
        question = one_of(list(client.questions), b)
        params = client.questions.pop(question)
        if c % 8 == 5:
            client.reply(f"x{question}", params)
        client.reply(question, params, error=c % 8 == 7)
        if c % 8 == 6:
            client.reply(question, params)


def stranger_replies(world: World, a: int, b: int, c: int) -> None:
    """To a question that another client was asked."""
    asked = [client for client in legacy(world) if client.questions]
    if (client := one_of(asked, a)) and (
        stranger := one_of([one for one in legacy(world) if one is not client], b)
    ):
        question = one_of(list(client.questions), c)
        stranger.reply(question, client.questions[question])


def required(world: World) -> list[Call]:
    """Calls whose modern clients are wanted."""
    calls = [call for client in world.clients for call in client.calls]
    return [call for call in calls if call.states and not call.waits and not call.finals]


def client_comes_back(world: World, a: int, b: int, c: int) -> None:
    if call := one_of(required(world), a):
        call.client.come_back(call, call.states[-1]["requestState"], partly=b % 4 == 3)
        if b % 8 == 2:  # and once more, at the same time
            call.client.come_back(call, call.states[-1]["requestState"])


def not_the_same(call: Call, other: Call) -> bool:
    """Calls of one principal to one tool are the same to the gateway: their states are as good."""
    return call.client.principal != other.client.principal or call.params["name"] != other.params["name"]


def client_comes_back_wrongly(world: World, a: int, b: int, c: int) -> None:
    """With a state of another round, of another call, or one that nobody gave out; nothing comes of it."""
    if call := one_of(required(world), a):
        others = [other for other in required(world) if not_the_same(call, other)]
        states = [state["requestState"] for other in others for state in other.states]
        own = call.states[-1]["requestState"]
        bad = [*states, own[:-4] + "AAAA", own[:-1], "", 7][b % (len(states) + 4)]
        if bad == own:
            return
        finals = len(call.finals)
        call.client.come_back(call, bad)
        call.client.listen()
        call.finals = call.finals[:finals]
        told = call.attempts[-1].answer.messages
        if not told or told[-1].get("error", {}).get("code") != -32602:
            world.faults.append(f"{call.token} came back with {bad}: {told}")


def client_cancels(world: World, a: int, b: int, c: int) -> None:
    if call := one_of([call for client in world.clients for call in client.calls if call.waits], a):
        if call.client.modern:
            call.client.drop(call.attempts[-1])
        else:
            call.client.cancel(call)


def connection_breaks(world: World, a: int, b: int, c: int) -> None:
    if call := one_of([call for client in legacy(world) for call in client.calls if call.waits], a):
        call.client.drop(call.attempts[-1])


def stream_is_taken_up(world: World, a: int, b: int, c: int) -> None:
    calls = [call for client in legacy(world) for call in client.calls]
    if call := one_of([call for call in calls if call.attempts[-1].gone and not call.finals], a):
        place = call.attempts[-1].answer.last_event_id
        if place:
            call.attempts.append(call.client.get(place))


def client_listens(world: World, a: int, b: int, c: int) -> None:
    if client := one_of(legacy(world), a):
        if client.stream is not None and not client.stream.gone:
            client.drop(client.stream)
        else:
            client.stream = client.get()


def token_is_revoked(world: World, a: int, b: int, c: int) -> None:
    """And given again."""
    principal = one_of(list(PRINCIPALS.values()), a)
    gateway, policy = world.rig.gateway, world.rig.gateway.policy
    callers = {
        hashlib.sha256(token.encode()).digest(): Caller(owner, Role.ADMIN)
        for token, owner in PRINCIPALS.items()
        if owner != principal
    }
    gateway.set_policy(replace(policy, identities=KnownTokens(callers)))
    gateway.set_policy(policy)
    for client in world.clients:
        client.ended |= client.principal == principal and not client.modern


def client_ends(world: World, a: int, b: int, c: int) -> None:
    if client := one_of(legacy(world), a):
        client.end()


# -- the rest ----------------------------------------------------------------------------------------------

STEPS: dict[str, tuple[int, Callable[[World, int, int, int], None]]] = {
    step.__name__: (weight, step)
    for weight, step in (
        (6, server_answers), (8, server_asks), (3, server_asks_too_late), (4, server_tells),
        (1, server_withdraws), (2, server_dies), (1, server_hangs), (1, server_goes_on),
        (3, client_comes), (9, client_calls), (5, client_replies), (1, stranger_replies),
        (5, client_comes_back), (2, client_comes_back_wrongly), (2, client_cancels), (2, connection_breaks),
        (2, stream_is_taken_up), (1, client_listens), (1, client_ends),
        (1, token_is_revoked),
    )
}  # fmt: skip
OTHERS = {"time_passes": 3, "a_server_changes": 1}
NAMES = [name for name, (weight, _) in STEPS.items() for _ in range(weight)]
NAMES += [name for name, weight in OTHERS.items() for _ in range(weight)]
SMALL = st.integers(0, 26)
HISTORIES = st.lists(st.tuples(st.sampled_from(NAMES), SMALL, SMALL, SMALL), min_size=30, max_size=80)
BEGINNING: list[Step] = [
    ("client_comes", *which) for which in ((0, 1, 0), (0, 1, 1), (1, 0, 0), (1, 0, 1), (0, 3, 1))
]
PAUSES = (0.03, 0.03, 1.5, 20.0, CALL + 2, ANSWER + 2)


async def live(history: list[Step]) -> None:
    async with a_world() as world:
        for name, a, b, c in [*BEGINNING, *history]:
            if name == "time_passes":
                await asyncio.sleep(PAUSES[a % len(PAUSES)])
            elif name == "a_server_changes":
                changing = asyncio.ensure_future(change(world, one_of(list(SPECS), a)))
                await asyncio.wait((changing,), timeout=PAUSES[b % 3])
                world.changes.append(changing)
            else:
                STEPS[name][1](world, a, b, c)
                await asyncio.sleep(0.03 if (a + b + c) % 4 else 0)
            world.look()
        await let_go_on(world)


async def let_go_on(world: World) -> None:
    """Everybody does what they should, until all is said and done."""
    for round_ in range(200):
        for server in world.servers:
            if server.link._hangs and not server.link.lost:
                server.link.go_on()
            for work in list(server.working.values()) if server.speaks else ():
                server.finish(work)
        for client in legacy(world):
            for question in list(client.questions):
                client.reply(question, client.questions.pop(question))
        for call in required(world) if round_ < 3 else ():
            call.client.come_back(call, call.states[-1]["requestState"])
        await asyncio.sleep(0.05 if round_ < 5 else 10)
        world.look()
        if not world.left_over() and round_ > 3:
            break
    left = world.left_over()
    assert not left, left


def lived(history: list[Step]) -> None:
    with capture_logs() as logs:
        run_virtually(live(history))
    assert [entry for entry in logs if entry["log_level"] == "error"] == []


@settings(max_examples=50 * FACTOR, deadline=None)
@given(HISTORIES)
def test_what_is_said_reaches_its_own_conversation_and_every_call_ends(history):
    lived(history)
