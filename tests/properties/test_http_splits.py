"""An HTTP answer means the same however the network cuts it, and no bytes upset the connection."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.drivers.http_connection import Exchange, HttpConnection, Lane

BODY = b'{"jsonrpc":"2.0","id":1,"result":{}}'
ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 36\r\n\r\n" + BODY,
    b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n"
    b"8;ext=1\r\n" + BODY[:8] + b"\r\n1c\r\n" + BODY[8:] + b"\r\n0\r\nTrailer: t\r\n\r\n",
    b"HTTP/1.1 204 No\r\nKeep-Alive: timeout=5\r\n\r\n",
    b"HTTP/1.1 500 E\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
]


class Wire(asyncio.Transport):
    def __init__(self):
        super().__init__()
        self.aborted = False

    def write(self, data):
        pass

    def get_write_buffer_size(self):
        return 0

    def is_closing(self):
        return self.aborted

    def abort(self):
        self.aborted = True


class Watch(Exchange):
    def __init__(self, streamed):
        super().__init__(b"", Lane.CALLS)
        self.streamed = streamed
        self.head = None
        self.body = b""
        self.outcome = []

    def begun(self, status, headers):
        assert self.head is None
        self.head = (status, dict(headers))
        return self.streamed

    def received(self, data):
        assert data
        self.body += data

    def ended(self, body):
        assert not (self.streamed and body)
        self.body += body
        self.outcome.append("ended")

    def failed(self, reason):
        self.outcome.append("failed")


class Owner:
    reading_paused = False

    def __init__(self):
        self.reusable = None

    def connection_opened(self, connection):
        pass

    def connection_closed(self, connection):
        pass

    def exchange_over(self, connection, exchange, *, reusable):
        self.reusable = reusable
        if not reusable:
            connection._transport.abort()

    def exchange_broken(self, exchange, reason, *, unheard):
        exchange.failed(reason)


def run(chunks, streamed):
    owner, watch = Owner(), Watch(streamed)
    connection = HttpConnection(owner)
    connection.connection_made(wire := Wire())
    connection.start(watch)
    for chunk in chunks:
        if chunk and not wire.aborted:
            connection.data_received(chunk)
    connection.connection_lost(None)
    assert len(watch.outcome) == 1
    assert connection.exchange is None
    return watch.head, watch.body, watch.outcome, bool(owner.reusable and not wire.aborted)


def cut(data, places):
    marks = sorted({place % (len(data) + 1) for place in places})
    return [data[a:b] for a, b in zip([0, *marks], [*marks, len(data)], strict=True)]


@pytest.mark.parametrize("answer", ANSWERS)
@given(places=st.lists(st.integers(0, 10_000)), streamed=st.booleans())
def test_a_cut_changes_nothing(answer, places, streamed):
    assert run(cut(answer, places), streamed) == run([answer], streamed)


@given(
    data=st.binary(max_size=100)
    | st.tuples(st.sampled_from(ANSWERS), st.integers(0, 200), st.binary(max_size=5)).map(
        lambda t: t[0][: t[1]] + t[2] + t[0][t[1] :]
    ),
    places=st.lists(st.integers(0, 10_000)),
    streamed=st.booleans(),
)
def test_no_bytes_upset_a_connection(data, places, streamed):
    run(cut(data, places), streamed)
