"""Audit records: who did what, when, with what outcome; and the batches that they are kept in. Frozen data.

Calls come in tens of thousands a second, so they are kept by the batch. A batch has a few parts, and these
their records by columns: one field of all records after the other, as MessagePack, compressed. That costs a
fraction of what rows do, in time and room, and a column that is the same all over is kept once. Digests stand
beside what is compressed, since they cannot be and would only cost time.
"""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import repeat
from typing import Any, Final

import msgspec

DIGEST: Final = "sha256:"
DIGEST_BYTES: Final = 32
_FORMAT: Final = 1
_LEVEL: Final = 1  # of zlib: the next one takes half as long again and saves nothing
_MAX_BYTES: Final = 64 * 2**20  # of an opened batch: what is larger is no batch of ours


class AuditKind(StrEnum):
    CALL = "call"  # a tool call, or another request to a server
    CHANGE = "change"  # through REST, the WebSocket or the command line
    REFUSAL = "refusal"  # at the door, by a limit, or for lack of permission
    SYSTEM = "system"  # the service itself: starts, stops, what may be missing


class AuditRecord(msgspec.Struct, frozen=True, gc=False):
    """One line of the audit. Times are Unix time in seconds, sizes bytes; empty is what does not apply.

    Kept by the names of the fields: one may be added, none may change its meaning.
    """

    at: float  # when it was over
    kind: AuditKind
    principal: str = ""
    credential: str = ""
    action: str = ""  # tools/call, PUT /api/fleet, ...
    server: str = ""
    instance: str = ""
    tool: str = ""  # or prompt, or resource: the server's own name for it
    outcome: str = ""  # ok, tool_error, refused, timeout, ...; a problem's code
    seconds: float = 0.0
    request_bytes: int = 0  # params without `_meta`, or the body
    answer_bytes: int = 0  # the result as the server gave it
    arguments: str = ""  # digest (sha256:...), or the redacted arguments, by policy
    request_id: str = ""
    peer: str = ""
    detail: dict[str, Any] = {}
    node: str = ""  # which process's state folder

    def document(self) -> dict[str, Any]:
        """As JSON, without what is empty."""
        given = {name: getattr(self, name) for name in self.__struct_fields__}
        return {_camel(name): value for name, value in given.items() if value or name == "at"}


class AuditFilter(msgspec.Struct, frozen=True, kw_only=True):
    """What to look for; None is anything. `since` (included) and `until` (not) are Unix time in seconds."""

    since: float | None = None
    until: float | None = None
    kind: AuditKind | None = None
    principal: str | None = None
    server: str | None = None
    tool: str | None = None
    outcome: str | None = None
    limit: int = 100

    def admits(self, record: AuditRecord) -> bool:
        return (
            (self.since is None or record.at >= self.since)
            and (self.until is None or record.at < self.until)
            and (self.kind is None or record.kind is self.kind)
            and (self.principal is None or record.principal == self.principal)
            and (self.server is None or record.server == self.server)
            and (self.tool is None or record.tool == self.tool)
            and (self.outcome is None or record.outcome == self.outcome)
        )


@dataclass(frozen=True, slots=True)
class AuditPart:
    """A few records, encoded: what batches are made of. Times are those of the first and the last."""

    count: int
    first_at: float
    last_at: float
    kinds: frozenset[str]
    principals: frozenset[str]
    servers: frozenset[str]
    columns: bytes
    digests: bytes

    @classmethod
    def of(cls, count: int, columns: Mapping[str, Any], digests: Iterable[bytes] = ()) -> AuditPart:
        """Of `count` records, by the names of their fields: a list of the values, or one that all have.

        Those with `DIGEST` for arguments have each the next of `digests`.
        """
        times = columns["at"]
        return cls(
            count,
            min(times),
            max(times),
            _among(columns["kind"]),
            _among(columns["principal"]),
            _among(columns["server"]),
            _encode((count, columns)),
            b"".join(digests),
        )


@dataclass(frozen=True, slots=True)
class AuditBatch:
    """Some records, closed up, and what can be known of them without opening it."""

    id: str  # so that it can be kept twice without harm
    first_at: float
    last_at: float
    count: int
    kinds: frozenset[str]
    principals: frozenset[str]
    servers: frozenset[str]
    content: bytes

    @classmethod
    def of(cls, records: Sequence[AuditRecord], **same: Any) -> AuditBatch:
        """Of one record or more; `same` are fields that all are given."""
        names = AuditRecord.__struct_fields__
        columns = {name: [getattr(record, name) for record in records] for name in names}
        return cls.of_parts([AuditPart.of(len(records), {**columns, **same})])

    @classmethod
    def of_parts(cls, parts: Sequence[AuditPart]) -> AuditBatch:
        """Of one part or more, at most 65,535."""
        columns = b"\xdc%b%b" % (len(parts).to_bytes(2, "big"), b"".join([part.columns for part in parts]))
        packed = zlib.compress(columns, _LEVEL)
        return cls(
            id=uuid.uuid4().hex,
            first_at=min(part.first_at for part in parts),
            last_at=max(part.last_at for part in parts),
            count=sum(part.count for part in parts),
            kinds=frozenset().union(*(part.kinds for part in parts)),
            principals=frozenset().union(*(part.principals for part in parts)),
            servers=frozenset().union(*(part.servers for part in parts)),
            content=_encode((_FORMAT, packed, b"".join([part.digests for part in parts]))),
        )

    def records(self) -> list[AuditRecord]:
        """What is in it. Raises ValueError when the content is damaged."""
        return open_batch(self.content)


def open_batch(content: bytes) -> list[AuditRecord]:
    """The records of a batch's content, in their order. Raises ValueError when it is damaged."""
    try:
        version, packed, digests = _decode_outside(content)
        if version != _FORMAT:
            msg = f"a batch of the audit has the format {version}, which this version does not read"
            raise ValueError(msg)
        parts = _decode_parts(zlib.decompressobj().decompress(packed, _MAX_BYTES))
        rows = [row for count, columns in parts for row in _rows(count, columns)]
        _fill_in(rows, digests)
        return msgspec.convert(rows, list[AuditRecord])
    except (msgspec.MsgspecError, zlib.error) as damaged:
        msg = f"a batch of the audit is damaged: {damaged}"
        raise ValueError(msg) from None


def _rows(count: int, columns: dict[str, Any]) -> Iterator[dict[str, Any]]:
    lists = [value if isinstance(value, list) else repeat(value, count) for value in columns.values()]
    for row in zip(*lists, strict=True):
        yield dict(zip(columns, row, strict=True))


def _fill_in(rows: list[dict[str, Any]], digests: bytes) -> None:
    at = 0
    for row in rows:
        if row.get("arguments") == DIGEST:
            row["arguments"] += digests[at : at + DIGEST_BYTES].hex()
            at += DIGEST_BYTES


def _among(column: Any) -> frozenset[Any]:
    return frozenset(column) if isinstance(column, list) else frozenset((column,))


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.title() for word in rest)


_encode: Final = msgspec.msgpack.Encoder().encode
_decode_outside: Final = msgspec.msgpack.Decoder(tuple[int, bytes, bytes]).decode
_decode_parts: Final = msgspec.msgpack.Decoder(list[tuple[int, dict[str, Any]]]).decode
