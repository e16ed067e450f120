"""Client programs on the official SDKs, driven step by step; `clients/conversation.py` says how."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import IO, Any

MODERN = "2026-07-28"
GUARD = 30.0  # s; no step takes nearly as long unless something hangs


class StepError(Exception):
    """The client's SDK raised. `code` is that of a JSON-RPC error, or what else the SDK calls code."""

    def __init__(self, kind: str, message: str, code: int | str | None) -> None:
        super().__init__(f"{kind} {code}: {message}")
        self.kind = kind
        self.code = code


class Program:
    """A running client program: one process, any number of connections."""

    def __init__(self, argv: list[str], log: Path) -> None:
        self._log = log
        self._outcomes: dict[int, queue.SimpleQueue[dict[str, Any]]] = {}
        self._numbers = count(1)
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True
            )
        assert self._process.stdin
        assert self._process.stdout
        self._stdin = self._process.stdin
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()

    def _read(self, stdout: IO[str]) -> None:
        for line in stdout:
            outcome = json.loads(line)
            self._outcomes[outcome["id"]].put(outcome)
        for waiting in list(self._outcomes.values()):
            waiting.put({"error": {"kind": "Ended", "message": self._log.read_text(), "code": None}})

    def start(self, connection: str, verb: str, **arguments: Any) -> int:
        """Begin a step without waiting for it; `wait` takes the number that this answers."""
        number = next(self._numbers)
        self._outcomes[number] = queue.SimpleQueue()
        self._stdin.write(
            json.dumps({"id": number, "connection": connection, "do": verb, **arguments}) + "\n"
        )
        self._stdin.flush()
        return number

    def wait(self, number: int) -> Any:
        """The step's result. Raises `StepError` when the SDK did."""
        try:
            outcome = self._outcomes[number].get(timeout=GUARD)
        except queue.Empty:
            raise TimeoutError(
                f"no outcome within {GUARD} s; the client's log:\n{self._log.read_text()}"
            ) from None
        del self._outcomes[number]
        if error := outcome.get("error"):
            raise StepError(**error)
        return outcome["result"]

    def end(self) -> None:
        """Close stdin, and with it every connection."""
        self._stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        self._process.stdout.close()


@dataclass(frozen=True)
class Flavour:
    """An official SDK in one of its modes of negotiation, and the era that must come of it."""

    program: str
    mode: str
    modern: bool

    def __str__(self) -> str:
        return f"{self.program}-{'modern' if self.mode == MODERN else self.mode}"


FLAVOURS = [
    Flavour("python-1.30", "legacy", modern=False),
    Flavour("python-2", "legacy", modern=False),
    Flavour("python-2", "auto", modern=True),
    Flavour("python-2", MODERN, modern=True),
    Flavour("typescript-1", "legacy", modern=False),
    Flavour("typescript-2", "legacy", modern=False),
    Flavour("typescript-2", "auto", modern=True),
    Flavour("typescript-2", MODERN, modern=True),
]


class Steps(ABC):
    """Something that takes the steps of a client."""

    seen: dict[str, Any]
    """What it saw when it connected: `version`, `server`, `capabilities`."""

    @abstractmethod
    def __call__(self, verb: str, **arguments: Any) -> Any:
        """Take a step and answer its result. Raises `StepError`."""

    def call(self, name: str, /, **arguments: Any) -> dict[str, Any]:
        """Call a tool: its result, and the `progress` that was heard."""
        return self("call", name=name, arguments=arguments)

    def text(self, name: str, /, **arguments: Any) -> str:
        """Call a tool that must succeed, and answer the text of its first content block."""
        result = self.call(name, **arguments)
        assert not result.get("isError"), result
        return result["content"][0]["text"]


class Connection(Steps):
    """One connection of a client program: a session in the legacy era."""

    _names = count(1)

    def __init__(
        self, program: Program, *, url: str, token: str, mode: str, answers_as: str | None = None
    ) -> None:
        """With `answers_as`, it answers what servers ask of clients in that name; else it says it cannot."""
        self._program = program
        self._name = f"c{next(self._names)}"
        self._closed = False
        self.seen = self("connect", url=url, token=token, mode=mode, answers_as=answers_as)

    def start(self, verb: str, **arguments: Any) -> int:
        return self._program.start(self._name, verb, **arguments)

    def wait(self, number: int) -> Any:
        return self._program.wait(number)

    def __call__(self, verb: str, **arguments: Any) -> Any:
        return self.wait(self.start(verb, **arguments))

    def close(self) -> None:
        """End the connection, and with it a session; once is enough."""
        if not self._closed:
            self._closed = True
            self("close")


Connect = Callable[..., Connection]
