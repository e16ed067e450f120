"""The HTTP echo backend of the benchmarks, made to answer wrongly."""

from __future__ import annotations

import asyncio

from bench.echo_http import Echo


class EditedEcho(asyncio.Protocol):
    """An echo whose answers pass through `edit`; None closes the connection instead."""

    def __init__(self, edit):
        self.edit = edit

    def connection_made(self, transport):
        self.transport = transport
        self.echo = Echo()
        self.echo.connection_made(self)

    def data_received(self, data):
        self.echo.data_received(data)

    def write(self, answer):
        if (edited := self.edit(answer)) is None:
            self.transport.close()
        else:
            self.transport.write(edited)
