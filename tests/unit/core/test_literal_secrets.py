from typing import Any

import pytest

from fairlead.core.literal_secrets import covered, looks_secret, variable_for, written_out


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_KEY", "abcdefgh"),
        ("github_token", "x1y2z3w4"),
        ("PASSWORD", "correct horse"),
        ("Authorization", "Bearer abcdefgh"),
        ("Cookie", "a=b"),
        ("ANYTHING", "sk-abcdefgh1234"),
        ("ANYTHING", "ghp_abcdefgh1234"),
        ("X", "Bearer eyJhbGciOiJIUzI1NiJ9.e30.x"),
        ("DATABASE_URL", "postgres://user:hunter2@db/x"),
        ("PEM", "-----BEGIN PRIVATE KEY-----\nabc"),
        ("X", "aB3dE5gH7jK9mN1pQ3sT5vW7"),
        ("X", "0123456789abcdef0123456789abcdef"),
    ],
)
def test_what_looks_like_a_secret(name: str, value: str):
    assert looks_secret(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_KEY", ""),
        ("API_KEY", "${API_KEY}"),
        ("API_KEY", "${API_KEY:-none}"),
        ("Authorization", "Bearer ${TOKEN}"),
        ("USE_TOKEN", "true"),
        ("MAX_TOKENS", "4096"),
        ("KEY_FILE", "/run/secrets/key"),
        ("TOKEN_URL", "https://login.example/token"),
        ("LOG_LEVEL", "debug"),
        ("HOME", "/home/someone/with/a/long/path/1A"),
        ("DATABASE_URL", "postgres://db/x"),
        ("PACKAGE", "modelcontextprotocol-server-filesystem"),
    ],
)
def test_what_does_not(name: str, value: str):
    assert not looks_secret(name, value)


def test_a_headers_variable():
    assert variable_for("X-Api-Key") == "X_API_KEY"
    assert variable_for("API_KEY") == "API_KEY"
    assert variable_for("2fa-token") == "_2FA_TOKEN"


def test_json_is_covered_by_name_and_by_shape():
    value = {
        "environment": {"API_KEY": "hunter22", "A": "b"},
        "args": ["x", "sk-abcdefgh"],
        "n": 1,
        "o": None,
    }
    assert covered(value, lambda name: f"<{name}>") == {
        "environment": {"API_KEY": "<API_KEY>", "A": "b"},
        "args": ["x", "<args>"],
        "n": 1,
        "o": None,
    }
    assert covered("hunter22", lambda _: "***", "API_KEY") == "***"


@pytest.mark.parametrize(
    ("args", "shown"),
    [
        (["--token=abcdefgh"], ["--token=<token>"]),
        (["--token", "abcdefgh", "x"], ["--token", "<token>", "x"]),
        (["--token", "--verbose"], ["--token", "--verbose"]),
        (["--token", "${TOKEN}"], ["--token", "${TOKEN}"]),
        (["--token=${TOKEN}"], ["--token=${TOKEN}"]),
        (["API_KEY=a=b"], ["API_KEY=<API_KEY>"]),
        (["--header", "Authorization: Bearer abcdefgh"], ["--header", "Authorization: <Authorization>"]),
        (["https://x/?key=abcdefgh&a=b#c"], ["https://x/?key=<key>&a=b#c"]),
        (["--url=https://x/?a=b&key=abcdefgh"], ["--url=https://x/?a=b&key=<key>"]),
        (["https://x/?key=sk-abcdefgh12"], ["https://x/?key=<key>"]),
        (["postgres://u:hunter22@x/?key=abcdefgh"], ["<args>"]),
        (["--key-file=/run/key", "--level=debug", "-v", "/data", 7], None),
    ],
)
def test_arguments_are_covered_piece_by_piece(args: list[object], shown: list[object] | None):
    assert covered({"args": args}, lambda name: f"<{name}>") == {"args": shown or args}


GITHUB = "ghp_" + "a1B2" * 9


@pytest.mark.parametrize(
    ("document", "keys"),
    [
        (
            {"servers": {"a": {"environment": {"API_KEY": "hunter22hunter22"}}}},
            [("servers", "a", "environment", "API_KEY")],
        ),
        ({"mcpServers": {"a": {"env": {"API_KEY": "${API_KEY}"}}}}, []),
        ({"a": {"args": ["--token", "hunter22hunter22"]}}, [("a", "args", "1")]),
        ({"a": {"headers": {"Authorization": "Bearer hunter22"}}}, [("a", "headers", "Authorization")]),
        ({"a": {"url": "https://u:pass@host/"}}, [("a", "url")]),
        ({"a": {"url": "https://host/?api_key=hunter22hunter"}}, [("a", "url")]),
        ({"keybindings": [{"key": "ctrl+shift+k", "command": "x"}]}, []),
        ({"tokenizer": "cl100k_base", "maxTokens": "4096"}, []),
        ({"theme": GITHUB}, [("theme",)]),
        ({"deep": [{"er": f"see {GITHUB}"}]}, [("deep", "0", "er")]),
        ({"": f"A text with {GITHUB} and ${{NAME}} in it"}, [("",)]),
        ({"": "Write https://user:password@host, or sk-your-key"}, []),
        ({"": "-----BEGIN OPENSSH PRIVATE KEY-----"}, [("",)]),
        ({"number": 5, "truth": True, "nothing": None}, []),
    ],
)
def test_a_document_is_looked_through_for_what_must_not_be_in_git(
    document: dict[str, Any], keys: list[tuple[str, ...]]
) -> None:
    assert [key for key, _ in written_out(document)] == keys
