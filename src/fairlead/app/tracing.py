"""Whether and where to traces go, as OpenTelemetry's own environment variables say it. Off by default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import structlog

from fairlead.app.logs import register_secret

if TYPE_CHECKING:
    from fairlead.app.otlp import OtlpTracer

LOG = structlog.get_logger("fairlead.tracing")
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_HEADERS: Final = ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


def open_tracer(environment: Mapping[str, str], service: str) -> OtlpTracer | None:
    """The tracer that the environment asks for, None for none. `service` is its name unless told otherwise.

    The libraries behind it are loaded only here: who does not trace pays neither time nor memory for them.
    """
    if not is_wanted(environment):
        return None
    for header in ",".join(environment.get(name, "") for name in _HEADERS).split(","):
        register_secret(header.strip())  # one that is not well written would stand in the SDK's warning
        register_secret(header.partition("=")[2].strip())
    try:
        from fairlead.app.otlp import OtlpTracer  # noqa: PLC0415 - see above

        return OtlpTracer(service)
    except ValueError as wrong:  # one of the many that only the SDK knows; it reads some when it is imported
        reason = f"a variable OTEL_* is set to what OpenTelemetry refuses: {wrong}"
        LOG.warning("no traces", reason=reason)
        return None


def is_wanted(environment: Mapping[str, str]) -> bool:
    """Traces are sent where an OTLP endpoint or exporter is named, and nothing switches that off."""

    def said(*names: str) -> str:
        return next((value for name in names if (value := environment.get(name, "").strip().lower())), "")

    if said("OTEL_SDK_DISABLED") == "true":
        return False
    exporter, protocol = said("OTEL_TRACES_EXPORTER"), said(*_PROTOCOLS)
    if exporter == "none" or not (exporter or said(*_ENDPOINTS)):
        return False
    if exporter not in ("", "otlp"):
        LOG.warning("no traces", reason=f"OTEL_TRACES_EXPORTER={exporter[:50]}; set it to otlp or none")
        return False
    if protocol not in ("", "http/protobuf"):
        reason = f"{_PROTOCOLS[1]}={protocol[:50]}; set it to http/protobuf and the endpoint to its port"
        LOG.warning("no traces", reason=reason)
        return False
    return True
