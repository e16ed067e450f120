"""The small interfaces between the services and the world: `model` is data, doing lives behind these."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from fairlead.mcp.param_headers import Pairs
from fairlead.model.access import ApiKey, Caller, Principal
from fairlead.model.audit import AuditBatch, AuditFilter, AuditRecord
from fairlead.model.events import Event, EventType, StoredEvent
from fairlead.model.launch import Launch


@dataclass(frozen=True, slots=True)
class LinkLost:
    """Why a link ended. `expected` is true after our own `close`.

    `reason` is for a person ("exited with code 1", "killed by SIGKILL", "memory 612 MiB over the limit
    of 512 MiB", "connection refused"); `detail` holds the last lines of stderr, or is empty.
    """

    reason: str
    detail: str = ""
    expected: bool = False
    exit_code: int | None = None  # negative: the signal's number
    refused: frozenset[int] = frozenset()  # requests that were certainly not carried out


@dataclass(frozen=True, slots=True)
class Confinement:
    """How an instance is held: `by` what, and what is `missing` of it, both for a person."""

    by: str
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LinkStatistics:
    """What a link can say of itself, from memory alone (no system calls)."""

    pid: int | None
    queued_bytes: int  # accepted by `send`, not yet taken by the other side
    memory_bytes: int | None = None  # resident, whole tree, as last sampled
    cpu_seconds: float | None = None  # whole tree, as last sampled
    confinement: Confinement | None = None  # None: there is no sandbox


class LinkListener(Protocol):
    """Gets what a link brings in. Called from the event loop; must neither block nor raise."""

    def frame_received(self, frame: bytes, origin: int | None = None) -> None:
        """One whole JSON-RPC message: neither newline nor padding, not yet parsed or trusted.

        `origin` is the request on whose own stream it came, where the transport has such streams.
        """
        ...

    def request_failed(self, request_id: int, reason: str, retry_after: float | None) -> None:
        """The transport could not deliver this one request (HTTP 502, broken stream); the link lives on."""
        ...

    def writable_changed(self, writable: bool) -> None:
        """Backpressure: while False, send no new requests."""
        ...

    def link_lost(self, lost: LinkLost) -> None:
        """The link is gone; called exactly once, after the last frame."""
        ...


class Link(Protocol):
    """A transport to one running MCP server, at the level of whole messages."""

    def send(
        self,
        frame: bytes,
        method: str,
        request_id: int | None,
        name: str | None,
        parameters: Pairs = (),
    ) -> None:
        """Queue one message, in order; never blocks.

        `frame` is one JSON-RPC message without CR or LF. `request_id` is None for a notification or an
        answer. `name` is what `Mcp-Name` carries, `parameters` are the names and values of `Mcp-Param-*`,
        not yet encoded (both HTTP, modern era). A lost link drops it: the listener was or will be told
        through `link_lost`.
        """
        ...

    def abandon(self, request_id: int) -> bool:
        """Cancel by closing the request's own HTTP stream (modern era). False: send a notification."""
        ...

    def negotiated(self, version: str) -> None:
        """The era is settled: later messages carry what this protocol version wants in headers."""
        ...

    def pause_reading(self) -> None:
        """Stop bringing in frames until `resume_reading` (bounded buffering)."""
        ...

    def resume_reading(self) -> None: ...

    async def close(self) -> None:
        """Stop gracefully, then by force. Nothing of it is left: no process, descriptor or task."""
        ...

    def statistics(self) -> LinkStatistics: ...


class Driver(Protocol):
    """Starts instances somewhere. One driver object serves all instances of its kind."""

    async def open(self, launch: Launch, listener: LinkListener) -> Link:
        """Start it and return as soon as messages can be sent; no MCP is spoken here.

        Raises `ProblemError` (fault UPSTREAM) with what is missing: no such command, not executable,
        connection refused.
        """
        ...

    async def sweep(self) -> list[str]:
        """End what an earlier, killed orchestrator with the same state folder left running.

        Returns a line for each thing that was ended. Called once, before the first `open`.
        """
        ...

    async def close(self) -> None:
        """End every link that is still open, and the driver's own tasks."""
        ...


class CallSpan(Protocol):
    """One call, as tracing sees it: open until `end`."""

    def context(self) -> Mapping[str, str]:
        """What makes it the parent of what the server does: `traceparent`, perhaps `tracestate`."""
        ...

    def end(self, error: str | None = None, message: str = "", *, code: int | None = None) -> None:
        """`error` is the class of a failure, None for none; `code` is JSON-RPC's, where there is one."""
        ...


class Tracer(Protocol):
    """Records calls as spans. Called from the event loop; must neither block nor raise."""

    def start(self, name: str, attributes: Mapping[str, str], parent: Mapping[str, str]) -> CallSpan:
        """A span that begins now; `parent` is the caller's trace context as it came, perhaps none or bad."""
        ...


class SecretSource(Protocol):
    """Where `${NAME}` in a fleet spec comes from."""

    def get(self, name: str) -> str | None:
        """The value, or None when it is not set. Never logged."""
        ...


class PackageInstaller(Protocol):
    """Resolves, pins and installs the packages that servers come in."""

    async def ensure(self, package: str, entry: str | None) -> tuple[str, ...]:
        """Install what `npm:...` or `pypi:...` names, unless it is there, and return the argv that runs it.

        The argv starts with an absolute path (of node, of the environment's python or script) and has no
        `npx`, `uvx` or shell in it. Raises `ProblemError` that says what failed and how to mend it.
        """
        ...


class StoreAwayError(Exception):
    """The database cannot be reached or used just now. The message says why, for a person.

    Whether the transaction was carried out may be unknown: every write can be repeated without harm.
    """


class StoreSlowError(StoreAwayError):
    """This one read took too long; the database as such may well be there."""


class EventLog(Protocol):
    """The events of one service, numbered 1, 2, 3 in the order in which they were committed, without a gap.

    Every method raises StoreAwayError.
    """

    async def append(self, events: Sequence[Event]) -> list[StoredEvent]:
        """Keep them, all or none, under the next numbers. One that is kept already (by id) keeps its own."""
        ...

    async def read(self, after: int, limit: int) -> list[StoredEvent]:
        """Those with a number over `after`, in order, at most `limit`."""
        ...

    async def bounds(self) -> tuple[int, int]:
        """The number of the oldest event that is still kept, and the latest ever given (0: none yet).

        Where none is kept the first is one more than the second.
        """
        ...

    async def epoch(self) -> str:
        """Which history the numbers are of: [0-9a-f-], at most 64 characters; empty: not known just now.

        Another one after a restore, and after a fail-over, for then a number may mean another event.
        """
        ...

    async def prune(self, before: float) -> int:
        """Forget those from before a time (Unix, s); how many. The sequence goes on where it was."""
        ...


class AuditLog(Protocol):
    """The audit. Every method raises StoreAwayError."""

    async def append(self, batches: Sequence[AuditBatch]) -> None:
        """Keep them, all or none. One that is kept already (by id) stays as it is."""
        ...

    async def search(self, wanted: AuditFilter) -> list[AuditRecord]:
        """The latest that fit, newest first."""
        ...

    async def prune(self, before: float) -> int: ...


@dataclass(frozen=True, slots=True)
class SavedSpec:
    """An accepted fleet spec and the live edits on top of it, as JSON. `at` is Unix time, s.

    `accepted` is in the words of its owner (`file`, `gitops`), read from the file `source` if it was one.
    """

    generation: int
    at: float
    by: str
    owner: str
    accepted: Mapping[str, Any] | None
    overrides: Sequence[Mapping[str, Any]]
    source: str = ""


class SpecConflictError(Exception):
    """Another process has saved a spec meanwhile."""


class SpecStore(Protocol):
    """The fleet specs that were accepted. Every method raises StoreAwayError."""

    async def generation(self) -> int:
        """The latest one's, 0 for none yet. Cheap: asked once a second."""
        ...

    async def latest(self) -> SavedSpec | None: ...

    async def save(self, spec: SavedSpec, *, expected: int) -> None:
        """Keep `spec`, whose generation is over the latest one, `expected` (0: there is none yet).

        Raises SpecConflictError when the latest is another one by now.
        """
        ...

    async def history(self, limit: int) -> list[SavedSpec]:
        """Newest first."""
        ...

    async def prune(self, before: float) -> int:
        """Forget older ones; the latest stays whatever its age."""
        ...


@dataclass(frozen=True, slots=True)
class Identities:
    """All that is known of who may come in, at one moment. `revision` grows with each change."""

    revision: int
    principals: tuple[Principal, ...]
    keys: tuple[ApiKey, ...]
    web_sessions: tuple[WebSession, ...]


@dataclass(frozen=True, slots=True)
class WebSession:
    """A browser that has logged in. `digest` is keyed, as a key's; times are Unix time, s."""

    id: str
    principal: str
    digest: bytes
    created: float
    expires: float


@dataclass(frozen=True, slots=True)
class Trend:
    """Metrics of one node in the `seconds` from `at` (Unix time, s) on, rolled up.

    `server` is empty for the service itself; `values` are numbers by name.
    """

    at: float
    seconds: int
    node: str
    server: str
    values: Mapping[str, float]


class TrendStore(Protocol):
    """Metric roll-ups, for looking back. Every method raises StoreAwayError."""

    async def add(self, trends: Sequence[Trend]) -> None:
        """Keep them, all or none. One of the same interval, node and server takes the earlier one's place."""
        ...

    async def read(self, server: str, *, since: float, until: float, seconds: int) -> list[Trend]:
        """Those of this length that began from `since` to before `until`, by time and node."""
        ...

    async def prune(self, before: float) -> int: ...


class IdentityStore(Protocol):
    """Principals and what they come with. Every method raises StoreAwayError; a change raises `revision`."""

    async def revision(self) -> int:
        """Cheap: asked about once a second, for changes that the bus did not tell of."""
        ...

    async def read(self) -> Identities: ...

    async def put_principal(self, principal: Principal) -> None: ...

    async def remove_principal(self, name: str) -> bool:
        """With all keys, sessions and credentials. False: there was none."""
        ...

    async def add_key(self, key: ApiKey) -> bool:
        """False: there is no such principal."""
        ...

    async def revoke_key(self, key_id: str, at: float) -> bool: ...

    async def add_login_code(self, session: WebSession) -> None:
        """`session.digest` is the code's; it is good for one `use_login_code`."""
        ...

    async def use_login_code(self, digest: bytes, session: WebSession, now: float) -> str | None:
        """Turn a code into `session`, whose principal becomes the code's: its name. None: no such code.

        What stands in the code's id up to the last dot is put before the session's.
        """
        ...

    async def end_web_session(self, session_id: str) -> bool: ...

    async def put_credential(self, principal: str, server: str, sealed: bytes, at: float) -> None: ...

    async def credential(self, principal: str, server: str) -> bytes | None: ...

    async def credentials(self, principal: str) -> list[tuple[str, float]]:
        """Servers and when they were set; no values."""
        ...

    async def remove_credential(self, principal: str, server: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class UpstreamCredential:
    """What a principal's requests to a server carry. `expires` is Unix time, s, None for never.

    `version`: see `CredentialSource.version`.
    """

    headers: Mapping[str, str] = field(repr=False)
    version: float
    expires: float | None = None


class CredentialSource(Protocol):
    """Where the credentials of principals for upstream servers come from."""

    async def get(self, principal: str, server: str, *, renew: bool = False) -> UpstreamCredential:
        """`renew`: what was got last was refused. Raises ProblemError that says what is to be done.

        Its code is `missing-credential` where there is none.
        """
        ...

    async def version(self, principal: str, server: str) -> float | None:
        """Another one with each change by its owner; None where there is none. Raises StoreAwayError."""
        ...


class Bus(Protocol):
    """Tells other processes of the same service. What matters is in the store: a message may be lost."""

    @property
    def connected(self) -> bool: ...

    @property
    def reason(self) -> str:
        """Why it is not connected, for a person; empty while it is."""
        ...

    async def publish(self, topic: str, payload: bytes) -> bool:
        """False: the bus is away, nobody was told. Never raises, never waits for long (1 s)."""
        ...

    def subscribe(self, topic: str) -> AsyncIterator[bytes]:
        """What is published from now on, by this process too.

        First, and after an outage, b"": look for yourself; all that is new from then on is told. Never
        raises; ends when the bus is closed.
        """
        ...

    async def close(self) -> None: ...


class Recorder(Protocol):
    """Where the services say what happened. Called from the event loop; never blocks, never raises."""

    def note(self, event_type: EventType, subject: str, data: Mapping[str, Any]) -> None: ...


CallEnd = tuple[float, float, Caller, str, str, str, str, str, bytes, int]
"""A call that is over: when (monotonic, s), how long (s), whose, method, server, instance, the server's own
name of the tool, outcome, the params without `_meta`, and how many bytes the result has.
"""


class Auditor(Protocol):
    """Takes what is to stand in the audit. Called from the event loop; never blocks, never raises."""

    def called(self, call: CallEnd) -> None:
        """Of the hot path: a fraction of a microsecond."""
        ...

    def note(self, record: AuditRecord) -> None:
        """A change, or something about the service itself."""
        ...

    def refused(self, record: AuditRecord) -> None:
        """A refusal; many of the same kind may become one record that says how many."""
        ...


class Unaudited:
    """An `Auditor` where nothing is kept."""

    def called(self, call: CallEnd) -> None:
        pass

    def note(self, record: AuditRecord) -> None:
        pass

    def refused(self, record: AuditRecord) -> None:
        pass


class _NoRecorder:
    def note(self, event_type: EventType, subject: str, data: Mapping[str, Any]) -> None:
        """Nobody is interested."""


NO_RECORDER: Final[Recorder] = _NoRecorder()
