"""Newline framing survives any split of any bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead.mcp.framing import FrameTooLongError, LineSplitter

# Newlines, carriage returns and padding are what matters, so they come often.
streams = st.lists(st.sampled_from([b"\n", b"\r\n", b"\r", b" ", b"\t", b"{}"]) | st.binary(max_size=20)).map(
    b"".join
)


@st.composite
def split_streams(draw):
    """A stream of bytes, cut into chunks anywhere."""
    stream = draw(streams)
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    return stream, [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


def frames_of(stream: bytes) -> list[bytes]:
    """What the frames are, said in the plainest way."""
    whole = stream.split(b"\n")[:-1]
    return [frame for line in whole if (frame := line.replace(b"\r", b" ").strip())]


@given(split_streams())
def test_frames_do_not_depend_on_how_the_stream_was_cut(split):
    stream, chunks = split
    splitter = LineSplitter()
    assert [frame for chunk in chunks for frame in splitter.feed(chunk)] == frames_of(stream)
    assert splitter.buffered_bytes == len(stream.rpartition(b"\n")[2])


@given(split_streams(), st.integers(1, 30))
def test_no_line_over_the_limit_passes_and_none_under_it_is_refused(split, limit):
    stream, chunks = split
    splitter = LineSplitter(limit)
    frames: list[bytes] = []
    longest = max(map(len, stream.split(b"\n")))
    try:
        for chunk in chunks:
            frames += splitter.feed(chunk)
            assert splitter.buffered_bytes <= limit
    except FrameTooLongError:
        assert longest > limit
        assert frames == frames_of(stream)[: len(frames)]
    else:
        assert longest <= limit
        assert frames == frames_of(stream)


@given(
    st.lists(
        st.binary(min_size=1).filter(
            lambda each: b"\n" not in each and each.strip() == each and b"\r" not in each
        )
    )
)
def test_whatever_was_framed_comes_out(frames):
    assert LineSplitter().feed(b"".join(frame + b"\n" for frame in frames)) == frames
