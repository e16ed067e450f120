"""The fleet that ships with the project says what it should."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.model.fleet import (
    FleetSpec,
    LoadBalancing,
    ResolvedServer,
    ServerSpec,
    Sharing,
    resolve_server,
)
from fairlead.model.placeholders import MissingNames
from fairlead.stores.fleet_file import load

FILE = Path(__file__).parents[3] / "config" / "mcp-servers.yml"


@pytest.fixture(scope="module")
def spec() -> FleetSpec:
    found = load(FILE.read_bytes(), "mcp-servers.yml")
    assert not found.errors
    assert {problem.message for problem in found.warnings} == {"not in force"}
    assert found.spec is not None
    return found.spec


def test_the_servers_their_weights_and_capabilities(spec: FleetSpec) -> None:
    assert {name: (server.weight, server.enabled) for name, server in spec.servers.items()} == {
        "context7": (1.0, True),
        "sequential": (1.2, True),
        "magic": (0.8, True),
        "filesystem": (1.0, True),
        "dev-tools": (0.5, False),
        "everything": (1.0, True),
    }
    assert spec.servers["context7"].capabilities[0] == "documentation-search"
    assert spec.servers["sequential"].capabilities[-1] == "architectural-analysis"
    assert spec.servers["magic"].capabilities[0] == "ui-generation"
    assert spec.servers["filesystem"].capabilities[0] == "file-operations"
    assert spec.servers["dev-tools"].capabilities[0] == "code-analysis"


def test_only_sequential_holds_state(spec: FleetSpec) -> None:
    stateful = [name for name, server in spec.servers.items() if server.sharing is Sharing.SESSION]
    assert stateful == ["sequential"]


def test_what_balances_scales_and_guards_is_as_the_documented_defaults_have_it(spec: FleetSpec) -> None:
    """The file shows the keys: it must not show other values than a server without them gets."""
    plain = ServerSpec(id="a", command="x")
    for name, server in spec.servers.items():
        most = 16 if name == "sequential" else 4
        assert server.scaling == plain.scaling.model_copy(update={"max_instances": most})
        assert server.health_check == plain.health_check
        assert server.circuit_breaker == plain.circuit_breaker
        assert server.limits == plain.limits
        assert server.strategy is None
    assert spec.load_balancing == LoadBalancing()


def test_only_what_really_has_no_effect_is_said_to_have_none() -> None:
    found = load(FILE.read_bytes(), "f.yml").warnings
    assert [problem.path for problem in found] == ["monitoring", "environments"]


def test_every_server_is_a_pinned_package(spec: FleetSpec) -> None:
    assert all(server.package for server in spec.servers.values())


def test_only_magic_lacks_a_key(spec: FleetSpec) -> None:
    known = {"FAIRLEAD_WORKSPACE": "/w"}
    resolved = {name: resolve_server(server, known.get) for name, server in spec.servers.items()}
    assert resolved.pop("magic") == MissingNames(("TWENTYFIRST_API_KEY",))
    filesystem, context7 = resolved["filesystem"], resolved["context7"]
    assert isinstance(filesystem, ResolvedServer)
    assert filesystem.args == ("/w",)
    assert isinstance(context7, ResolvedServer)
    assert context7.environment == {}, "the optional key is left out when it is not set"


def test_magic_gets_its_key_under_the_name_that_it_reads(spec: FleetSpec) -> None:
    found = resolve_server(spec.servers["magic"], {"TWENTYFIRST_API_KEY": "k"}.get)
    assert isinstance(found, ResolvedServer)
    assert found.environment == {"TWENTY_FIRST_API_KEY": "k"}


def test_editors_find_the_schema() -> None:
    first = FILE.read_text(encoding="utf-8").splitlines()[0]
    assert first == "# yaml-language-server: $schema=./mcp-servers.schema.json"
    assert (FILE.parent / "mcp-servers.schema.json").is_file()


@pytest.mark.parametrize(
    "section",
    [
        "defaults",
        "servers",
        "loadBalancing",
        "security",
        "monitoring",
        "environments",
        "scaling",
        "healthCheck",
        "circuitBreaker",
        "limits",
    ],
)
def test_every_section_is_there(section: str) -> None:
    assert f"{section}:" in FILE.read_text(encoding="utf-8")
