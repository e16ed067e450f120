"""What pools are told to aim at."""

from fairlead.core.autoscale import Load
from fairlead.model.fleet import CallLimits, Scaling, ServerSpec, Sharing
from fairlead.orchestrator.scaler import Scaler


class Pool:
    """Has as many instances as it was told, at once."""

    def __init__(self, id_="s", **spec):
        self.spec = ServerSpec(id=id_, command="x", **spec)
        self.target = max(1, self.spec.scaling.min_instances)
        self.changes = []
        self.calls = self.waiting = self.leased = 0
        self.last_call = 0.0

    def load(self, now):
        if self.calls or self.waiting:
            self.last_call = now
        return Load(
            instances=self.target,
            in_flight=self.calls,
            waiting=self.waiting,
            longest_wait=0.0,
            cpu=None,
            leased=self.leased,
            last_call=self.last_call,
        )

    def scale_to(self, count, reason):
        if count != self.target:
            self.target = count
            self.changes.append((count, reason))


def ticks(scaler, seconds, start=0):
    for now in range(start, start + seconds):
        scaler.tick(float(now))


def test_a_pool_follows_its_load_up_and_down():
    pool = Pool()
    scaler = Scaler(lambda: [pool])
    pool.calls = 40
    ticks(scaler, 10)
    pool.calls = 1
    ticks(scaler, 100, start=10)
    assert pool.changes == [(3, "40 calls at a time"), (1, "less is needed for 60 s")]


def test_each_pool_has_its_own_state():
    busy, calm = Pool("busy"), Pool("calm")
    busy.calls = 1000
    scaler = Scaler(lambda: [busy, calm])
    ticks(scaler, 5)
    assert (busy.target, calm.target, calm.changes) == (4, 1, [])
    assert repr(scaler) == "<Scaler busy=4, calm=1>"


def test_nothing_is_changed_where_nothing_is_to_do():
    pool = Pool(scaling=Scaling(min_instances=3, max_instances=5))
    ticks(Scaler(lambda: [pool]), 500)
    assert pool.changes == []


def test_a_pool_goes_idle_and_comes_back():
    pool = Pool(scaling=Scaling(min_instances=0))
    scaler = Scaler(lambda: [pool])
    ticks(scaler, 302)
    pool.waiting = 1
    ticks(scaler, 1, start=302)
    assert pool.changes == [(0, "no call for 300 s"), (1, "a call came")]


def test_new_bounds_are_in_force_at_the_next_tick():
    pool = Pool()
    scaler = Scaler(lambda: [pool])
    ticks(scaler, 2)
    pool.spec = Pool(scaling=Scaling(min_instances=2, max_instances=6)).spec
    ticks(scaler, 1, start=2)
    assert pool.changes == [(2, "minInstances is 2")]


def test_a_pool_that_changed_its_aim_by_itself_is_told_again():
    pool = Pool()
    pool.calls = 40
    scaler = Scaler(lambda: [pool])
    ticks(scaler, 5)
    pool.target = 1  # a person stopped it and started it
    ticks(scaler, 1, start=5)
    assert pool.target == 3


def test_sessions_get_spare_instances_for_those_that_wait():
    pool = Pool(sharing=Sharing.SESSION, scaling=Scaling(max_instances=10))
    pool.calls, pool.leased, pool.waiting = 500, 2, 3
    ticks(Scaler(lambda: [pool]), 5)
    assert pool.changes == [(3, "3 waiting")]


def test_the_bound_of_an_instance_bounds_the_target():
    pool = Pool(limits=CallLimits(calls_per_instance=4))
    pool.calls = 8
    ticks(Scaler(lambda: [pool]), 5)
    assert pool.target == 2


def test_pools_that_are_gone_are_forgotten():
    pools = [Pool("a"), Pool("b")]
    scaler = Scaler(lambda: pools)
    scaler.tick(0.0)
    del pools[0]
    scaler.tick(1.0)
    assert repr(scaler) == "<Scaler b=1>"
