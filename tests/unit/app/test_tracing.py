"""When traces are sent, and what a span of ours is made of."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from fairlead.app.tracing import is_wanted, open_tracer
from support.otlp_receiver import OtlpReceiver

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
PARENT = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        (ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"}, False),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "true"}, False),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "false"}, True),
        (ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, True),
    ],
)
def test_the_environment_says_whether(environment: dict[str, str], wanted: bool) -> None:
    assert is_wanted(environment) is wanted


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        (ENDPOINT | {"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER=zipkin"),
        (ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"),
    ],
)
def test_what_cannot_be_served_is_said(
    environment: dict[str, str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert is_wanted(environment) is False
    assert named in capsys.readouterr().out


def test_nothing_is_opened_unless_wanted() -> None:
    assert open_tracer({}, "x") is None


def test_a_span_has_the_clients_parent_and_is_one_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    with OtlpReceiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.address)
        tracer = open_tracer({"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.address}, "some-service")
        assert tracer is not None
        parent = {"traceparent": PARENT, "tracestate": "vendor=1"}
        span = tracer.start("tools/call x", {"mcp.method.name": "tools/call"}, parent)
        context = span.context()
        span.end("tool_error")
        tracer.close()
    assert receiver.paths == ["/v1/traces"]
    (received,) = receiver.spans
    assert received.name == "tools/call x"
    assert received.kind == 2  # server
    assert (received.trace_id, received.parent_id) == (PARENT[3:35], PARENT[36:52])
    assert context == {
        "traceparent": f"00-{received.trace_id}-{received.span_id}-01",
        "tracestate": "vendor=1",
    }
    assert received.attributes == {"mcp.method.name": "tools/call", "error.type": "tool_error"}
    assert received.status == (2, "")
    assert received.service == "some-service"


@pytest.mark.parametrize("parent", [{}, {"traceparent": "nonsense"}, {"tracestate": "vendor=1"}])
def test_without_a_good_parent_a_trace_begins(
    monkeypatch: pytest.MonkeyPatch, parent: dict[str, str]
) -> None:
    with OtlpReceiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.address)
        monkeypatch.setenv("OTEL_SERVICE_NAME", "renamed")
        tracer = open_tracer({"OTEL_TRACES_EXPORTER": "otlp"}, "some-service")
        assert tracer is not None
        span = tracer.start("x", {}, parent)
        assert set(span.context()) == {"traceparent"}
        span.end(code=-32602, error="-32602", message="bad")
        tracer.close()
    (received,) = receiver.spans
    assert received.parent_id == ""
    assert received.attributes["rpc.response.status_code"] == "-32602"
    assert received.status == (2, "bad")
    assert received.service == "renamed"


def test_an_unsampled_trace_stays_unsampled(monkeypatch: pytest.MonkeyPatch) -> None:
    with OtlpReceiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.address)
        tracer = open_tracer({"OTEL_TRACES_EXPORTER": "otlp"}, "x")
        assert tracer is not None
        span = tracer.start("x", {}, {"traceparent": PARENT[:-2] + "00"})
        assert span.context()["traceparent"].endswith("-00")
        span.end()
        tracer.close()
    assert receiver.spans == []


def test_a_collector_that_is_away_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with OtlpReceiver(status=503) as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.address)
        tracer = open_tracer({"OTEL_TRACES_EXPORTER": "otlp"}, "x")
        assert tracer is not None
        tracer.start("x", {}, {}).end()
        began = time.monotonic()
        tracer.close()
        assert time.monotonic() - began < 8


@pytest.mark.parametrize(
    ("name", "value"),
    [("OTEL_BSP_MAX_QUEUE_SIZE", "-1"), ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many")],
)
def test_a_wrong_variable_is_said_and_keeps_nothing_from_starting(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert open_tracer(ENDPOINT, "x") is None
    assert "no traces" in capsys.readouterr().out


def test_a_variable_that_is_wrong_before_the_libraries_are_loaded_keeps_nothing_from_starting() -> None:
    program = f"from fairlead.app.tracing import open_tracer; assert open_tracer({ENDPOINT!r}, 'x') is None"
    environment = os.environ | {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "many"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert "no traces" in done.stdout


def test_what_clients_send_as_context_is_not_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with OtlpReceiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.address)
        tracer = open_tracer({"OTEL_TRACES_EXPORTER": "otlp"}, "x")
        assert tracer is not None
        for state in ("a=1\r\nforged: line", "x" * 10_000):
            span = tracer.start("x", {}, {"traceparent": PARENT, "tracestate": state})
            assert set(span.context()) == {"traceparent"}
            span.end()
        tracer.close()
    assert caplog.records == []
