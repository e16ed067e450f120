from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from fairlead.model.fleet import FleetSpec, ServerSpec, Sharing
from fairlead.model.not_in_force import NOT_IN_FORCE
from fairlead.model.spec_problem import Severity, SpecProblem
from fairlead.stores.fleet_file import dump, load
from fairlead.stores.yaml_tree import MAX_BYTES

ORIGINAL = Path(__file__).parent / "data" / "original.yml"


def loaded(text: str) -> FleetSpec:
    found = load(textwrap.dedent(text), "f.yml")
    assert not found.errors, "\n".join(map(str, found.errors))
    assert found.spec is not None
    return found.spec


def server(lines: str) -> ServerSpec:
    body = textwrap.indent(textwrap.dedent(lines), "    ")
    return loaded(f"servers:\n  a:\n{body}").servers["a"]


def problems(text: str | bytes) -> tuple[SpecProblem, ...]:
    found = load(textwrap.dedent(text) if isinstance(text, str) else text, "f.yml")
    failed = any(problem.severity is Severity.ERROR for problem in found.problems)
    assert (found.spec is None) == failed
    return found.problems


def told(text: str | bytes) -> list[str]:
    return [str(problem) for problem in problems(text)]


class TestMeaning:
    def test_a_server_has_all_that_is_said_of_it(self) -> None:
        spec = server(
            """\
            package: npm:@scope/name@1.2.3
            entry: tool
            args: [--port, 8080, 0644, yes]
            environment: {A: 1.10, B: true, C: '', D: "${X:-}"}
            workingDirectory: /srv
            capabilities: [one, two]
            sharing: session
            enabled: false
            resources: {memory: 1GiB, cpu: 500m}
            timeouts: {start: 2m, call: 500ms, stop: 1s}
            scaling: {maxInstances: 9}
            """
        )
        assert (spec.id, spec.package, spec.entry) == ("a", "npm:@scope/name@1.2.3", "tool")
        assert spec.args == ("--port", "8080", "0644", "yes"), "texts are what was written"
        assert spec.environment == {"A": "1.10", "B": "true", "C": "", "D": "${X:-}"}
        assert spec.sharing is Sharing.SESSION
        assert (spec.enabled, spec.working_directory) == (False, "/srv")
        assert (spec.resources.memory, spec.resources.cpu) == (2**30, 0.5)
        assert (spec.timeouts.start, spec.timeouts.call, spec.timeouts.stop) == (120.0, 0.5, 1.0)
        assert (spec.scaling.min_instances, spec.scaling.max_instances) == (1, 9)

    def test_a_remote_server(self) -> None:
        spec = server("{url: 'https://${HOST}:${PORT}/mcp', transport: sse, headers: {X-Key: '${KEY}'}}")
        assert (spec.url, spec.transport) == ("https://${HOST}:${PORT}/mcp", "sse")
        assert spec.headers == {"X-Key": "${KEY}"}

    def test_defaults_fill_what_a_server_does_not_say(self) -> None:
        spec = loaded(
            """
            defaults:
              resources: {memory: 1GiB, cpu: 2 cores}
              environment: {A: base, B: base}
              capabilities: [base]
              timeouts: {call: 7s}
            servers:
              plain: {command: run}
              own:
                command: run
                resources: {memory: 2GiB}
                environment: {B: own, C: own}
                capabilities: [own]
                timeouts:            # says nothing, so it keeps the defaults
            """
        )
        plain, own = spec.servers["plain"], spec.servers["own"]
        assert (plain.resources.memory, plain.resources.cpu) == (2**30, 2.0)
        assert (own.resources.memory, own.resources.cpu) == (2**31, 2.0), "mappings merge deeply"
        assert own.environment == {"A": "base", "B": "own", "C": "own"}
        assert own.capabilities == ("own",), "lists replace"
        assert own.timeouts.call == plain.timeouts.call == 7.0

    def test_weights_reach_their_servers(self) -> None:
        spec = loaded(
            "servers: {a: {command: x}, b: {command: x}}\nloadBalancing: {strategy: weighted, weights: {b: 1.2}}"
        )
        assert (spec.servers["a"].weight, spec.servers["b"].weight) == (1.0, 1.2)
        assert spec.load_balancing.strategy == "weighted"

    def test_an_empty_fleet_is_a_fleet(self) -> None:
        assert loaded("servers: {}").servers == {}

    def test_anchors_and_merge_keys(self) -> None:
        spec = loaded(
            """
            servers:
              a: &a {command: run, environment: {X: "1"}}
              b: {<<: *a, command: other}
            """
        )
        assert (spec.servers["b"].command, spec.servers["b"].environment) == ("other", {"X": "1"})

    def test_bytes_are_utf_8(self) -> None:
        found = load("servers: {a: {command: /opt/é}}".encode(), "f.yml")
        assert found.spec is not None
        assert found.spec.servers["a"].command == "/opt/é"


class TestOriginalFile:
    def test_it_loads_with_warnings_only(self) -> None:
        found = load(ORIGINAL.read_bytes(), "original.yml")
        assert found.spec is not None
        assert found.warnings == found.problems
        context7 = found.spec.servers["context7"]
        assert context7.id == "context7", "the name is the id"
        assert (context7.resources.memory, context7.resources.cpu) == (2**29, 0.5)
        assert (context7.health_check.interval, context7.health_check.timeout) == (30.0, 5.0)
        assert context7.environment == {"NODE_ENV": "production", "PORT": "8080"}
        assert (context7.source, context7.port, context7.priority) == ("mcp/context7:latest", 8080, "high")
        assert found.spec.servers["filesystem"].security.denied_paths == ("/etc", "/root")
        assert found.spec.servers["sequential"].weight == 1.2
        assert found.spec.security.resource_limits.max_request_size == 10_000_000
        assert found.spec.security.network_policies.denied_ips == ("10.0.0.0/8",)
        assert found.spec.monitoring.retention.health == 30 * 86400
        assert found.spec.monitoring.alerting.channels[1].level == "error"
        assert found.spec.environments.production.replicas == 3
        assert found.spec.development.performance.enable_profiling is True
        assert found.spec.production.security == {"strict": True, "level": 3}

    def test_each_number_without_a_unit_is_told_once_with_its_spelling(self) -> None:
        found = load(ORIGINAL.read_bytes(), "original.yml")
        bare = {problem.path: problem.hint for problem in found.warnings if "no unit" in problem.message}
        assert bare == {
            "defaults.resources.memory": "write 512MiB",
            "defaults.resources.cpu": "write 0.5 cores",
            "defaults.healthCheck.interval": "write 30s",
            "defaults.healthCheck.timeout": "write 5s",
            "loadBalancing.healthCheckInterval": "write 10s",
        }

    def test_each_key_that_is_not_in_force_is_told_once(self) -> None:
        found = load(ORIGINAL.read_bytes(), "original.yml")
        told = [problem.path for problem in found.warnings if problem.message == "not in force"]
        assert len(told) == len(set(told))
        assert {
            "defaults.deploymentType",
            "defaults.healthCheck",
            "defaults.scaling",
            "servers.context7.id",
            "servers.context7.type",
            "servers.context7.image",
            "servers.context7.port",
            "servers.filesystem.volumes",
            "servers.filesystem.security",
            "servers.remote.url",
            "loadBalancing",
            "monitoring",
            "security.authentication",
            "security.networkPolicies.allowedOrigins[1]",
            "security.networkPolicies.deniedIPs",
            "development",
            "production",
            "environments",
        } <= set(told)

    def test_every_line_of_the_table_speaks(self) -> None:
        """A key of the table that no file can reach would be a typing error in the table."""
        spoken = set()
        text = ORIGINAL.read_text().replace("enforced: true", "enforced: false")
        text = text.replace("networkPolicies:\n    enabled: true", "networkPolicies:\n    enabled: false")
        for problem in load(text, "f.yml").warnings:
            spoken.add(problem.hint)
        assert {entry.why for entry in NOT_IN_FORCE.values()} == {
            hint for hint in spoken if not hint.startswith("write ")
        }


def test_what_is_in_force_is_not_warned_of() -> None:
    text = """
    servers:
      a:
        command: run
        deploymentType: process
        enabled: true
        args: ["${FAIRLEAD_WORKSPACE}"]
        environment: {K: "${KEY}"}
        workingDirectory: /srv
        capabilities: [one]
        sharing: session
        resources: {memory: 1GiB}
        timeouts: {start: 1s, call: 1s, stop: 1s}
      b:
        url: https://h/mcp
        transport: sse
        headers: {X: y}
      c:
        package: npm:x@1.0.0
        entry: y
    security:
      networkPolicies: {enabled: true, allowedOrigins: ["https://app.example.com", "http://localhost:3000"]}
      resourceLimits:
        enforced: true
        maxConcurrentRequests: 5
        maxRequestSize: 1MB
        rateLimiting: {enabled: false, requestsPerMinute: 5}
    """
    assert told(text) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # the whole file
        ("", "f.yml:1:1: error: the file is empty; write `servers:` and below it the servers"),
        ("# nothing\n", "f.yml:1:1: error: the file is empty; write `servers:` and below it the servers"),
        ("- a\n", "f.yml:1:1: error: a mapping is wanted here, not a list; write `servers:` and below it"),
        ("servers", "f.yml:1:1: error: a mapping is wanted here, not a text"),
        ("version: '1'", "f.yml:1:1: error: servers: is missing; add `servers:`"),
        ("servers:\n", "f.yml:1:1: error: servers: is missing; add `servers:`"),
        (b"servers:\n  \xe4: 1", "f.yml:2:3: error: the byte 0xe4 is not UTF-8; save the file as UTF-8"),
        (b"x: \xc3\xa9\xff", "f.yml:1:5: error: the byte 0xff is not UTF-8"),
        ("#" * (MAX_BYTES + 1), "f.yml:1:1: error: the file has 1,048,577 bytes; a fleet file has at most"),
        ("servers:\n\ta: 1", "f.yml:2:1: error: servers: not YAML: found character '\\t'"),
        ("servers: {a: {command: x}, a: {command: y}}", "f.yml:1:28: error: servers.a: the key 'a' stands here"),
        # unknown keys
        ("servers: {a: {comand: x}}", "f.yml:1:15: error: servers.a.comand: unknown key; did you mean 'command'?"),
        ("servers: {a: {command: x, env: {}}}", "servers.a.env: unknown key; write `environment`"),
        ("servers: {a: {command: x, cwd: /}}", "servers.a.cwd: unknown key; write `workingDirectory`"),
        ("servers: {a: {command: x, weight: 1}}", "unknown key; weights stand under `loadBalancing.weights`"),
        ("mcpServers: {}", "f.yml:1:1: error: mcpServers: unknown key; write `servers`"),
        (
            "servers: {a: {command: x, minInstances: 2}}",
            "servers.a.minInstances: unknown key; did you mean 'minInstances', below 'scaling'?",
        ),
        (
            "servers: {a: {command: x, health_check: {}}}",
            "servers.a.health_check: unknown key; did you mean 'healthCheck'?",
        ),
        (
            "servers: {a: {command: x, scaling: {xyz: 1}}}",
            "servers.a.scaling.xyz: unknown key; known here: enabled, minInstances, maxInstances, targetCpu",
        ),
        ("servers: {}\ndefaults: {command: x}", "f.yml:2:12: error: defaults.command: unknown key"),
        # what a server is
        ("servers:\n  a: {args: [x]}", "f.yml:2:3: error: servers.a: does not say what it is; add one of: package"),
        (
            "servers:\n  a: {command: x, url: 'http://h'}",
            "f.yml:2:3: error: servers.a: says what it is 2 times: command, url; keep one of them",
        ),
        ("servers: {a: {package: 'npm:x'}}", "f.yml:1:24: error: servers.a.package: npm:x has no version; write"),
        ("servers: {a: {package: 'npm:x@latest'}}", "npm:x is not pinned by '@latest' to one version"),
        ("servers:\n  a:\n", "f.yml:2:3: error: servers.a: a mapping is wanted here, not nothing"),
        ("servers: {a: npx}", "f.yml:1:14: error: servers.a: a mapping is wanted here, not a text"),
        ("servers: [a]", "f.yml:1:1: error: servers: a mapping is wanted here, not a list"),
        # ids
        ("servers: {My_Server: {command: x}}", "f.yml:1:11: error: servers.My_Server: 'My_Server' cannot be a server's"),
        ("servers: {My_Server: {command: x}}", "write my-server"),
        ("servers: {a__b: {command: x}}", "'a__b' cannot be a server's id"),
        ("servers: {'': {command: x}}", "'' cannot be a server's id"),
        # types
        ("servers: {a: {command: x, enabled: yes}}", "f.yml:1:36: error: servers.a.enabled: true or false is wanted"),
        ("servers: {a: {command: x, enabled: 'true'}}", "servers.a.enabled: true or false is wanted here, not 'true'"),
        ("servers: {a: {command: x, args: --fast}}", "f.yml:1:33: error: servers.a.args: a list is wanted here, not a"),
        ("servers: {a: {command: x, args: [a, [b]]}}", "f.yml:1:37: error: servers.a.args[1]: a text is wanted here"),
        ("servers: {a: {command: x, args: [a, ~]}}", 'servers.a.args[1]: a text is wanted here, not nothing; write one, ""'),
        ("servers: {a: {command: [x]}}", "servers.a.command: a text is wanted here, not a list"),
        ("servers: {a: {command: x, environment: [A=1]}}", "servers.a.environment: a mapping is wanted here, not a list"),
        ("servers: {a: {command: x, environment: {A: }}}", "servers.a.environment.A: a text is wanted here, not nothing"),
        ("servers: {a: {command: x, scaling: {minInstances: 1.5}}}", "minInstances: a whole number is wanted here"),
        ("servers: {a: {command: x, scaling: {minInstances: '1'}}}", "a whole number is wanted here, not '1'"),
        ("servers: {a: {command: x, scaling: {minInstances: true}}}", "a whole number is wanted here, not 'true'"),
        ("servers: {a: {command: x, resources: {memory: [1]}}}", "servers.a.resources.memory: a size is wanted here, not a list; write it like 512MiB"),
        ("servers: {a: {command: x, sharing: sesion}}", "f.yml:1:36: error: servers.a.sharing: 'sesion' is not known here; write session"),
        ("servers: {a: {command: x, priority: 1}}", "'1' is not known here; write high or medium or low"),
        ("servers: {a: {command: x, priority: [1]}}", "a list is not known here; write high or medium or low"),
        # values
        ("servers: {a: {command: x, resources: {memory: 3 bananas}}}", "f.yml:1:47: error: servers.a.resources.memory: '3 bananas' is not a size; write it like 512MiB or 10MB"),
        ("servers: {a: {command: x, timeouts: {call: 0s}}}", "servers.a.timeouts.call: out of bounds; write at least 1ms"),
        ("servers: {a: {command: x, timeouts: {call: 9999d}}}", "out of bounds; write at most 3650d"),
        ("servers: {a: {command: x, scaling: {minInstances: -1}}}", "out of bounds; write at least 0"),
        ("servers: {a: {command: x, scaling: {maxInstances: 0}}}", "out of bounds; write at least 1"),
        (
            "servers: {a: {command: x, scaling: {minInstances: 3, maxInstances: 2}}}",
            "f.yml:1:68: error: servers.a.scaling.maxInstances: maxInstances (2) is less than minInstances (3)",
        ),
        (
            "servers: {a: {command: x, scaling: {minInstances: 9}}}",
            "f.yml:1:27: error: servers.a.scaling: maxInstances (4) is less than minInstances (9)",
        ),
        ("servers: {a: {command: '${A'}}", "f.yml:1:24: error: servers.a.command: the placeholder at character 1 is mal"),
        ("servers: {a: {url: 'ftp://h'}}", "f.yml:1:20: error: servers.a.url: not an http or https URL with a host"),
        ("servers: {a: {url: 'h:8080/mcp'}}", "servers.a.url: not an http or https URL with a host; write it like https://"),
        ("servers: {a: {url: 'http://h:99999'}}", "servers.a.url: not a URL: Port out of range"),
        ("servers: {a: {url: 'http://h', headers: {'A B': x}}}", "servers.a.headers.'A B': has a character that cannot"),
        ("servers: {}\nloadBalancing: {weights: {a: 1}}", "f.yml:2:27: error: loadBalancing.weights.a: there is no such server"),
        ("servers: {magic: {command: x}}\nloadBalancing: {weights: {magik: 1}}", "there is no such server; did you mean 'magic'?"),
        ("servers: {a: {command: x}}\nloadBalancing: {weights: {a: -1}}", "weights.a: out of bounds; write at least 0"),
        ("servers: {a: {command: x}}\nloadBalancing: {weights: {a: .nan}}", "weights.a: a number is wanted here, not '.nan'"),
        (
            "servers: {}\nsecurity: {networkPolicies: {allowedOrigins: ['https://a.example/']}}",
            "f.yml:2:47: error: security.networkPolicies.allowedOrigins[0]: 'https://a.example/' is not an origin",
        ),
        ("servers: {}\nsecurity: {networkPolicies: {deniedIPs: [10.0.0.0/99]}}", "'10.0.0.0/99' is no address"),
        ("servers: {}\nmonitoring: {alerting: {channels: [{level: x}]}}", "f.yml:2:36: error: monitoring.alerting.channels[0].type: is missing; add `type:`"),
    ],
)  # fmt: skip
def test_an_error_says_where_what_and_how_to_mend_it(text: str | bytes, expected: str) -> None:
    errors = [str(problem) for problem in problems(text) if problem.severity is Severity.ERROR]
    assert any(expected in error for error in errors), "\n".join(errors)


def test_all_errors_come_at_once_in_the_order_of_the_file() -> None:
    text = """\
    version: "1"
    defaults: {resources: {memory: lots}}
    servers:
      Bad: {command: x}
      b: {comand: x, enabled: maybe}
      c: {package: npm:x, url: "http://h", timeouts: {call: soon}, args: ["${"]}
      c: {command: x}
      d: {command: x, scaling: {minInstances: 3, maxInstances: 1, enabled: 1}}
    surplus: 1
    """
    errors = [problem for problem in problems(text) if problem.severity is Severity.ERROR]
    assert [(error.line, error.path) for error in errors] == [
        (2, "defaults.resources.memory"),
        (4, "servers.Bad"),
        (5, "servers.b"),
        (5, "servers.b.comand"),
        (5, "servers.b.enabled"),
        (6, "servers.c"),
        (6, "servers.c.package"),
        (6, "servers.c.timeouts.call"),
        (6, "servers.c.args[0]"),
        (7, "servers.c"),
        (8, "servers.d.scaling.maxInstances"),
        (8, "servers.d.scaling.enabled"),
        (9, "surplus"),
    ]


def test_an_error_in_the_defaults_is_told_once_and_there() -> None:
    text = "defaults: {timeouts: {call: soon}}\nservers: {a: {command: x}, b: {command: x}}"
    assert told(text) == [
        "f.yml:1:29: error: defaults.timeouts.call: 'soon' is not a duration; "
        "write it like 500ms or 30s or 24h"
    ]


def test_an_error_in_defaults_that_no_server_uses_is_told_too() -> None:
    text = "defaults: {timeouts: {call: soon}}\nservers: {a: {command: x, timeouts: {call: 1s}}}"
    assert [problem.path for problem in problems(text)] == ["defaults.timeouts.call"]


def test_what_defaults_leave_open_is_judged_in_each_server() -> None:
    text = """\
    defaults: {scaling: {minInstances: 6}}
    servers:
      a: {command: x, scaling: {maxInstances: 9}}
    """
    assert not load(textwrap.dedent(text), "f.yml").errors
    (error,) = load(textwrap.dedent(text) + "  b: {command: x}\n", "f.yml").errors
    assert (error.path, error.line) == ("defaults.scaling", 1)


@pytest.mark.parametrize(
    "line",
    [
        "environment: {A: '${s3cret'}",
        "environment: s3cret",
        "environment: [s3cret]",
        "headers: s3cret",
        "headers: {A: [s3cret]}",
        'headers: {A: "s3cret\\nx"}',
        "args: s3cret",
        "args: [[s3cret]]",
        "url: 'https://user:s3cret@h/'",
        "command: '${s3cret'",
    ],
)
def test_no_problem_shows_a_value_that_may_be_secret(line: str) -> None:
    errors = [problem for problem in problems(f"servers:\n  a:\n    {line}\n")]
    assert errors
    assert "s3cret" not in "".join(map(str, errors))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "servers: {a: {url: 'http://h', args: [x]}}",
            "f.yml:1:32: warning: servers.a.args: has no effect on a server that is a url; remove it",
        ),
        (
            "servers: {a: {command: x, headers: {A: b}}}",
            "f.yml:1:27: warning: servers.a.headers: has no effect on a server that is a command; remove it",
        ),
        (
            "servers: {a: {command: x, args: ['--key=${API_KEY}']}}",
            "f.yml:1:34: warning: servers.a.args[0]: API_KEY would be seen by every user of the machine in the "
            "list of processes; hand it over in `environment`",
        ),
    ],
)
def test_what_has_no_good_effect_is_warned_of(text: str, expected: str) -> None:
    assert told(text) == [expected]


def test_a_file_that_is_no_fleet_file_does_not_flood() -> None:
    found = problems("".join(f"key{i}: 1\n" for i in range(5000)))
    assert len(found) == 1000
    assert found[500].hint == "see the schema"


def test_dump_writes_what_differs_from_the_defaults() -> None:
    spec = loaded(
        """
        servers:
          a: {package: "npm:x@1.0.0", args: ["${FAIRLEAD_WORKSPACE}", "8080"], resources: {memory: 1GiB}}
        loadBalancing: {weights: {a: 0.5}}
        """
    )
    assert dump(spec) == textwrap.dedent(
        """\
        version: "1"

        servers:
          a:
            resources:
              memory: 1GiB
            package: npm:x@1.0.0
            args:
              - "${FAIRLEAD_WORKSPACE}"
              - "8080"

        loadBalancing:
          weights:
            a: 0.5
        """
    )


def test_dump_of_an_original_file_means_the_same() -> None:
    spec = load(ORIGINAL.read_bytes(), "f.yml").spec
    assert spec is not None
    again = load(dump(spec), "g.yml")
    assert again.spec == spec
    assert not any("no unit" in problem.message for problem in again.problems)
