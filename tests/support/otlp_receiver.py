"""An OTLP/HTTP collector: keeps the spans that are sent to it."""

from __future__ import annotations

from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from support.threaded_http import ThreadedHttp


@dataclass(frozen=True)
class ReceivedSpan:
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    attributes: dict[str, str]
    status: tuple[int, str]  # code (2 is an error), message
    service: str
    state: str


class OtlpReceiver(ThreadedHttp):
    """`status` is what it answers; its `address` is the endpoint, as OTEL_EXPORTER_OTLP_ENDPOINT has it."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.spans: list[ReceivedSpan] = []
        self.paths: list[str] = []

    def _received(self, content: bytes) -> None:
        for part in ExportTraceServiceRequest.FromString(content).resource_spans:
            service = next(a.value.string_value for a in part.resource.attributes if a.key == "service.name")
            for scope in part.scope_spans:
                for span in scope.spans:
                    self.spans.append(
                        ReceivedSpan(
                            span.name,
                            span.trace_id.hex(),
                            span.span_id.hex(),
                            span.parent_span_id.hex(),
                            span.kind,
                            {a.key: a.value.string_value for a in span.attributes},
                            (span.status.code, span.status.message),
                            service,
                            span.trace_state,
                        )
                    )

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.paths.append(self.path)
                if receiver.status == 200:
                    receiver._received(content)
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        return Handler
