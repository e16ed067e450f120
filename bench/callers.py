"""A load of which every call is known: when it began, whose it is, how it ended.

wrk tells sums alone; what a kill does to those who wait is told by the calls that were under way at that
moment. Every connection has one call under way, so an answer that is another caller's is seen at once.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from enum import StrEnum

import httptools

from bench.connection import Access, Reply, ReplyReader, request

CHUNK = 1 << 16
PAUSE = 0.01  # s after a call that failed, or a gateway in trouble would get little else than repetitions
FIRST_CALL = 1_000_000_000


class Verdict(StrEnum):
    GOOD = "good"
    FAILED = "failed"  # refused, answered with an error, or lost with its connection
    WRONG = "wrong"  # anything but an answer to this very call


def text_of(call: int) -> str:
    return f"the text of call {call}"


def judge(reply: Reply, call: int) -> Verdict:
    """What the reply is to `call`."""
    if reply.status != 200:
        return Verdict.FAILED
    try:
        message = reply.message()
    except (ValueError, IndexError):
        return Verdict.WRONG
    match message:
        case {"id": number, "error": _} | {"id": number, "result": {"isError": True}} if number == call:
            return Verdict.FAILED
        case {"id": number, "result": {"content": [{"text": text}]}} if number == call:
            return Verdict.GOOD if text == text_of(call) else Verdict.WRONG
    return Verdict.WRONG


@dataclass(slots=True)
class Watch:
    """What happens to callers after a moment. Times are `time.perf_counter`'s, in seconds."""

    start: float
    waiting: set[int]  # calls under way that have not ended yet
    first: float | None = None  # from the start to the first good answer to a call that was under way then
    longest_wait: float = 0.0  # for a good answer, of any call, as far as it lies after the start
    _gap: float = 0.0
    _last: float = 0.0  # good answer; 0: none yet

    def ended(self, call: int, began: float, now: float, *, good: bool) -> None:
        self.waiting.discard(call)
        if not good:
            return
        self._gap = self.longest_gap(now)
        self._last = now
        self.longest_wait = max(self.longest_wait, now - max(began, self.start))
        if self.first is None and began <= self.start:
            self.first = now - self.start

    def longest_gap(self, now: float) -> float:
        """The longest time without a good answer to anybody, between the start and `now`."""
        return max(self._gap, now - (self._last or self.start))


class Channel:
    """What `Connection` is, for many at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._replies = ReplyReader()

    @classmethod
    async def open(cls, port: int) -> Channel:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, message: bytes) -> Reply:
        """Raises OSError when the connection is lost."""
        self._writer.write(message)
        while (reply := self._replies.feed(await self._reader.read(CHUNK))) is None:
            pass
        return reply

    def close(self) -> None:
        self._writer.close()


async def get(access: Access, path: str) -> Reply:
    """Ask the REST API, over a connection of this request's own."""
    channel = await Channel.open(access.port)
    try:
        return await channel.ask(access.get(path))
    finally:
        channel.close()


class Callers:
    """All callers of one gateway, and what became of their calls."""

    def __init__(self, access: Access) -> None:
        self.counts = dict.fromkeys(Verdict, 0)
        self.example = ""  # the first answer that was not good
        self._access = access
        self._last_call = FIRST_CALL
        self._under_way: dict[int, float] = {}  # when each call began
        self._watch: Watch | None = None

    def watch(self) -> Watch:
        """Watch from now on; an earlier watch ends."""
        self._watch = Watch(time.perf_counter(), self.under_way())
        return self._watch

    def under_way(self) -> set[int]:
        return set(self._under_way)

    async def call_on(self) -> None:
        """Be one caller: one call after the other, over one connection, until cancelled."""
        channel: Channel | None = None
        try:
            while True:
                call = self._begin()
                try:
                    channel = channel or await Channel.open(self._access.port)
                    reply = await channel.ask(self._request(call))
                except (OSError, httptools.HttpParserError) as error:
                    verdict, words, stays = Verdict.FAILED, repr(error), False
                else:
                    verdict, words = judge(reply, call), f"HTTP {reply.status}: {reply.body[:300]!r}"
                    stays = reply.headers.get("connection", "").lower() != "close"
                self._end(call, verdict, words)
                if not stays and channel:
                    channel.close()
                    channel = None
                if verdict is not Verdict.GOOD:
                    await asyncio.sleep(PAUSE)
        finally:
            if channel:
                channel.close()

    def _request(self, call: int) -> bytes:
        params = {"name": self._access.tool, "arguments": {"text": text_of(call)}}
        body = request(call, "tools/call", params)
        return self._access.head("POST", len(body)) + body

    def _begin(self) -> int:
        self._last_call += 1
        self._under_way[self._last_call] = time.perf_counter()
        return self._last_call

    def _end(self, call: int, verdict: Verdict, words: str) -> None:
        began = self._under_way.pop(call)
        self.counts[verdict] += 1
        if verdict is not Verdict.GOOD and not self.example:
            self.example = f"{verdict}: {words}"
        if self._watch:
            self._watch.ended(call, began, time.perf_counter(), good=verdict is Verdict.GOOD)
