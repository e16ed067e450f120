"""Our ends of a child's pipes, against real pipes, on both event loops."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

import pytest
import uvloop

from fairlead.drivers import pipes as module
from fairlead.drivers.pipes import CHUNK, HIGH_WATER, LOW_WATER, FrameWriter, PipeReader
from support.until import until


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request):
    def run_on_loop(main: Callable) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(main())

    return run_on_loop


class Pipe:
    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        self.told: list[object] = []

    def writer(self) -> FrameWriter:
        return FrameWriter(self.writing, self.told.append, lambda: self.told.append("broken"))

    def reader(self) -> PipeReader:
        return PipeReader(self.reading, self.told.append, lambda: self.told.append("ended"))

    def read_all(self) -> bytes:
        os.set_blocking(self.reading, False)
        found = b""
        while True:
            try:
                data = os.read(self.reading, 2**20)
            except BlockingIOError:
                return found
            if not data:
                return found
            found += data


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


# -- FrameWriter ---------------------------------------------------------------------------------------------


def test_frames_of_one_turn_leave_in_one_write(run, monkeypatch):
    writes = []
    write = os.write
    monkeypatch.setattr(module.os, "write", lambda fd, data: writes.append(bytes(data)) or write(fd, data))

    async def main():
        pipe = Pipe()
        writer = pipe.writer()
        for frame in (b"one", b"two", b"three"):
            writer.send(frame)
        assert writer.queued_bytes == 14
        assert writes == []
        await asyncio.sleep(0)
        assert writes[:1] == [b"one\ntwo\nthree\n"]
        assert writer.queued_bytes == 0
        writer.send(b"four")
        await asyncio.sleep(0)
        assert pipe.read_all() == b"one\ntwo\nthree\nfour\n"
        writer.close()
        os.close(pipe.reading)

    run(main)


def test_a_full_pipe_tells_backpressure_once_each_way_and_loses_nothing(run):
    async def main():
        pipe = Pipe()
        writer = pipe.writer()
        frames = [b"%06d" % number + b"x" * 10_000 for number in range(100)]
        for frame in frames:
            writer.send(frame)
            await asyncio.sleep(0)
        assert pipe.told == [False]
        assert writer.queued_bytes > HIGH_WATER
        got = b""
        while writer.queued_bytes:
            before = writer.queued_bytes
            got += pipe.read_all()
            await until(lambda before=before: writer.queued_bytes < before)
            assert pipe.told == ([False] if writer.queued_bytes > LOW_WATER else [False, True])
        got += pipe.read_all()
        assert got == b"".join(frame + b"\n" for frame in frames)
        writer.send(b"more")
        await asyncio.sleep(0)
        assert pipe.read_all() == b"more\n"
        writer.close()
        os.close(pipe.reading)

    run(main)


def test_one_frame_larger_than_the_pipe_arrives_whole(run):
    async def main():
        pipe = Pipe()
        writer = pipe.writer()
        frame = os.urandom(3_000_000).replace(b"\n", b" ")
        writer.send(frame)
        writer.send(b"behind it")
        await asyncio.sleep(0)
        assert pipe.told == [False]
        got = b""
        while writer.queued_bytes:
            got += pipe.read_all()
            await asyncio.sleep(0)
        assert got + pipe.read_all() == frame + b"\nbehind it\n"
        assert pipe.told == [False, True]
        writer.close()
        os.close(pipe.reading)

    run(main)


def test_close_sends_what_was_queued_and_then_drops(run):
    async def main():
        pipe = Pipe()
        writer = pipe.writer()
        writer.send(b"last")
        writer.close()
        writer.close()
        writer.send(b"too late")
        await asyncio.sleep(0)
        assert pipe.read_all() == b"last\n"
        assert os.read(pipe.reading, 1) == b""
        assert not is_open(pipe.writing)
        assert writer.queued_bytes == 0
        os.close(pipe.reading)

    run(main)


def test_close_does_not_wait_for_a_full_pipe(run):
    async def main():
        pipe = Pipe()
        writer = pipe.writer()
        writer.send(b"x" * 1_000_000)
        await asyncio.sleep(0)
        writer.send(b"never")
        writer.close()
        assert writer.queued_bytes == 0
        assert not is_open(pipe.writing)
        await asyncio.sleep(0)
        os.close(pipe.reading)

    run(main)


@pytest.mark.parametrize("blocked", [False, True])
def test_a_broken_pipe_is_told_once(run, blocked):
    async def main():
        pipe = Pipe()
        writer = pipe.writer()
        if blocked:
            writer.send(b"x" * 1_000_000)
            await asyncio.sleep(0)
        os.close(pipe.reading)
        writer.send(b"one")
        writer.send(b"two")
        await until(lambda: "broken" in pipe.told)
        writer.send(b"three")
        writer.close()
        await asyncio.sleep(0)
        assert pipe.told.count("broken") == 1
        assert not is_open(pipe.writing)

    run(main)


def test_a_pipe_that_breaks_at_close_is_told_once(run):
    async def main():
        pipe = Pipe()
        writer = pipe.writer()
        os.close(pipe.reading)
        writer.send(b"one")
        writer.close()
        assert pipe.told == ["broken"]
        assert not is_open(pipe.writing)

    run(main)


# -- PipeReader ----------------------------------------------------------------------------------------------


def test_what_comes_is_given_away_and_the_end_told_once(run):
    async def main():
        pipe = Pipe()
        reader = pipe.reader()
        reader.resume()
        os.write(pipe.writing, b"one")
        await until(lambda: pipe.told == [b"one"])
        os.write(pipe.writing, b"two")
        os.close(pipe.writing)
        await until(lambda: pipe.told == [b"one", b"two", "ended"])
        assert not is_open(pipe.reading)
        reader.resume()
        reader.drain(100)
        reader.close()
        assert pipe.told == [b"one", b"two", "ended"]

    run(main)


def test_nothing_is_read_while_paused(run):
    async def main():
        pipe = Pipe()
        reader = pipe.reader()
        os.write(pipe.writing, b"one")
        for _ in range(5):
            await asyncio.sleep(0)
        assert pipe.told == []
        reader.resume()
        reader.resume()
        await until(lambda: pipe.told == [b"one"])
        reader.pause()
        reader.pause()
        os.write(pipe.writing, b"two")
        for _ in range(5):
            await asyncio.sleep(0)
        assert pipe.told == [b"one"]
        reader.resume()
        await until(lambda: pipe.told == [b"one", b"two"])
        reader.close()
        os.close(pipe.writing)

    run(main)


def test_draining_takes_what_is_there_and_is_bounded(run):
    async def main():
        pipe = Pipe()
        reader = pipe.reader()
        reader.drain(2**20)
        assert pipe.told == []
        os.write(pipe.writing, b"x" * 1000)
        reader.drain(2**20)
        assert pipe.told == [b"x" * 1000]
        pipe.told.clear()
        refill = lambda data: (pipe.told.append(data), os.write(pipe.writing, b"y" * CHUNK))  # noqa: E731
        reader._received = refill
        os.write(pipe.writing, b"y" * CHUNK)
        reader.drain(10 * CHUNK)
        assert sum(map(len, pipe.told)) == 10 * CHUNK
        reader.close()
        os.close(pipe.writing)

    run(main)


def test_it_can_be_closed_while_it_gives_away(run):
    async def main():
        pipe = Pipe()
        reader = pipe.reader()
        reader._received = lambda data: (pipe.told.append(data), reader.close())
        reader.resume()
        os.write(pipe.writing, b"one")
        await until(lambda: pipe.told)
        assert not is_open(pipe.reading)
        assert pipe.told == [b"one"]
        os.close(pipe.writing)

    run(main)
