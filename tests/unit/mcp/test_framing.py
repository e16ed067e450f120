from __future__ import annotations

import time
import tracemalloc

import pytest

from fairlead.mcp.framing import FrameTooLongError, LineSplitter


def test_lines_become_frames_and_blank_ones_nothing():
    assert LineSplitter().feed(b'{"a":1}\r\n\n   \r\n\t{"b":2} \n{"half"') == [b'{"a":1}', b'{"b":2}']


def test_a_carriage_return_inside_a_message_becomes_a_space():
    assert LineSplitter().feed(b'{"a":\r1}\n') == [b'{"a": 1}']


def test_a_frame_is_put_together_from_many_chunks():
    splitter = LineSplitter()
    assert splitter.feed(b'{"a"') == []
    assert splitter.buffered_bytes == 4
    assert splitter.feed(b":1}") == []
    assert splitter.feed(b"\n{") == [b'{"a":1}']
    assert splitter.buffered_bytes == 1


def test_a_line_as_long_as_the_limit_passes():
    splitter = LineSplitter(4)
    assert splitter.feed(b"abcd") == []
    assert splitter.feed(b"\nabcd\nab\n") == [b"abcd", b"abcd", b"ab"]


@pytest.mark.parametrize(
    "chunks", [[b"abcde"], [b"ab", b"cde"], [b"abc", b"de\nf"], [b"a\nbcdef\n"], [b"a\n", b"bcdef\n"]]
)
def test_a_line_over_the_limit_is_refused_and_let_go(chunks):
    splitter = LineSplitter(4)
    *before, last = chunks
    for chunk in before:
        splitter.feed(chunk)
    with pytest.raises(FrameTooLongError, match="more than 4 bytes"):
        splitter.feed(last)


def test_a_line_that_never_ends_takes_no_more_memory_than_the_limit():
    splitter = LineSplitter(2**20)

    def feed(size: int) -> None:
        while size > 0:
            splitter.feed(bytes(bytearray(65536)))  # a new object each time
            size -= 65536

    tracemalloc.start()
    try:
        with pytest.raises(FrameTooLongError):
            feed(50_000_000)
        assert tracemalloc.get_traced_memory()[1] < 2**20 + 4 * 65536
    finally:
        tracemalloc.stop()


def test_a_long_line_in_small_chunks_costs_linear_time():
    def seconds(chunks: int) -> float:
        splitter = LineSplitter(2**30)
        start = time.process_time()
        for _ in range(chunks):
            splitter.feed(b"x" * 100)
        assert len(splitter.feed(b"\n")[0]) == chunks * 100
        return time.process_time() - start

    few, many = min(seconds(4_000) for _ in range(3)), min(seconds(64_000) for _ in range(3))
    assert many < 100 * few  # 16 if linear, 256 if quadratic
