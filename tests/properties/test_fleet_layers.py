"""Live edits on top of an accepted spec give exactly the spec that was wanted, whatever it is."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.app.fleet_layers import Layers, accept
from fairlead.app.fleet_reading import Stated
from fairlead.core.overrides import parse_key, rebase
from fairlead.model.fleet import FleetSpec
from fairlead.stores.fleet_file import document
from support.fleet_strategies import SPECS

DAY = 86400.0


def stated(spec: FleetSpec) -> Stated:
    return Stated(spec, document(spec))


@given(SPECS, SPECS)
@settings(deadline=None, max_examples=40)
def test_the_live_edits_make_the_wanted_spec_of_the_accepted_one(
    accepted: FleetSpec, wanted: FleetSpec
) -> None:
    base = Layers(stated(accepted))
    layers = base.live(wanted, by="ada", at=DAY).layers
    found = layers.load()
    assert found.spec == wanted, "\n".join(map(str, found.errors))
    assert base.live(accepted, by="ada", at=DAY).layers == base

    again = layers.live(wanted, by="bob", at=2 * DAY).layers
    assert again == layers, "edits that stay keep their author and their time"
    composed = accept(stated(accepted), layers.overrides)
    assert (composed.layers, composed.spec, composed.dropped) == (layers, wanted, ())


@given(SPECS, SPECS, SPECS)
@settings(deadline=None, max_examples=40)
def test_a_new_accepted_spec_is_never_refused_for_what_was_edited_live(
    accepted: FleetSpec, wanted: FleetSpec, fresh: FleetSpec
) -> None:
    overrides = Layers(stated(accepted)).live(wanted, by="ada", at=DAY).layers.overrides
    composed = accept(stated(fresh), overrides)
    dropped = [override for override, _ in composed.dropped]
    assert sorted(map(repr, (*composed.layers.overrides, *dropped))) == sorted(map(repr, overrides))
    assert composed.layers.load().spec == composed.spec
    if not composed.layers.overrides:
        assert composed.spec == fresh
    _, overtaken = rebase(overrides, document(fresh), document(fresh))
    assert set(map(repr, overtaken)) <= set(map(repr, dropped))


@given(SPECS, st.data())
@settings(deadline=None, max_examples=40)
def test_one_edit_of_one_number_is_one_override_at_its_key(accepted: FleetSpec, data: st.DataObject) -> None:
    if not accepted.servers:
        return
    name = data.draw(st.sampled_from(list(accepted.servers)))
    server = accepted.servers[name]
    calls = data.draw(st.integers(1, 1000).filter(lambda n: n != server.limits.calls_per_instance))
    limits = server.limits.model_copy(update={"calls_per_instance": calls})
    servers = accepted.servers | {name: server.model_copy(update={"limits": limits})}
    wanted = accepted.model_copy(update={"servers": servers})
    (override,) = Layers(stated(accepted)).live(wanted, by="ada", at=DAY).layers.overrides
    assert parse_key(override.key) == ("servers", name, "limits", "callsPerInstance")
    assert (override.value, override.removed) == (calls, False)
