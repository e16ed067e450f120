import asyncio
import contextlib
import json
import re

import pytest
from bench.callers import Callers, Verdict, Watch, get, judge, text_of
from bench.connection import Access, Reply
from bench.echo_http import Echo

from support.edited_echo import EditedEcho


def reply(message, status=200):
    return Reply(status, {"content-type": "application/json"}, json.dumps(message).encode())


def echoed(number, text):
    content = [{"type": "text", "text": text}]
    return {"jsonrpc": "2.0", "id": number, "result": {"content": content, "isError": False}}


def streamed(body):
    return Reply(200, {"content-type": "text/event-stream"}, body)


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (reply(echoed(7, text_of(7))), Verdict.GOOD),
        (streamed(b": hold on\n\ndata: %s\n\n" % reply(echoed(7, text_of(7))).body), Verdict.GOOD),
        (reply(echoed(7, text_of(8))), Verdict.WRONG),
        (reply(echoed(8, text_of(7))), Verdict.WRONG),
        (reply({"id": 7, "error": {"code": -32004}}), Verdict.FAILED),
        (reply({"id": 8, "error": {"code": -32004}}), Verdict.WRONG),
        (reply({"id": 7, "result": {"content": [], "isError": True}}), Verdict.FAILED),
        (reply({"id": 7, "result": {"content": []}}), Verdict.WRONG),
        (reply(echoed(7, text_of(7)), status=503), Verdict.FAILED),
        (Reply(200, {}, b'{"id":7,'), Verdict.WRONG),
        (streamed(b": nothing\n\n"), Verdict.WRONG),
        (reply([7]), Verdict.WRONG),
    ],
)
def test_only_the_text_of_the_call_under_its_id_is_good(answer, verdict):
    assert judge(answer, 7) is verdict


def test_a_watch_tells_who_waited_how_long_and_the_longest_silence():
    watch = Watch(100.0, {1, 2, 3})
    watch.ended(4, 100.1, 100.3, good=True)  # began later: not one of those that were under way
    watch.ended(1, 90.0, 100.5, good=True)
    watch.ended(2, 99.0, 101.0, good=False)  # breaks no silence
    watch.ended(5, 101.0, 103.5, good=True)
    assert (watch.waiting, watch.first, watch.longest_wait) == ({3}, 0.5, 2.5)
    watch.ended(3, 99.9, 104.0, good=True)  # what it waited before the start is nobody's fault
    assert (watch.waiting, watch.first, watch.longest_wait) == (set(), 0.5, 4.0)
    assert watch.longest_gap(104.5) == 3.0
    assert watch.longest_gap(110.0) == 6.0


def test_without_any_answer_all_the_time_is_silence():
    watch = Watch(100.0, {1})
    watch.ended(1, 99.0, 101.0, good=False)
    watch.ended(2, 101.5, 102.0, good=True)
    assert (watch.longest_gap(107.0), watch.first, watch.longest_wait) == (5.0, None, 0.5)


@contextlib.asynccontextmanager
async def calling(protocol, count=3):
    """Callers of a server that errs as `protocol` does."""
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    async with server:
        callers = Callers(Access(server.sockets[0].getsockname()[1], token="t"))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(callers.call_on()) for _ in range(count)]
            yield callers
            for task in tasks:
                task.cancel()


async def until(condition):
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


async def test_right_answers_are_good_and_those_under_way_are_watched():
    async with calling(lambda: EditedEcho(bytes)) as callers:
        await until(lambda: callers.counts[Verdict.GOOD] > 30)
        watch = callers.watch()
        under_way = len(watch.waiting)
        await until(lambda: not watch.waiting)
    assert under_way == 3
    assert 0 < watch.first <= watch.longest_wait
    assert (callers.counts[Verdict.FAILED], callers.counts[Verdict.WRONG], callers.example) == (0, 0, "")


@pytest.mark.parametrize(
    ("edit", "verdict", "words"),
    [
        (lambda answer: re.sub(rb"(?<=of call 100000000)\d", b"x", answer), Verdict.WRONG, "wrong: HTTP 200"),
        (lambda answer: answer.replace(b'"result"', b'"error" '), Verdict.FAILED, '"error"'),
        (lambda answer: None, Verdict.FAILED, "closed before the answer"),
        (lambda answer: b"no HTTP\r\n\r\n", Verdict.FAILED, "Parser"),
    ],
)
async def test_what_is_not_good_is_counted_shown_and_called_again(edit, verdict, words):
    async with calling(lambda: EditedEcho(edit)) as callers:
        await until(lambda: callers.counts[verdict] > 6)
    other = Verdict.WRONG if verdict is Verdict.FAILED else Verdict.FAILED
    assert (callers.counts[Verdict.GOOD], callers.counts[other]) == (0, 0)
    assert words in callers.example


async def test_a_gateway_that_cannot_be_reached_fails_every_call():
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    callers = Callers(Access(port))
    task = asyncio.ensure_future(callers.call_on())
    await until(lambda: callers.counts[Verdict.FAILED] > 2)
    task.cancel()
    assert "ConnectionRefusedError" in callers.example


async def test_a_connection_that_the_gateway_closes_after_an_answer_fails_no_call():
    class Closing(EditedEcho):
        def write(self, answer):
            self.transport.write(answer.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
            self.transport.close()

    async with calling(lambda: Closing(None)) as callers:
        await until(lambda: callers.counts[Verdict.GOOD] > 6)
    assert callers.counts[Verdict.FAILED] == 0, callers.example


async def test_rest_is_asked_over_a_connection_of_its_own():
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0)
    async with server:
        answer = await get(Access(server.sockets[0].getsockname()[1]), "/api/servers/echo")
    assert answer.status == 405  # the echo has no REST
