"""What git says when it fails, and what is made of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.git.failures import CorruptError, GitFailedError, LockedError, TimedOutError, classify
from fairlead.model.reconciling import Reason

AWAY, REFUSED = Reason.SOURCE_AWAY, Reason.SOURCE_REFUSED

URL = "fatal: unable to access 'https://x/': "
SSH = "\nfatal: Could not read from remote repository."
PACK = "\nfatal: fetch-pack: invalid index-pack output"

CASES = {
    "dns": (URL + "Could not resolve host: x", AWAY, True),
    "refused": (URL + "Failed to connect to x port 443: Connection refused", AWAY, True),
    "503": (URL + "The requested URL returned error: 503", AWAY, True),
    "429": (URL + "The requested URL returned error: 429", AWAY, True),
    "cut": ("fatal: the remote end hung up unexpectedly\nfatal: early EOF" + PACK, AWAY, True),
    "too-slow": ("error: RPC failed; curl 28 Operation too slow. Less than 1000 bytes/sec", AWAY, True),
    "ssh-gone": ("ssh: connect to host x port 22: Connection refused" + SSH, AWAY, True),
    "ssh-silent": ("fatal: Could not read from remote repository.", AWAY, True),
    "ssh-key": ("git@x: Permission denied (publickey)." + SSH, REFUSED, False),
    "ssh-host": ("Host key verification failed." + SSH, REFUSED, False),
    "login": ("fatal: Authentication failed for 'https://x/'", REFUSED, False),
    "no-login": ("fatal: could not read Username for 'https://x': terminal prompts disabled", REFUSED, False),
    "403": (URL + "The requested URL returned error: 403", REFUSED, False),
    "certificate": (URL + "SSL certificate problem: self-signed certificate", REFUSED, False),
    "gnutls": (URL + "server certificate verification failed. CAfile: none", REFUSED, False),
    "fsck": ("error: object 1234: hasDotdot: contains '..'\nfatal: fsck error", REFUSED, False),
    "404": ("fatal: repository 'https://x/y.git/' not found", Reason.NO_REPOSITORY, False),
    "no-path": ("fatal: '/x' does not appear to be a git repository" + SSH, Reason.NO_REPOSITORY, False),
    "sha-256": ("fatal: mismatched algorithms: client sha1; server sha256", REFUSED, False),
    "branch": ("fatal: couldn't find remote ref refs/heads/main", Reason.NO_COMMIT, False),
    "owner": ("fatal: detected dubious ownership in repository at '/x'", Reason.FOREIGN_OWNER, False),
    "disk": ("fatal: write error: No space left on device" + PACK, Reason.FAULT, True),
    "quota": ("error: unable to write file: Disk quota exceeded", Reason.FAULT, True),
    "unknown": ("fatal: the moon is in the wrong place", AWAY, True),
    "silent": ("", AWAY, True),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_kinds(case):
    errors, reason, temporary = CASES[case]
    failure = classify("fetch", errors)
    assert (failure.reason, failure.temporary) == (reason, temporary), failure.message
    assert type(failure) is GitFailedError
    assert failure.message
    assert "\n" not in failure.message


@pytest.mark.parametrize(
    "errors",
    [
        "error: object file objects/ab/cd is empty",
        "error: inflate: data stream error (incorrect header check)\nerror: unable to unpack abc header",
        "fatal: loose object abc (stored in objects/ab/c) is corrupt",
        "error: packfile objects/pack/pack-1.pack does not match index",
        "fatal: bad object refs/fairlead/fetched",
        "fatal: bad config line 1 in file config",
        "fatal: not a git repository: '.'",
    ],
)
def test_a_damaged_mirror(errors):
    assert isinstance(classify("fetch", errors), CorruptError)


def test_a_lock():
    failure = classify("fetch", "fatal: Unable to create '/m/packed-refs.lock': File exists.")
    assert isinstance(failure, LockedError)
    assert failure.temporary


def test_too_slow_says_what_and_how_long():
    failure = TimedOutError("fetch", 120.0)
    assert failure.reason is AWAY
    assert "`git fetch` did not end within 120 s" in failure.message


def test_only_lines_that_tell_something_are_shown():
    failure = classify("fetch", "warning: chatter\nhint: try this\nfatal: Could not resolve host: x\n")
    assert "chatter" not in failure.message
    assert "Could not resolve host: x" in failure.message


@given(
    secret=st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=8, max_size=40),
    around=st.text(max_size=500),
)
def test_secrets_are_never_shown(secret, around):
    message = classify("fetch", f"fatal: {around}{secret}{around}", hidden=(secret,)).message
    if secret not in "`git fetch` failed: fatal: the Git host cannot be reached, or broke off":
        assert secret not in message


def test_credentials_in_a_url_are_never_shown():
    failure = classify("fetch", "fatal: unable to access 'https://ada:pw@git.example/x': Failed to connect")
    assert "pw" not in failure.message
    assert "https://***@git.example/x" in failure.message


@given(st.text(max_size=2000))
def test_whatever_git_says_is_bounded(text):
    assert len(classify("fetch", text).message) < 700
