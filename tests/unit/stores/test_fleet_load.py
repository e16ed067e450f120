from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from fairlead.formats.model_walk import nearest_folded
from fairlead.formats.yaml_text import write_yaml
from fairlead.formats.yaml_tree import MAX_BYTES
from fairlead.model.fleet import FleetSpec, ServerSpec, Sharing
from fairlead.model.not_in_force import NOT_IN_FORCE
from fairlead.model.spec_problem import Severity, SpecProblem
from fairlead.stores.fleet_file import document, dump, load, load_document

DATA = Path(__file__).parent / "data"
ORIGINAL = DATA / "original.yml"


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

    def test_a_health_check_is_filled_up_from_the_fleets_then_from_the_defaults(self) -> None:
        spec = loaded(
            """
            defaults: {healthCheck: {timeout: 1s, retries: 9}}
            servers:
              plain: {command: run}
              own: {command: run, healthCheck: {interval: 30s, retries: 4}}
            loadBalancing: {healthCheckInterval: 10s, unhealthyThreshold: 5, recoveryThreshold: 6}
            """
        )
        plain, own = (spec.servers[name].health_check for name in ("plain", "own"))
        assert (plain.interval, plain.timeout, plain.retries, plain.recoveries) == (10.0, 1.0, 9, 6)
        assert (own.interval, own.timeout, own.retries, own.recoveries) == (30.0, 1.0, 4, 6)

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
            """
            servers: {a: {command: x}, b: {command: x}}
            loadBalancing: {strategy: weighted, weights: {b: 1.2}}
            """
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
            "defaults.healthCheck.path",
            "defaults.scaling.targetMemoryUtilization",
            "servers.context7.id",
            "servers.context7.type",
            "servers.context7.image",
            "servers.context7.port",
            "servers.filesystem.volumes",
            "servers.remote.url",
            "monitoring",
            "security.authentication",
            "security.networkPolicies.allowedOrigins[1]",
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
    loadBalancing:
      strategy: weighted
      healthCheckInterval: 10s
      unhealthyThreshold: 2
      recoveryThreshold: 1
      panicThreshold: 30
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
        strategy: round-robin
        healthCheck:
          enabled: true
          interval: 20s
          timeout: 1s
          idleInterval: 2s
          idleTimeout: 1s
          retries: 2
          recoveries: 1
          errorPatterns: ["^quota"]
        circuitBreaker: {enabled: true, window: 10s, failureRate: 20, openFor: 1s, trials: 1}
        limits: {callsPerInstance: 4, calls: 8, waiting: 2}
        scaling: {enabled: true, minInstances: 0, maxInstances: 3, targetCallsInFlight: 2, idleAfter: 5m}
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


def refused() -> list[tuple[str, str]]:
    cases = re.split(r"\n\n+", (DATA / "refused.txt").read_text(encoding="utf-8").strip())
    pairs = [case.partition("\n=> ") for case in cases if not case.startswith("#")]
    return [(text, expected) for text, _, expected in pairs]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *refused(),
        ("", "f.yml:1:1: error: the file is empty; write `servers:` and below it the servers"),
        ("# nothing\n", "f.yml:1:1: error: the file is empty; write `servers:` and below it the servers"),
        (b"servers:\n  \xe4: 1", "f.yml:2:3: error: the byte 0xe4 is not UTF-8; save the file as UTF-8"),
        (b"x: \xc3\xa9\xff", "f.yml:1:5: error: the byte 0xff is not UTF-8"),
        ("#" * (MAX_BYTES + 1), "f.yml:1:1: error: the file has 1,048,577 bytes; such a file has at most"),
        ("servers:\n\ta: 1", "f.yml:2:1: error: servers: not YAML: found character '\\t'"),
    ],
)
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
    errors = problems(f"servers:\n  a:\n    {line}\n")
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
            "f.yml:1:34: warning: servers.a.args[0]: API_KEY would be seen by every user of the machine in "
            "the list of processes; hand it over in `environment`",
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


HEALTH = """\
servers:
  plain: {command: run}
  own: {command: run, healthCheck: {interval: 30s}}
"""


def test_a_document_says_what_a_server_says_itself_and_not_what_it_has_from_the_fleet() -> None:
    written = document(loaded(HEALTH + "loadBalancing: {unhealthyThreshold: 7}"))
    assert written["servers"] == {
        "plain": {"command": "run"},
        "own": {"command": "run", "healthCheck": {"interval": "30s"}},
    }


def test_an_edit_of_the_fleets_part_of_a_document_reaches_only_the_servers_that_had_it_from_there() -> None:
    written = document(loaded(HEALTH)) | {"loadBalancing": {"healthCheckInterval": "9s"}}
    again = loaded(write_yaml(written))
    assert {name: server.health_check.interval for name, server in again.servers.items()} == {
        "plain": 9.0,
        "own": 30.0,
    }


def test_a_full_document_has_every_default_and_means_the_same() -> None:
    spec = load(ORIGINAL.read_bytes(), "f.yml").spec
    assert spec is not None
    full = document(spec, full=True)
    assert full["servers"]["remote"]["circuitBreaker"]["consecutiveFailures"] == 10
    assert full["servers"]["remote"]["scaling"]["idleAfter"] == "5m"
    assert full["loadBalancing"]["panicThreshold"] == 50.0
    assert full["loadBalancing"]["weights"]["filesystem"] == 1.0
    assert "image" not in full["servers"]["remote"], "what is not there is not null"
    assert load(write_yaml(full), "g.yml").spec == spec


def test_very_many_unknown_weights_are_told_briefly(monkeypatch) -> None:
    """Guessing what each was meant to be took 8 s, and the answer had 2 MB."""
    guessed = []

    def counted(word: str, known: dict[str, str]) -> str | None:
        guessed.append(word)
        return nearest_folded(word, known)

    monkeypatch.setattr("fairlead.stores.fleet_file.nearest_folded", counted)
    servers = {f"s{number:04}": {"command": "run"} for number in range(3000)}
    weights = {"s_0007": 1.0} | {f"other{number:04}": 1.0 for number in range(900)}
    found = problems(write_yaml({"servers": servers, "loadBalancing": {"weights": weights}}))
    assert len(found) == 901
    hints = [problem.hint for problem in found]
    assert hints[0] == "did you mean 's0007'?"
    assert hints[1].startswith("there are: s0000, s0001, ")
    assert hints[1].endswith("s0009, and 2990 more")
    assert len(guessed) == 20


def test_a_document_is_read_as_the_text_of_it_however_large_it_is() -> None:
    text = ORIGINAL.read_text()
    spec = loaded(text)
    written = document(spec)
    assert load_document(written, "edit").spec == spec
    huge = written | {"metadata": {"x": "x" * MAX_BYTES}}
    found = load_document(huge, "edit").spec
    assert found is not None
    assert found.metadata == {"x": "x" * MAX_BYTES}


def test_each_problem_of_a_document_is_told() -> None:
    wrong = {"servers": {name: {"command": "x", "comand": 1} for name in "abc"}}
    paths = [problem.path for problem in load_document(wrong, "edit").errors]
    assert paths == ["servers.a.comand", "servers.b.comand", "servers.c.comand"]


def test_what_the_file_says_is_kept_as_it_says_it() -> None:
    text = "defaults: {timeouts: {call: 300s}}\nservers: {a: {command: x, strategy: null}}\n"
    found = load(text, "f.yml")
    assert found.said == {"defaults": {"timeouts": {"call": "300s"}}, "servers": {"a": {"command": "x"}}}
    assert load_document(found.said, "again").said == found.said
    assert load("servers: 5", "f.yml").said == {}


def test_a_document_has_what_was_said_even_where_it_is_the_default() -> None:
    said = "servers: {a: {command: x, scaling: {maxInstances: 4}}, b: {command: x}}"
    assert document(loaded(said)) == {
        "version": "1",
        "servers": {"a": {"command": "x", "scaling": {"maxInstances": 4}}, "b": {"command": "x"}},
    }
