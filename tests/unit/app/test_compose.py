"""What is put together knows of each other."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from fairlead.app.compose import compose, make_policy
from fairlead.app.listening import listening
from fairlead.app.persistence import Persistence
from fairlead.app.settings import Settings
from fairlead.audit.recorder import AuditTrail
from fairlead.buses.memory import MemoryBus
from fairlead.model.fleet import FleetSpec, NetworkPolicies, Security
from fairlead.model.fleet_values import Origin
from fairlead.stores.sql.audit import SqlAuditLog
from fairlead.stores.sql.database import Database, sqlite_url
from fairlead.stores.state import StateFolder

ORIGIN = TypeAdapter(Origin)
TEXTS = st.text(max_size=12) | st.from_regex(r"[a-z]{1,4}://\S{0,8}") | st.just("https://dash.example:8443")


def with_origins(*origins: str) -> FleetSpec:
    network = NetworkPolicies.model_construct(allowed_origins=origins, denied_ips=())
    return FleetSpec(security=Security.model_construct(network_policies=network))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(config=tmp_path / "fleet.yml", state_dir=tmp_path, workspace=tmp_path, port=0)


def kept(state: StateFolder) -> Persistence:
    """What is not open yet."""
    database = Database(sqlite_url(state.database("test")), "test")
    return Persistence(database, MemoryBus(), "urn:test", AuditTrail(SqlAuditLog(database)))


def test_an_origin_with_a_wildcard_allows_nothing_and_is_in_nobodys_way(settings: Settings) -> None:
    spec = with_origins("*", "http://localhost:*", "https://dash.example")
    policy = make_policy(settings, {}, spec, 3000)
    own = make_policy(settings, {}, FleetSpec(), 3000)
    assert set(policy.origins) - set(own.origins) == {b"https://dash.example"}


def test_a_spec_that_no_policy_can_be_made_of_is_found_before_it_is_applied(settings: Settings) -> None:
    state = StateFolder(settings.state_dir / "state")
    state.prepare()
    with listening(settings) as listeners:
        system = compose(settings, state, listeners, kept(state))
    with pytest.raises(ValueError, match="is not an origin"):
        system.config._check(with_origins("http://ü.x"))
    system.config._check(with_origins("https://dash.example"))


def test_the_state_of_a_server_reaches_the_config(settings: Settings) -> None:
    state = StateFolder(settings.state_dir / "state")
    state.prepare()
    with listening(settings) as listeners:
        system = compose(settings, state, listeners, kept(state))
    assert system.fleet.on_state == system.config.states_changed


@given(TEXTS)
def test_each_origin_that_a_fleet_file_may_have_can_be_put_in_force(text: str) -> None:
    try:
        ORIGIN.validate_python(text)
    except ValidationError:
        return
    make_policy(Settings(), {}, with_origins(text), 3000)


@pytest.mark.parametrize(
    "text", ["http://ü.x", "http://a,b", "http://a b", "http://a/", "HTTP://a", "http://\x7f"]
)
def test_what_cannot_be_put_in_force_is_no_origin(text: str) -> None:
    with pytest.raises(ValidationError):
        ORIGIN.validate_python(text)
