from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path

import pytest

from fairlead.model.errors import ProblemError
from fairlead.stores.state import StateFolder
from fairlead.stores.tokens import OldToken, TokenStore, digest


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    folder = StateFolder(tmp_path / "state")
    folder.prepare()
    return folder


@pytest.fixture
def store(state: StateFolder) -> TokenStore:
    return TokenStore(state)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_local_token_is_made_once_and_private(store: TokenStore, state: StateFolder):
    assert store.local() is None
    assert store.digests() == {}
    value = store.ensure_local()
    assert value.startswith("flt_")
    assert len(value) == 4 + 43
    assert store.ensure_local() == value == store.local()
    assert store.digests() == {digest(value): "local"}
    assert mode(state.local_token_file) == 0o600


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"short", b"\xff" * 40, b"two words and many characters", b"x" * 600]
)
def test_a_file_that_holds_no_token_lets_nobody_in_and_is_made_anew(
    store: TokenStore, state: StateFolder, content: bytes
):
    state.local_token_file.write_bytes(content)
    assert store.digests() == {}
    value = store.ensure_local()
    assert store.digests() == {digest(value): "local"}


def test_removing_it_makes_room_for_another(store: TokenStore, state: StateFolder):
    old = store.ensure_local()
    store.remove_local()
    store.remove_local()
    assert store.digests() == {}
    assert store.ensure_local() != old


def test_the_environment_token_is_valid_and_never_stored(state: StateFolder):
    store = TokenStore(state, environment_token="from-the-environment")
    store.ensure_local()
    assert store.digests()[digest("from-the-environment")] == "env"
    assert "from-the-environment" not in repr(store)
    for file in state.root.iterdir():
        assert not file.is_file() or b"from-the-environment" not in file.read_bytes()


@pytest.mark.looptime
async def test_watching_tells_the_start_and_each_change_within_a_second(store: TokenStore):
    loop = asyncio.get_running_loop()
    changes = store.watch()
    await anext(changes)
    for change in (store.ensure_local, store.remove_local, store.ensure_local):
        pending = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(5)
        assert not pending.done()
        change()
        before = loop.time()
        await pending
        assert loop.time() - before <= 1.0
    await changes.aclose()


# -- the tokens of earlier versions --------------------------------------------------------------------


def written(state: StateFolder, **tokens: bytes) -> None:
    rows = {name: {"sha256": value.hex(), "created": 1000.5} for name, value in tokens.items()}
    state.tokens_file.write_text(json.dumps({"version": 1, "tokens": rows}))


def test_old_tokens_are_read_but_for_the_two_that_are_not_the_database_s(
    store: TokenStore, state: StateFolder
):
    assert store.old() == []
    written(state, ada=digest("a"), local=digest("b"), env=digest("c"))
    assert store.old() == [OldToken("ada", digest("a"), 1000.5)]
    assert store.digests() == {}  # the file alone lets nobody in
    store.old_are_taken_over()
    assert store.old() == []
    assert not state.tokens_file.exists()
    assert state.tokens_file.with_name("tokens.json.imported").exists()
    store.old_are_taken_over()


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
    b'{"version": 1, "tokens": {"oauth:a": {"sha256": "%s", "created": 1}}}' % (b"00" * 32),
    b'{"version": 1, "tokens": {"a": {"sha256": "%s"}}}' % (b"00" * 32),
]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_file_is_told_and_left_as_it_is(store: TokenStore, state: StateFolder, content: bytes):
    state.tokens_file.write_bytes(content)
    with pytest.raises(ProblemError, match="token file is damaged") as caught:
        store.old()
    assert str(state.tokens_file) in caught.value.problem.detail
    assert state.tokens_file.read_bytes() == content
