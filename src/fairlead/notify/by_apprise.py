"""Sending by Apprise, which knows some hundred services by their URLs, in a process of its own.

Apprise loads all of its services, which takes 50 MB and most of a second, and it blocks. A process that ends
with its message gives the memory back, and can be killed where a service hangs; messages are rare. What it is
to do comes by stdin: the URL holds secrets, and arguments are seen by all.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from typing import Final

from fairlead.kit.children import end_child, start_child
from fairlead.model.errors import Fault, Problem, ProblemError

PROGRAM: Final = "fairlead.notify.apprise_process"


class AppriseSender:
    """Implements `notifier.Send`."""

    def __init__(self, resolve: Callable[[str], str]) -> None:
        """`resolve` puts in what placeholders stand for, and raises ProblemError where it cannot."""
        self._resolve = resolve

    async def __call__(self, url: str, title: str, body: str) -> None:
        """Raises ProblemError, which never holds the URL. Cancelled, it leaves no process behind."""
        message = json.dumps([self._resolve(url), title, body]).encode()
        environment = {name: text for name, text in os.environ.items() if not name.startswith("FAIRLEAD_")}
        process = await start_child(
            (sys.executable, "-P", "-m", PROGRAM),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment,
        )
        try:
            await process.communicate(message)
        except asyncio.CancelledError:
            await end_child(process)
            raise
        match process.returncode:
            case 0:
                return
            case 3:
                raise _problem("Apprise knows no service of such a URL: see its list", Fault.CLIENT)
            case 4:
                raise _problem("the service did not take the message", Fault.UPSTREAM)
            case code:
                raise _problem(f"the process that sends ended with {code}", Fault.GATEWAY)


def _problem(detail: str, fault: Fault) -> ProblemError:
    return ProblemError(Problem("not-told", "People could not be told", detail, 502, fault))
