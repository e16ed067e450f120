"""Sealed session ids and cursors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.mcp.sealing import SealBrokenError, Sealer, SessionClaims, open_session, seal_session

SEALER = Sealer(b"k" * 32)
CLAIMS = SessionClaims(node="n1", principal="ada", endpoint="", expires=1.5, nonce=7)


def test_a_session_id_says_who_and_where_and_is_printable():
    session_id = seal_session(SEALER, CLAIMS)
    assert open_session(SEALER, session_id) == CLAIMS
    assert session_id.isascii()
    assert all(0x21 <= ord(c) <= 0x7E for c in session_id)
    assert "ada" not in session_id


def test_two_ids_of_the_same_claims_differ():
    assert seal_session(SEALER, CLAIMS) != seal_session(SEALER, CLAIMS)


def test_a_seal_holds_for_its_purpose_and_key_alone():
    sealed = SEALER.seal("cursor", b"x")
    with pytest.raises(SealBrokenError):
        SEALER.open("session", sealed)
    with pytest.raises(SealBrokenError):
        Sealer(b"j" * 32).open("cursor", sealed)
    with pytest.raises(SealBrokenError):
        open_session(SEALER, SEALER.seal("session", b"[]"))


@given(st.text(max_size=200))
def test_nothing_made_up_opens(value):
    with pytest.raises(SealBrokenError):
        SEALER.open("session", value)


@given(st.integers(min_value=0, max_value=200), st.integers(min_value=1, max_value=255))
def test_a_changed_seal_does_not_open(place, change):
    sealed = SEALER.seal("session", b"payload")
    place %= len(sealed)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other = letters[(letters.index(sealed[place]) + change) % 64]
    forged = sealed[:place] + other + sealed[place + 1 :]
    if forged != sealed:
        with pytest.raises(SealBrokenError):
            SEALER.open("session", forged)
