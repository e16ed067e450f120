"""Messages go out off the loop, together, and failures stay where they are."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.events import EventType
from fairlead.model.gitops import Channel, QuietHours
from fairlead.notify import notifier
from fairlead.notify.notifier import MOST_WAITING, ChannelStatistics, Notifier
from support.until import until

SECRET = "https://hooks.example/s3cret"


class Mailbox:
    """Where messages arrive; `hold` keeps the sender waiting, `fail` is raised."""

    def __init__(self) -> None:
        self.came: list[tuple[str, str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered = 0
        self.fail: Callable[[], Exception | None] = lambda: None

    async def send(self, url: str, title: str, body: str) -> None:
        assert title == "Fairlead"
        self.entered += 1
        await self.gate.wait()
        if (error := self.fail()) is not None:
            raise error
        self.came.append((url, body))


def drift(told: Notifier, key: str, severity: str = "high") -> None:
    data = {"application": "tools", "object": "fleet", "key": key, "severity": severity}
    told.note(EventType.DRIFT_DETECTED, "tools", data)


@contextlib.asynccontextmanager
async def running(told: Notifier) -> AsyncIterator[None]:
    task = asyncio.create_task(told.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def keys(body: str) -> list[str]:
    return [line.split("#")[1].split()[0] for line in body.splitlines()]


async def test_each_channel_gets_what_it_wants():
    box = Mailbox()
    told = Notifier([Channel(url="one"), Channel(url="two", events=("sync-started",))], box.send)
    async with running(told):
        drift(told, "a")
        drift(told, "b", "low")
        told.note(EventType.SYNC_STARTED, "tools", {})
        await until(lambda: len(box.came) == 2)
    assert dict(box.came)["two"] == "tools: sync-started"
    assert keys(dict(box.came)["one"]) == ["a"]


async def test_what_comes_while_a_message_is_on_its_way_is_one_message():
    box = Mailbox()
    told = Notifier([Channel(url="one")], box.send)
    async with running(told):
        box.gate.clear()
        drift(told, "first")
        await until(lambda: box.entered == 1)
        for number in range(MOST_WAITING + 5):
            drift(told, f"k{number}")
        assert told.statistics() == {1: ChannelStatistics(0, 0, 5, MOST_WAITING)}
        box.gate.set()
        await until(lambda: len(box.came) == 2)
    assert keys(box.came[0][1]) == ["first"]
    assert len(box.came[1][1].splitlines()) <= MOST_WAITING
    assert keys(box.came[1][1])[0] == "k5", "the oldest went first"
    assert len(box.came[1][1]) <= notifier.LONGEST


@pytest.mark.parametrize(
    "error",
    [
        OSError(SECRET),
        RuntimeError(SECRET),
        ProblemError(Problem("not-told", "t", "the service did not take it", 502, Fault.UPSTREAM)),
    ],
    ids=["os", "bug", "problem"],
)
async def test_a_channel_that_fails_is_tried_again_and_given_up(error: Exception, monkeypatch: Any):
    monkeypatch.setattr(notifier, "PAUSES", (0.0, 0.0))
    box, tried = Mailbox(), []

    def fail() -> Exception | None:
        tried.append(1)
        return error

    box.fail = fail
    told = Notifier([Channel(url=SECRET), Channel(url="two")], box.send)
    with capture_logs() as logs:
        async with running(told):
            drift(told, "a")
            await until(lambda: told.statistics()[1].failed == 1)
            await until(lambda: told.statistics()[2].failed == 1)
            assert len(tried) == 6
            box.fail = lambda: None
            drift(told, "b")
            await until(lambda: told.statistics()[1].sent == 1)
    warned = [line for line in logs if line["event"] == "people could not be told"]
    assert {line["channel"] for line in warned} == {1, 2}
    assert SECRET not in str(logs)


async def test_a_channel_that_hangs_holds_up_no_other_one(monkeypatch: Any):
    monkeypatch.setattr(notifier, "SEND", 0.05)
    monkeypatch.setattr(notifier, "PAUSES", ())
    box, other = Mailbox(), Mailbox()
    box.gate.clear()

    async def send(url: str, title: str, body: str) -> None:
        await (box if url == "hangs" else other).send(url, title, body)

    told = Notifier([Channel(url="hangs"), Channel(url="well")], send)
    with capture_logs() as logs:
        async with running(told):
            drift(told, "a")
            await until(lambda: told.statistics()[1].failed == 1)
            await until(lambda: told.statistics()[2].sent == 1)
    assert [line["why"] for line in logs if "why" in line] == ["it took more than 0.05 s"]


@pytest.mark.looptime
async def test_what_quiet_hours_held_back_comes_when_they_end():
    loop, box = asyncio.get_running_loop(), Mailbox()
    midnight = 1_795_305_600.0  # 2026-11-22 00:00 UTC
    quiet = QuietHours(start="23:00", end="06:00")
    told = Notifier([Channel(url="one", quiet=quiet)], box.send, now=lambda: midnight + loop.time())
    async with running(told):
        await asyncio.sleep(60)
        drift(told, "a")
        await asyncio.sleep(3600)
        drift(told, "b")
        await asyncio.sleep(6 * 3600 - 3600 - 61)
        assert box.came == []
        await asyncio.sleep(2)
        assert [keys(body) for _, body in box.came] == [["a", "b"]]


@pytest.mark.looptime
async def test_what_is_held_back_outlives_a_change_of_the_channels():
    loop, box = asyncio.get_running_loop(), Mailbox()
    midnight = 1_795_305_600.0  # 2026-11-22 00:00 UTC
    quiet = QuietHours(start="23:00", end="06:00")
    same, other = Channel(url="same", quiet=quiet), Channel(url="other", quiet=quiet)
    told = Notifier(
        [same, other, Channel(url="gone", quiet=quiet)], box.send, now=lambda: midnight + loop.time()
    )
    async with running(told):
        await asyncio.sleep(60)
        drift(told, "a")
        shorter = other.model_copy(update={"quiet": QuietHours(start="23:00", end="03:00")})
        told.configure([Channel(url="new"), shorter, same])
        drift(told, "a")
        await asyncio.sleep(1)
        assert [url for url, _ in box.came] == ["new"]
        await asyncio.sleep(3 * 3600)
        assert box.came[1:] == [("other", box.came[0][1])]
        told.configure([Channel(url="same")])
        await asyncio.sleep(1)
        assert box.came[2:] == [("same", box.came[0][1])]
        assert told.statistics() == {1: ChannelStatistics(1, 0, 0, 0)}


async def test_what_a_channel_is_sending_when_it_changes_arrives_once():
    box = Mailbox()
    told = Notifier([Channel(url="one"), Channel(url="gone")], box.send)
    async with running(told):
        box.gate.clear()
        drift(told, "a")
        await until(lambda: box.entered == 2)
        drift(told, "b")
        told.configure([Channel(url="one", repeat=1.0)])
        box.gate.set()
        await until(lambda: len(box.came) == 4)
    assert sorted((url, keys(body)) for url, body in box.came) == [
        ("gone", ["a"]), ("gone", ["b"]), ("one", ["a"]), ("one", ["b"])
    ]  # fmt: skip


async def test_a_channel_that_cannot_be_is_left_out_and_said():
    box = Mailbox()
    broken = Channel(url=SECRET, quiet=QuietHours(start="x", end="y"))
    with capture_logs() as logs:
        told = Notifier([broken, Channel(url="two")], box.send)
        async with running(told):
            drift(told, "a")
            await until(lambda: told.statistics()[2].sent == 1)
    [line] = logs
    assert (line["channel"], "no time of day" in line["why"], bool(line["mend"])) == (1, True, True)
    assert SECRET not in str(logs)
    assert list(told.statistics()) == [2]


async def test_without_channels_nothing_is_done():
    told = Notifier([], Mailbox().send)
    async with running(told):
        drift(told, "a")
        await asyncio.sleep(0)
        assert repr(told) == "Notifier({})"


async def test_noting_takes_no_time_worth_speaking_of():
    told = Notifier([Channel(url="one")], Mailbox().send)
    start = time.perf_counter()
    for number in range(1000):
        drift(told, f"k{number}")
    assert time.perf_counter() - start < 30.0
