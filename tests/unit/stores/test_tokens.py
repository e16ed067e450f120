import asyncio
import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fairlead.model.errors import ProblemError
from fairlead.stores.state import StateFolder
from fairlead.stores.tokens import TokenStore, digest


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    folder = StateFolder(tmp_path / "state")
    folder.prepare()
    return folder


@pytest.fixture
def store(state: StateFolder) -> TokenStore:
    return TokenStore(state, now=lambda: 1000.0)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_token_is_valid_under_its_name_and_not_stored_in_plain(store: TokenStore, state: StateFolder):
    value = store.add("ci.build-1")
    assert value.startswith("flt_")
    assert len(value) == 4 + 43
    assert store.digests() == {digest(value): "ci.build-1"}
    assert value.encode() not in state.tokens_file.read_bytes()
    assert mode(state.tokens_file) == 0o600
    assert not state.local_token_file.exists()


def test_the_list_tells_names_and_times(store: TokenStore):
    assert store.list() == ()
    store.add("b")
    store.add("a")
    assert [(token.name, token.created) for token in store.list()] == [("a", 1000.0), ("b", 1000.0)]


def test_a_revoked_token_is_gone_and_the_others_stay(store: TokenStore):
    store.add("a")
    kept = store.add("b")
    store.revoke("a")
    assert store.digests() == {digest(kept): "b"}
    assert store.digests() != {digest(store.add("a")): "a"}


@pytest.mark.parametrize("name", ["", "A", "-a", ".a", "a b", "a/b", "ä", "a\n", "a" * 64])
def test_a_bad_name_is_refused(store: TokenStore, name: str):
    with pytest.raises(ProblemError) as caught:
        store.add(name)
    assert caught.value.problem.status == 400
    assert "63 small letters" in caught.value.problem.detail
    assert store.list() == ()


def test_the_longest_name_is_taken(store: TokenStore):
    store.add("a" * 63)


def test_a_name_is_taken_once_and_env_never(store: TokenStore):
    store.add("a")
    with pytest.raises(ProblemError, match="already") as caught:
        store.add("a")
    assert "fairlead token revoke a" in caught.value.problem.detail
    with pytest.raises(ProblemError, match="FAIRLEAD_TOKEN"):
        store.add("env")


def test_revoking_an_unknown_name_tells_the_known_ones(store: TokenStore):
    with pytest.raises(ProblemError, match="there is none"):
        store.revoke("x")
    store.add("a")
    store.add("b")
    with pytest.raises(ProblemError, match="known names: a, b"):
        store.revoke("x")


def test_the_local_token_is_made_once_and_kept_in_plain(store: TokenStore, state: StateFolder):
    assert store.local() is None
    value = store.ensure_local()
    assert store.ensure_local() == value == store.local()
    assert store.digests() == {digest(value): "local"}
    assert mode(state.local_token_file) == 0o600


@pytest.mark.parametrize("loss", ["plain copy", "digest", "both differ"])
def test_a_lost_half_of_the_local_token_is_made_anew(store: TokenStore, state: StateFolder, loss: str):
    old = store.ensure_local()
    match loss:
        case "plain copy":
            state.local_token_file.unlink()
        case "digest":
            state.tokens_file.unlink()
        case _:
            state.local_token_file.write_text("flt_other\n")
    value = store.ensure_local()
    assert value != old
    assert store.digests() == {digest(value): "local"}


def test_revoking_and_adding_local_takes_the_plain_copy_along(store: TokenStore, state: StateFolder):
    old = store.ensure_local()
    store.revoke("local")
    assert not state.local_token_file.exists()
    value = store.add("local")
    assert value != old
    assert store.local() == value


def test_the_environment_token_is_valid_and_never_stored(state: StateFolder):
    store = TokenStore(state, environment_token="from-the-environment")
    store.ensure_local()
    assert store.digests()[digest("from-the-environment")] == "env"
    assert [token.name for token in store.list()] == ["local"]
    assert "from-the-environment" not in repr(store)
    for file in state.root.iterdir():
        assert not file.is_file() or b"from-the-environment" not in file.read_bytes()


DAMAGED = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff",
    b'{"version": 2, "tokens": {}}',
    b'{"version": 1, "tokens": []}',
    b'{"version": 1, "tokens": {"a": {"sha256": "zz", "created": 1}}}',
    b'{"version": 1, "tokens": {"a": {"sha256": "00", "created": 1}}}',
    b'{"version": 1, "tokens": {"A B": {"sha256": "%s", "created": 1}}}' % (b"00" * 32),
    b'{"version": 1, "tokens": {"a": {"sha256": "%s"}}}' % (b"00" * 32),
]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_file_is_told_and_never_overwritten(store: TokenStore, state: StateFolder, content: bytes):
    state.tokens_file.write_bytes(content)
    for use in (store.digests, store.list, store.ensure_local):
        with pytest.raises(ProblemError, match="token file is damaged") as caught:
            use()
        assert str(state.tokens_file) in caught.value.problem.detail
    with pytest.raises(ProblemError):
        store.add("a")
    with pytest.raises(ProblemError):
        store.revoke("a")
    assert state.tokens_file.read_bytes() == content


def test_the_file_has_a_version_and_digests(store: TokenStore, state: StateFolder):
    value = store.add("a")
    row = {"sha256": digest(value).hex(), "created": 1000.0}
    assert json.loads(state.tokens_file.read_text()) == {"version": 1, "tokens": {"a": row}}


ADD_MANY = """
import pathlib, sys
from fairlead.stores.state import StateFolder
from fairlead.stores.tokens import TokenStore
store = TokenStore(StateFolder(pathlib.Path(sys.argv[1])))
print("ready", flush=True)
sys.stdin.readline()
for number in range(25):
    store.add(f"{sys.argv[2]}{number}")
"""


def test_two_processes_that_write_at_once_lose_nothing(store: TokenStore, state: StateFolder):
    command = [sys.executable, "-c", ADD_MANY, str(state.root)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([*command, "a"], **pipes) as one, subprocess.Popen([*command, "b"], **pipes) as two:
        for writer in (one, two):
            assert writer.stdout.readline() == "ready\n"
        for writer in (one, two):
            writer.stdin.write("go\n")
            writer.stdin.flush()
        assert [writer.wait(60) for writer in (one, two)] == [0, 0]
    assert len(store.list()) == 50


@pytest.mark.looptime
async def test_watching_tells_the_start_and_each_change_within_a_second(store: TokenStore):
    loop = asyncio.get_running_loop()
    changes = store.watch()
    await anext(changes)
    for change in (lambda: store.add("a"), lambda: store.add("b"), lambda: store.revoke("a")):
        pending = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(5)
        assert not pending.done()
        change()
        before = loop.time()
        await pending
        assert loop.time() - before <= 1.0
    assert set(store.digests().values()) == {"b"}
    await changes.aclose()


@pytest.mark.looptime
async def test_watching_tells_when_the_file_goes_away(store: TokenStore, state: StateFolder):
    store.add("a")
    changes = store.watch()
    await anext(changes)
    state.tokens_file.unlink()
    await asyncio.wait_for(anext(changes), 1.0)
    assert store.digests() == {}
    await changes.aclose()
