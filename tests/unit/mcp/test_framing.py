from __future__ import annotations

import json
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


LONG = b"x" * 1000
ANSWERS = [
    (b'{"jsonrpc":"2.0","id":7,"result":{"text":"%b"}}', 7),
    (b'{"id":12,"jsonrpc":"2.0","error":{"message":"%b"}}', 12),
    (b'{ "jsonrpc" : "2.0" , "id" : 7 , "result" : "%b" }', 7),
    (b'{"result":{"id":3,"text":"%b"},"jsonrpc":"2.0","id":7}', 7),
    (b'{"jsonrpc":"2.0","result":{"text":"%b"},"id":7}', 7),
    (b'{"result":"%b","id":7,"jsonrpc":"2.0"} ', 7),
]


@pytest.mark.parametrize("size", [1, 7, 400, 10_000])
@pytest.mark.parametrize(("template", "number"), ANSWERS)
def test_an_error_stands_for_an_answer_that_is_too_long(template, number, size):
    splitter = LineSplitter(600)
    stream = b'{"a":1}\n' + template % LONG + b'\n{"b":2}\n{"c"'
    frames = [f for at in range(0, len(stream), size) for f in splitter.feed(stream[at : at + size])]
    assert [frames[0], frames[2]] == [b'{"a":1}', b'{"b":2}']
    answer = json.loads(frames[1])
    assert (answer["jsonrpc"], answer["id"]) == ("2.0", number)
    data = {"problem": "answer-too-large", "size": len(template % LONG), "limit": 600}
    assert answer["error"]["data"] == data
    assert "ask for less" in answer["error"]["message"]
    assert splitter.buffered_bytes == 4


@pytest.mark.parametrize(
    "line",
    [
        b'{"jsonrpc":"2.0","id":7,"method":"sampling/createMessage","params":"%b"}',
        b'{"jsonrpc":"2.0","method":"notifications/message","params":"%b"}',
        b'{"method":"ping","params":"%b","id":7}',
        b'{"result":"%b"}',
        b'{"result":"%b","id":"7"}',
        b'{"result":"%b","id":null}',
        b'{"jsonrpc":"2.0","id":-7,"result":"%b"}',
        b'{"result":{"x":"%b","id":7}}',
        b"%b",
    ],
)
def test_what_is_too_long_and_no_answer_to_anything_is_refused(line):
    with pytest.raises(FrameTooLongError, match="more than 600 bytes"):
        LineSplitter(600).feed(line % LONG + b"\n")


def test_an_answer_that_is_much_too_long_is_not_waited_for():
    splitter = LineSplitter(1000)
    splitter.feed(b'{"jsonrpc":"2.0","id":7,"result":"')
    for _ in range(39):
        assert splitter.feed(b"x" * 100) == []
        assert splitter.buffered_bytes <= 1000
    with pytest.raises(FrameTooLongError):
        splitter.feed(b"x" * 100)


def test_many_lines_of_one_chunk_may_be_more_than_the_limit_together():
    splitter = LineSplitter(10)
    assert splitter.feed(b"12345\n" * 5 + b"12") == [b"12345"] * 5
    assert splitter.feed(b"3\n") == [b"123"]
