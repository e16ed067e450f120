"""What every driver promises (`ports.Driver`, `ports.Link`), run against each of them on both event loops.

To put a driver through this suite, write a function that makes an `Endpoint` of it and name it in
`ENDPOINTS`. The server behind `good` speaks 2025-11-25 and has the tool `echo {text}`.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest

from fairlead.drivers.process import ProcessDriver
from fairlead.drivers.remote import RemoteDriver
from fairlead.model.errors import Fault, ProblemError
from fairlead.model.launch import Launch, RemoteLaunch
from fairlead.ports import Driver, Link
from support.light import OWNER, Resources, launch_light, nothing_more_than
from support.recorder import Recorder, call, notify, request
from support.until import until

LEGACY = "2025-11-25"
SDK_SERVER = Path(__file__).parents[1] / "support" / "sdk_server.py"


@dataclass(frozen=True)
class Endpoint:
    """Makes drivers of one kind; `good` launches a server that works, `missing` one that is not there."""

    make: Callable[[Path], Driver]
    good: Callable[[Path, str], Launch]
    missing: Callable[[Path], Launch]


@contextmanager
def process() -> Iterator[Endpoint]:
    yield Endpoint(
        make=lambda folder: ProcessDriver(OWNER, folder / "instances.json"),
        good=lambda folder, name: launch_light(folder, instance_id=name),
        missing=lambda folder: launch_light(folder, argv=("no-such-command",)),
    )


@contextmanager
def remote(*flags: str, transport: Literal["streamable-http", "sse"]) -> Iterator[Endpoint]:
    command = [sys.executable, str(SDK_SERVER), *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        try:
            yield Endpoint(
                make=lambda folder: RemoteDriver(),
                good=lambda folder, name: RemoteLaunch(name, url, transport, stop_grace=2.0),
                missing=lambda folder: RemoteLaunch("missing", "http://127.0.0.1:1/mcp", transport),
            )
        finally:
            server.kill()


ENDPOINTS = {
    "process": process,
    "streamable_http": partial(remote, transport="streamable-http"),
    "legacy_sse": partial(remote, "sse", transport="sse"),
}


@pytest.fixture(scope="module", params=ENDPOINTS.values(), ids=ENDPOINTS.keys())
def endpoint(request: pytest.FixtureRequest) -> Iterator[Endpoint]:
    with request.param() as endpoint:
        yield endpoint


class Opened:
    def __init__(self, endpoint: Endpoint, folder: Path) -> None:
        self.endpoint = endpoint
        self.folder = folder
        self.driver = endpoint.make(folder)

    async def ready(self, name: str = "good-1") -> tuple[Link, Recorder]:
        """A link whose server has been initialised; what was heard until then is forgotten."""
        heard = Recorder()
        link = await self.driver.open(self.endpoint.good(self.folder, name), heard)
        link.negotiated(LEGACY)
        client = {"name": "test", "version": "1"}
        request(link, 1, "initialize", {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": client})
        assert (await heard.answered(1))["result"]["protocolVersion"] == LEGACY
        notify(link, "notifications/initialized")
        return link, heard


@pytest.fixture
async def opened(endpoint: Endpoint, tmp_path: Path) -> AsyncIterator[Opened]:
    with suppress(OSError):  # uvloop opens a descriptor of its own with the first connection
        await asyncio.open_connection("127.0.0.1", 1)
    before = Resources.now()
    opened = Opened(endpoint, tmp_path)
    yield opened
    await opened.driver.close()
    await nothing_more_than(before)


def text_of(answer: Any) -> str:
    return answer["result"]["content"][0]["text"]


async def test_requests_are_answered_each_once_and_to_its_own_number(opened):
    link, heard = await opened.ready()
    for number in range(2, 102):
        call(link, number, "echo", text=f"text {number}")
    for number in range(2, 102):
        assert text_of(await heard.answered(number)) == f"text {number}"


@pytest.mark.parametrize(
    "text", ["", "\r\n line \n", "\u2028 \u00e4 \U0001f600 \x00", '"}\\', "x" * 1_000_000]
)
async def test_any_text_goes_there_and_back(opened, text):
    link, heard = await opened.ready()
    call(link, 2, "echo", text=text)
    assert text_of(await heard.answered(2)) == text


async def test_a_frame_is_one_message_without_newline_or_padding(opened):
    link, heard = await opened.ready()
    call(link, 2, "echo", text="x")
    await heard.answered(2)
    for frame in heard.frames:
        assert type(frame) is bytes
        assert frame == frame.strip()
        assert b"\n" not in frame
        assert b"\r" not in frame


async def test_a_notification_is_not_answered(opened):
    link, heard = await opened.ready()
    notify(link, "notifications/roots/list_changed")
    call(link, 2, "echo", text="x")
    await heard.answered(2)
    assert [message.get("id") for message in heard.messages] == [1, 2]


async def test_an_unknown_method_is_answered_with_an_error(opened):
    link, heard = await opened.ready()
    request(link, 2, "no/such/method")
    assert "error" in await heard.answered(2)


async def test_nothing_is_heard_while_reading_is_paused(opened):
    link, heard = await opened.ready()
    link.pause_reading()
    link.pause_reading()
    for number in range(2, 12):
        call(link, number, "echo", text="x" * 10_000)
    await asyncio.sleep(0.1)
    assert len(heard.frames) == 1
    link.resume_reading()
    link.resume_reading()
    for number in range(2, 12):
        await heard.answered(number)


async def test_nothing_waits_when_nothing_was_sent(opened):
    link, heard = await opened.ready()
    call(link, 2, "echo", text="x" * 100_000)
    assert link.statistics().queued_bytes > 100_000
    await heard.answered(2)
    await until(lambda: link.statistics().queued_bytes == 0)


async def test_links_of_one_driver_are_independent(opened):
    (one, heard_one), (two, heard_two) = await opened.ready("good-1"), await opened.ready("good-2")
    await one.close()
    call(two, 2, "echo", text="still here")
    assert text_of(await heard_two.answered(2)) == "still here"
    assert heard_one.lost.expected
    assert heard_two.lost is None


async def test_close_tells_the_loss_once_and_last(opened):
    link, heard = await opened.ready()
    await asyncio.gather(link.close(), link.close(), link.close())
    await link.close()
    assert heard.lost.expected
    assert heard.lost.reason
    assert heard.events[-1] == ("lost", heard.lost)


async def test_a_closed_link_takes_everything_and_does_nothing(opened):
    link, heard = await opened.ready()
    await link.close()
    events = list(heard.events)
    call(link, 2, "echo", text="too late")
    notify(link, "notifications/cancelled", {"requestId": 2})
    assert link.abandon(2) is False
    link.negotiated(LEGACY)
    link.pause_reading()
    link.resume_reading()
    assert link.statistics().queued_bytes == 0
    await asyncio.sleep(0.01)
    assert heard.events == events


async def test_close_does_not_wait_for_calls(opened):
    link, heard = await opened.ready()
    for number in range(2, 100):
        call(link, number, "echo", text="x" * 10_000)
    async with asyncio.timeout(10):
        await link.close()
    assert heard.lost.expected


async def test_what_is_not_there_is_refused_and_the_listener_hears_nothing(opened):
    heard = Recorder()
    with pytest.raises(ProblemError) as caught:
        await opened.driver.open(opened.endpoint.missing(opened.folder), heard)
    problem = caught.value.problem
    assert problem.fault is Fault.UPSTREAM
    assert problem.code
    assert problem.detail
    assert heard.events == []


async def test_closing_the_driver_closes_its_links_and_can_be_repeated(opened):
    heard = [(await opened.ready(f"good-{number}"))[1] for number in range(2)]
    await opened.driver.close()
    await opened.driver.close()
    assert all(each.lost.expected for each in heard)


async def test_there_is_nothing_to_sweep_at_the_first_start(opened):
    assert await opened.driver.sweep() == []
