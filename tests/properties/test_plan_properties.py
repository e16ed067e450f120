"""The difference between two specs is the smallest that there is."""

from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.plan import Plan, plan

# A server: the version that its processes depend on, and a part that they do not.
SERVERS = st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.integers(0, 2), st.integers(0, 2)))


def planned(old, new):
    return plan(old, new, same_process=lambda one, other: one[0] == other[0])


@given(SERVERS, SERVERS)
def test_carrying_it_out_gives_the_new_spec_and_names_nothing_needlessly(old, new):
    steps = planned(old, new)
    named = [*steps.started, *steps.replaced, *steps.adjusted, *steps.stopped, *steps.kept]
    assert sorted(named) == sorted(old.keys() | new.keys()), "each once"

    fleet = {name: server for name, server in old.items() if name not in steps.stopped}
    for name in (*steps.started, *steps.replaced):
        fleet[name] = new[name]
    for name in steps.adjusted:
        assert fleet[name][0] == new[name][0], "an adjustment cannot change processes"
        fleet[name] = new[name]
    assert fleet == new

    assert set(steps.started).isdisjoint(old)
    assert set(steps.stopped).isdisjoint(new)
    assert all(old[name][0] != new[name][0] for name in steps.replaced)
    assert all(old[name] != new[name] for name in steps.adjusted)


@given(SERVERS)
def test_the_same_spec_again_only_keeps(spec):
    assert planned(spec, dict(spec)) == Plan(kept=tuple(spec))


@given(SERVERS, SERVERS, st.permutations("abcdef"))
def test_the_order_of_the_servers_changes_nothing(old, new, order):
    shuffled = {name: new[name] for name in order if name in new}
    one, other = planned(old, new), planned(old, shuffled)
    for part in ("started", "replaced", "adjusted", "stopped", "kept"):
        assert set(getattr(one, part)) == set(getattr(other, part))
