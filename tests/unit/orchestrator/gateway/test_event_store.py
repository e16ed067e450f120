"""Event ids, and which events are dropped first."""

import pytest

from fairlead.orchestrator.gateway.event_store import OVERHEAD, Bounds, EventStore, Shelf, read_event_id


@pytest.mark.parametrize(
    ("value", "read"), [("0-0", (0, 0)), ("12-345", (12, 345)), ("1-" + "9" * 15, (1, 10**15 - 1))]
)
def test_event_ids_that_are_ours(value, read):
    assert read_event_id(value) == read


@pytest.mark.parametrize(
    "value",
    ["", "-", "1", "1-", "-1", "01-1", "1-01", "1-1-1", "1-x", "+1-1", "1-1\n", "٣-1", "1-" + "9" * 16],
)
def test_event_ids_that_are_not(value):
    assert read_event_id(value) is None


def test_the_oldest_events_of_a_session_are_dropped_first_whichever_stream_they_are_of():
    store, shelf = EventStore(Bounds(events=3)), Shelf()
    first, second = store.begin(shelf), store.begin(shelf)
    for stream in (first, second, first, second, first):
        store.add(stream, b"{}")
    assert (first.kept, second.kept) == (2, 1)
    assert first.after(0)[1] == 1
    assert second.after(0)[1] == 1


def test_the_oldest_events_of_all_sessions_are_dropped_first():
    store = EventStore(Bounds(total_bytes=2 * (OVERHEAD + 60)))
    old, new = store.begin(Shelf()), store.begin(Shelf())
    store.add(old, b"{}")
    store.add(new, b"{}")
    store.add(new, b"{}")
    assert (old.kept, new.kept) == (0, 2)


def test_a_stream_that_has_ended_is_gone_with_its_last_event():
    store, shelf = EventStore(Bounds(keep=10.0)), Shelf()
    stream, other = store.begin(shelf), store.begin(shelf)
    store.add(stream, b"{}")
    store.end(stream, 100.0)
    store.end(stream, 109.0)  # said twice, it counts from the first time
    store.end(other, 101.0)  # nothing was said on it
    assert shelf.streams == {stream.number: stream}
    store.expire(109.9)
    assert stream.number in shelf.streams
    store.expire(110.0)
    assert shelf.streams == {}
    assert (store.bytes, shelf.bytes) == (0, 0)


def test_an_event_that_is_too_large_is_not_kept():
    store, shelf = EventStore(Bounds(session_bytes=1000)), Shelf()
    stream = store.begin(shelf)
    store.add(stream, b"{}")
    store.add(stream, b"x" * 1000)
    assert stream.after(0) == ([], 2)
    store.add(stream, b"{}")
    assert stream.after(2)[1] == 0


def test_the_main_stream_stays_when_it_is_ended_and_cleared():
    store, shelf = EventStore(), Shelf()
    main = store.main(shelf)
    store.add(main, b"{}")
    store.end(main, 0.0)
    store.clear(main)
    assert store.main(shelf) is main
    assert store.add(main, b"{}").startswith(b"id: 0-2\n")


def test_nothing_is_kept_of_a_stream_whose_session_has_ended_though_it_goes_on():
    store, shelf = EventStore(Bounds(events=3)), Shelf()
    stream = store.begin(shelf)
    store.add(stream, b"{}")
    store.forget(shelf)
    for number in range(2, 9):
        assert store.add(stream, b"{}").startswith(b"id: 1-%d\n" % number)
    store.end(stream, 0.0)
    assert (store.bytes, shelf.events, len(shelf.streams)) == (0, 0, 0)
    store.expire(1e9)
