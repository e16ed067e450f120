"""The examples that OpenAPI shows. Built from the models, so they cannot drift from them."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel

from fairlead.model.errors import Fault, Problem, RpcError
from fairlead.model.reports import Change
from fairlead.model.spec_problem import Severity, SpecProblem
from fairlead.model.status import Condition, InstanceStatus, ServerState, ServerStatus
from fairlead.web.problems import FieldError, rpc_problem, validation_problem

SINCE: Final = 1795348800.0

FILESYSTEM: Final = ServerStatus(
    id="filesystem",
    state=ServerState.READY,
    message="14 tools",
    conditions=[Condition(type="Ready", status=True, reason="Negotiated", message="14 tools", since=SINCE)],
    instances=[
        InstanceStatus(
            id="filesystem-1",
            state="ready",
            pid=4242,
            protocol_version="2025-11-25",
            started_at=SINCE,
            calls_in_flight=1,
            calls_total=128,
            memory_bytes=66_060_288,
            cpu_cores=0.08,
            in_rotation=True,
        )
    ],
    source="npm:@modelcontextprotocol/server-filesystem@2026.8.31",
    sharing="shared",
    capabilities=["file-operations", "directory-management", "file-search", "content-analysis"],
    weight=1.0,
    tools=14,
    wanted_instances=1,
    max_instances=4,
    server_name="secure-filesystem-server",
    server_version="0.2.0",
)
MAGIC: Final = ServerStatus(
    id="magic",
    state=ServerState.BLOCKED,
    message="needs TWENTYFIRST_API_KEY",
    conditions=[
        Condition(
            type="SecretsAvailable",
            status=False,
            reason="SecretMissing",
            message="TWENTYFIRST_API_KEY is not set. Set it in the environment and restart the server.",
            since=SINCE,
        )
    ],
    instances=[],
    source="npm:@21st-dev/magic@0.2.3",
    sharing="shared",
    capabilities=["ui-generation", "component-creation", "design-system", "responsive-design"],
    weight=0.8,
)

UNKNOWN_SERVER: Final = Problem(
    code="unknown-server",
    title="There is no such server",
    detail="No server of the fleet is called 'filesytem'. Did you mean 'filesystem'?",
    status=404,
    fault=Fault.CLIENT,
)
UNKNOWN_INSTANCE: Final = Problem(
    code="unknown-instance",
    title="There is no such instance",
    detail="filesystem has no instance 'filesystem-9'. There are: filesystem-1.",
    status=404,
    fault=Fault.CLIENT,
)
INVALID_ID: Final = validation_problem(
    [FieldError(where="path.id", what="it is not valid", how="string should have at most 128 characters")]
)
SERVER_BLOCKED: Final = Problem(
    code="server-blocked",
    title="The server cannot run",
    detail="magic needs TWENTYFIRST_API_KEY. Set it in the environment and restart the server.",
    status=409,
    fault=Fault.CLIENT,
)
CALL_TIMED_OUT: Final = Problem(
    code="call-timed-out",
    title="The server took too long",
    detail="filesystem did not answer within 30 s. Give a longer timeout, or see `fairlead logs filesystem`.",
    status=504,
    fault=Fault.UPSTREAM,
)
SERVER_NOT_READY: Final = Problem(
    code="server-not-ready",
    title="The server is not ready",
    detail="filesystem is starting. Try again in 2 s.",
    status=503,
    fault=Fault.UPSTREAM,
    retry_after=2.0,
)
RPC_ERROR: Final = rpc_problem(RpcError(-32602, "Tool nope not found"))
INVALID_REQUEST: Final = validation_problem(
    [
        FieldError(
            where="body.timeout", what="it is not valid", how="input should be less than or equal to 600"
        )
    ]
)
_SPEC_PROBLEM: Final = SpecProblem(
    Severity.ERROR,
    file="config/mcp-servers.yml",
    line=12,
    column=5,
    path="servers.magic.pakage",
    message="there is no such key",
    hint="did you mean package?",
)
INVALID_BODY: Final = validation_problem(
    [FieldError(where="body.sever", what="there is no such member", how="remove it or mend its name")]
)
INVALID_CONFIG: Final = Problem(
    code="fleet-file-invalid",
    title="The fleet file is not valid",
    detail=str(_SPEC_PROBLEM),
    status=422,
    fault=Fault.CLIENT,
    extra={"problems": [str(_SPEC_PROBLEM)]},
)
CHANGE_REFUSED: Final = Problem(
    code="change-refused",
    title="The change was refused",
    detail="filesystem: the new version did not come up: exited with code 1. Nothing was changed.",
    status=409,
    fault=Fault.CLIENT,
)
NOT_THE_OWNER: Final = Problem(
    code="not-the-owner",
    title="The file does not own the fleet spec",
    detail="GitOps owns it. Change it in Git, or take it back with POST /api/fleet/release.",
    status=409,
    fault=Fault.CLIENT,
)
CHANGE: Final = Change(generation=8, adjusted=("filesystem",), kept=("magic",))
INPUT_REQUIRED: Final[dict[str, Any]] = {
    "resultType": "input_required",
    "inputRequests": {
        "confirm": {
            "method": "elicitation/create",
            "params": {
                "message": "Overwrite notes.md?",
                "requestedSchema": {"type": "object", "properties": {}},
            },
        }
    },
    "requestState": "c2VhbGVk",
}


def shown(**examples: Any) -> dict[str, Any]:
    """A 200 answer with named examples, for OpenAPI's `responses`."""
    named = {name: {"value": value} for name, value in examples.items()}
    return {"content": {"application/json": {"examples": named}}}


def as_json(model: BaseModel) -> dict[str, Any]:
    """A model as the API shows it."""
    return model.model_dump(mode="json", by_alias=True)
