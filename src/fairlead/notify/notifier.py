"""Tells people: takes what happened without waiting, and sends it to each channel by itself.

What has come together while a message was on its way becomes one message. A channel that fails is tried a
few times and then given up for that message; nothing of it ever reaches who reported the event.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from fairlead.core.notices import Desk, notice_of
from fairlead.model.errors import ProblemError, SpecError
from fairlead.model.events import EventType
from fairlead.model.gitops import Channel

LOG = structlog.get_logger("fairlead.notify")
TITLE: Final = "Fairlead"
MOST_WAITING: Final = 100  # texts of one channel; the oldest go first
PAUSES: Final = (5.0, 30.0)  # s between attempts
SEND: Final = 60.0  # s that a channel may take for a message
LONGEST: Final = 8000  # characters of a message

Send = Callable[[str, str, str], Awaitable[None]]
"""Gets a channel's `url` as it is written, a title and a text. It raises where it fails."""


@dataclass(frozen=True, slots=True)
class ChannelStatistics:
    """Messages that were sent and given up; texts that were dropped, and that wait."""

    sent: int
    failed: int
    dropped: int
    waiting: int


@dataclass(slots=True, eq=False)
class _Line:
    """To one channel. `number` is how people are told of it: its URL may hold a secret."""

    number: int
    channel: Channel
    desk: Desk
    texts: deque[str] = field(default_factory=deque)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    sent: int = 0
    failed: int = 0
    dropped: int = 0
    is_retired: bool = False

    def put(self, text: str) -> None:
        if len(self.texts) == MOST_WAITING:
            self.texts.popleft()
            self.dropped += 1
        self.texts.append(text)
        self.news.set()


class Notifier:
    """Implements `ports.Recorder`. `run` sends until it is cancelled."""

    def __init__(
        self, channels: Sequence[Channel], send: Send, *, now: Callable[[], float] = time.time
    ) -> None:
        self._send = send
        self._now = now
        self._lines: list[_Line] = []
        self._configured = asyncio.Event()
        self.configure(channels)

    def __repr__(self) -> str:
        return f"Notifier({self.statistics()})"

    def statistics(self) -> dict[int, ChannelStatistics]:
        """By the channel's number, from 1."""
        return {
            line.number: ChannelStatistics(line.sent, line.failed, line.dropped, len(line.texts))
            for line in self._lines
        }

    def configure(self, channels: Sequence[Channel]) -> None:
        """Tell these from now on. One that is as before goes on; what waits for another to the same place is
        told by that. A channel that cannot be as it is written is left out, and logged.
        """
        former = self._lines
        self._lines = []
        for number, channel in enumerate(channels, 1):
            same = next((line for line in former if line.channel == channel), None)
            if same is not None:
                former.remove(same)
                same.number = number
                self._lines.append(same)
                continue
            try:
                self._lines.append(_Line(number, channel, Desk(channel)))
            except SpecError as wrong:
                LOG.error("a channel is not used", channel=number, why=str(wrong), mend=wrong.hint)
        for line in former:
            self._retire(line)
        self._configured.set()

    def _retire(self, line: _Line) -> None:
        """It ends once it has sent what it has in hand."""
        line.is_retired = True
        line.news.set()
        heir = next((each for each in self._lines if each.channel.url == line.channel.url), None)
        if heir is None:
            if line.desk.wakes_at is not None:
                LOG.warning("a channel is gone, and what it held back is not told", channel=line.number)
            return
        heir.desk.take_over(line.desk, self._now())
        heir.texts.extendleft(reversed(line.texts))
        line.texts.clear()
        heir.news.set()

    def note(self, event_type: EventType, subject: str, data: Mapping[str, Any]) -> None:
        if not self._lines:
            return
        notice = notice_of(event_type.value, subject, data)
        for line in self._lines:
            if (text := line.desk.take(notice, self._now())) is not None:
                line.put(text)
            elif line.desk.wakes_at is not None:
                line.news.set()  # there is a time now at which it has something

    async def run(self) -> None:
        served: list[_Line] = []
        async with asyncio.TaskGroup() as group:
            while True:
                self._configured.clear()
                for line in self._lines:
                    if line not in served:
                        group.create_task(self._serve(line), name=f"notify channel {line.number}")
                served = list(self._lines)
                await self._configured.wait()

    async def _serve(self, line: _Line) -> None:
        while not line.is_retired or line.texts:
            wakes = line.desk.wakes_at
            try:
                async with asyncio.timeout(None if wakes is None else max(0.0, wakes - self._now())):
                    await line.news.wait()
            except TimeoutError:
                pass
            line.news.clear()
            if not line.is_retired and (held := line.desk.due(self._now())) is not None:
                line.put(held)
            if line.texts:
                texts = "\n".join(line.texts)
                line.texts.clear()
                await self._deliver(line, texts[:LONGEST])

    async def _deliver(self, line: _Line, text: str) -> None:
        why = ""
        for pause in (0.0, *PAUSES):
            await asyncio.sleep(pause)
            try:
                async with asyncio.timeout(SEND):
                    await self._send(line.channel.url, TITLE, text)
            except TimeoutError:
                why = f"it took more than {SEND:g} s"
            except ProblemError as refused:
                why = refused.problem.detail
            except Exception as error:  # noqa: BLE001 - a service's client; what it says may hold its secret
                why = type(error).__name__
            else:
                line.sent += 1
                return
        line.failed += 1
        LOG.warning("people could not be told", channel=line.number, why=why)
