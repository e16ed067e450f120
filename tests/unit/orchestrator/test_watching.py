"""What clients want to hear of, kept at servers of both eras that come and go. In virtual time."""

import asyncio

import pytest

from fairlead.mcp.errors import McpError
from fairlead.model.fleet import Scaling, Sharing
from fairlead.orchestrator.carrier import LINGER
from support.pool_rig import PoolRig, problem, stateful
from support.scripted import answer, refuse
from support.watched import SUBSCRIPTION, acknowledgement, asked, knows, listens, say, touch, watched

pytestmark = pytest.mark.looptime
ERAS = ["legacy", "modern"]


def two(script):
    return PoolRig(script, scaling=Scaling(min_instances=2, max_instances=2), ticking=True)


async def known(rig, link):
    """What a server is asked for when all has settled."""
    await asyncio.sleep(1.0)
    return knows(link)


@pytest.mark.parametrize("era", ERAS)
async def test_what_many_want_is_asked_for_once_until_nobody_does(era):
    async with PoolRig(watched(era)) as rig:
        link = rig.link((await rig.ready())[0])
        watch = rig.pool.watch
        for _ in range(3):
            watch.want("x://a", None)
            await watch.kept("x://a", None)
        watch.want("x://b", None)
        await watch.kept("x://b", None)
        assert await known(rig, link) == ["x://a", "x://b"]
        assert watch.held == 2
        for _ in range(2):
            watch.drop("x://a", None)
        assert await known(rig, link) == ["x://a", "x://b"]
        watch.drop("x://a", None)
        assert await known(rig, link) == ["x://b"]
        touch(link, "x://b")
        touch(link, "x://a")
        assert rig.listener.updates == [("x://b", None)]


@pytest.mark.parametrize("era", ERAS)
async def test_one_instance_carries_it_and_another_one_after_that_has_gone(era):
    async with two(watched(era)) as rig:
        links = [rig.link(instance) for instance in await rig.ready(2)]
        rig.pool.watch.want("x://a", None)
        await rig.pool.watch.kept("x://a", None)
        carrier = next(link for link in links if knows(link))
        [other] = [link for link in links if link is not carrier]
        assert knows(other) == []
        say(other, "notifications/resources/updated", uri="x://a")
        assert rig.listener.updates == [], "it was not asked"
        carrier.lose()
        assert await known(rig, other) == ["x://a"]
        assert rig.listener.updates == [("x://a", None)], "it may have changed meanwhile"


@pytest.mark.parametrize("era", ERAS)
async def test_an_instance_that_retires_hands_over(era):
    async with two(watched(era)) as rig:
        await rig.ready(2)
        rig.pool.watch.want("x://a", None)
        await rig.pool.watch.kept("x://a", None)
        carrier = next(i for i in rig.pool.members if knows(rig.link(i)))
        rig.pool.retire(carrier.id)
        await asyncio.sleep(5.0)
        assert [knows(link) for link in rig.driver.running if knows(link)] == [["x://a"]]
        assert carrier not in rig.pool.members


@pytest.mark.parametrize("era", ERAS)
async def test_a_server_that_says_no_is_asked_again_when_somebody_else_wants_it(era):
    async with PoolRig(watched(era)) as rig:
        link = rig.link((await rig.ready())[0])
        watch = rig.pool.watch
        watch.want("x://a", None)
        for times in (1, 2):
            watch.want("x://refused", None)
            with pytest.raises(McpError, match=r"no such resource|does not tell of updates"):
                await watch.kept("x://refused", None)
            subscribed = sum("refused" in str(message) for message in link.sent)
            watch.drop("x://refused", None)
            await asyncio.sleep(1.0)
            assert subscribed >= times
        assert await known(rig, link) == ["x://a"]


@pytest.mark.parametrize("era", ERAS)
async def test_what_was_refused_is_tried_again_when_there_are_other_resources(era):
    async with PoolRig(watched(era)) as rig:
        link = rig.link((await rig.ready())[0])
        rig.pool.watch.want("x://refused", None)
        await asyncio.sleep(1.0)
        before = sum("refused" in str(message) for message in link.sent)
        assert before == 1
        rig.pool.watch.retry()
        await asyncio.sleep(1.0)
        assert sum("refused" in str(message) for message in link.sent) == 2


@pytest.mark.parametrize("era", ERAS)
async def test_a_server_that_does_not_offer_it_is_not_asked(era):
    async with PoolRig(watched(era, {"tools": {}, "resources": {}})) as rig:
        assert rig.pool.watch.offers, "nobody knows yet"
        link = rig.link((await rig.ready())[0])
        assert not rig.pool.watch.offers
        rig.pool.watch.want("x://a", None)
        with pytest.raises(McpError, match="does not tell of updates"):
            await rig.pool.watch.kept("x://a", None)
        assert not asked(link, "resources/subscribe")
        assert not asked(link, "subscriptions/listen")


@pytest.mark.parametrize("era", ERAS)
async def test_a_silent_server_holds_up_those_who_ask_for_so_long_and_no_longer(era):
    usual = watched(era)

    def script(message):
        return (
            [] if message.get("method") in ("resources/subscribe", "subscriptions/listen") else usual(message)
        )

    async with PoolRig(script, ticking=True) as rig:
        await rig.ready()
        rig.pool.watch.want("x://a", None)
        with pytest.raises(McpError, match="did not take the subscription within 2 s"):
            await rig.pool.watch.kept("x://a", None, timeout=2.0)
        assert rig.pool.status().instances[0].calls_in_flight == 0
        assert rig.pool.watch.held == 0
        await asyncio.sleep(600.0)
        link = rig.driver.links[0]
        tries = asked(link, "subscriptions/listen") or asked(link, "resources/subscribe")
        assert 5 <= len(tries) <= 20, "it is asked again and again, but not often"
        assert len(listens(link)) <= 1


async def test_a_server_that_is_away_says_so_and_takes_it_when_it_is_back():
    async with PoolRig(watched("legacy")) as rig:
        await rig.ready()
        await rig.pool.stop()
        rig.pool.watch.want("x://a", None)
        with pytest.raises(McpError, match="is stopped"):
            await rig.pool.watch.kept("x://a", None)
        rig.pool.start()
        assert await known(rig, rig.link((await rig.ready())[0])) == ["x://a"]
        assert rig.listener.updates == [("x://a", None)], "who did not wait hears of it now"


async def test_a_server_that_is_idle_stays_idle_and_takes_it_when_it_wakes():
    scaling = Scaling(min_instances=0, max_instances=1)
    async with PoolRig(watched("modern"), scaling=scaling, ticking=True) as rig:
        await rig.ready()
        rig.pool.scale_to(0, "nobody calls")
        await asyncio.sleep(5.0)
        assert rig.running == 0, "listening keeps no instance"
        rig.pool.watch.want("x://a", None)
        await rig.pool.watch.kept("x://a", None)
        await asyncio.sleep(60.0)
        assert rig.running == 0
        instance = await rig.pool.acquire("k", timeout=5)
        assert await known(rig, rig.link(instance)) == ["x://a"]
        assert rig.listener.updates == [("x://a", None)]


# -- sessions with instances of their own ------------------------------------------------------------------


@pytest.mark.parametrize("era", ERAS)
async def test_a_session_is_served_by_its_own_instance_and_gets_another_one(era):
    async with stateful(maximum=4, script=watched(era), ticking=True) as rig:
        await rig.ready()
        for key in ("session:1", "session:2"):
            rig.pool.watch.want("x://a", key)
            await rig.pool.watch.kept("x://a", key)
        own = rig.link(rig.pool.members.leases["session:1"].instance)
        assert [len(knows(link)) for link in rig.driver.running].count(1) == 2
        touch(own, "x://a")
        assert rig.listener.updates == [("x://a", "session:1")]
        own.lose()
        await asyncio.sleep(2.0)
        again = rig.link(rig.pool.members.leases["session:1"].instance)
        assert knows(again) == ["x://a"]
        assert rig.listener.updates == [("x://a", "session:1")] * 2
        await rig.pool.release("session:2")
        rig.pool.watch.drop("x://a", "session:2")
        rig.pool.watch.drop("x://a", "session:1")
        await asyncio.sleep(2.0)
        assert knows(again) == []
        assert rig.pool.leases == ("session:1",), "its calls may still need it"
        assert "session" not in repr(rig.pool.watch)


async def test_a_session_without_a_free_instance_is_told_and_one_that_goes_takes_none():
    async with stateful(maximum=1, script=watched("legacy"), ticking=True) as rig:
        await rig.pool.acquire("session:1", timeout=5)
        rig.pool.watch.want("x://a", "session:2")
        with pytest.raises(McpError, match="belong to others"):
            await rig.pool.watch.kept("x://a", "session:2")
        rig.pool.watch.drop("x://a", "session:2")
        await rig.pool.release("session:1")
        await asyncio.sleep(120.0)
        assert rig.pool.leases == ()
        assert "session" not in repr(rig.pool.watch)


async def test_who_listens_keeps_the_lease_of_a_principal():
    async with stateful(maximum=2, script=watched("legacy"), ticking=True) as rig:
        rig.pool.watch.want("x://a", "principal:ann")
        await rig.pool.watch.kept("x://a", "principal:ann")
        rig.pool.release_idle(rig.now + 1)
        await asyncio.sleep(1.0)
        assert rig.pool.leases == ("principal:ann",)
        rig.pool.watch.drop("x://a", "principal:ann")
        rig.pool.release_idle(rig.now + 1)
        await asyncio.sleep(1.0)
        assert rig.pool.leases == ()


# -- listening to modern servers ---------------------------------------------------------------------------


async def test_a_modern_server_is_listened_to_for_its_lists_alone_and_they_are_read_once_more():
    async with PoolRig(watched("modern")) as rig:
        [instance] = await rig.ready()
        link = rig.link(instance)
        await asyncio.sleep(1.0)
        assert list(listens(link).values()) == [{"resourcesListChanged": True, "toolsListChanged": True}]
        assert len(asked(link, "tools/list")) == 2, "they may have changed before it was listened to"
        assert instance.in_flight == 0
        assert instance.calls_total == 0


async def test_another_set_is_listened_to_before_the_old_one_ends():
    async with PoolRig(watched("modern")) as rig:
        link = rig.link((await rig.ready())[0])
        await asyncio.sleep(1.0)
        [before] = listens(link)
        rig.pool.watch.want("x://a", None)
        await rig.pool.watch.kept("x://a", None)
        assert before in listens(link), "what is on its way there must not be lost"
        assert len(listens(link)) == 2
        await asyncio.sleep(2 * LINGER)
        assert before not in listens(link)
        assert len(asked(link, "tools/list")) == 2, "the lists were listened to all the time"


@pytest.mark.parametrize("how", ["result", "cancelled", "error", "failed"])
async def test_a_subscription_that_ends_is_made_anew_after_a_while(how):
    async with PoolRig(watched("modern")) as rig:
        [instance] = await rig.ready()
        link = rig.link(instance)
        rig.pool.watch.want("x://a", None)
        await asyncio.sleep(100.0)
        [number] = listens(link)
        match how:
            case "result":
                link.say(answer({"id": number}, resultType="complete", _meta={SUBSCRIPTION: number}))
            case "error":
                link.say(refuse({"id": number}, -32603, "too many events"))
            case "cancelled":
                say(link, "notifications/cancelled", requestId=number)
            case "failed":
                instance.request_failed(number, "the stream broke", None)
        assert len(asked(link, "subscriptions/listen")) == 2
        await asyncio.sleep(1.0)
        assert len(asked(link, "subscriptions/listen")) == 3
        assert rig.listener.updates == [("x://a", None)]


async def test_one_that_ends_again_and_again_is_left_in_peace_for_longer_and_longer():
    usual = watched("modern")

    def script(message):
        if message.get("method") == "subscriptions/listen":
            return [refuse(message, -32603, "not now")]
        return usual(message)

    async with PoolRig(script) as rig:
        link = rig.link((await rig.ready())[0])
        await asyncio.sleep(600.0)
        assert 10 <= len(asked(link, "subscriptions/listen")) <= 20


async def test_one_that_does_not_know_it_is_left_alone():
    usual = watched("modern")

    def script(message):
        if message.get("method") == "subscriptions/listen":
            return [refuse(message, -32601, "Method not found")]
        return usual(message)

    async with PoolRig(script) as rig:
        link = rig.link((await rig.ready())[0])
        rig.pool.watch.want("x://a", None)
        with pytest.raises(McpError, match="does not tell of updates"):
            await rig.pool.watch.kept("x://a", None)
        await asyncio.sleep(600.0)
        assert len(asked(link, "subscriptions/listen")) == 1
        link.lose()
        await asyncio.sleep(5.0)
        assert len(asked(rig.driver.links[-1], "subscriptions/listen")) == 1, "a new one may know it"


@pytest.mark.parametrize(
    "nonsense",
    [
        {},
        {"_meta": 7},
        {"_meta": {SUBSCRIPTION: "x"}},
        {"_meta": {SUBSCRIPTION: 10**30}},
        {"_meta": {SUBSCRIPTION: 99999}, "notifications": {"resourceSubscriptions": ["x://a"]}},
        [1],
        None,
    ],
)
async def test_nonsense_acknowledgements_do_no_harm(nonsense):
    async with PoolRig(watched("modern")) as rig:
        link = rig.link((await rig.ready())[0])
        link.say({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": nonsense})
        link.say({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "9" * 30}})
        await asyncio.sleep(1.0)
        assert len(listens(link)) == 1


async def test_an_acknowledgement_that_says_nothing_of_resources_refuses_them():
    usual = watched("modern")

    def script(message):
        if message.get("method") == "subscriptions/listen":
            params = {"notifications": 7, "_meta": {SUBSCRIPTION: message["id"]}}
            return [
                {"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": params}
            ]
        return usual(message)

    async with PoolRig(script) as rig:
        await rig.ready()
        rig.pool.watch.want("x://a", None)
        with pytest.raises(McpError, match="does not tell of updates"):
            await rig.pool.watch.kept("x://a", None)


async def test_a_new_version_takes_over():
    async with PoolRig(watched("legacy")) as rig:
        await rig.ready()
        rig.pool.watch.want("x://a", None)
        await rig.pool.watch.kept("x://a", None)
        new = rig.changed(args=("--new",))
        newcomers = await rig.pool.prepare(new)
        rig.pool.commit(new, rig.pool._fleet, newcomers)
        assert await known(rig, rig.link(newcomers[0].instance)) == ["x://a"]
        assert rig.pool.watch.held == 1


async def test_starting_fails_and_nobody_waits_in_vain():
    async with PoolRig(watched("legacy")) as rig:
        rig.launcher.problems = [problem("missing-secrets")] * 3
        await asyncio.sleep(1.0)
        rig.pool.watch.want("x://a", None)
        with pytest.raises(McpError, match="is blocked"):
            await rig.pool.watch.kept("x://a", None)


@pytest.mark.parametrize("era", ERAS)
async def test_an_instance_that_is_trusted_again_is_not_let_go(era, monkeypatch):
    async with PoolRig(watched(era)) as rig:
        link = rig.link((await rig.ready())[0])
        rig.pool.watch.want("x://a", None)
        await rig.pool.watch.kept("x://a", None)
        with monkeypatch.context() as hung:
            hung.setattr("fairlead.orchestrator.carrier.is_hung", lambda instance: True)
            rig.pool.refresh()
            await asyncio.sleep(1.0)
            assert rig.pool.watch.held == 0
        rig.pool.refresh()
        await asyncio.sleep(1.0)
        assert set(knows(link)) == {"x://a"}


async def test_an_instance_that_a_session_takes_tells_that_session_at_once():
    async with stateful(maximum=1, script=watched("modern"), ticking=True) as rig:
        await rig.ready()
        await asyncio.sleep(1.0)
        assert "Carrier None on s-1" in repr(rig.pool.watch), "its lists are listened to"
        rig.pool.watch.want("x://a", "session:1")
        await rig.pool.watch.kept("x://a", "session:1")
        touch(rig.driver.links[0], "x://a")
        assert rig.listener.updates == [("x://a", "session:1")]


@pytest.mark.parametrize("era", ERAS)
async def test_a_server_that_is_shared_from_now_on_has_no_instance_for_one_session(era):
    async with stateful(maximum=2, script=watched(era), ticking=True) as rig:
        await rig.ready()
        rig.pool.watch.want("x://a", "session:1")
        await rig.pool.watch.kept("x://a", "session:1")
        tries = 0
        acquire = rig.pool.acquire

        async def counted(*args, **options):
            nonlocal tries
            tries += 1
            if tries > 100:
                await asyncio.Event().wait()  # it would never stop
            return await acquire(*args, **options)

        rig.pool.acquire = counted
        new = rig.changed(sharing=Sharing.SHARED)
        rig.pool.commit(new, rig.pool._fleet, await rig.pool.prepare(new))
        await asyncio.sleep(30.0)
        assert tries < 12
        rig.pool.watch.drop("x://a", "session:1")
        await asyncio.sleep(100.0)
        assert "session" not in repr(rig.pool.watch)


# -- servers that find fault with a whole listen -----------------------------------------------------------


async def test_who_comes_while_a_listen_is_being_opened_is_not_refused_unasked():
    usual, opening = watched("modern"), []

    def script(message):
        if message.get("method") == "subscriptions/listen":
            opening.append(message)
            return []
        return usual(message)

    async with PoolRig(script) as rig:
        link = rig.link((await rig.ready())[0])
        link.say(acknowledgement(opening.pop()))
        await asyncio.sleep(1.0)
        waiting = []
        for uri in ("x://a", "x://b", "x://c"):
            rig.pool.watch.want(uri, None)
            waiting.append(asyncio.ensure_future(rig.pool.watch.kept(uri, None)))
            await asyncio.sleep(0.1)
            if uri != "x://a":  # the listen without this one
                link.say(acknowledgement(opening.pop(0)))
                await asyncio.sleep(0.1)
        while opening:
            link.say(acknowledgement(opening.pop(0)))
            await asyncio.sleep(0.1)
        assert await asyncio.gather(*waiting) == [None] * 3


@pytest.mark.parametrize("count", [1, 2, 7, 100])
async def test_uris_that_a_server_will_not_hear_of_spoil_no_others(count):
    usual = watched("modern")

    def script(message):
        if message.get("method") == "subscriptions/listen" and "bad" in str(message):
            return [refuse(message, -32602, "not a URI")]
        return usual(message)

    async with PoolRig(script, ticking=True) as rig:
        link = rig.link((await rig.ready())[0])
        watch = rig.pool.watch
        good = [f"x://good/{number}" for number in range(count)]
        bad = [f"x://bad/{number}" for number in range(0, count, 5)]
        uris = sorted(good + bad, key=lambda uri: uri[::-1])
        for uri in uris:
            watch.want(uri, None)
        said = await asyncio.gather(*(watch.kept(uri, None) for uri in uris), return_exceptions=True)
        assert [uri for uri, error in zip(uris, said, strict=True) if error] == [u for u in uris if u in bad]
        assert len(asked(link, "subscriptions/listen")) < 10 + 2 * len(bad) * 8
        for uri in bad:
            watch.drop(uri, None)
        link.lose()
        await asyncio.sleep(5.0)
        assert knows(rig.driver.links[-1]) == sorted(good)
