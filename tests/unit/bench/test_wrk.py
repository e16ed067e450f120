"""wrk with load.lua against servers that err: what it must notice, it notices."""

import asyncio
import re
import shutil

import pytest
from bench.connection import Access
from bench.load import run_wrk

from support.edited_echo import EditedEcho

pytestmark = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")


class Swapping(EditedEcho):
    """Two connections get each other's answers."""

    def __init__(self, held):
        super().__init__(None)
        self.held = held

    def write(self, reply):
        if not self.held:
            self.held.append((self.transport, reply))
            return
        other, others_reply = self.held.pop()
        other.write(reply)
        self.transport.write(others_reply)


def other_text(reply):
    return re.sub(rb"text of call 1", b"text of call 2", reply)


def other_id(reply):
    return re.sub(rb'"id":1', b'"id":9', reply)


def busy(reply):
    return b"HTTP/1.1 503 Busy\r\nContent-Length: 9\r\n\r\ntoo busy!"


async def load_on(protocol, *, connections=2, threads=1):
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    async with server:
        access = Access(server.sockets[0].getsockname()[1], token="t", session="s")
        return await asyncio.to_thread(run_wrk, access, connections, 1, threads=threads)


async def test_right_answers_are_no_faults():
    load = await load_on(lambda: EditedEcho(bytes))
    assert load.calls > 0
    assert (load.faults, load.example) == (0, "")


@pytest.mark.parametrize("edit", [other_text, other_id])
async def test_an_answer_with_another_text_or_id_is_wrong(edit):
    load = await load_on(lambda: EditedEcho(edit))
    assert (load.calls, load.wrong > 0) == (0, True)
    assert "the text of call" in load.example


async def test_an_error_is_no_answer():
    load = await load_on(lambda: EditedEcho(busy))
    assert (load.calls, load.refused > 0) == (0, True)
    assert load.example == "HTTP 503: too busy!"


async def test_an_answer_to_another_connection_is_noticed_with_a_thread_for_each():
    held = []
    load = await load_on(lambda: Swapping(held), threads=2)
    assert load.wrong > 0
