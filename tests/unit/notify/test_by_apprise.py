"""Apprise against a real HTTP service."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler
from typing import Any

import psutil
import pytest

from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.notify import by_apprise
from fairlead.notify.by_apprise import AppriseSender
from support.light import Resources
from support.threaded_http import ThreadedHttp
from support.until import until


class Hook(ThreadedHttp):
    """Takes messages as JSON, unless its `status` is an error's."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.came: list[dict[str, Any]] = []
        self.taken = threading.Event()
        self.taken.set()

    @property
    def place(self) -> str:
        return self.address.removeprefix("http://")

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hook.came.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                hook.taken.wait(30)
                with contextlib.suppress(OSError):  # the other side has gone
                    self.send_response(hook.status)
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        return Handler


async def test_a_message_arrives_as_it_is():
    text = "tools: fleet#a <b> & **c** {x}\nsecond line"
    with Hook() as hook:
        sender = AppriseSender(lambda url: url.replace("${PLACE}", hook.place))
        await sender("json://${PLACE}/s3cret", "T", text)
    [message] = hook.came
    assert (message["title"], message["message"]) == ("T", text)


async def test_a_service_that_refuses():
    with Hook(500) as hook, pytest.raises(ProblemError, match="did not take the message") as refused:
        await AppriseSender(str)(f"json://{hook.place}/s3cret", "T", "b")
    assert "s3cret" not in str(refused.value)


async def test_a_url_that_apprise_does_not_know():
    with pytest.raises(ProblemError, match="knows no service") as refused:
        await AppriseSender(str)("nothing://x/s3cret", "T", "b")
    assert refused.value.problem.fault is Fault.CLIENT
    assert "s3cret" not in str(refused.value)


async def test_a_service_that_hangs_is_left_and_nothing_of_it_stays():
    before = Resources.now()
    with Hook() as hook:
        hook.taken.clear()
        sending = asyncio.create_task(AppriseSender(str)(f"json://{hook.place}/", "T", "b"))
        await until(lambda: hook.came)
        [child] = Resources.now().children - before.children
        assert hook.place not in " ".join(psutil.Process(child).cmdline()), "the URL is nobody's to see"
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        hook.taken.set()
    assert Resources.now().children == before.children


async def test_a_process_that_cannot_run_is_a_fault_of_ours(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(by_apprise, "PROGRAM", "fairlead.notify.nothing")
    with pytest.raises(ProblemError, match="ended with 1") as refused:
        await AppriseSender(str)("json://127.0.0.1:1/", "T", "b")
    assert refused.value.problem.fault is Fault.GATEWAY


async def test_a_placeholder_that_stands_for_nothing_is_told_as_it_is():
    def resolve(_: str) -> str:
        raise ProblemError(Problem("missing-secrets", "t", "needs HOOK", 422, Fault.CLIENT))

    with pytest.raises(ProblemError, match="needs HOOK"):
        await AppriseSender(resolve)("${HOOK}", "T", "b")
