"""The index in which updates of resources are looked up."""

from collections import Counter
from types import SimpleNamespace

from fairlead.mcp.profiles import NOBODY
from fairlead.model.fleet import Sharing
from fairlead.orchestrator.gateway.hearers import Hearers, Subject


class Watch:
    def __init__(self):
        self.wanted = Counter()

    def want(self, uri, key, profile):
        self.wanted[uri, key] += 1

    def drop(self, uri, key):
        assert self.wanted[uri, key] > 0
        self.wanted[uri, key] -= 1


class Pool:
    def __init__(self):
        self.watch = Watch()
        self.spec = SimpleNamespace(sharing=Sharing.SHARED)

    @property
    def wanted(self):
        return {subject: count for subject, count in self.watch.wanted.items() if count}


class Client:
    def __init__(self, key):
        self.key = key


A, B = "first client", "second client"
USERS = Subject("s", None, "db://users")


def made(pool):
    hearers = Hearers()
    hearers.set_pools({"s": pool})
    return hearers


def test_a_client_counts_once_for_a_resource():
    pool = Pool()
    hearers = made(pool)
    assert hearers.add(A, USERS, "w/db://users", NOBODY)
    assert not hearers.add(A, USERS, "w/db://users", NOBODY)
    assert hearers.add(B, USERS, "db://users", NOBODY)
    assert (len(hearers), pool.wanted) == (2, {("db://users", None): 2})
    hearers.remove(A, USERS)
    hearers.remove(A, USERS)
    assert pool.wanted == {("db://users", None): 1}
    hearers.remove_all(B)
    assert (len(hearers), pool.wanted) == (0, {})


def test_who_hears_of_an_update_hears_it_in_their_own_words():
    hearers = made(Pool())
    hearers.add(A, USERS, "w/db://users", NOBODY)
    hearers.add(B, Subject("s", None, "db://users/7"), "db://users/7", NOBODY)
    part = Subject("s", None, "db://users/7")
    assert hearers.concerned(USERS) == {A: {"w/db://users": "w/db://users"}}
    assert hearers.concerned(part) == {
        A: {"w/db://users/7": "w/db://users"},
        B: {"db://users/7": "db://users/7"},
    }
    assert hearers.any_for(part)
    for other in (
        Subject("s", None, "db://usersandmore"),
        Subject("s", None, "db://user"),
        Subject("s", "session:1", "db://users"),
        Subject("t", None, "db://users"),
    ):
        assert hearers.concerned(other) == {}
        assert not hearers.any_for(other)


def test_one_update_of_what_was_asked_for_twice_over_is_told_once():
    hearers = made(Pool())
    hearers.add(A, USERS, "db://users", NOBODY)
    hearers.add(A, Subject("s", None, "db://users/7"), "db://users/7", NOBODY)
    assert list(hearers.concerned(Subject("s", None, "db://users/7"))[A]) == ["db://users/7"]


def test_servers_that_go_and_come_back():
    first, second = Pool(), Pool()
    hearers = made(first)
    hearers.add(A, USERS, "db://users", NOBODY)
    hearers.set_pools({"s": first, "t": Pool()})
    assert first.wanted == {("db://users", None): 1}
    hearers.set_pools({})
    assert first.wanted == {}
    hearers.set_pools({"s": second})
    assert second.wanted == {("db://users", None): 1}
    hearers.set_pools({})
    hearers.remove_all(A)
    hearers.set_pools({"s": first})
    assert first.wanted == {}


def test_a_server_that_gives_each_its_own_instance_from_now_on_and_no_more():
    ann, bob = Client("session:1"), Client("principal:bob")
    pool = Pool()
    hearers = made(pool)
    hearers.add(ann, USERS, "w/db://users", NOBODY)
    hearers.add(bob, USERS, "db://users", NOBODY)
    hearers.follow()
    assert pool.wanted == {("db://users", None): 2}
    pool.spec.sharing = Sharing.SESSION
    hearers.follow()
    assert pool.wanted == {("db://users", "session:1"): 1, ("db://users", "principal:bob"): 1}
    own = USERS._replace(key="session:1")
    assert hearers.concerned(own) == {ann: {"w/db://users": "w/db://users"}}
    assert (hearers.concerned(USERS), len(hearers)) == ({}, 2)
    pool.spec.sharing = Sharing.SHARED
    hearers.follow()
    assert (pool.wanted, len(hearers)) == ({("db://users", None): 2}, 2)
