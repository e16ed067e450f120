"""How long the lists of an endpoint may be kept."""

from types import SimpleNamespace

from fairlead.mcp.caching import OURS, CacheHint
from fairlead.model.access import Grant
from fairlead.model.fleet import Sharing
from fairlead.orchestrator.catalogue import Catalogue, ListHint
from fairlead.orchestrator.gateway.freshness import Freshness


class Pool:
    def __init__(self, hint=None, sharing=Sharing.SHARED):
        self.catalogue = Catalogue({}, {} if hint is None else {"tools": hint})
        self.spec = SimpleNamespace(sharing=sharing)
        self.asked = []

    def revalidate(self, now):
        self.asked.append(now)


def view(*pools, grants=()):
    return SimpleNamespace(grants=grants, audience=("", grants), pools=dict(enumerate(pools)))


PUBLIC = ListHint(CacheHint(10.0, public=True))


def test_servers_that_say_nothing_are_private_and_told_of():
    assert Freshness().of(view(Pool(), Pool()), "tools", 5.0) == OURS
    assert Freshness().of(view(), "tools", 5.0) == OURS


def test_the_strictest_of_all_counts():
    assert Freshness().of(view(Pool(PUBLIC)), "tools", 5.0) == CacheHint(10.0, public=True)
    assert Freshness().of(view(Pool(PUBLIC)), "prompts", 5.0) == OURS
    assert Freshness().of(view(Pool(PUBLIC), Pool()), "tools", 5.0) == CacheHint(10.0)
    never = Pool(ListHint(CacheHint(0.0, public=True)))
    assert Freshness().of(view(Pool(PUBLIC), never), "tools", 5.0) == CacheHint(0.0, public=True)


def test_what_each_session_has_its_own_of_is_private():
    assert Freshness().of(view(Pool(PUBLIC, Sharing.SESSION)), "tools", 5.0) == CacheHint(10.0)


def test_time_goes_on_from_when_a_list_was_read_and_then_it_is_read_again():
    expiring, told = Pool(ListHint(CacheHint(10.0, public=True), until=110.0)), Pool(PUBLIC)
    both, freshness = view(expiring, told), Freshness()
    assert freshness.of(both, "tools", 104.0) == CacheHint(6.0, public=True)
    assert expiring.asked == []
    assert freshness.of(both, "tools", 111.0) == CacheHint(0.0, public=True)
    assert (expiring.asked, told.asked) == ([111.0], [])
    expiring.catalogue = Catalogue({}, {"tools": ListHint(CacheHint(10.0, public=True), until=121.0)})
    freshness.forget()
    assert freshness.of(both, "tools", 111.0) == CacheHint(10.0, public=True)


def test_what_is_granted_to_some_is_private():
    pools = Pool(PUBLIC), Pool(PUBLIC)
    freshness, grants = Freshness(), (Grant(servers=("a",)),)
    assert freshness.of(view(*pools), "tools", 0.0).public
    assert not freshness.of(view(*pools, grants=grants), "tools", 0.0).public
    assert freshness.of(view(*pools), "tools", 0.0).public
