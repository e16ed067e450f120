from __future__ import annotations

from fairlead.stores.yaml_text import quoted, write_yaml


def test_the_layout_is_that_of_a_person() -> None:
    data = {
        "version": "1",
        "servers": {"a": {"args": ["-x", "1 core"], "environment": {}, "on": True, "none": None, "n": 1.5}},
        "channels": [{"type": "log", "level": "warning"}, [1, 2]],
    }
    assert write_yaml(data) == (
        'version: "1"\n'
        "\n"
        "servers:\n"
        "  a:\n"
        "    args:\n"
        '      - "-x"\n'
        "      - 1 core\n"
        "    environment: {}\n"
        "    on: true\n"
        "    none: null\n"
        "    n: 1.5\n"
        "\n"
        "channels:\n"
        "  - type: log\n"
        "    level: warning\n"
        "  - - 1\n"
        "    - 2\n"
    )


def test_only_what_is_surely_a_text_goes_without_quotes() -> None:
    bare = ["npm:x", "30s", "/workspace:/workspace:rw", "yes", "2025-01-01", "a b"]
    assert [quoted(text) for text in bare] == bare
    for text in [
        "",
        "1",
        "true",
        "null",
        "~",
        "0x1",
        "1.0",
        "1e3",
        "a: b",
        "a #b",
        "a:",
        "- a",
        "@a",
        " a",
        "a ",
    ]:
        assert quoted(text) == f'"{text}"'
    assert quoted('a"\\\n\x85é') == '"a\\"\\\\\\U0000000a\\U00000085é"'


def test_a_key_that_is_too_long_for_its_line_is_marked_as_a_key() -> None:
    assert write_yaml({"k" * 2000: 1}) == f"? {'k' * 2000}\n: 1\n"
