"""One WebSocket: what its client asks for, and the events that it follows.

A task listens; each subscription has a task that sends its events; a command runs in a task of the service,
since it goes on when its client has gone. Whoever wants the connection to end calls `leave`, and `run` does
the rest: it stops the tasks, so that nothing is sent any more, works out where each subscription has got to,
says so, and closes.

What a subscription has sent is only known when `send` has returned. A client that does not read holds `send`
up: after PATIENCE it counts as slow, as does one that lags by more events than it may.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import msgspec
import structlog
from pydantic import BaseModel
from starlette.types import Receive, Send

from fairlead.core.ratelimit import Gcra, Rate
from fairlead.events.feed import GoneError, SlowReaderError, Subscription
from fairlead.kit.tasks import Tasks
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.events import StoredEvent
from fairlead.web.live import Live
from fairlead.web.live_command import Sender, authorize, carry_out, refused
from fairlead.web.live_filter import Filter
from fairlead.web.live_following import follow, gone_problem
from fairlead.web.live_messages import (
    LAST_WORD,
    PATIENCE,
    ClientMessage,
    Ping,
    Pong,
    Reason,
    Result,
    Subscribe,
    Unsubscribe,
    Welcome,
    leaving,
)
from fairlead.web.live_table import Action, BadMessageError

MAX_SUBSCRIPTIONS: Final = 32
MAX_COMMANDS: Final = 8  # of one connection at a time
MESSAGES: Final = Rate(per_minute=3000, burst=500)  # of one connection, whoever it is

CODES: Final[dict[Reason, int]] = {"stopping": 1001, "credential": 4001, "slow": 4008}
_log = structlog.get_logger("fairlead.web.live")


@dataclass(eq=False, slots=True)
class _Following:
    """A subscription, and the event of it that is being sent."""

    events: Subscription
    task: asyncio.Task[None] | None = None
    sending: StoredEvent | None = None

    @property
    def resume_from(self) -> int:
        return self.events.resume_from if self.sending is None else self.sending.sequence - 1


class Conversation:
    """See the top of this file."""

    def __init__(self, live: Live, sender: Sender, send: Send) -> None:
        self._live = live
        self._sender = sender
        self._caller = sender.caller
        self._raw_send = send
        self._following: dict[str, _Following] = {}
        self._commands = 0
        self._tasks = Tasks(self._failed)
        self._ended: asyncio.Future[Reason] = asyncio.get_running_loop().create_future()
        self._bucket = Gcra(MESSAGES)

    def __repr__(self) -> str:
        return f"Conversation({self._caller.name!r}, following={list(self._following)})"

    def leave(self, reason: Reason) -> None:
        """The connection ends; the first reason counts."""
        if not self._ended.done():
            self._ended.set_result(reason)

    async def run(self, receive: Receive) -> None:
        """Until the client has gone, or has been sent away. The connection is accepted."""
        try:
            await self._welcome()
            self._tasks.spawn(self._listen(receive), "listen")
            reason = await self._ended
        finally:
            self.leave("gone")
            await self._tasks.close()
            for following in self._following.values():
                following.events.close()
        if reason != "gone":
            await self._goodbye(reason)

    # == what comes in ===================================================================================

    async def _listen(self, receive: Receive) -> None:
        clock = asyncio.get_running_loop().time
        while not self._ended.done():
            message = await receive()
            if message["type"] != "websocket.receive":
                break
            if self._bucket.admit(clock()):
                await self._close(1008, "too many messages")
                break
            text = message.get("text")
            if text is None:
                await self._close(1003, "messages are text")
                break
            await self._take(text)
            await asyncio.sleep(0)  # a burst of messages holds up nobody else
        self.leave("gone")

    async def _take(self, text: str) -> None:
        """One message. What is wrong with it is answered; the connection goes on."""
        if not self._live.is_valid(self._caller):
            self.leave("credential")
            return
        message = None
        try:
            self._live.spend(self._caller)
            message = self._live.table.decode(text)
            await self._do(message)
        except BadMessageError as bad:
            await self._refuse(bad.id, bad.problem)
        except ProblemError as error:
            refused(self._live.door, self._sender, message, error.problem)
            await self._refuse(message.id if message else None, error.problem)

    async def _do(self, message: ClientMessage) -> None:
        match message:
            case Ping():
                await self._tell(Pong(id=message.id, sequence=self._live.feed.latest))
            case Subscribe():
                await self._subscribe(message)
            case Unsubscribe():
                await self._unsubscribe(message)
            case _:
                action = self._live.table.action(message)
                assert action is not None
                authorize(self._live.door, self._sender, action, message)
                if action.is_command:
                    self._start(action, message)
                else:
                    sequence = self._live.feed.latest  # before the look: what changes meanwhile comes again
                    result = await self._live.table.run(action, message, self._caller)
                    await self._tell(Result(id=message.id, sequence=sequence, result=result))

    async def _subscribe(self, message: Subscribe) -> None:
        if message.id in self._following:
            raise ProblemError(_refusal(409, "id-in-use", f"a subscription {message.id!r} is there already"))
        if len(self._following) >= MAX_SUBSCRIPTIONS:
            detail = f"a connection may have {MAX_SUBSCRIPTIONS} subscriptions; end one, or open another"
            raise ProblemError(_refusal(409, "too-many-subscriptions", detail))
        chosen = Filter(message.types, message.subjects, message.servers)
        wanted = chosen.wanted(self._caller)
        queue = self._live.limits.queue
        events = await follow(self._live.feed, message.since, wanted, queue, epoch=message.epoch)
        following = self._following[message.id] = _Following(events)
        await self._tell(Result(id=message.id, sequence=events.resume_from))
        following.task = self._tasks.spawn(self._follow(message.id, following), f"follow {message.id}")

    async def _unsubscribe(self, message: Unsubscribe) -> None:
        following = self._following.pop(message.subscription, None)
        if following is None:
            known = ", ".join(self._following) or "none"
            detail = f"there is no subscription {message.subscription!r}; there are: {known}"
            raise ProblemError(_refusal(404, "unknown-subscription", detail))
        sequence = following.resume_from
        if following.task is not None:
            following.task.cancel()
        following.events.close()
        await self._tell(Result(id=message.id, sequence=sequence))

    # == commands ========================================================================================

    def _start(self, action: Action, message: ClientMessage) -> None:
        if self._commands >= MAX_COMMANDS:
            detail = f"{MAX_COMMANDS} commands of this connection are being carried out; wait for one"
            raise ProblemError(_refusal(429, "too-many-commands", detail, retry_after=1.0))
        self._commands += 1
        self._live.commands.spawn(self._carry_out(action, message), f"command {action.name}")

    async def _carry_out(self, action: Action, message: ClientMessage) -> None:
        try:
            result = await carry_out(self._live, self._sender, action, message)
        except ProblemError as failed:
            await self._refuse(message.id, failed.problem)
        else:
            await self._tell(Result(id=message.id, result=result))
        finally:
            self._commands -= 1

    # == what goes out ===================================================================================

    async def _follow(self, name: str, following: _Following) -> None:
        try:
            async for stored in following.events:
                following.sending = stored
                body = b'{"type":"event","subscription":%b,"event":%b}'
                if not await self._send(body % (msgspec.json.encode(name), self._live.encoded(stored))):
                    return
                following.sending = None
        except SlowReaderError:
            self.leave("slow")
        except GoneError as gone:
            self._following.pop(name, None)
            following.events.close()
            await self._refuse(name, gone_problem(gone))

    async def _welcome(self) -> None:
        live = self._live
        await self._tell(
            Welcome(
                service=live.table.service,
                node=live.node,
                sequence=live.feed.latest,
                epoch=live.feed.epoch,
                principal=self._caller.name,
                role=self._caller.role.word,
            )
        )

    async def _refuse(self, message_id: str | None, problem: Problem) -> None:
        document = {"type": "error", "id": message_id, "problem": problem.document(self._sender.request_id)}
        await self._send(msgspec.json.encode(document))

    async def _tell(self, message: BaseModel) -> None:
        await self._send(message.model_dump_json(by_alias=True).encode())

    async def _send(self, message: bytes) -> bool:
        """Whether it has gone out. A client that does not take it, or may not any more, is sent away."""
        if not self._ended.done() and not self._live.is_valid(self._caller):
            self.leave("credential")
        if self._ended.done():
            return False
        try:
            async with asyncio.timeout(PATIENCE):
                await self._raw_send({"type": "websocket.send", "text": message.decode()})
        except TimeoutError:
            self.leave("slow")
            return False
        except OSError:  # the connection is lost
            self.leave("gone")
            return False
        return True

    async def _goodbye(self, reason: Reason) -> None:
        """Say where to resume, twice: in a message, and in the closing frame, which nothing can hold up."""
        message = leaving(reason, {name: each.resume_from for name, each in self._following.items()})
        least, text = message.resume_from, message.model_dump_json(by_alias=True)
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(LAST_WORD):
                await self._raw_send({"type": "websocket.send", "text": text})
        await self._close(CODES[reason], reason if least is None else f"{reason}; resume from {least}")

    async def _close(self, code: int, reason: str) -> None:
        with suppress(OSError, RuntimeError):  # it is closed already
            await self._raw_send({"type": "websocket.close", "code": code, "reason": reason})

    def _failed(self, name: str, error: BaseException) -> None:
        _log.error("task failed", task=name, request_id=self._sender.request_id, exc_info=error)
        self.leave("gone")


def _refusal(status: int, code: str, detail: str, *, retry_after: float | None = None) -> Problem:
    title = code.replace("-", " ").capitalize()
    return Problem(code, title, f"{detail[:1].upper()}{detail[1:]}.", status, Fault.CLIENT, retry_after)
