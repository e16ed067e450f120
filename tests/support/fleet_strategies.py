"""Hypothesis strategies: whatever can be in a fleet spec."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from fairlead.model import fleet
from fairlead.model.fleet import FleetSpec, ServerSpec
from fairlead.model.toolset import Toolset, ToolsetServer

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


PERCENTS = st.floats(0, 100, exclude_min=True)
THRESHOLDS = st.integers(1, 1000)
PATTERNS = st.lists(st.sampled_from(["^error:", r"rate \d+/s", "é|ü", "(?i)too many", " #"]), max_size=2)
STRATEGIES = st.sampled_from(list(fleet.Strategy))


@st.composite
def scalings(draw: st.DrawFn) -> fleet.Scaling:
    low, high = sorted((draw(COUNTS), draw(THRESHOLDS)))
    rest = some(
        fleet.Scaling,
        target_calls_in_flight=THRESHOLDS,
        target_cpu_utilization=PERCENTS,
        target_memory_utilization=PERCENTS,
        scale_down_after=DURATIONS,
        idle_after=DURATIONS,
        enabled=st.booleans(),
    )
    return draw(rest).model_copy(update={"min_instances": low, "max_instances": max(1, high)})


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
        fleet.ServerSecurity,
        read_only=st.booleans(),
        allowed_paths=st.lists(TEMPLATES.map("/{}".format), max_size=2).map(tuple),
    ),
    "resources": RESOURCES,
    "health_check": some(
        fleet.HealthCheck,
        enabled=st.booleans(),
        path=TEXTS,
        interval=DURATIONS,
        timeout=DURATIONS,
        idle_interval=DURATIONS,
        idle_timeout=DURATIONS,
        retries=THRESHOLDS,
        recoveries=THRESHOLDS,
        error_patterns=PATTERNS.map(tuple),
    ),
    "circuit_breaker": some(
        fleet.CircuitBreaker,
        enabled=st.booleans(),
        window=DURATIONS,
        minimum_calls=THRESHOLDS,
        failure_rate=PERCENTS,
        slow_call=DURATIONS,
        slow_rate=PERCENTS,
        consecutive_failures=THRESHOLDS,
        open_for=DURATIONS,
        trials=THRESHOLDS,
    ),
    "limits": some(
        fleet.CallLimits, calls_per_instance=THRESHOLDS, calls=st.integers(1, 10**6), waiting=COUNTS
    ),
    "scaling": scalings(),
    "strategy": st.none() | STRATEGIES,
    "timeouts": some(fleet.Timeouts, start=DURATIONS, call=DURATIONS, stop=DURATIONS),
    "tool_contracts": st.none() | st.sampled_from(list(fleet.ContractPolicy)),
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
GLOBS = st.lists(st.sampled_from(["*", "read_*", "a?", "file:///[x]*"]), max_size=2).map(tuple)
NEW_NAMES = st.from_regex(r"[A-Za-z0-9_.-]{1,8}", fullmatch=True)
CHOICES = {
    "tools": st.none() | GLOBS,
    "hide": GLOBS,
    "descriptions": st.dictionaries(TEXTS, TEXTS, max_size=2),
    "prompts": st.none() | GLOBS,
    "resources": st.none() | GLOBS,
}


@st.composite
def toolsets(draw: st.DrawFn, server_ids: list[str]) -> dict[str, Toolset]:
    """Over these servers, without new names that meet."""
    found = {}
    for name in draw(st.lists(IDS, max_size=2, unique=True)):
        chosen = draw(st.lists(st.sampled_from(["*", *server_ids]), max_size=3, unique=True))
        servers = {each: draw(some(ToolsetServer, **CHOICES)) for each in chosen}
        named = [each for each in chosen if each != "*"]
        new = draw(st.lists(NEW_NAMES, max_size=2, unique=True)) if named else []
        if new:
            rename = {draw(st.text(min_size=1, max_size=5)): each for each in new}
            server = draw(st.sampled_from(named))
            servers[server] = servers[server].model_copy(update={"rename": rename})
        rest = {"description": TEXTS, "mode": st.sampled_from(["list", "search"])}
        found[name] = Toolset(servers=servers, **draw(st.fixed_dictionaries({}, optional=rest)))
    return found


def with_toolsets(spec: FleetSpec) -> st.SearchStrategy[FleetSpec]:
    made = toolsets(list(spec.servers)).map(lambda made: spec.model_copy(update={"toolsets": made}))
    return st.just(spec) | made


_SPECS = some(
    FleetSpec,
    version=TEXTS,
    metadata=st.dictionaries(TEXTS, TEXTS, max_size=3),
    servers=servers(),
    load_balancing=some(
        fleet.LoadBalancing,
        strategy=STRATEGIES,
        health_check_interval=DURATIONS,
        unhealthy_threshold=THRESHOLDS,
        recovery_threshold=THRESHOLDS,
        panic_threshold=st.floats(0, 100),
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
        tool_contracts=st.sampled_from(list(fleet.ContractPolicy)),
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
SPECS = _SPECS.flatmap(with_toolsets)
