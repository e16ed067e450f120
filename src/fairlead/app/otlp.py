"""Spans by OpenTelemetry's SDK, sent in batches over OTLP/HTTP from a thread of its own.

Endpoint, headers, timeouts, sampling, batching and resource attributes are the SDK's to read from its
`OTEL_*` environment variables.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from fairlead import __version__

CLOSING: Final = 1.0  # s in which what is left is sent
_CONTEXT: Final = TraceContextTextMapPropagator()


class OtlpSpan:
    """Implements `ports.CallSpan`."""

    __slots__ = ("_span",)

    def __init__(self, span: Span) -> None:
        self._span = span

    def context(self) -> dict[str, str]:
        carrier: dict[str, str] = {}
        _CONTEXT.inject(carrier, set_span_in_context(self._span))
        return carrier

    def end(self, error: str | None = None, message: str = "", *, code: int | None = None) -> None:
        span = self._span
        if error is not None:
            span.set_attribute("error.type", error)
            span.set_status(StatusCode.ERROR, message or None)
        if code is not None:
            span.set_attribute("rpc.response.status_code", str(code))
        span.end()


class OtlpTracer:
    """Implements `ports.Tracer`."""

    def __init__(self, service: str) -> None:
        # What clients send as trace context is theirs, and it would stand in the log with every call.
        logging.getLogger("opentelemetry.trace").setLevel(logging.ERROR)
        self._exporter = OTLPSpanExporter()
        resource = Resource({"service.name": service, "service.version": __version__}).merge(
            _from_environment()
        )
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("fairlead", __version__)

    def __repr__(self) -> str:
        return "<OtlpTracer>"

    def start(self, name: str, attributes: Mapping[str, str], parent: Mapping[str, str]) -> OtlpSpan:
        context = _CONTEXT.extract(dict(parent))
        span = self._tracer.start_span(name, context, SpanKind.SERVER, dict(attributes))
        return OtlpSpan(span)

    def close(self) -> None:
        """Send what is left, and end; blocks for a bounded time, so call it in a thread."""
        ending = threading.Thread(target=self._provider.shutdown, name="end of tracing", daemon=True)
        ending.start()
        ending.join(CLOSING)
        if ending.is_alive():  # nobody takes the spans
            self._exporter.shutdown()  # type: ignore[no-untyped-call]


def _from_environment() -> Resource:
    """What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say, and what the SDK says of itself."""
    found = dict(Resource.create().attributes)
    if str(found["service.name"]).startswith("unknown_service"):
        del found["service.name"]
    return Resource(found)
