"""The driver for servers that are reached over HTTP: nothing is started, only connected to."""

from __future__ import annotations

import asyncio
import ssl

from fairlead.drivers.http_endpoint import Endpoint, header_lines
from fairlead.drivers.legacy_sse import LegacySseLink
from fairlead.drivers.remote_link import RemoteLink, Target
from fairlead.drivers.streamable_http import StreamableLink
from fairlead.model.launch import Launch, RemoteLaunch
from fairlead.ports import Link, LinkListener


class RemoteDriver:
    """A `ports.Driver` for `RemoteLaunch`. `SSL_CERT_FILE` names the authorities that certificates need."""

    def __init__(self) -> None:
        self._links: set[RemoteLink] = set()
        self._tls: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        return f"RemoteDriver({len(self._links)} links)"

    async def open(self, launch: Launch, listener: LinkListener) -> Link:
        """Connect once, so that what cannot work is known now; the first request uses the connection.

        Raises ProblemError: `invalid-url`, `invalid-header`, `unknown-host`, `connection-refused`,
        `connect-timeout`, `tls-failed`, `connect-failed`; with `sse` also `no-event-stream` and
        `foreign-endpoint`.
        """
        assert isinstance(launch, RemoteLaunch), "the remote driver gets remote launches only"
        endpoint = Endpoint.parse(launch.url)
        headers = header_lines(launch.headers)
        tls = await self._tls_context() if endpoint.scheme == "https" else None
        kind = LegacySseLink if launch.transport == "sse" else StreamableLink
        link = kind(launch, Target(endpoint, tls, headers), listener, self._links.discard)
        self._links.add(link)
        try:
            await link.connect()
        except BaseException:
            await link.discard()
            raise
        return link

    async def sweep(self) -> list[str]:
        """Nothing runs here that could be left over."""
        return []

    async def close(self) -> None:
        await asyncio.gather(*(link.close() for link in tuple(self._links)))

    async def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:  # reading the authorities takes a while
            context = await asyncio.to_thread(ssl.create_default_context)
            context.set_alpn_protocols(["http/1.1"])
            self._tls = context
        return self._tls
