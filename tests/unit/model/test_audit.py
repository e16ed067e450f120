"""Batches keep what they were given, and say when they are damaged."""

from __future__ import annotations

import zlib
from hashlib import sha256

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.model.audit import (
    DIGEST,
    AuditBatch,
    AuditFilter,
    AuditKind,
    AuditPart,
    AuditRecord,
    open_batch,
)

texts = st.text(max_size=20)
records = st.builds(
    AuditRecord,
    at=st.floats(0, 4e9),
    kind=st.sampled_from(AuditKind),
    principal=texts,
    action=texts,
    server=texts,
    seconds=st.floats(0, 1e6),
    request_bytes=st.integers(0, 2**40),
    arguments=texts.filter(lambda text: text != DIGEST),
    detail=st.dictionaries(texts, st.integers(-(2**63), 2**63) | texts, max_size=3),
)


def record(at: float = 1.0, kind: AuditKind = AuditKind.CALL, **more: str) -> AuditRecord:
    return AuditRecord(at, kind, **more)


@given(st.lists(records, min_size=1, max_size=20))
def test_a_batch_gives_back_its_records_in_their_order(given):
    batch = AuditBatch.of(given)
    assert batch.records() == given
    assert (batch.first_at, batch.last_at) == (min(r.at for r in given), max(r.at for r in given))
    assert batch.count == len(given)
    assert batch.kinds == {r.kind for r in given}
    assert batch.principals == {r.principal for r in given}
    assert batch.servers == {r.server for r in given}


@given(st.lists(st.binary(max_size=5).map(lambda b: sha256(b).digest()) | st.just(b""), min_size=1))
def test_each_digest_comes_back_to_its_own_record(digests):
    columns = {
        "at": [float(number) for number in range(len(digests))],
        "kind": AuditKind.CALL,
        "principal": "ada",
        "server": "s",
        "arguments": [DIGEST if digest else "" for digest in digests],
    }
    half = len(digests) // 2
    first = {name: value[:half] if isinstance(value, list) else value for name, value in columns.items()}
    second = {name: value[half:] if isinstance(value, list) else value for name, value in columns.items()}
    parts = [AuditPart.of(half, first, digests[:half])] if half else []
    opened = AuditBatch.of_parts(
        [*parts, AuditPart.of(len(digests) - half, second, digests[half:])]
    ).records()
    assert [r.arguments for r in opened] == [DIGEST + d.hex() if d else "" for d in digests]
    assert {(r.kind, r.principal) for r in opened} == {(AuditKind.CALL, "ada")}


def test_what_all_records_have_is_kept_once_and_wins():
    batch = AuditBatch.of([record(1.0), record(2.0)], node="n1")
    assert [r.node for r in batch.records()] == ["n1", "n1"]


def test_batches_have_ids_of_their_own():
    assert AuditBatch.of([record()]).id != AuditBatch.of([record()]).id


def packed(*parts: object, version: int = 1) -> bytes:
    inside = zlib.compress(msgspec.msgpack.encode(parts))
    return msgspec.msgpack.encode((version, inside, b""))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode((1, b"no zlib", b"")),
        msgspec.msgpack.encode((1, zlib.compress(b"\xc1"), b"")),
        packed((1, {"at": [1.0]})),
        packed((1, {"at": [1.0], "kind": ["call", "call"]})),
        packed((2, {"at": [1.0], "kind": "call"})),
        packed("no part"),
        packed((1, {"at": [1.0], "kind": "call"}), version=2),
    ],
    ids=[
        "empty",
        "no msgpack",
        "no zlib",
        "no msgpack inside",
        "no kind",
        "ragged",
        "short",
        "no part",
        "later",
    ],
)
def test_a_damaged_batch_says_so(content):
    with pytest.raises(ValueError, match=r"batch of the audit|argument"):
        open_batch(content)


def test_a_batch_that_was_cut_short_says_so():
    content = AuditBatch.of([record()]).content
    for length in range(len(content)):
        with pytest.raises(ValueError, match="batch of the audit"):
            open_batch(content[:length])


def test_a_field_that_a_later_version_adds_is_no_harm():
    columns = {"at": [1.0], "kind": "call", "principal": "a", "server": "", "later": ["x"]}
    (opened,) = AuditBatch.of_parts([AuditPart.of(1, columns)]).records()
    assert opened == record(principal="a")


def test_a_document_leaves_out_what_is_empty():
    shown = record(0.0, AuditKind.CHANGE, principal="ada").document()
    assert shown == {"at": 0.0, "kind": "change", "principal": "ada"}
    assert AuditRecord(1.0, AuditKind.CALL, request_bytes=3).document()["requestBytes"] == 3


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        (AuditFilter(), True),
        (AuditFilter(since=5.0), True),
        (AuditFilter(since=5.1), False),
        (AuditFilter(until=5.0), False),
        (AuditFilter(until=5.1), True),
        (AuditFilter(kind=AuditKind.CHANGE), False),
        (AuditFilter(principal="ada", server="s", tool="t", outcome="ok", kind=AuditKind.CALL), True),
        (AuditFilter(principal="bob"), False),
        (AuditFilter(server="x"), False),
        (AuditFilter(tool="x"), False),
        (AuditFilter(outcome="x"), False),
    ],
)
def test_a_filter_admits_what_fits_all_of_it(wanted, fits):
    it = record(5.0, principal="ada", server="s", tool="t", outcome="ok")
    assert wanted.admits(it) is fits
