"""What is kept of reads for everybody."""

import json
from collections import OrderedDict
from types import SimpleNamespace

import pytest
from msgspec import Raw

from fairlead.mcp.eras import Era
from fairlead.model.fleet import Sharing
from fairlead.model.status import ServerState
from fairlead.orchestrator.gateway.read_cache import MAX_ITEM, ReadCache, _Key
from fairlead.orchestrator.metrics import MetricsCollector

ONE = _Key("s", "s-1", "x://one")


def cache(**options):
    return ReadCache(MetricsCollector(list), **options)


def read(text="a", **members):
    found = {
        "resultType": "complete",
        "contents": [{"uri": "x://one", "text": text}],
        "ttlMs": 2000,
        "cacheScope": "public",
        **members,
    }
    return json.dumps({name: value for name, value in found.items() if value is not None}).encode()


def pool(*, era=Era.MODERN, sharing=Sharing.SHARED, instance="s-1", state=ServerState.READY):
    last = SimpleNamespace(id=instance, era=era)
    return SimpleNamespace(
        spec=SimpleNamespace(id="s", sharing=sharing),
        state=state,
        members=SimpleNamespace(last=last if instance else None),
    )


class Call:
    """As much of an exchange as the cache needs."""

    def __init__(self):
        self.keep = None
        self.results = []

    def answered(self, message):
        self.results.append(json.loads(bytes(message.result)))


def ask(kept, pool, answer=None, members=("uri",)):
    """A read of x://one; what it was answered from the cache. `answer` is the server's, if it is asked."""
    call = Call()
    served = kept.answer(pool, "x://one", call, {name: Raw(b'"x://one"') for name in members})
    assert served == bool(call.results)
    if not served and answer is not None and call.keep is not None:
        call.keep(answer)
    return call.results


def test_what_is_public_is_served_until_its_time_is_over_and_says_what_is_left_of_it():
    kept = cache()
    kept.put(ONE, read(extra={"a": 1}), 100.0)
    served = json.loads(kept.find(ONE, 101.5))
    assert served == json.loads(read(extra={"a": 1})) | {"ttlMs": 500}
    assert kept.find(ONE, 102.0) is None
    assert (len(kept), kept.bytes) == (0, 0)


@pytest.mark.parametrize(
    "raw",
    [
        read(cacheScope="private"),
        read(cacheScope=None),
        read(ttlMs=0),
        read(ttlMs=None),
        read(ttlMs=-5),
        read(ttlMs="2000"),
        read(resultType="input_required"),
        read(resultType=None),
        read("x" * MAX_ITEM),
        b"[]",
        b'{"resultType":"complete","resultType":"complete","ttlMs":9,"cacheScope":"public"}',
    ],
)
def test_nothing_else_is_kept(raw):
    kept = cache()
    kept.put(ONE, raw, 0.0)
    assert (len(kept), kept.bytes) == (0, 0)


def test_the_least_recently_used_make_room():
    kept = cache(max_bytes=3000)
    keys = [ONE._replace(uri=f"x://{number}") for number in range(4)]
    for key in keys[:3]:
        kept.put(key, read("x" * 500), 0.0)
    assert kept.find(keys[0], 1.0)
    kept.put(keys[3], read("x" * 500), 1.0)
    assert [bool(kept.find(key, 1.0)) for key in keys] == [True, False, True, True]
    assert kept.bytes <= 3000
    kept.put(keys[3], read("y"), 1.0)
    assert b"y" in kept.find(keys[3], 1.0)
    kept.forget("s")
    assert (len(kept), kept.bytes) == (0, 0)


def test_an_update_voids_what_it_is_about_and_what_contains_that():
    kept = cache()
    for uri in ("x://a", "x://a/b", "x://a/b/c", "x://ab"):
        kept.put(ONE._replace(uri=uri), read(), 0.0)
    other = _Key("t", "t-1", "x://a")
    kept.put(other, read(), 0.0)
    kept.forget("s", "x://a/b")
    left = [
        uri for uri in ("x://a", "x://a/b", "x://a/b/c", "x://ab") if kept.find(ONE._replace(uri=uri), 1.0)
    ]
    assert left == ["x://a/b/c", "x://ab"]
    assert kept.find(other, 1.0)


def test_a_read_is_answered_once_by_the_server_and_then_from_here():
    kept = cache()
    assert ask(kept, pool(), read()) == []
    assert ask(kept, pool())[0]["contents"] == [{"uri": "x://one", "text": "a"}]
    assert kept._metrics.read_cache == {"hit": 1, "miss": 1}
    assert ask(kept, pool(instance="s-2")) == [], "another instance is another version"


@pytest.mark.parametrize("state", [ServerState.STOPPED, ServerState.BLOCKED, ServerState.FAILED])
def test_a_server_whose_calls_are_refused_is_not_read_from_here_either(state):
    kept = cache()
    ask(kept, pool(), read())
    assert ask(kept, pool(state=state)) == []
    assert ask(kept, pool(state=ServerState.STARTING)) != []


class Unwalked(OrderedDict):
    def __iter__(self):
        raise AssertionError("a server that tells of many updates would make everybody wait")


def test_an_update_costs_little_however_much_is_kept():
    kept = cache()
    for number in range(10):
        kept.put(ONE._replace(uri=f"x://{number}"), read(), 0.0)
    kept._kept = Unwalked(kept._kept.items())
    kept.forget("s", "x://5/a/b")
    assert len(kept) == 9


@pytest.mark.parametrize(
    "other", [pool(era=Era.LEGACY), pool(sharing=Sharing.SESSION), pool(instance=None)], ids=str
)
def test_servers_of_which_nothing_is_kept(other):
    kept = cache()
    assert ask(kept, other, read()) == []
    assert ask(kept, other) == []
    assert kept._metrics.read_cache == {"hit": 0, "miss": 0}


def test_a_read_that_says_more_than_what_to_read_is_the_servers():
    kept = cache()
    ask(kept, pool(), read())
    assert ask(kept, pool(), members=("uri", "requestState")) == []


def test_an_answer_that_was_overtaken_by_a_change_is_not_kept():
    kept = cache()
    call = Call()
    kept.answer(pool(), "x://one", call, {"uri": Raw(b'"x://one"')})
    kept.forget("s", "x://one")
    call.keep(read())
    assert len(kept) == 0
