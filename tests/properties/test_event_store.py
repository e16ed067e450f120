"""What is kept of event streams, against a model that keeps everything."""

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from fairlead.orchestrator.gateway.event_store import (
    MAIN,
    OVERHEAD,
    Bounds,
    EventStore,
    Shelf,
    Stream,
    read_event_id,
)

BOUNDS = Bounds(events=6, session_bytes=6 * OVERHEAD, total_bytes=9 * OVERHEAD, keep=10.0)


class KeptEvents(RuleBasedStateMachine):
    streams = Bundle("streams")

    @initialize()
    def begin_with_nothing(self):
        self.store = EventStore(BOUNDS)
        self.shelves = [Shelf(), Shelf()]
        self.said: dict[Stream, list[bytes]] = {}  # everything, the model
        self.ended: dict[Stream, float] = {}
        self.forgotten: set[Stream] = set()
        self.now = 0.0

    @rule(target=streams, session=st.integers(0, 1), main=st.booleans())
    def begin(self, session, main):
        shelf = self.shelves[session]
        stream = self.store.main(shelf) if main else self.store.begin(shelf)
        assert shelf.streams[stream.number] is stream
        assert (stream.number == MAIN) == main
        assert stream not in self.said or main
        self.said.setdefault(stream, [])
        self.forgotten.discard(stream)
        return stream

    @rule(stream=streams, size=st.sampled_from([1, 40, 3 * OVERHEAD, 7 * OVERHEAD]))
    def say(self, stream, size):
        if stream in self.ended or stream in self.forgotten:
            return
        event = self.store.add(stream, b"x" * size)
        self.said[stream].append(event)
        fields = dict(line.split(b": ", 1) for line in event.splitlines() if line)
        assert fields[b"data"] == b"x" * size
        assert read_event_id(fields[b"id"].decode()) == (stream.number, len(self.said[stream]))

    @rule(stream=streams)
    def end(self, stream):
        if stream not in self.forgotten:
            self.store.end(stream, self.now)
            if stream.number != MAIN:
                self.ended.setdefault(stream, self.now)

    @rule(stream=streams)
    def clear(self, stream):
        self.store.clear(stream)
        assert stream.kept == 0

    @rule(seconds=st.sampled_from([1.0, 6.0, 11.0]))
    def time_passes(self, seconds):
        self.now += seconds
        self.store.expire(self.now)
        for stream, since in self.ended.items():
            assert since > self.now - BOUNDS.keep or stream.kept == 0

    @rule(session=st.integers(0, 1))
    def session_ends(self, session):
        shelf, self.shelves[session] = self.shelves[session], Shelf()
        self.store.forget(shelf)
        assert (shelf.events, shelf.bytes, shelf.streams) == (0, 0, {})
        self.forgotten |= {stream for stream in self.said if stream.shelf is shelf}

    @rule(stream=streams, data=st.data())
    def resume(self, stream, data):
        said = self.said[stream]
        number = data.draw(st.integers(0, len(said)))
        events, missing = stream.after(number)
        assert events == said[number + missing :]
        assert not missing or len(events) == stream.kept

    @invariant()
    def what_is_kept_is_bounded_and_counted(self):
        for shelf in self.shelves:
            streams = shelf.streams.values()
            kept = [event for s in streams for _, event in s.events]
            assert shelf.events == len(kept) <= BOUNDS.events
            assert shelf.bytes == sum(map(len, kept)) + OVERHEAD * len(kept) <= BOUNDS.session_bytes
            assert all(s.kept for s in streams if s in self.ended)  # else it would be forgotten
        assert self.store.bytes == sum(shelf.bytes for shelf in self.shelves) <= BOUNDS.total_bytes


TestKeptEvents = KeptEvents.TestCase
