"""The loader round-trips whatever can be a fleet, and says what is wrong with whatever cannot."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from fairlead.model import fleet
from fairlead.model.fleet import FleetSpec, ServerSpec
from fairlead.model.placeholders import MissingNames, check, resolve
from fairlead.model.spec_problem import Loaded
from fairlead.model.units import CORES, DURATION, SIZE
from fairlead.stores.fleet_file import dump, load
from fairlead.stores.upgrade import upgrade
from fairlead.stores.yaml_text import write_yaml
from fairlead.stores.yaml_tree import Mapping, Node, Scalar, compose, plain_value

TEXTS = st.text(max_size=20) | st.sampled_from(
    ["", "true", "null", "~", "1", "0x1", "1e3", "<<", "- a", "a: b", *"#@*&!'\"%", "..."]
)
TEMPLATES = st.lists(
    TEXTS.map(lambda text: text.replace("$", "").replace("\0", "").replace("}", ""))
    | st.sampled_from(["$", "$$", "${A}", "${env:B}", "${C:-}", "${D:-d e}"]),
    max_size=3,
).map(" ".join)
DURATIONS = st.floats(0.001, 3650 * 86400)
COUNTS = st.integers(0, 1000)
NUMBERS = st.floats(0, 1_000_000)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,12}", fullmatch=True)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


def some(model: type[Any], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """The model with any of these fields given."""
    return st.fixed_dictionaries({}, optional=fields).map(lambda given: model(**given))


@st.composite
def scalings(draw: st.DrawFn) -> fleet.Scaling:
    low, high = sorted((draw(COUNTS), draw(st.integers(1, 1000))))
    percent = draw(st.floats(0, 100, exclude_min=True))
    return fleet.Scaling(min_instances=low, max_instances=max(1, high), target_cpu_utilization=percent)


RESOURCES = some(fleet.Resources, memory=st.integers(1, 2**50), cpu=st.floats(0.001, 10_000))
SERVERS = {
    "enabled": st.booleans(),
    "deployment_type": st.sampled_from(["process", "docker", "websocket"]),
    "transport": st.sampled_from(["streamable-http", "sse"]),
    "headers": st.dictionaries(
        NAMES, TEMPLATES.map(lambda text: text.replace("\r", "").replace("\n", "")), max_size=2
    ),
    "environment": st.dictionaries(NAMES, TEMPLATES, max_size=3),
    "working_directory": TEMPLATES,
    "capabilities": st.lists(st.sampled_from(["one", "#two", "true", "3", "é"]), max_size=3).map(tuple),
    "sharing": st.sampled_from(list(fleet.Sharing)),
    "priority": st.sampled_from(["high", "medium", "low"]),
    "volumes": st.lists(TEXTS, max_size=2).map(tuple),
    "security": some(
        fleet.ServerSecurity, read_only=st.booleans(), allowed_paths=st.lists(TEXTS, max_size=2).map(tuple)
    ),
    "resources": RESOURCES,
    "health_check": some(fleet.HealthCheck, path=TEXTS, interval=DURATIONS, retries=COUNTS),
    "scaling": scalings(),
    "timeouts": some(fleet.Timeouts, start=DURATIONS, call=DURATIONS, stop=DURATIONS),
    "type": TEXTS,
    "port": st.integers(1, 65535),
    "args": st.lists(TEMPLATES, max_size=3).map(tuple),
    "entry": st.just("tool"),
    "weight": NUMBERS,
}
SOURCES = st.sampled_from(
    [
        {"package": "npm:@a/b@1.2.3-rc.1"},
        {"package": "pypi:x==1!2.0"},
        {"command": "${BIN:-/opt/bin}/run"},
        {"url": "https://${HOST}:8080/mcp?x=#1"},
        {"image": "mcp/x:latest"},
        {"image": "mcp/x:latest", "command": "run"},
    ]
)
IDS = st.from_regex(r"[a-z0-9][a-z0-9-]{0,31}", fullmatch=True)


@st.composite
def servers(draw: st.DrawFn) -> dict[str, ServerSpec]:
    ids = draw(st.lists(IDS, max_size=3, unique=True))
    fields = st.fixed_dictionaries({}, optional=SERVERS)
    return {id_: ServerSpec(**{"id": id_} | draw(SOURCES) | draw(fields)) for id_ in ids}


PROFILES = some(
    fleet.Profile,
    hot_reload=st.booleans(),
    performance=some(fleet.Performance, enable_tracing=st.booleans(), optimization=TEXTS),
    security=st.dictionaries(TEXTS, JSON, max_size=3),
)
ORIGINS = st.sampled_from(["https://a.example", "http://localhost:3000", "http://localhost:*", "*"])
ENVIRONMENTS = some(fleet.Environment, active=st.booleans(), replicas=st.integers(1, 9))
SPECS = some(
    FleetSpec,
    version=TEXTS,
    metadata=st.dictionaries(TEXTS, TEXTS, max_size=3),
    servers=servers(),
    load_balancing=some(
        fleet.LoadBalancing,
        strategy=st.sampled_from(["round-robin", "weighted"]),
        health_check_interval=DURATIONS,
        unhealthy_threshold=COUNTS,
    ),
    monitoring=some(
        fleet.Monitoring,
        metrics_port=st.integers(1, 65535),
        retention=some(fleet.Retention, metrics=DURATIONS, logs=DURATIONS),
        alerting=some(
            fleet.Alerting,
            channels=st.lists(
                st.builds(
                    fleet.AlertChannel,
                    type=st.sampled_from(["webhook", "log"]),
                    url=st.none() | st.just("https://h/${HOOK}"),
                    level=st.none() | TEXTS,
                ),
                max_size=2,
            ).map(tuple),
        ),
    ),
    security=some(
        fleet.Security,
        authentication=some(fleet.Authentication, enabled=st.booleans(), type=TEXTS),
        network_policies=some(
            fleet.NetworkPolicies,
            allowed_origins=st.lists(ORIGINS, max_size=2).map(tuple),
            denied_ips=st.lists(st.sampled_from(["10.0.0.1", "fe80::/10"]), max_size=2).map(tuple),
        ),
        resource_limits=some(
            fleet.ResourceLimits,
            max_request_size=st.integers(1, 2**50),
            rate_limiting=some(fleet.RateLimiting, requests_per_minute=st.integers(1, 10**6)),
        ),
    ),
    development=PROFILES,
    production=PROFILES,
    environments=some(fleet.Environments, staging=ENVIRONMENTS, production=ENVIRONMENTS),
)


@given(SPECS)
def test_a_fleet_that_is_written_is_read_as_it_was(spec: FleetSpec) -> None:
    text = dump(spec)
    found = load(text, "f.yml")
    assert not found.errors, "\n".join(map(str, found.errors)) + "\n" + text
    assert found.spec == spec
    assert load(text.encode(), "f.yml") == found
    assert not any("no unit" in problem.message for problem in found.warnings), "today's form has units"


def check_loaded(found: Loaded, text: str) -> None:
    assert (found.spec is None) == bool(found.errors)
    lines = text.split("\n")
    for problem in found.problems:
        assert problem.file == "f.yml"
        assert 1 <= problem.line <= len(lines) + 1 + text.count("\r")
        assert problem.column >= 1
        assert problem.message
        assert problem.hint
    if found.spec is not None:
        again = load(dump(found.spec), "g.yml")
        assert again.spec == found.spec


PIECES = st.sampled_from(
    [
        *"\t\n\r -:?[]{},&*!|>'\"%@`#~<=.$\\0aeé\u2028\ufeff\0\ud800",
        *("<<: ", "&a ", "*a", "!!str ", "${", "\\U0011", "---\n", "...\n", "\n  ", "a: ", "1", "30s"),
        *("servers:", "command: x", "url: ", "defaults:", "args: [", "]"),
    ]
)


@given(st.text() | st.lists(PIECES, max_size=40).map("".join))
@example("")
@example("servers: {a: {<<: 1, command: x}}")
@example('servers: {a: {command: "\\U00110000"}}')
@example("servers: {a: {command: x, scaling: {minInstances: " + "9" * 5000 + "}}}")
def test_no_text_whatever_makes_it_raise(text: str) -> None:
    check_loaded(load(text, "f.yml"), text)


@given(st.binary())
@example(b"\xff\xfes\0e\0")
def test_no_bytes_whatever_make_it_raise(content: bytes) -> None:
    check_loaded(load(content, "f.yml"), content.decode("utf-8", "replace"))


REAL = (Path(__file__).parents[1] / "unit" / "stores" / "data" / "original.yml").read_text(encoding="utf-8")


@given(st.integers(0, len(REAL)), st.integers(0, 60), st.lists(PIECES, max_size=3).map("".join))
@settings(deadline=None)
def test_no_slip_in_a_real_file_makes_it_raise(at: int, cut: int, put: str) -> None:
    text = REAL[:at] + put + REAL[at + cut :]
    found = load(text, "f.yml")
    check_loaded(found, text)
    if found.spec is not None:
        upgraded = load(upgrade(text), "f.yml")
        assert not any("no unit" in problem.message for problem in upgraded.problems)
        assert upgraded.spec == found.spec


@given(DURATIONS, st.integers(1, 2**50), st.floats(0.001, 10_000))
def test_quantities_are_written_exactly(duration: float, size: int, cores: float) -> None:
    assert DURATION.parse(DURATION.format(duration)) == duration
    assert SIZE.parse(SIZE.format(size)) == size
    assert CORES.parse(CORES.format(cores)) == cores


def data(node: Node | None) -> Any:
    if isinstance(node, Scalar):
        return plain_value(node.text) if node.plain else node.text
    if isinstance(node, Mapping):
        return {name: data(entry.value) for name, entry in node.entries.items()}
    assert node is not None
    return [data(item) for item in node.items]


@given(st.dictionaries(st.text(), JSON, min_size=1, max_size=4))
def test_plain_data_that_is_written_is_read_as_it_was(written: dict[str, Any]) -> None:
    tree = compose(write_yaml(written))
    assert not tree.findings
    assert data(tree.root) == written


@given(TEMPLATES, st.dictionaries(st.sampled_from("ABCD"), st.text()))
def test_placeholders_are_all_filled_in_or_all_told(text: str, known: dict[str, str]) -> None:
    found = resolve(check(text), known.get)
    missing = {
        name for name in "AB" if ("${" + name in text or "${env:" + name in text) and not known.get(name)
    }
    if isinstance(found, MissingNames):
        assert set(found.names) == missing
    else:
        assert not missing


@given(st.text())
def test_a_text_without_a_dollar_stays_itself(text: str) -> None:
    plain = text.replace("$", "").replace("\0", "")
    assert resolve(check(plain), {}.get) == plain
    assert resolve(check(plain.replace("x", "$$")), {}.get) == plain.replace("x", "$")


@given(st.text(alphabet="0123456789.eE+-x_infa", max_size=12))
def test_a_plain_number_is_what_python_has_for_it(text: str) -> None:
    value = plain_value(text)
    if isinstance(value, float):
        assert value == float(text)
        assert math.isfinite(value)
    elif type(value) is int and not text.startswith("0x"):
        assert value == int(text)
