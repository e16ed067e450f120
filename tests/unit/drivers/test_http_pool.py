"""The pool's timers, in virtual time, over connections whose transport is a stand-in."""

import asyncio

import pytest

from fairlead.drivers import http_pool
from fairlead.drivers.http_connection import Exchange, HttpConnection, Lane
from fairlead.drivers.http_endpoint import Endpoint, upstream_problem
from fairlead.drivers.http_pool import ConnectionPool, PoolSettings
from fairlead.kit.tasks import Tasks
from fairlead.model.errors import ProblemError

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n%b\r\n{}"


class Wire(asyncio.Transport):
    """Takes what is written, tells of its end as the event loop does."""

    def __init__(self, protocol: HttpConnection):
        super().__init__()
        self.protocol = protocol
        self.written = b""
        self.closing = False

    def write(self, data):
        self.written += data

    def get_write_buffer_size(self):
        return 0

    def is_closing(self):
        return self.closing

    def close(self):
        if not self.closing:
            self.closing = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    abort = close


class Ask(Exchange):
    def __init__(self, name: bytes, *, repeatable: bool = True):
        super().__init__(name, Lane.CALLS, repeatable=repeatable)
        self.outcome: object = None

    def ended(self, body):
        assert self.outcome is None
        self.outcome = body

    def failed(self, reason):
        assert self.outcome is None
        self.outcome = reason


class Listener:
    problem: ProblemError | None = None

    def writable_changed(self, writable):
        pass

    def unreachable(self, problem):
        self.problem = problem


@pytest.fixture
async def wires(monkeypatch):
    """The connections that were dialled; an error in `wires.refusals` is raised instead."""

    class Wires(list):
        def __init__(self):
            super().__init__()
            self.refusals = []

    made = Wires()

    async def dial(endpoint, factory, *, tls, timeout):  # noqa: ASYNC109 - as the real one
        await asyncio.sleep(0.01)
        if made.refusals:
            raise made.refusals.pop(0)
        protocol = factory()
        made.append(Wire(protocol))
        protocol.connection_made(made[-1])
        return protocol

    monkeypatch.setattr(http_pool, "dial", dial)
    return made


@pytest.fixture
async def pool(wires):
    failed = []
    tasks = Tasks(lambda name, error: failed.append(error))
    pool = ConnectionPool(PoolSettings(Endpoint.parse("http://h/"), None, 5.0, 4), Listener(), tasks)
    yield pool
    pool.abort()
    await tasks.close()
    await pool.wait_closed()
    assert failed == []


async def over(pool, wires, name: bytes, extra: bytes = b"") -> Wire:
    """One exchange from its submission to its answer; returns the connection it used."""
    ask = Ask(name)
    pool.submit(ask)
    await asyncio.sleep(0.1)
    wire = next(wire for wire in wires if wire.written.endswith(name))
    wire.protocol.data_received(OK % extra)
    assert ask.outcome == b"{}"
    return wire


@pytest.mark.looptime
async def test_an_idle_connection_is_closed_after_a_while(pool, wires):
    wire = await over(pool, wires, b"one")
    await asyncio.sleep(54)
    assert await over(pool, wires, b"two") is wire
    await asyncio.sleep(54)
    assert not wire.closing
    await asyncio.sleep(2)
    assert wire.closing
    assert "0 open, 0 idle" in repr(pool)


@pytest.mark.looptime
async def test_each_idle_connection_is_closed_in_its_own_time(pool, wires):
    one, two = Ask(b"one"), Ask(b"two")
    pool.submit(one)
    pool.submit(two)
    await asyncio.sleep(0.1)
    wires[0].protocol.data_received(OK % b"")
    await asyncio.sleep(20)
    wires[1].protocol.data_received(OK % b"Keep-Alive: timeout=11, max=9\r\n")
    await asyncio.sleep(9)
    assert [wire.closing for wire in wires] == [False, False]
    await asyncio.sleep(2)
    assert [wire.closing for wire in wires] == [False, True]
    await asyncio.sleep(25)
    assert [wire.closing for wire in wires] == [True, True]


@pytest.mark.looptime
async def test_a_connection_that_the_server_is_about_to_close_is_not_used(pool, wires, monkeypatch):
    wire = await over(pool, wires, b"one", b"Keep-Alive: timeout=5\r\n")
    monkeypatch.setattr(pool, "_sweep", lambda: None)  # as if the loop were late
    pool._sweep_timer.cancel()
    await asyncio.sleep(4.5)
    assert await over(pool, wires, b"two") is not wire
    assert wire.closing


@pytest.mark.looptime
async def test_an_exchange_given_up_while_connecting_leaves_its_connection_to_others(pool, wires):
    ask = Ask(b"one")
    pool.submit(ask)
    assert pool.queued_bytes == 3
    assert pool.withdraw(ask) is True
    await asyncio.sleep(1)
    assert "1 open, 1 idle, 0+0+0 taken" in repr(pool)
    assert (await over(pool, wires, b"two")).written == b"two"
    assert pool.withdraw(ask) is False


@pytest.mark.looptime
async def test_what_is_submitted_while_on_hold_goes_out_at_its_end_the_first_first(pool, wires):
    pool.hold()
    for number in range(6):
        pool.submit(Ask(b"%d" % number))
    await asyncio.sleep(1)
    assert list(wires) == []
    pool.release()
    await asyncio.sleep(1)
    assert {wire.written for wire in wires} == {b"0", b"1", b"2", b"3"}


@pytest.mark.looptime
async def test_three_failures_to_connect_in_a_row_are_one_too_many(pool, wires):
    def refused():
        return upstream_problem("connection-refused", "t", "refused")

    wires.refusals += [refused(), refused()]
    asks = [Ask(b"%d" % number) for number in range(2)]
    for ask in asks:
        pool.submit(ask)
    await asyncio.sleep(1)
    assert [ask.outcome for ask in asks] == ["refused", "refused"]
    await over(pool, wires, b"works")
    wires[0].close()
    await asyncio.sleep(1)
    wires.refusals += [refused(), refused(), refused()]
    for _ in range(3):
        assert pool._listener.problem is None
        pool.submit(Ask(b"again"))
        await asyncio.sleep(1)
    assert pool._listener.problem is not None


@pytest.mark.looptime
async def test_nothing_happens_after_the_end(pool, wires):
    await over(pool, wires, b"one")
    waiting = Ask(b"two")
    pool.submit(waiting)
    pool.abort()
    await pool.wait_closed()
    late = Ask(b"three")
    pool.submit(late)
    await asyncio.sleep(100)
    assert (waiting.outcome, late.outcome) == (None, None)
    assert "0 open, 0 idle" in repr(pool)


@pytest.mark.looptime
async def test_a_connection_that_comes_after_the_end_is_closed(pool, wires):
    protocol = HttpConnection(pool)
    pool.abort()
    protocol.connection_made(wire := Wire(protocol))
    assert wire.closing
    await pool.wait_closed()
