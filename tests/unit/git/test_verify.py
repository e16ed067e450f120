"""Which of GPG's status lines make a good signature."""

from __future__ import annotations

import pytest

from fairlead.git.verify import signed_by

KEY, PRIMARY = "A" * 40, "B" * 40
GOOD = f"[GNUPG:] GOODSIG {KEY[-16:]} Ada <ada@example.org>"
VALID = f"[GNUPG:] VALIDSIG {KEY} 2026-11-23 1795420128 0 4 0 22 8 00 {PRIMARY}"


def test_a_good_one():
    assert signed_by(f"[GNUPG:] NEWSIG\n{GOOD}\n{VALID}\n[GNUPG:] TRUST_UNDEFINED 0 pgp\n") == {KEY, PRIMARY}


@pytest.mark.parametrize(
    "status",
    [
        "",
        GOOD,
        VALID,
        f"{GOOD}\n{VALID}\n{GOOD}\n{VALID}",
        f"{GOOD}\n{VALID}\n[GNUPG:] BADSIG 1 x",
        f"{VALID}\n[GNUPG:] EXPKEYSIG 1 x",
        f"{VALID}\n[GNUPG:] REVKEYSIG 1 x",
        f"{VALID}\n[GNUPG:] EXPSIG 1 x",
        f"{GOOD}\n{VALID}\n[GNUPG:] ERRSIG 1 x",
        f"{GOOD}\n[GNUPG:] VALIDSIG",
        f" {GOOD}\n {VALID}",
        f"gpg: {GOOD}\ngpg: {VALID}",
        "[GNUPG:] \n[GNUPG:]  ",
    ],
    ids=range(13),
)
def test_bad_ones(status):
    assert signed_by(status) == set()
