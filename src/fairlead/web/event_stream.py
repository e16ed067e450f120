"""Events as a stream over HTTP (server-sent events, WHATWG HTML 9.2)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import msgspec
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from fairlead.events.feed import GoneError, SlowReaderError, Subscription
from fairlead.model.access import Caller
from fairlead.web.live import Live
from fairlead.web.live_filter import Wanted
from fairlead.web.live_following import follow, gone_problem
from fairlead.web.live_messages import PATIENCE, Reason, leaving

KEEP_ALIVE: Final = 15.0  # s between comments on a silent stream
RECONNECT: Final = 2000  # ms after which a browser comes again


class EventStream(StreamingResponse):
    """Events as SSE, until the client goes or is sent away. It raises ProblemError before it has begun."""

    def __init__(
        self, live: Live, caller: Caller, since: int | None, wanted: Wanted, *, epoch: str | None = None
    ) -> None:
        super().__init__((), headers={"content-type": "text/event-stream"})
        self._live = live
        self._caller = caller
        self._since = since
        self._epoch = epoch
        self._wanted = wanted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        live = self._live
        events = await follow(live.feed, self._since, self._wanted, live.limits.queue, epoch=self._epoch)
        epoch = live.feed.epoch  # it does not change: the subscription would end
        self._prefix = f"{epoch}:".encode() if epoch else b""
        ended: list[Reason] = []

        def leave(reason: Reason) -> None:
            ended.append(reason)
            events.close()

        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(PATIENCE):
                await send(message)

        try:
            with live.seat(self._caller, leave):
                self.body_iterator = self._chunks(events, ended)
                await super().__call__(scope, receive, send_in_time)
        except TimeoutError:
            pass  # whoever takes nothing is cut off, and holds no seat
        finally:
            events.close()

    async def _chunks(self, events: Subscription, ended: list[Reason]) -> AsyncIterator[bytes]:
        yield b"retry: %d\n\n" % RECONNECT
        while not ended:
            try:
                async with asyncio.timeout(KEEP_ALIVE):
                    stored = await anext(events)
            except TimeoutError:
                yield b": \n\n"
            except StopAsyncIteration:
                break
            except SlowReaderError:
                ended.append("slow")
            except GoneError as gone:
                yield self._last(b"error", msgspec.json.encode(gone_problem(gone).document("")))
                return
            else:
                if not self._live.is_valid(self._caller):
                    yield self._last_word("credential", stored.sequence - 1)
                    return
                event = stored.event.type.value.encode()
                yield b"id: %b%d\nevent: %b\ndata: %b\n\n" % (
                    self._prefix,
                    stored.sequence,
                    event,
                    self._live.encoded(stored),
                )
        yield self._last_word(ended[0] if ended else "stopping", events.resume_from)

    def _last_word(self, reason: Reason, resume_from: int) -> bytes:
        message = leaving(reason, {"events": resume_from})
        return self._last(message.type.encode(), message.model_dump_json(by_alias=True).encode())

    @staticmethod
    def _last(name: bytes, data: bytes) -> bytes:
        return b"event: %b\ndata: %b\n\n" % (name, data)
